package layout

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestTheChineseReadmeIsInStep(t *testing.T) {
	report(t, translationProblems(read(t, "README.md"), read(t, "README.zh-CN.md")))
}

// figure is a number with at least two digits, of which a translation has to have the same.
var figure = regexp.MustCompile(`\d[\d,.]*\d`)

// translationProblems says where a translated page is not in step with its original: it has
// other headings by their levels, other code, other links (but to each other), other tables
// or other figures.
func translationProblems(original, translated string) (problems []string) {
	for _, part := range []struct {
		name string
		of   func(page string) []string
	}{
		{"headings", headingLevels},
		{"code", func(page string) []string { return slices.Collect(strings.Lines(onlyFences(page))) }},
		{"code in the text", func(page string) []string { return codeSpan.FindAllString(withoutFences(page), -1) }},
		{"links", func(page string) (all []string) {
			for _, m := range pageLink.FindAllStringSubmatch(withoutFences(page), -1) {
				if !strings.HasPrefix(m[2], "README") {
					all = append(all, m[2])
				}
			}
			return all
		}},
		{"rows of tables", func(page string) (all []string) {
			for line := range strings.Lines(withoutFences(page)) {
				if strings.HasPrefix(line, "|") {
					all = append(all, fmt.Sprint(strings.Count(line, "|")-1, " cells"))
				}
			}
			return all
		}},
		{"figures", func(page string) []string { return figure.FindAllString(withoutFences(page), -1) }},
	} {
		a, b := part.of(original), part.of(translated)
		if part.name == "code" {
			a, b = written(a), written(b)
		} else if part.name != "headings" && part.name != "rows of tables" {
			slices.Sort(a) // sentences have another order
			slices.Sort(b)
		}
		if !slices.Equal(a, b) {
			problems = append(problems, fmt.Sprintf("the %s differ: %s", part.name, difference(a, b)))
		}
	}
	return problems
}

// written are the lines that are not blank.
func written(lines []string) []string {
	return slices.DeleteFunc(lines, func(l string) bool { return strings.TrimSpace(l) == "" })
}

// headingLevels are a page's headings without their texts.
func headingLevels(page string) (all []string) {
	for line := range strings.Lines(withoutFences(page)) {
		if level := len(line) - len(strings.TrimLeft(line, "#")); level > 0 {
			all = append(all, strings.Repeat("#", level))
		}
	}
	return all
}

// difference is the first thing that only one of two lists has in its place.
func difference(a, b []string) string {
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(b):
			return fmt.Sprintf("the translation lacks %q", a[i])
		case i >= len(a):
			return fmt.Sprintf("the translation has %q besides", b[i])
		case a[i] != b[i]:
			return fmt.Sprintf("%q, and in the translation %q", a[i], b[i])
		}
	}
	return ""
}

func TestATranslationThatIsNotInStepIsFound(t *testing.T) {
	const original = "# A\n\nText with `code`, [a link](a.md) and 1,234.\n\n```\nrun\n```\n\n| a | b |\n"
	for _, c := range []struct{ translated, want string }{
		{"# 甲\n\n1,234，[链接](a.md)，`code`。\n\n```\nrun\n```\n\n| 甲 | 乙 |\n", ""},
		{"# 甲\n\n## 乙\n\n1,234，[链接](a.md)，`code`。\n\n```\nrun\n```\n\n| 甲 | 乙 |\n", "headings differ"},
		{"# 甲\n\n1,234，[链接](a.md)，`code`。\n\n```\nwalk\n```\n\n| 甲 | 乙 |\n", "the code differ"},
		{"# 甲\n\n1,234，[链接](b.md)，`code`。\n\n```\nrun\n```\n\n| 甲 | 乙 |\n", "links differ"},
		{"# 甲\n\n1,234，[链接](a.md)。\n\n```\nrun\n```\n\n| 甲 | 乙 |\n", "code in the text differ"},
		{"# 甲\n\n1,235，[链接](a.md)，`code`。\n\n```\nrun\n```\n\n| 甲 | 乙 |\n", "figures differ"},
		{"# 甲\n\n1,234，[链接](a.md)，`code`。\n\n```\nrun\n```\n\n| 甲 |\n", "rows of tables differ"},
	} {
		if c.want == "" {
			expect(t, translationProblems(original, c.translated))
			continue
		}
		expect(t, translationProblems(original, c.translated), c.want)
	}
}
