package store_test

import (
	"strings"
	"testing"

	"github.com/waybill-go/waybill/store"
)

func TestAPrefixIsCheckedAndPutBeforeEachName(t *testing.T) {
	for _, c := range []struct{ prefix, message, schema, local string }{
		{"", "qmessage", "", "qmessage_due"},
		{"app_", "app_qmessage", "", "app_qmessage_due"},
		{"app.", "app.qmessage", "app", "qmessage_due"},
		{"app.mail_", "app.mail_qmessage", "app", "mail_qmessage_due"},
		{"_", "_qmessage", "", "_qmessage_due"},
		{strings.Repeat("s", 40) + "." + strings.Repeat("p", 20), strings.Repeat("s", 40) + "." + strings.Repeat("p", 20) + "qmessage", strings.Repeat("s", 40), strings.Repeat("p", 20) + "qmessage_due"},
	} {
		n, err := store.NewNames(c.prefix)
		if err != nil {
			t.Errorf("%q: %v", c.prefix, err)
			continue
		}
		if n.Message != c.message || n.Schema() != c.schema || n.SQL("{qmessage}") != c.message || n.SQL("{.qmessage_due}") != c.local {
			t.Errorf("%q: %q in schema %q, in SQL %q and %q", c.prefix, n.Message, n.Schema(), n.SQL("{qmessage}"), n.SQL("{.qmessage_due}"))
		}
	}
	for _, prefix := range []string{
		"App_", "1app", "app-", "app;", "app ", " ", "ä", `"app"`, "app..", ".app", ".", "a.b.c", "app_\n", "'", "--",
		strings.Repeat("p", 21), strings.Repeat("s", 41) + ".",
	} {
		if _, err := store.NewNames(prefix); err == nil || !strings.Contains(err.Error(), "app_") {
			t.Errorf("%q: error %v, want one that shows what would do", prefix, err)
		}
	}
}

func TestSQLWritesNamesAndLeavesTheRestAlone(t *testing.T) {
	n, err := store.NewNames("app.mail_")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"": "", "SELECT 1": "SELECT 1",
		"{a}{.b} {c}":     "app.mail_amail_b app.mail_c",
		"x {a} $1 ? '' y": "x app.mail_a $1 ? '' y",
	} {
		if got := n.SQL(text); got != want {
			t.Errorf("SQL(%q) = %q, want %q", text, got, want)
		}
	}
}

// Whatever is taken for a prefix is an identifier in every database, so nothing else
// can reach a statement by it.
func FuzzNoPrefixReachesSQLUnchecked(f *testing.F) {
	for _, seed := range []string{"", "app_", "app.", "app.mail_", "a;b", "A", "ä", "a.b.c", "a\x00", "\n"} {
		f.Add(seed)
	}
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789_"
	f.Fuzz(func(t *testing.T, prefix string) {
		n, err := store.NewNames(prefix)
		if err != nil {
			return
		}
		other := func(r rune) bool { return !strings.ContainsRune(letters+".", r) }
		if strings.ContainsFunc(prefix, other) || strings.Count(prefix, ".") > 1 || len(prefix) > 61 {
			t.Errorf("%q was taken", prefix)
		}
		for _, name := range []string{n.Message, n.MessageKey, n.Relay, n.Once, n.Latest, n.Horizon, n.Versions} {
			for part := range strings.SplitSeq(name, ".") {
				if part == "" || len(part) > 63 || part[0] >= '0' && part[0] <= '9' {
					t.Errorf("%q makes the name %q", prefix, name)
				}
			}
		}
	})
}
