package store

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAReasonIsCutToValidText(t *testing.T) {
	for _, c := range []struct {
		name string
		in   string
		size int
		want string
	}{
		{"as long as may be", "abc", 3, "abc"},
		{"too long", "abcd", 3, "abc"},
		{"cut within a letter", "aé", 2, "a"},
		{"cut behind a letter", "aé", 3, "aé"},
		{"a letter larger than all", "🚚", 3, ""},
		{"no UTF-8", "a\xff", 10, "a\uFFFD"},
		{"a NUL", "a\x00b", 10, "a\uFFFDb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := validUTF8(c.in, c.size); got != c.want {
				t.Errorf("%q in %d bytes: got %q, want %q", c.in, c.size, got, c.want)
			}
		})
	}
}

// Whatever a consumer says about a message fits into last_error.
func FuzzAReasonFitsItsColumn(f *testing.F) {
	for _, seed := range []string{"", "no such order", "a\x00b\xff", strings.Repeat("x", maxReason), "x" + strings.Repeat("ü", maxReason), strings.Repeat("\x00", maxReason)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, reason string) {
		got := clip(reason)
		if !utf8.ValidString(got) || strings.Contains(got, "\x00") || len(got) > maxReason {
			t.Errorf("%q: got %q, want at most %d bytes of valid UTF-8 without NUL", reason, got, maxReason)
		}
		if utf8.ValidString(reason) && len(reason) <= maxReason && !strings.Contains(reason, "\x00") && got != reason {
			t.Errorf("%q: got %q, want it unchanged", reason, got)
		}
	})
}
