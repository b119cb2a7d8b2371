package admin

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/figure"
	"github.com/waybill-go/waybill/store"
)

// inboxServer is what InboxHandler serves.
type inboxServer struct {
	inbox *inbox.Inbox
	kept  *figure.Kept
	o     Options
}

// inboxStats are what its /stats tells. Counters count since the inbox was made.
type inboxStats struct {
	Inbox inboxCounts      `json:"inbox"`
	Kept  figure.KeptCount `json:"kept"`
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
//	GET /metrics   metrics for Prometheus; their names begin with waybill_
//	GET /stats     the same as JSON
//
// of the inbox in and of what its consumer keeps (n_rejected), of which at most 10,000
// messages are counted. It may be mounted below a prefix with http.StripPrefix. It asks nobody
// who they are, shows no message and changes nothing.
func InboxHandler(in *inbox.Inbox, keeper *store.Keeper, o *Options) http.Handler {
	s := &inboxServer{inbox: in}
	if o != nil {
		s.o = *o
	}
	s.o.setDefaults()
	s.kept = figure.NewKept(keeper, s.o.CountEvery)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", metrics(figure.NewInbox(in, s.kept), &s.o))
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

// collect asks the inbox, and has what is kept counted in the background where the last count is old.
func (s *inboxServer) collect(ctx context.Context) inboxStats {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	i := s.inbox.Stats()
	kept, _ := s.kept.Read(ctx)
	return inboxStats{Kept: kept, Inbox: inboxCounts{
		Connected: i.Connected, Received: i.Received, Handled: i.Handled, Duplicates: i.Duplicates, Superseded: i.Superseded,
		WentBack: i.WentBack, Forgotten: i.Forgotten, Retried: i.Retried, Rejected: i.Rejected, Kept: i.Kept, Panics: i.Panics,
		Overdue: i.Overdue, Stuck: i.Stuck, Receipts: i.Receipts, ReceiptsLost: i.ReceiptsLost, Pruned: i.Pruned,
		Troubles: i.Troubles, Disconnects: i.Disconnects, Paused: len(i.Paused),
	}}
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
