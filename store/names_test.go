package store_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/store"
)

func TestAPrefixIsPutBeforeEachName(t *testing.T) {
	longest := strings.Repeat("s", 40) + "." + strings.Repeat("p", 20)
	for _, c := range []struct{ prefix, message, schema, local string }{
		{"", "qmessage", "", "qmessage_due"},
		{"app_", "app_qmessage", "", "app_qmessage_due"},
		{"app.", "app.qmessage", "app", "qmessage_due"},
		{"app.mail_", "app.mail_qmessage", "app", "mail_qmessage_due"},
		{"_", "_qmessage", "", "_qmessage_due"},
		{longest, longest + "qmessage", strings.Repeat("s", 40), strings.Repeat("p", 20) + "qmessage_due"},
	} {
		t.Run(c.prefix, func(t *testing.T) {
			n, err := store.NewNames(c.prefix)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []struct{ what, got, want string }{
				{"Message", n.Message, c.message},
				{"Schema", n.Schema(), c.schema},
				{"{qmessage} in SQL", n.SQL("{qmessage}"), c.message},
				{"{.qmessage_due} in SQL", n.SQL("{.qmessage_due}"), c.local},
			} {
				if name.got != name.want {
					t.Errorf("%s: got %q, want %q", name.what, name.got, name.want)
				}
			}
		})
	}
}

func TestAWrongPrefixIsRefusedWithOneThatWouldDo(t *testing.T) {
	for _, prefix := range []string{
		"App_", "1app", "app-", "app;", "app ", " ", "ä", `"app"`, "app..", ".app", ".", "a.b.c", "app_\n", "'", "--",
		strings.Repeat("p", 21), strings.Repeat("s", 41) + ".",
	} {
		t.Run(prefix, func(t *testing.T) {
			if _, err := store.NewNames(prefix); err == nil || !strings.Contains(err.Error(), "app_") {
				t.Errorf("got error %v, want one that shows what would do", err)
			}
		})
	}
}

func TestSQLWritesNamesAndLeavesTheRestAlone(t *testing.T) {
	n, err := store.NewNames("app.mail_")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"no names", "SELECT 1", "SELECT 1"},
		{"names with and without the schema", "{a}{.b} {c}", "app.mail_amail_b app.mail_c"},
		{"placeholders", "x {a} $1 ? '' y", "x app.mail_a $1 ? '' y"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := n.SQL(c.text); got != c.want {
				t.Errorf("SQL(%q): got %q, want %q", c.text, got, c.want)
			}
		})
	}
}

func TestTablesAreAll(t *testing.T) {
	n, err := store.NewNames("app_")
	if err != nil {
		t.Fatal(err)
	}
	all := n.Tables()
	fields := reflect.ValueOf(n)
	for i := range fields.NumField() {
		if name := fields.Type().Field(i).Name; name != "Prefix" && !slices.Contains(all, fields.Field(i).String()) {
			t.Errorf("%s is not among the tables %v", name, all)
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
		for _, name := range n.Tables() {
			for part := range strings.SplitSeq(name, ".") {
				if part == "" || len(part) > 63 || part[0] >= '0' && part[0] <= '9' {
					t.Errorf("%q: got the name %q, want an identifier", prefix, name)
				}
			}
		}
	})
}
