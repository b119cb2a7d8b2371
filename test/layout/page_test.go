package layout

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// section returns what a page has below a heading, up to the next one of its level or
// a higher one; "" where there is no such heading.
func section(page, heading string) string {
	level := strings.Repeat("#", strings.IndexByte(heading, ' '))
	_, rest, found := strings.Cut("\n"+page, "\n"+heading+"\n")
	if !found {
		return ""
	}
	end := regexp.MustCompile(`(?m)^#{1,` + fmt.Sprint(len(level)) + `} `)
	if place := end.FindStringIndex(withoutFences(rest)); place != nil {
		rest = rest[:place[0]]
	}
	return rest
}

// fence returns the inside of the first fenced block of this language.
func fence(page, language string) string {
	_, rest, found := strings.Cut("\n"+page, "\n```"+language+"\n")
	if !found {
		return ""
	}
	block, _, closed := strings.Cut("\n"+rest, "\n```")
	if !closed {
		return ""
	}
	return strings.TrimPrefix(block, "\n")
}

// withoutFences blanks the fenced blocks of a page, so that nothing moves.
func withoutFences(page string) string { return blank(page, true) }

// onlyFences blanks all but the insides of the fenced blocks.
func onlyFences(page string) string { return blank(page, false) }

// blank blanks the fences, and with them the lines that are between two or those that
// are not.
func blank(page string, between bool) string {
	var b strings.Builder
	inside := false
	for line := range strings.Lines(page) {
		isFence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if isFence || inside == between {
			b.WriteString(strings.Repeat(" ", len(strings.TrimSuffix(line, "\n"))) + "\n")
		} else {
			b.WriteString(line)
		}
		if isFence {
			inside = !inside
		}
	}
	return b.String()
}

// table returns the rows of the first table with this header: cells without their
// blanks.
func table(page, header string) [][]string {
	_, rest, found := strings.Cut("\n"+page, "\n"+header+"\n")
	if !found {
		return nil
	}
	var rows [][]string
	for line := range strings.Lines(rest) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			break
		}
		if strings.HasPrefix(line, "|-") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

func TestASectionEndsWithTheNextHeadingOfItsLevel(t *testing.T) {
	page := "# Page\n\n## One\nfirst\n### Part\n```\n## no heading\n```\nsecond\n## Two\nthird\n"
	if got, want := section(page, "## One"), "first\n### Part\n```\n## no heading\n```\nsecond\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := section(page, "## Three"); got != "" {
		t.Errorf("got %q of a section that is not there, want none", got)
	}
	if got, want := fence(page, ""), "## no heading"; got != want {
		t.Errorf("got the block %q, want %q", got, want)
	}
}

func TestATableIsReadRowByRow(t *testing.T) {
	page := "text\n\n| a | b |\n|---|---|\n| 1 | `x`, `y` |\n| 2 | |\n\n| 3 | no row |\n"
	got := table(page, "| a | b |")
	if want := [][]string{{"1", "`x`, `y`"}, {"2", ""}}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
