package relay

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/waybill-go/waybill/store"
)

// counters count since the Relay was made.
type counters struct {
	published, copies, confirmed, rejected, retries  atomic.Int64
	receipts, malformed, unknown, disconnects, swept atomic.Int64
	twins, strange                                   atomic.Int64
}

// Stats is what a relay knows about itself. Counters are for people to look at;
// nothing rests on them. They count since the Relay was made.
type Stats struct {
	Leading   bool  // this relay holds the lease
	Connected bool  // it has a connection to the broker
	Cursor    int64 // rows up to this id have been read; 0 while it does not lead

	Published   int64 // copies that the broker has, or may have, first ones included
	Copies      int64 // of these, copies beyond the first
	Confirmed   int64 // rows deleted: receipted, or confirmed by the broker where it is Accepted
	Rejected    int64 // rows kept for a person
	Retries     int64 // times that a consumer asked for a message again
	Receipts    int64 // receipts received, without the malformed ones
	Malformed   int64 // receipts dropped because they make no sense
	Unknown     int64 // receipts dropped because nobody waits for them, where Destination.Consumers are named
	Strange     int64 // confirmations of rows that are not there and of which none was to be expected: made up, another outbox's, or an earlier term's
	Twins       int64 // times that another relay of this outbox's identity was heard: its database is a copy
	Disconnects int64 // broker connections that were lost, and tries to connect that failed
	Swept       int64 // rows that only the sweep found

	// Latency is that of the messages that consumers have confirmed.
	Latency Latency

	// Twin is the other relay of this outbox's identity that was heard last; "" for none.
	Twin string

	// Paused are the destinations to which nothing is sent, as they were read last, in order
	// of name; none while the relay does not lead.
	Paused []store.Pause

	// Waits say why messages wait that have waited for longer than usual, while the relay
	// leads: one for all where there is no connection to the broker, or else one for each
	// destination, those first that wait for the longest, at most 20.
	Waits []Wait

	// Destinations are those that had messages lately, in order of name; none while the
	// relay does not lead.
	Destinations []DestinationStats
}

// DestinationStats is what a relay knows about one destination.
type DestinationStats struct {
	Destination string
	Topic       bool
	Unconfirmed int           // messages in the window: without a receipt, or, where it is Accepted, a confirmation
	Window      int           // its size
	Backlog     bool          // more may wait in the table for room in the window
	Timeout     time.Duration // after which a message without a receipt is suspect
	Silent      bool          // no receipts come, though messages were sent again to find out
	Paused      bool          // nothing is sent; see Stats.Paused
	Latency     Latency       // of those that were confirmed since the destination was first met, or met again
	// What was done with its messages, as in Stats, since the destination was first met, or met
	// again. Messages that were not under way here when their receipts came are not counted, nor
	// are copies for the sake of a single consumer that lags.
	Published, Copies, Confirmed, Rejected int64

	LastError string // why the broker did not take all of the last batch; "" if it did
	// Lagging are those of Destination.Consumers that have not confirmed in time what
	// others have answered, in order of name.
	Lagging []ConsumerStats
}

// ConsumerStats is what a relay knows about a named consumer that others do not wait for.
type ConsumerStats struct {
	Consumer string
	Waiting  int           // messages that it has not confirmed, without those that wait in the table
	Backlog  bool          // more may wait in the table
	Since    time.Time     // the time of the oldest of these when it began to lag
	Lag      time.Duration // since then, by the database's clock
	Silent   bool          // it confirms nothing, though messages were sent again to find out
}

// Stats returns what the relay knows about itself now.
func (r *Relay) Stats() Stats {
	c := &r.counters
	s := Stats{
		Published: c.published.Load(), Copies: c.copies.Load(), Confirmed: c.confirmed.Load(), Rejected: c.rejected.Load(),
		Retries: c.retries.Load(), Receipts: c.receipts.Load(), Malformed: c.malformed.Load(), Unknown: c.unknown.Load(),
		Disconnects: c.disconnects.Load(), Swept: c.swept.Load(),
		Strange: c.strange.Load(), Twins: c.twins.Load(), Latency: r.latency.told(),
	}
	if twin := r.twin.Load(); twin != nil {
		s.Twin = *twin
	}
	r.mu.Lock()
	t, paused := r.term, slices.Clone(r.pauses)
	r.mu.Unlock()
	if t == nil {
		return s
	}
	s.Leading, s.Connected = true, t.link.connected()
	s.Waits, _ = t.waits(time.Now())
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Cursor, s.Paused = t.cursor, paused
	for _, l := range t.sortedLanes() {
		s.Destinations = append(s.Destinations, DestinationStats{
			Destination: l.destination, Topic: l.topic, Unconfirmed: len(l.window), Window: l.windowSize(),
			Backlog: l.hasBacklog(), Timeout: l.timeout(), Silent: l.stall > 0, Paused: l.paused, Latency: l.latency.told(), LastError: l.lastError,
			Published: l.done.published, Copies: l.done.copies, Confirmed: l.done.confirmed, Rejected: l.done.rejected,
			Lagging: l.lagging(),
		})
	}
	return s
}
