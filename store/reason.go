package store

import (
	"strings"
	"unicode/utf8"
)

// maxReason is the greatest length of last_error, in bytes.
const maxReason = 4000

// clip shortens a reason to what last_error is meant to hold, in valid UTF-8.
func clip(reason string) string {
	return validUTF8(reason, maxReason)
}

// validUTF8 cuts s to at most n bytes of valid UTF-8 without NUL, which PostgreSQL
// does not take in a text. It does so for every database, so that a reason reads the
// same in all.
func validUTF8(s string, n int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
