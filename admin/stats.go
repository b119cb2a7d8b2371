package admin

import (
	"context"
	"time"

	"github.com/waybill-go/waybill/internal/figure"
	"github.com/waybill-go/waybill/relay"
)

// stats are what /stats tells. Counters count since the relay was made.
type stats struct {
	Relay        relayStats         `json:"relay"`
	Destinations []destinationStats `json:"destinations"`
	Outbox       *outboxStats       `json:"outbox"` // null until the rows have been counted
}

type relayStats struct {
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
	Strange     int64 `json:"strange_receipts"`
	Twins       int64 `json:"twins_heard"`
	Disconnects int64 `json:"disconnects"`
	Swept       int64 `json:"swept"`

	// From sent to confirmed by the consumers, in seconds.
	LatencyP50 float64 `json:"latency_p50_seconds"`
	LatencyP99 float64 `json:"latency_p99_seconds"`
}

type destinationStats struct {
	Destination string  `json:"destination"`
	Topic       bool    `json:"topic"`
	Unconfirmed int     `json:"unconfirmed"`
	Window      int     `json:"window"`
	Backlog     bool    `json:"backlog"`
	Timeout     float64 `json:"timeout_seconds"`
	Silent      bool    `json:"silent"`
	Paused      bool    `json:"paused"`
	LatencyP50  float64 `json:"latency_p50_seconds"`
	LatencyP99  float64 `json:"latency_p99_seconds"`
	Refused     bool    `json:"refused,omitempty"` // the broker did not take all of the last batch; why, the log and the page say

	Lagging []consumerStats `json:"lagging,omitempty"`
}

// consumerStats tells of a named consumer that has not confirmed in time.
type consumerStats struct {
	Consumer string    `json:"consumer"`
	Waiting  int       `json:"waiting"`
	Backlog  bool      `json:"backlog"`
	Since    time.Time `json:"since"`
	Silent   bool      `json:"silent"`
}

type outboxStats struct {
	CountedAt time.Time  `json:"counted_at"`
	Failing   bool       `json:"failing,omitempty"` // they could not be counted since
	Rows      []rowStats `json:"rows"`
}

type rowStats struct {
	Destination string  `json:"destination"`
	Topic       bool    `json:"topic"`
	Status      string  `json:"status"`
	Messages    int64   `json:"messages"`
	OldestAge   float64 `json:"oldest_age_seconds"` // below 0 where it is due later
}

// collect asks the relay, and has the outbox's rows counted; it waits for that no longer
// than ctx allows, and where there is an older count only for a moment.
func (s *server) collect(ctx context.Context) stats {
	r := s.relay.Stats()
	all := stats{Relay: relayOf(&r), Destinations: []destinationStats{}}
	for _, d := range r.Destinations {
		var lagging []consumerStats
		for _, c := range d.Lagging {
			lagging = append(lagging, consumerStats{c.Consumer, c.Waiting, c.Backlog, c.Since.UTC(), c.Silent})
		}
		all.Destinations = append(all.Destinations, destinationStats{
			Destination: d.Destination, Topic: d.Topic, Unconfirmed: d.Unconfirmed, Window: d.Window,
			Backlog: d.Backlog, Timeout: d.Timeout.Seconds(), Silent: d.Silent, Paused: d.Paused, Refused: d.LastError != "",
			LatencyP50: d.Latency.Quantile(0.5).Seconds(), LatencyP99: d.Latency.Quantile(0.99).Seconds(),
			Lagging: lagging,
		})
	}
	last, ok := s.rows.Read(ctx)
	if !ok {
		return all
	}
	all.Outbox = &outboxStats{CountedAt: last.At.UTC(), Failing: last.Failed, Rows: []rowStats{}}
	for i := range last.Rows {
		c := &last.Rows[i]
		all.Outbox.Rows = append(all.Outbox.Rows, rowStats{
			Destination: c.Destination, Topic: c.Topic, Status: figure.StatusName(c.Status), Messages: c.Rows,
			OldestAge: last.Age(c).Seconds(),
		})
	}
	return all
}

func relayOf(s *relay.Stats) relayStats {
	return relayStats{
		Leading: s.Leading, Connected: s.Connected, Cursor: s.Cursor, Published: s.Published, Copies: s.Copies,
		Confirmed: s.Confirmed, Rejected: s.Rejected, Retries: s.Retries, Receipts: s.Receipts,
		Malformed: s.Malformed, Unknown: s.Unknown, Strange: s.Strange, Twins: s.Twins, Disconnects: s.Disconnects, Swept: s.Swept,
		LatencyP50: s.Latency.Quantile(0.5).Seconds(), LatencyP99: s.Latency.Quantile(0.99).Seconds(),
	}
}
