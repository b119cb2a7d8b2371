package redact_test

import (
	"strings"
	"testing"

	"github.com/waybill-go/waybill/internal/redact"
)

// Words that are found in nothing else by chance. Whatever is between them and around the
// address, they are not shown.
const (
	first, last = "Vq7Zk", "Wx9Jm"
)

func showsOne(text string) bool { return strings.Contains(text, first) || strings.Contains(text, last) }

func FuzzNoAddressShowsItsSecret(f *testing.F) {
	for _, word := range awkward {
		f.Add(word, "host:5432/app", "a=b")
	}
	f.Add("?x@y", "h1,other@h2", "email=a@b")
	f.Fuzz(func(t *testing.T, word, rest, query string) {
		if showsOne(rest+query) || strings.Contains(word, redact.Hidden) {
			t.Skip("the secret is to stand where one does")
		}
		secret := first + word + last
		for _, addr := range []string{
			"postgres://user:" + secret + "@" + rest, "user:" + secret + "@tcp(" + rest + ")/app?" + query,
			"host=db user=u password=" + secret + " " + rest, "oracle://" + secret + "@" + rest,
		} {
			if got := redact.Address(addr); showsOne(got) {
				t.Errorf("%q: got %q", addr, got)
			}
			if got := redact.Argument(addr); showsOne(got) {
				t.Errorf("%q as an argument: got %q", addr, got)
			}
		}
	})
}

// A text in which nothing may be a secret stays, and none grows much.
func FuzzMessage(f *testing.F) {
	for _, form := range forms {
		for _, in := range texts {
			f.Add(in.write(strings.ReplaceAll(form, "§", "hunter2")))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := redact.Message(text)
		if len(got) > 200+8*len(text) {
			t.Errorf("%q: got %q, which is much longer", text, got)
		}
		if !strings.ContainsAny(text, ":=@%") && got != text {
			t.Errorf("%q: got %q, want it as it is", text, got)
		}
	})
}
