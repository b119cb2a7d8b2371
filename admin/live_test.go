package admin_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/internal/test/patience"
)

func TestPagesThatAreOpenAreKeptUpToDate(t *testing.T) {
	d := newDesk(t, admin.Options{})
	server := httptest.NewServer(d.console)
	defer server.Close()
	response, err := http.Get(server.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	next := func() (u struct{ Texts, States map[string]string }) {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &u); err != nil {
					t.Fatal(err)
				}
				return u
			}
		}
		t.Fatalf("got the end of the events: %v", lines.Err())
		return u
	}
	if first := next(); first.Texts["d0.pending"] != "0" || first.States["d0.relay"] != "relay bad" {
		t.Errorf("got %v and %v, want nothing pending, and that no relay leads", first.Texts, first.States)
	}
	d.sent(waybill.Message{Destination: "orders"})
	for next().Texts["d0.pending"] != "1" { // the test's own limit of time is behind this
	}
	d.console.Close()
	for lines.Scan() { // it ends
	}
}

func TestOneReaderDoesNotTakeAllThatIsKeptUpToDate(t *testing.T) {
	d := newDesk(t, admin.Options{Authenticate: func(r *http.Request) (admin.User, bool) {
		return admin.User{Name: r.Header.Get("X-User"), Role: admin.ReadOnly}, true
	}})
	server := httptest.NewServer(d.console)
	defer server.Close()
	defer d.console.Close()
	follow := func(name string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/events", nil)
		d.must(err)
		r.Header.Set("X-User", name)
		response, err := http.DefaultClient.Do(r)
		d.must(err)
		t.Cleanup(func() { _ = response.Body.Close() })
		return response
	}
	var first *http.Response
	for range 10 {
		response := follow("ann")
		if response.StatusCode != http.StatusOK {
			t.Fatalf("got %d, want events", response.StatusCode)
		}
		first = cmp.Or(first, response)
	}
	refused := follow("ann")
	if text, _ := io.ReadAll(refused.Body); refused.StatusCode != http.StatusTooManyRequests || !strings.Contains(string(text), "Ten pages of yours") {
		t.Errorf("the eleventh: got %d %s, want to be told", refused.StatusCode, text)
	}
	if other := follow("bob"); other.StatusCode != http.StatusOK {
		t.Errorf("somebody else: got %d, want events", other.StatusCode)
	}
	_ = first.Body.Close()
	eventually(t, "there is room again", func() bool {
		response := follow("ann")
		if response.StatusCode != http.StatusOK {
			_ = response.Body.Close()
		}
		return response.StatusCode == http.StatusOK
	})
}

func TestAPageDoesNotWaitForASlowDatabase(t *testing.T) {
	d := newDesk(t, admin.Options{})
	d.sent(waybill.Message{Destination: "orders"})
	console, err := admin.NewConsole(&admin.Options{Timeout: patience.Limit}, d.database) // for a machine that stalls
	d.must(err)
	t.Cleanup(console.Close)
	d.console = console
	d.db.SetMaxOpenConns(1)
	only, err := d.db.Conn(t.Context())
	d.must(err)
	if w := d.ask("GET", "/?lang=zh", ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "正在统计") || strings.Contains(w.Body.String(), "orders") {
		t.Errorf("while nothing is read: got %d and\n%s\nwant that it is counting", w.Code, w.Body)
	}
	d.must(only.Close())
	if w := d.ask("GET", "/api/v1/overview", ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"orders"`) { // a program waits
		t.Errorf("got %d %s, want the destination", w.Code, w.Body)
	}
	if w := d.ask("GET", "/", ""); !strings.Contains(w.Body.String(), "orders") || strings.Contains(w.Body.String(), "Counting…") {
		t.Errorf("once it was read: got\n%s\nwant the destination", w.Body)
	}
}

func TestWithoutADatabaseThereAreItsLastFigures(t *testing.T) {
	d := newDesk(t, admin.Options{})
	d.sent(waybill.Message{Destination: "orders"})
	overview := func() (o struct {
		Problem string
		At      time.Time
		Outbox  struct{ Pending struct{ N int } }
	}) {
		var all struct{ Databases []json.RawMessage }
		d.must(json.Unmarshal(d.ask("GET", "/api/v1/overview", "").Body.Bytes(), &all))
		d.must(json.Unmarshal(all.Databases[0], &o))
		return o
	}
	first := overview()
	server := httptest.NewServer(d.console)
	defer server.Close()
	response, err := http.Get(server.URL + "/events")
	d.must(err)
	defer response.Body.Close()
	d.must(d.db.Close())
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if strings.Contains(lines.Text(), `"d0.problem":"The database cannot be read now`) {
			break
		}
	}
	if o := overview(); o.Problem == "" || o.Outbox.Pending.N != 1 || o.At.Before(first.At) || o.At.After(time.Now()) {
		t.Errorf("got %+v, want a problem, and one message that waits as of %v or a little later", o, first.At)
	}
	if page := d.ask("GET", "/", "").Body.String(); !strings.Contains(page, "The database cannot be read now") || !strings.Contains(page, "orders") {
		t.Errorf("got\n%s\nwant the last figures and what is wrong", page)
	}
}

func TestALookThatTakesLongDoesNotPutTheNextOneOffForLong(t *testing.T) {
	d := newDesk(t, admin.Options{})
	console, err := admin.NewConsole(nil, d.database) // that of the desk looks whatever it costs
	d.must(err)
	t.Cleanup(console.Close)
	for took, want := range map[time.Duration]time.Duration{
		time.Millisecond: 2 * time.Second, 50 * time.Millisecond: 5 * time.Second, 5 * time.Second: 30 * time.Second,
	} {
		if got := admin.NextLook(console, took); got != want {
			t.Errorf("after a look of %v: got the next one %v later, want %v", took, got, want)
		}
	}
}

func TestWhatIsPausedHereIsLookedAtSoon(t *testing.T) {
	d := newDesk(t, admin.Options{})
	for _, c := range []struct {
		path string
		code int
		soon bool
	}{
		{"/api/v1/pauses/resume", http.StatusConflict, false}, {"/api/v1/pauses", http.StatusAccepted, true}, {"/api/v1/pauses/resume", http.StatusAccepted, true},
	} {
		w := d.ask("POST", c.path, `{"destination":"orders","side":"producer"}`, asJSON)
		if soon := admin.LooksSoon(d.console); w.Code != c.code || soon != c.soon {
			t.Errorf("%s: got %d %s, and a look soon: %v; want %d and %v", c.path, w.Code, w.Body, soon, c.code, c.soon)
		}
	}
}
