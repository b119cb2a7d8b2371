package admin_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// exampleRelay is a relay that does not run yet, and its outbox with two messages.
func exampleRelay(ctx context.Context) (*relay.Relay, *store.Queue, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(1)
	if err := exampleOutbox(ctx, db); err != nil {
		return nil, nil, err
	}
	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	if err != nil {
		return nil, nil, err
	}
	r, err := relay.New(db, sqlite.Dialect(), memory.New(nil), &relay.Options{Producer: "shop"})
	return r, queue, err
}

// get returns what is served at an address.
func get(url string) (status int, body string, err error) {
	response, err := http.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// The handler is mounted below a prefix, beside others of the service.
func ExampleHandler() {
	r, queue, err := exampleRelay(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/waybill/", http.StripPrefix("/waybill", admin.Handler(r, queue, &admin.Options{Version: "v1.2.3"})))
	server := httptest.NewServer(mux)
	defer server.Close()

	for _, path := range []string{"/waybill/healthz", "/waybill/readyz"} {
		status, body, err := get(server.URL + path)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(path, status, strings.TrimSpace(body))
	}
	// Output:
	// /waybill/healthz 200 ok
	// /waybill/readyz 503 no relay leads
}

// Prometheus reads /metrics; an alert may look at the rows that are waiting.
func ExampleHandler_metrics() {
	r, queue, err := exampleRelay(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(admin.Handler(r, queue, nil))
	defer server.Close()

	_, body, err := get(server.URL + "/metrics")
	if err != nil {
		fmt.Println(err)
		return
	}
	for line := range strings.Lines(body) {
		if strings.Contains(line, "waybill_outbox_messages") || strings.HasPrefix(line, "waybill_relay_leading") {
			fmt.Print(line)
		}
	}
	// Output:
	// # HELP waybill_outbox_messages Rows of the outbox by status.
	// # TYPE waybill_outbox_messages gauge
	// waybill_outbox_messages{destination="orders",status="pending",type="queue"} 2
	// waybill_relay_leading 0
}

// A script reads /stats, the same as JSON.
func ExampleHandler_stats() {
	r, queue, err := exampleRelay(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(admin.Handler(r, queue, nil))
	defer server.Close()

	_, body, err := get(server.URL + "/stats")
	if err != nil {
		fmt.Println(err)
		return
	}
	var stats struct {
		Outbox struct {
			Rows []struct {
				Destination string `json:"destination"`
				Status      string `json:"status"`
				Messages    int64  `json:"messages"`
			} `json:"rows"`
		} `json:"outbox"`
	}
	if err := json.Unmarshal([]byte(body), &stats); err != nil {
		fmt.Println(err)
		return
	}
	for _, row := range stats.Outbox.Rows {
		fmt.Println(row.Destination, row.Status, row.Messages)
	}
	// Output: orders pending 2
}

// The page is mounted beside others of the service, for those whom its own log-in knows. A
// program asks the API behind it.
func ExampleNewConsole() {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if err := exampleOutbox(context.Background(), db); err != nil {
		fmt.Println(err)
		return
	}
	console, err := admin.NewConsole(&admin.Options{
		Authenticate: func(r *http.Request) (admin.User, bool) { // by the service's own sessions
			name := r.Header.Get("X-Example-User")
			return admin.User{Name: name, Role: admin.ReadOnly}, name != ""
		},
	}, admin.Database{Name: "shop", DB: db, Dialect: sqlite.Dialect()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer console.Close()
	mux := http.NewServeMux()
	mux.Handle("/ops/waybill/", http.StripPrefix("/ops/waybill", console))

	request := httptest.NewRequest(http.MethodGet, "/ops/waybill/api/v1/overview", nil)
	request.Header.Set("X-Example-User", "ann")
	response := httptest.NewRecorder()
	mux.ServeHTTP(response, request)
	var overview struct {
		Databases []struct {
			Outbox struct {
				Destinations []struct {
					Destination string
					Pending     struct{ N int }
					State       string
				}
			}
		}
	}
	if err := json.Unmarshal(response.Body.Bytes(), &overview); err != nil {
		fmt.Println(err)
		return
	}
	for _, d := range overview.Databases[0].Outbox.Destinations {
		fmt.Println(d.Destination, d.Pending.N, d.State)
	}
	stranger := httptest.NewRecorder()
	mux.ServeHTTP(stranger, httptest.NewRequest(http.MethodGet, "/ops/waybill/", nil))
	fmt.Println("a stranger:", stranger.Code)
	// Output:
	// orders 2 trouble
	// a stranger: 403
}

// exampleOutbox makes an outbox with two messages.
func exampleOutbox(ctx context.Context, db *sql.DB) error {
	if err := store.Migrate(ctx, db, sqlite.Dialect(), "", store.Producer); err != nil {
		return err
	}
	out, err := outbox.New(sqlite.Dialect(), nil)
	if err != nil {
		return err
	}
	return out.InTx(ctx, db, func(tx *sql.Tx) error {
		return out.Send(ctx, tx, waybill.Message{Destination: "orders"}, waybill.Message{Destination: "orders"})
	})
}
