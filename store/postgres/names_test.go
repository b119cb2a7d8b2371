package postgres_test

import (
	"strings"
	"testing"

	"github.com/waybill-go/waybill/store/internal/dialecttest"
	"github.com/waybill-go/waybill/store/postgres"
)

func TestNoNameIsTooLongForPostgreSQL(t *testing.T) {
	dialecttest.NamesAreAtMost(t, postgres.Dialect(), 63)
}

func TestAChannelsNameIsThatOfTheTableUnlessItIsTooLong(t *testing.T) {
	seen := map[string]string{}
	for _, c := range []struct{ prefix, want string }{
		{"", "qmessage"},
		{"app.mail_", "app.mail_qmessage"},
		{strings.Repeat("s", 34) + "." + strings.Repeat("p", 20), strings.Repeat("s", 34) + "." + strings.Repeat("p", 20) + "qmessage"}, // 63 bytes
		{strings.Repeat("s", 35) + "." + strings.Repeat("p", 20), ""},
		{strings.Repeat("s", 40) + "." + strings.Repeat("p", 20), ""},
		{strings.Repeat("s", 40) + "." + strings.Repeat("p", 19) + "q", ""},
	} {
		got := postgres.Channel(c.prefix)
		if c.want != "" && got != c.want || len(got) > 63 || got != postgres.Channel(c.prefix) {
			t.Errorf("%s: got the channel %q, want %q, and 63 bytes at most", c.prefix, got, c.want)
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%s and %s have the same channel", c.prefix, other)
		}
		seen[got] = c.prefix
	}
}
