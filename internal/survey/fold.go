package survey

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// foldLength is the most characters of a folded reason.
const foldLength = 240

// changing is what differs between two reasons that are the same for a person, each with
// what stands in its place.
var changing = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`), "<id>"},
	{regexp.MustCompile(`"[^"]*"`), `"…"`},
	{regexp.MustCompile("`[^`]*`"), "`…`"},
	{regexp.MustCompile(`(^|[\s(=:,])'[^']*'`), `$1'…'`},
	{regexp.MustCompile(`\b0x[0-9a-fA-F]+\b`), "<hex>"},
	{regexp.MustCompile(`\b[0-9a-fA-F]*(?:[0-9][a-fA-F]|[a-fA-F][0-9])[0-9a-fA-F]{6,}\b`), "<hex>"},
	{regexp.MustCompile(`[0-9]+(?:[.,:][0-9]+)*`), "#"},
	{regexp.MustCompile(`\s+`), " "},
}

// Fold is a reason without what changes from message to message: numbers, ids and what
// stands in quotes.
func Fold(reason string) string {
	reason = strings.TrimSpace(strings.ToValidUTF8(reason, "\uFFFD"))
	for _, c := range changing {
		reason = c.pattern.ReplaceAllString(reason, c.by)
	}
	if utf8.RuneCountInString(reason) > foldLength {
		reason = string([]rune(reason)[:foldLength]) + "…"
	}
	return reason
}
