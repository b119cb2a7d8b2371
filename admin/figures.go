package admin

import (
	"context"
	"sync"
	"time"

	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// figures are what /stats tells. Counters count since the relay was made.
type figures struct {
	Relay        relayFigures         `json:"relay"`
	Destinations []destinationFigures `json:"destinations"`
	Outbox       *outboxFigures       `json:"outbox"` // null where the database does not answer
}

type relayFigures struct {
	Leading     bool  `json:"leading"`
	Connected   bool  `json:"connected"`
	Cursor      int64 `json:"cursor"`
	Published   int64 `json:"published"`
	Copies      int64 `json:"copies"`
	Confirmed   int64 `json:"confirmed"`
	Rejected    int64 `json:"rejected"`
	Retries     int64 `json:"retries"`
	Receipts    int64 `json:"receipts"`
	Malformed   int64 `json:"malformed_receipts"`
	Unknown     int64 `json:"unknown_receipts"`
	Disconnects int64 `json:"disconnects"`
	Swept       int64 `json:"swept"`
}

type destinationFigures struct {
	Destination string  `json:"destination"`
	Topic       bool    `json:"topic"`
	Unconfirmed int     `json:"unconfirmed"`
	Window      int     `json:"window"`
	Backlog     bool    `json:"backlog"`
	Timeout     float64 `json:"timeout_seconds"`
	Silent      bool    `json:"silent"`
	LastError   string  `json:"last_error,omitempty"`
}

type outboxFigures struct {
	CountedAt time.Time     `json:"counted_at"`
	Rows      []rowsFigures `json:"rows"`
}

type rowsFigures struct {
	Destination string  `json:"destination"`
	Topic       bool    `json:"topic"`
	Status      string  `json:"status"`
	Messages    int64   `json:"messages"`
	OldestAge   float64 `json:"oldest_age_seconds"` // below 0 where it is due later
}

func (s *server) figures(ctx context.Context) figures {
	stats := s.relay.Stats()
	f := figures{Relay: relayOf(&stats), Destinations: []destinationFigures{}}
	for _, d := range stats.Destinations {
		f.Destinations = append(f.Destinations, destinationFigures{
			Destination: d.Destination, Topic: d.Topic, Unconfirmed: d.Unconfirmed, Window: d.Window,
			Backlog: d.Backlog, Timeout: d.Timeout.Seconds(), Silent: d.Silent, LastError: d.LastError,
		})
	}
	counted, err := s.backlog.read(ctx)
	if err != nil {
		return f
	}
	f.Outbox = &outboxFigures{CountedAt: counted.at.UTC(), Rows: []rowsFigures{}}
	for _, c := range counted.rows {
		f.Outbox.Rows = append(f.Outbox.Rows, rowsFigures{
			Destination: c.Destination, Topic: c.Topic, Status: statusName(c.Status), Messages: c.Rows,
			OldestAge: time.UnixMicro(counted.clock).Sub(c.Oldest.Time()).Seconds(),
		})
	}
	return f
}

func relayOf(s *relay.Stats) relayFigures {
	return relayFigures{
		Leading: s.Leading, Connected: s.Connected, Cursor: s.Cursor, Published: s.Published, Copies: s.Copies,
		Confirmed: s.Confirmed, Rejected: s.Rejected, Retries: s.Retries, Receipts: s.Receipts,
		Malformed: s.Malformed, Unknown: s.Unknown, Disconnects: s.Disconnects, Swept: s.Swept,
	}
}

func statusName(status int) string {
	if status == store.Rejected {
		return "rejected"
	}
	return "pending"
}

// backlog counts the outbox's rows, not too often.
type backlog struct {
	queue *store.Queue
	every time.Duration
	turn  chan struct{} // holds one token: who counts

	mu    sync.Mutex
	last  counted
	until time.Time // last is good until then
}

type counted struct {
	at    time.Time
	clock int64 // the database's, in µs
	rows  []store.Count
}

func (b *backlog) init(queue *store.Queue, every time.Duration) {
	b.queue, b.every, b.turn = queue, every, make(chan struct{}, 1)
	b.turn <- struct{}{}
}

func (b *backlog) known() (counted, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last, time.Now().Before(b.until)
}

// read returns a count that is young enough, and counts where there is none.
func (b *backlog) read(ctx context.Context) (counted, error) {
	if last, young := b.known(); young {
		return last, nil
	}
	select {
	case <-b.turn:
		defer func() { b.turn <- struct{}{} }()
	case <-ctx.Done():
		return counted{}, ctx.Err()
	}
	if last, young := b.known(); young {
		return last, nil // somebody else has counted meanwhile
	}
	began := time.Now()
	clock, err := b.queue.Clock(ctx)
	if err != nil {
		return counted{}, err
	}
	rows, err := b.queue.Count(ctx)
	if err != nil {
		return counted{}, err
	}
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last, b.until = counted{now, clock, rows}, now.Add(max(b.every, 20*now.Sub(began)))
	return b.last, nil
}
