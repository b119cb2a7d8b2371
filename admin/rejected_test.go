package admin_test

import (
	"database/sql"
	"slices"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/outbox"
)

// rejectedMany sends messages and rejects them.
func (d *desk) rejectedMany(n int) {
	d.Helper()
	out, err := outbox.New(d.dialect, nil)
	d.must(err)
	d.must(out.InTx(d.Context(), d.db, func(tx *sql.Tx) error {
		return out.Send(d.Context(), tx, slices.Repeat([]waybill.Message{{Destination: "orders"}}, n)...)
	}))
	_, err = d.db.ExecContext(d.Context(), `UPDATE qmessage SET status = 2, last_error = 'shipping: no'`)
	d.must(err)
}

func TestAPageThatHasNotLookedAtAllRejectedMessagesOffersToLookAtMore(t *testing.T) {
	d := newDesk(t, admin.Options{})
	d.rejectedMany(600)
	admin.Hurried(d.console)
	hurried := d.ask("GET", "/rejected?text=no", "").Body.String()
	more := `<a href="?text=no&amp;whole=1">Look at more of them</a>`
	if !strings.Contains(hurried, more) || !strings.Contains(hurried, "500 rejected messages were looked at. There are more.") || strings.Contains(hurried, "all of these") {
		t.Errorf("got the page\n%s\nwant that 500 were looked at, and %s", hurried, more)
	}
	if other := d.ask("GET", "/rejected?text=other", "").Body.String(); !strings.Contains(other, "None of these is meant.") || strings.Contains(other, "No message is rejected") {
		t.Errorf("got the page\n%s\nwant that there may be some among those that were not looked at", other)
	}
	whole := d.ask("GET", "/rejected?text=no&whole=1", "").Body.String()
	if strings.Contains(whole, "Look at more") || !strings.Contains(whole, "all of these") || !strings.Contains(whole, `<span class="big">600</span>`) {
		t.Errorf("got the page\n%s\nwant all 600, and nothing more to look at", whole)
	}
}
