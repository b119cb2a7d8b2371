package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/store"
)

// keptLimit is how many kept messages are counted.
const keptLimit = 10_000

// inboxServer is what InboxHandler serves.
type inboxServer struct {
	inbox  *inbox.Inbox
	keeper *store.Keeper
	o      Options

	counting sync.Mutex // and the count
	count    keptCount
	nextAt   time.Time // when is counted again
}

// keptCount is what a consumer keeps, of keptLimit messages at most.
type keptCount struct {
	Rejected int64 `json:"rejected"` // wait for a person
	Waiting  int64 `json:"waiting"`  // wait for their next try
	Bounded  bool  `json:"bounded,omitempty"`
	Failing  bool  `json:"failing,omitempty"` // they could not be counted: these are older
}

// inboxStats are what its /stats tells. Counters count since the inbox was made.
type inboxStats struct {
	Inbox inboxCounts `json:"inbox"`
	Kept  keptCount   `json:"kept"`
}

type inboxCounts struct {
	Connected    bool  `json:"connected"`
	Received     int64 `json:"received"`
	Handled      int64 `json:"handled"`
	Duplicates   int64 `json:"duplicates"`
	Superseded   int64 `json:"superseded"`
	WentBack     int64 `json:"went_back"`
	Forgotten    int64 `json:"forgotten"`
	Retried      int64 `json:"retried"`
	Rejected     int64 `json:"rejected"`
	Kept         int64 `json:"kept"`
	Panics       int64 `json:"panics"`
	Overdue      int64 `json:"overdue"`
	Stuck        int   `json:"stuck"`
	Receipts     int64 `json:"receipts"`
	ReceiptsLost int64 `json:"receipts_lost"`
	Pruned       int64 `json:"pruned"`
	Troubles     int64 `json:"troubles"`
	Disconnects  int64 `json:"disconnects"`
	Paused       int   `json:"paused"`
}

// InboxHandler serves
//
//	GET /healthz   200 as long as the process can answer
//	GET /readyz    200 where the inbox is connected to its broker; otherwise 503 with the reason
//	GET /metrics   metrics in Prometheus' text format; their names begin with waybill_
//	GET /stats     the same as JSON
//
// of the inbox in and of what its consumer keeps (n_rejected), of which at most 10,000
// messages are counted. It may be mounted below a prefix with http.StripPrefix. It asks nobody
// who they are, shows no message and changes nothing.
func InboxHandler(in *inbox.Inbox, keeper *store.Keeper, o *Options) http.Handler {
	s := &inboxServer{inbox: in, keeper: keeper}
	if o != nil {
		s.o = *o
	}
	s.o.setDefaults()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("GET /stats", s.stats)
	return mux
}

func (s *inboxServer) ready(w http.ResponseWriter, _ *http.Request) {
	if !s.inbox.Stats().Connected {
		say(w, http.StatusServiceUnavailable, "this inbox has no connection to the broker")
		return
	}
	say(w, http.StatusOK, "ok")
}

// collect asks the inbox, and has what is kept counted where the last count is old.
func (s *inboxServer) collect(ctx context.Context) inboxStats {
	i := s.inbox.Stats()
	return inboxStats{Kept: s.kept(ctx), Inbox: inboxCounts{
		Connected: i.Connected, Received: i.Received, Handled: i.Handled, Duplicates: i.Duplicates, Superseded: i.Superseded,
		WentBack: i.WentBack, Forgotten: i.Forgotten, Retried: i.Retried, Rejected: i.Rejected, Kept: i.Kept, Panics: i.Panics,
		Overdue: i.Overdue, Stuck: i.Stuck, Receipts: i.Receipts, ReceiptsLost: i.ReceiptsLost, Pruned: i.Pruned,
		Troubles: i.Troubles, Disconnects: i.Disconnects, Paused: len(i.Paused),
	}}
}

func (s *inboxServer) kept(ctx context.Context) keptCount {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	s.counting.Lock()
	defer s.counting.Unlock()
	if time.Now().Before(s.nextAt) {
		return s.count
	}
	rows, bounded, err := s.keeper.Tally(ctx, keptLimit)
	s.nextAt = time.Now().Add(s.o.CountEvery)
	if err != nil {
		s.count.Failing = true
		return s.count
	}
	s.count = keptCount{Bounded: bounded}
	for _, r := range rows {
		if r.Status == store.Rejected {
			s.count.Rejected += r.Rows
		} else {
			s.count.Waiting += r.Rows
		}
	}
	return s.count
}

func (s *inboxServer) stats(w http.ResponseWriter, r *http.Request) {
	text, err := json.Marshal(s.collect(r.Context()))
	if err != nil {
		http.Error(w, "the statistics cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(text, '\n')) // a client that has gone needs no answer
}

func (s *inboxServer) metrics(w http.ResponseWriter, r *http.Request) {
	all := s.collect(r.Context())
	var p metricsPage
	p.build(s.o.Version)
	p.single("waybill_inbox_connected", "gauge", "Whether the inbox has a connection to the broker.", flag(all.Inbox.Connected))
	p.single("waybill_inbox_stuck", "gauge", "Calls of handlers that have not returned although their time is over.", float64(all.Inbox.Stuck))
	p.single("waybill_inbox_paused", "gauge", "Destinations that are paused.", float64(all.Inbox.Paused))
	p.counters("waybill_inbox_", []counter{
		{"received", "Messages received, copies included.", all.Inbox.Received},
		{"handled", "Messages whose effect was committed.", all.Inbox.Handled},
		{"duplicates", "Copies dropped.", all.Inbox.Duplicates},
		{"superseded", "Stale states skipped.", all.Inbox.Superseded},
		{"went_back", "Of these, states made after the one that was applied.", all.Inbox.WentBack},
		{"forgotten", "Messages rejected because nothing can tell whether they took effect.", all.Inbox.Forgotten},
		{"retried", "Failures after which the message comes again.", all.Inbox.Retried},
		{"rejected", "Messages given up.", all.Inbox.Rejected},
		{"kept", "Messages that went to n_rejected.", all.Inbox.Kept},
		{"panics", "Calls of a handler that panicked, or ended its goroutine.", all.Inbox.Panics},
		{"overdue", "Calls of a handler that had not returned when their time was over.", all.Inbox.Overdue},
		{"receipts", "Receipts that the broker took.", all.Inbox.Receipts},
		{"receipts_lost", "Receipts that it did not take.", all.Inbox.ReceiptsLost},
		{"pruned", "Records forgotten because of their age.", all.Inbox.Pruned},
		{"troubles", "Transactions that failed because of the database.", all.Inbox.Troubles},
		{"disconnects", "Broker connections that were lost or could not be made.", all.Inbox.Disconnects},
	})
	p.single("waybill_kept_up", "gauge", "Whether the messages that the consumer keeps could be counted the last time.", flag(!all.Kept.Failing))
	p.describe("waybill_kept_messages", "gauge", "Messages that the consumer keeps, of 10,000 at most: rejected ones wait for a person, the others for their next try.")
	p.sample(float64(all.Kept.Rejected), "status", "rejected")
	p.sample(float64(all.Kept.Waiting), "status", "waiting")
	p.serve(w)
}
