package survey

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// foldLength is the most characters of a folded reason.
const foldLength = 240

// changing is what differs between two reasons that are the same for a person, each with
// what stands in its place, and with what a reason without it is told apart by cheaply: there
// may be 10,000 to fold.
var changing = []struct {
	pattern *regexp.Regexp
	by      string
	may     func(reason string) bool
}{
	{regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`), "<id>", has("-")},
	{regexp.MustCompile(`"[^"]*"`), `"…"`, has(`"`)},
	{regexp.MustCompile("`[^`]*`"), "`…`", has("`")},
	{regexp.MustCompile(`(^|[\s(=:,])'[^']*'`), `$1'…'`, has("'")},
	{regexp.MustCompile(`\b0x[0-9a-fA-F]+\b`), "<hex>", has("0x")},
	{regexp.MustCompile(`\b[0-9a-fA-F]*(?:[0-9][a-fA-F]|[a-fA-F][0-9])[0-9a-fA-F]{6,}\b`), "<hex>", hasHex},
	{regexp.MustCompile(`[0-9]+(?:[.,:][0-9]+)*`), "#", func(string) bool { return true }},
	{regexp.MustCompile(`\s+`), " ", func(s string) bool { return strings.ContainsAny(s, "\t\n\f\r") || strings.Contains(s, "  ") }},
}

// MayBeFolded says whether a text has in it what stands for what changes, and so may be in no
// reason as it is.
func MayBeFolded(text string) bool {
	for _, c := range changing {
		if by := strings.Trim(c.by, "$1'`\" "); by != "" && strings.Contains(text, by) {
			return true
		}
	}
	return false
}

func has(part string) func(string) bool {
	return func(s string) bool { return strings.Contains(s, part) }
}

// hasHex reports whether eight hexadecimal digits stand together.
func hasHex(s string) bool {
	run := 0
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
			if run++; run == 8 {
				return true
			}
		default:
			run = 0
		}
	}
	return false
}

// Fold is a reason without what changes from message to message: numbers, ids and what
// stands in quotes.
func Fold(reason string) string {
	reason = strings.TrimSpace(strings.ToValidUTF8(reason, "\uFFFD"))
	for _, c := range changing {
		if c.may(reason) {
			reason = c.pattern.ReplaceAllString(reason, c.by)
		}
	}
	if utf8.RuneCountInString(reason) > foldLength {
		reason = string([]rune(reason)[:foldLength]) + "…"
	}
	return reason
}
