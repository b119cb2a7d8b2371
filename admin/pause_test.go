package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/store"
)

// paused are the pauses of the desk's tables, by side.
func (d *desk) paused(side store.Side) []store.Pause {
	d.Helper()
	if side == store.Producer {
		all, err := d.queue.Pauses(d.Context())
		d.must(err)
		return all
	}
	keeper, err := store.NewKeeper(d.db, d.dialect, "", "")
	d.must(err)
	all, err := keeper.Pauses(d.Context())
	d.must(err)
	return all
}

func TestAnOperatorPausesADestinationAndHasItGoOn(t *testing.T) {
	d := newDesk(t, admin.Options{})
	id := d.rejected(waybill.Message{Destination: "orders"}, "shipping: no")
	b := d.browser(d.console, "")
	_, page, _ := b.get("/")
	if !strings.Contains(page, "pauses?db=shop&amp;destination=orders") {
		t.Fatalf("got\n%s\nwant a link to pause", page)
	}
	_, page, _ = b.get("/pauses?db=shop&destination=orders")
	if !strings.Contains(page, `value="orders"`) || !strings.Contains(page, "Nothing is paused here.") {
		t.Fatalf("got\n%s\nwant the form for orders", page)
	}
	form := b.formIn(page, `name="reason"`)
	for name, value := range map[string]string{"destination": "orders", "side": "producer", "reason": "the carrier is down", "for": "1h"} {
		form.Set(name, value)
	}
	forged := url.Values{"destination": {"orders"}, "side": {"producer"}, "form_token": {"0"}}
	if status, _, _ := b.post("/pauses", forged); status != http.StatusForbidden || len(d.paused(store.Producer)) != 0 {
		t.Errorf("without the form's token: got %d, want 403 and nothing paused", status)
	}
	status, page, at := b.post("/pauses", form)
	if status != http.StatusOK || at.Path != "/pauses" || !strings.Contains(page, "the carrier is down") {
		t.Fatalf("got %d at %s\n%s\nwant what is paused", status, at, page)
	}
	all := d.paused(store.Producer)
	if len(all) != 1 || all[0].Destination != "orders" || all[0].By != "local" || all[0].Reason != "the carrier is down" || all[0].Until.Sub(all[0].Since) != time.Hour {
		t.Fatalf("got %+v, want orders paused for an hour", all)
	}
	until := all[0].Until.UTC().Format("2006-01-02 15:04")
	for _, where := range []string{"/", "/rejected", "/messages", "/messages/" + id.String(), "/consumers", "/?lang=zh"} {
		// The overview is read anew every two seconds.
		eventually(t, "the pause on "+where, func() bool {
			_, page, _ = b.get(where)
			return strings.Contains(page, "the carrier is down") && strings.Contains(page, "local") && strings.Contains(page, until)
		})
	}
	_, page, _ = b.get("/pauses?lang=en")
	form = b.formIn(page, `aria-label="Resume: orders"`)
	if status, page, at = b.post("/pauses/resume", form); status != http.StatusOK || at.Path != "/pauses" || !strings.Contains(page, "Nothing is paused here.") {
		t.Errorf("resumed: got %d at %s\n%s", status, at, page)
	}
	if all := d.paused(store.Producer); len(all) != 0 {
		t.Errorf("got %+v paused, want nothing", all)
	}
	if status, page, _ = b.post("/pauses/resume", form); status != http.StatusConflict || !strings.Contains(page, "It is not paused") {
		t.Errorf("once more: got %d\n%s\nwant to be told", status, page)
	}
	log := d.log.String()
	for _, want := range []string{
		`msg="audit: a destination is paused" who=local database=shop side=producer destination=orders topic=false consumer="" reason="the carrier is down" until="after 1h0m0s"`,
		`msg="audit: a destination is resumed" who=local database=shop side=producer destination=orders`,
	} {
		if strings.Count(log, want) != 1 {
			t.Errorf("got the log\n%s\nwant one line with %s", log, want)
		}
	}
}

