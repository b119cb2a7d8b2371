// Package admin serves over HTTP what an operator and a monitoring system ask of a
// relay: health, readiness, metrics and statistics.
package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// Options configure a Handler; nil and the zero value hold the defaults.
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
}

// leaseName is the row that relays elect their leader by.
const leaseName = "relay"

type server struct {
	relay   *relay.Relay
	queue   *store.Queue
	o       Options
	counter *rowCounter
}

// Handler serves
//
//	GET /healthz   200 as long as the process can answer
//	GET /readyz    200 where the relay leads and is connected to its broker, or
//	               stands by while another one leads; otherwise 503 with the reason
//	GET /metrics   metrics in Prometheus' text format; their names begin with waybill_
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
	if s.o.Version == "" {
		s.o.Version = "unknown"
	}
	if s.o.Timeout <= 0 {
		s.o.Timeout = 5 * time.Second
	}
	if s.o.CountEvery <= 0 {
		s.o.CountEvery = 5 * time.Second
	}
	s.counter = newRowCounter(queue, s.o.CountEvery)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("GET /stats", s.stats)
	return mux
}

func (s *server) health(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") }

func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	stats := s.relay.Stats()
	switch {
	case stats.Leading && stats.Connected:
		say(w, http.StatusOK, "ok: this relay leads")
		return
	case stats.Leading:
		say(w, http.StatusServiceUnavailable, "this relay leads and has no connection to the broker")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.o.Timeout)
	defer cancel()
	lease, err := s.queue.Lease(ctx, leaseName)
	switch {
	case err != nil:
		// What the database says may name its host and user: not for whoever asks.
		say(w, http.StatusServiceUnavailable, "the relay's lease cannot be read from the database")
	case lease.Holder == "" || lease.Left <= 0:
		say(w, http.StatusServiceUnavailable, "no relay leads")
	default:
		say(w, http.StatusOK, "ok: this relay stands by")
	}
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
