// Package admin serves over HTTP what people and monitoring systems ask of Waybill.
//
// NewConsole makes a page for the person on duty, with a JSON API behind it: what waits, since
// when and why, what was rejected, and sending it again in stages. It works on the tables
// alone, and tells more where the relay or the inboxes run in the same process. Mount it where
// only those come who may: it lets in requests of its own machine unless Options say who else
// may, by tokens, mutual TLS or an authenticating proxy.
//
// Handler serves health, readiness, metrics and statistics of a relay to whoever asks, and
// InboxHandler those of an inbox. Package promwaybill has the same metrics for a registry of the
// service's own.
//
// The files: admin.go (Options, Handler), metrics_client.go, metrics_lean.go and stats.go (what
// Handler tells), inbox.go (InboxHandler); console.go (Console, its routes and who is let through), access.go (whom a request
// comes from), api.go and openapi.go (JSON), page.go (pages; their templates lie in pages/),
// pause.go (pausing destinations), text.go (what they show, in words),
// lang.go (languages), live.go (numbers that move), events.go (what pages that are open
// are told of them), rates.go (how fast).
package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/waybill-go/waybill/internal/figure"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// Options configure a Handler or a Console; nil and the zero value hold the defaults.
type Options struct {
	// Version is the version that the metric waybill_build_info tells. Default
	// "unknown".
	Version string
	// Timeout bounds how long one request waits for the database. Default 5 s.
	Timeout time.Duration
	// CountEvery is the least time between two counts of the outbox's rows, whose
	// cost grows with their number; after a slow count it is longer, so that counting
	// takes at most a twentieth of the time. Rows are counted in the background: requests
	// meanwhile get the last count, with its time.
	// Default 5 s.
	CountEvery time.Duration

	// What follows is for a Console.

	// OperatorToken and ReaderToken, of at least 16 bytes, let in whoever has one of them: a
	// person who logs in with it, or a program that sends it as "Authorization: Bearer …".
	// Default none.
	OperatorToken, ReaderToken string
	// Authenticate says whom a request comes from, such as by ClientCertificate or
	// ProxyHeader; false where that is nobody that it knows, who may still have a token. It is
	// called by any number of goroutines at once. Default nil: nobody is known by it.
	//
	// Where there is neither this nor a token, requests of this machine are let in as
	// Operator, and no others.
	Authenticate func(r *http.Request) (User, bool)
	// ReadOnly keeps everybody from changing anything.
	ReadOnly bool
	// HideBodies keeps the bodies of messages off the page and the API.
	HideBodies bool
	// FormatBody makes what is shown of a body, such as of an encoding that people cannot
	// read, or without what they should not. Default: JSON indented, text as it is, and
	// anything else in hexadecimal.
	FormatBody func(Body) string
	// Logger gets who has changed what, and what keeps pages from being shown. Default
	// slog.Default().
	Logger *slog.Logger
}

func (o *Options) setDefaults() {
	if o.Version == "" {
		o.Version = "unknown"
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.CountEvery <= 0 {
		o.CountEvery = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// leaseName is the row that relays elect their leader by.
const leaseName = "relay"

type server struct {
	relay *relay.Relay
	queue *store.Queue
	o     Options
	rows  *figure.Rows
}

// Handler serves
//
//	GET /healthz   200 as long as the process can answer
//	GET /readyz    200 where the relay leads and is connected to its broker, or
//	               stands by while another one leads; otherwise 503 with the reason
//	GET /metrics   metrics for Prometheus; their names begin with waybill_
//	GET /stats     the same as JSON
//
// of the relay r and of queue, its outbox's tables. Where the database does not answer
// within Options.Timeout, metrics and statistics lack the counts of rows and have the
// rest. It may be mounted below a prefix with http.StripPrefix. It asks nobody who they
// are, shows no message and changes nothing.
func Handler(r *relay.Relay, queue *store.Queue, o *Options) http.Handler {
	s := &server{relay: r, queue: queue}
	if o != nil {
		s.o = *o
	}
	s.o.setDefaults()
	s.rows = figure.NewRows(queue, s.o.CountEvery)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", metrics(figure.NewRelay(r, s.rows, 0), &s.o))
	mux.HandleFunc("GET /stats", s.stats)
	return mux
}

func (s *server) health(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") }

func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), s.o.Timeout)
	defer cancel()
	status, text := readiness(ctx, s.relay, s.queue)
	say(w, status, text)
}

// readiness says whether a relay leads and is connected, or stands by, and what to answer.
func readiness(ctx context.Context, r *relay.Relay, queue *store.Queue) (status int, text string) {
	stats := r.Stats()
	switch {
	case stats.Leading && stats.Connected:
		return http.StatusOK, "ok: this relay leads"
	case stats.Leading:
		return http.StatusServiceUnavailable, "this relay leads and has no connection to the broker"
	}
	lease, err := queue.Lease(ctx, leaseName)
	switch {
	case err != nil:
		// What the database says may name its host and user: not for whoever asks.
		return http.StatusServiceUnavailable, "the relay's lease cannot be read from the database"
	case lease.Holder == "" || lease.Left <= 0:
		return http.StatusServiceUnavailable, "no relay leads"
	}
	return http.StatusOK, "ok: this relay stands by"
}

// say answers with a line of text.
func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

func (s *server) stats(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), s.o.Timeout)
	defer cancel()
	text, err := json.Marshal(s.collect(ctx))
	if err != nil {
		http.Error(w, "the statistics cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(text, '\n')) // a client that has gone needs no answer
}