func TestProgramsPauseEitherSide(t *testing.T) {
	d := newDesk(t, admin.Options{})
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	at := until.Format(time.RFC3339)
	for _, c := range []struct {
		path, body string
		want       int
		says       string // in an answer that is an error
		pauses     string // there are then, as side destination consumer
	}{
		{"", `{"destination":"orders"}`, 400, "both sides", ""},
		{"", `{"destination":"orders","side":"left"}`, 400, "no side", ""},
		{"", `{"destination":"ack.x","side":"producer"}`, 400, "no name", ""},
		{"", `{"destination":"orders","side":"producer","consumer":"shipping"}`, 400, "consumer's side", ""},
		{"", `{"destination":"orders","side":"producer","for":"-1h"}`, 400, "ends after a time", ""},
		{"", `{"destination":"orders","side":"producer","for":"500ns"}`, 400, "ends after a time", ""},
		{"", `{"destination":"orders","side":"producer","for":"1h","until":"` + at + `"}`, 400, "not both", ""},
		{"", `{"destination":"orders","side":"producer","until":"2020-01-01T00:00:00Z"}`, 400, "is over", ""},
		{"", `{"destination":"orders","side":"producer","untill":"` + at + `"}`, 400, "cannot be read", ""},
		{"", `{"destination":"orders","side":"producer","database":"mails"}`, 404, "no database", ""},
		{"", `{"destination":"orders","side":"producer","until":"` + at + `"}`, 202, "", "producer orders "},
		{"", `{"destination":"orders","consumer":"shipping","reason":"slow"}`, 202, "", "producer orders |consumer orders shipping"},
		{"", `{"destination":"orders","side":"consumer"}`, 202, "", "producer orders |consumer orders |consumer orders shipping"},
		{"/resume", `{"destination":"orders","consumer":"shipping"}`, 202, "", "producer orders |consumer orders "},
		{"/resume", `{"destination":"orders","side":"producer","topic":true}`, 409, "not paused", "producer orders |consumer orders "},
		{"/resume", `{"destination":"orders","side":"producer"}`, 202, "", "consumer orders "},
		{"/resume", `{"destination":"orders","side":"consumer"}`, 202, "", ""},
	} {
		w := d.ask("POST", "/api/v1/pauses"+c.path, c.body, asJSON)
		if w.Code != c.want || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s %s: got %d %s, want %d and %q", c.path, c.body, w.Code, w.Body, c.want, c.says)
		}
		var told struct {
			Pauses []struct {
				Side, Destination, Consumer, By string
				Until                           *time.Time
			}
		}
		d.must(json.Unmarshal(d.ask("GET", "/api/v1/pauses", "").Body.Bytes(), &told))
		var pauses []string
		for _, p := range told.Pauses {
			pauses = append(pauses, fmt.Sprint(p.Side, " ", p.Destination, " ", p.Consumer))
			if p.By != "local" || p.Side == "producer" && (p.Until == nil || !p.Until.Equal(until)) {
				t.Errorf("%s: got %+v, want it paused by local until %s", c.body, p, at)
			}
		}
		if got := strings.Join(pauses, "|"); got != c.pauses {
			t.Errorf("%s %s: got the pauses %q, want %q", c.path, c.body, got, c.pauses)
		}
	}
}

func TestAReaderSeesWhatIsPausedAndNoForm(t *testing.T) {
	d := newDesk(t, admin.Options{OperatorToken: operatorToken, ReaderToken: readerToken})
	d.must(d.queue.Pause(t.Context(), store.Pause{Destination: "orders", By: "ann", Reason: "why not"}, 0))
	page := d.ask("GET", "/pauses", "", bearer(readerToken)).Body.String()
	if !strings.Contains(page, "why not") || strings.Contains(page, "pauses/resume") || strings.Contains(page, `name="reason"`) {
		t.Errorf("got\n%s\nwant what is paused, without forms", page)
	}
	page = d.ask("GET", "/", "", bearer(readerToken)).Body.String()
	if !strings.Contains(page, "why not") || strings.Contains(page, "Resume…") {
		t.Errorf("got\n%s\nwant what is paused, without a link to change it", page)
	}
}
