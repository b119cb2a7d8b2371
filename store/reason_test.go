package store

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever a consumer says about a message fits into last_error.
func FuzzAReasonFitsItsColumn(f *testing.F) {
	for _, seed := range []string{"", "no such order", "a\x00b\xff", strings.Repeat("x", maxReason), "x" + strings.Repeat("ü", maxReason), strings.Repeat("\x00", maxReason)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, reason string) {
		got := clip(reason)
		if !utf8.ValidString(got) || strings.Contains(got, "\x00") || len(got) > maxReason {
			t.Errorf("%q became %q", reason, got)
		}
		if utf8.ValidString(reason) && len(reason) <= maxReason && !strings.Contains(reason, "\x00") && got != reason {
			t.Errorf("%q became %q", reason, got)
		}
	})
}
