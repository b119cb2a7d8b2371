package admin_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/relay"
)

// runs has a relay, and an inbox of orders, work at the desk's database, which its Console then knows.
func (d *desk) runs() {
	d.Helper()
	quiet, b := slog.New(slog.DiscardHandler), memory.New(nil)
	r, err := relay.New(d.db, d.dialect, b, &relay.Options{Producer: "shop", Logger: quiet, Poll: 50 * time.Millisecond})
	d.must(err)
	in, err := inbox.New(d.db, d.dialect, b, &inbox.Options{Consumer: "shipping", Logger: quiet})
	d.must(err)
	in.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error { return nil })
	ctx, cancel := context.WithCancel(d.Context())
	ended := make(chan error, 2)
	for _, run := range []func(context.Context) error{r.Run, in.Run} {
		go func() { ended <- run(ctx) }()
	}
	d.Cleanup(func() {
		cancel()
		d.must(<-ended)
		d.must(<-ended)
	})
	d.database.Relay, d.database.Inboxes = r, []*inbox.Inbox{in}
	d.console, err = admin.NewConsole(&admin.Options{Logger: quiet, Timeout: patience.Limit}, d.database)
	d.must(err)
	admin.Eager(d.console)
	d.Cleanup(d.console.Close)
}

func TestTheLinesOfADestinationMoveWhileMessagesFlow(t *testing.T) {
	d := newDesk(t, admin.Options{})
	d.runs()
	d.sent(waybill.Message{Destination: "orders"})
	server := httptest.NewServer(d.console)
	defer server.Close()
	response, err := http.Get(server.URL + "/events")
	d.must(err)
	defer response.Body.Close()
	texts, lines := map[string]string{}, map[string]string{}
	events := bufio.NewScanner(response.Body)
	events.Buffer(nil, 1<<20)
	for events.Scan() { // the test's own limit of time is behind this
		data, ok := strings.CutPrefix(events.Text(), "data: ")
		if !ok {
			continue
		}
		var u struct{ Texts, Sparks map[string]string }
		d.must(json.Unmarshal([]byte(data), &u))
		for key, text := range u.Texts {
			texts[key] = text
		}
		for key, line := range u.Sparks {
			if old, known := lines[key]; known && old == line {
				t.Errorf("got %s once more, which was told before", key)
			}
			lines[key] = line
		}
		if strings.Contains(texts[`d0."orders".flow`], "sent · ") && strings.Contains(texts[`d0."orders".flow`], "confirmed") && strings.Contains(texts[`d0.in."orders".flow`], "handled") &&
			strings.Contains(lines[`d0."orders".0`], "L") && strings.Contains(lines[`d0.in."orders".0`], "L") {
			break
		}
		d.sent(waybill.Message{Destination: "orders"})
	}
	d.must(events.Err())
	page := d.ask("GET", "/", "").Body.String()
	for _, want := range []string{`data-spark="d0.&#34;orders&#34;.0"`, `data-live="d0.&#34;orders&#34;.flow"`, `data-live="d0.in.&#34;orders&#34;.handled"`} {
		if !strings.Contains(page, want) {
			t.Errorf("got no %s in\n%s", want, page)
		}
	}
	var told struct {
		Databases []struct {
			Rates []struct {
				Side, Destination, Name string
			} `json:"rates_by_destination"`
		}
	}
	d.must(json.Unmarshal(d.ask("GET", "/api/v1/overview", "").Body.Bytes(), &told))
	if n := len(told.Databases[0].Rates); n < 8 {
		t.Errorf("got %d rates of destinations by the API, want 4 of each side", n)
	}
}

func TestWhatOnlyARelayKnowsThePageSaysWhereThereIsNone(t *testing.T) {
	d := newDesk(t, admin.Options{})
	d.sent(waybill.Message{Destination: "orders"})
	page := d.ask("GET", "/", "").Body.String()
	if !strings.Contains(page, "only the relay that leads knows") || strings.Contains(page, "In flight</th>") {
		t.Errorf("got\n%s\nwant to be told where that is shown, and no empty column", page)
	}
}
