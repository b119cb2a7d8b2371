package dialecttest

import (
	"regexp"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/store"
)

// LongestPrefix is a prefix with a schema, both as long as they may be.
var LongestPrefix = "waybill_" + strings.Repeat("s", 32) + ".waybill_" + strings.Repeat("p", 11) + "_"

var named = regexp.MustCompile(`(?:CONSTRAINT|INDEX|TABLE|TRIGGER|FUNCTION|KEY)(?: IF (?:NOT )?EXISTS)? ([a-z0-9_.]+)`)

// NamesAreAtMost checks that no name which the tables have with the longest prefix is
// longer than the database takes: some cut it in silence.
func NamesAreAtMost(t *testing.T, d store.Dialect, most int) {
	t.Helper()
	n, err := store.NewNames(LongestPrefix)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, m := range d.Migrations(n) {
		for _, text := range m.Statements {
			for _, match := range named.FindAllStringSubmatch(text, -1) {
				name := match[1][strings.LastIndexByte(match[1], '.')+1:]
				if found++; len(name) > most {
					t.Errorf("the name %s has %d characters, more than %d", name, len(name), most)
				}
			}
		}
	}
	if found < 15 {
		t.Errorf("found %d names, want more", found)
	}
	for _, a := range d.Lock(n).Args {
		if name, ok := a.(string); ok && len(name) > most {
			t.Errorf("the lock %s has %d characters, more than %d", name, len(name), most)
		}
	}
}
