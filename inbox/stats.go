package inbox

import (
	"sync/atomic"

	"github.com/waybill-go/waybill/store"
)

// counters count since the Inbox was made.
type counters struct {
	received, handled, duplicates, superseded, forgotten, wentBack atomic.Int64
	retried, rejected, kept, panics, overdue, troubles, receipts   atomic.Int64
	receiptsLost, pruned, disconnects                              atomic.Int64
}

// Stats is what an inbox knows about itself. Its numbers are for people to look at;
// nothing rests on them. They count since the Inbox was made.
type Stats struct {
	Connected bool // there is a connection to the broker

	Received   int64 // messages received, copies included
	Handled    int64 // messages whose effect was committed
	Duplicates int64 // copies dropped
	Superseded int64 // stale states skipped
	WentBack   int64 // of these, states made after the one that was applied: the producer's version has gone back
	Forgotten  int64 // messages rejected because nothing can tell whether they took effect
	Retried    int64 // failures after which the message comes again
	Rejected   int64 // messages given up, forgotten ones included
	Kept       int64 // messages that went to n_rejected, given up or to be handled again from there
	Panics     int64 // calls of a handler that panicked, or ended its goroutine
	Overdue    int64 // calls of a handler that had not returned when their time was over; see Options.Timeout
	Stuck      int   // of these, and of those that Run has left behind, the ones that have not returned yet

	Receipts     int64 // receipts that the broker took
	ReceiptsLost int64 // receipts that it did not take, or that there was no room to keep
	Pruned       int64 // records removed because of their age
	Troubles     int64 // transactions that failed because of the database
	Disconnects  int64 // broker connections that broke, and tries to connect that failed

	// Paused are those of its destinations from which nothing is taken, as they were read
	// last, in order of name.
	Paused []store.Pause

	// Destinations are those that have a handler, in the order of the calls of Handle.
	Destinations []DestinationStats
}

// DestinationStats is what an inbox knows about one destination. The numbers are as in Stats.
type DestinationStats struct {
	Destination                                        string
	Topic                                              bool
	Paused                                             bool // nothing is taken from it; see Stats.Paused
	Handled, Duplicates, Superseded, Retried, Rejected int64
}

// Stats returns what the inbox knows about itself now.
func (in *Inbox) Stats() Stats {
	c := &in.counters
	stuck := len(in.stuckNow())
	return Stats{
		Destinations: in.destinationsNow(),
		Connected:    in.connected.Load(),
		Received:     c.received.Load(), Handled: c.handled.Load(), Duplicates: c.duplicates.Load(),
		Superseded: c.superseded.Load(), WentBack: c.wentBack.Load(), Forgotten: c.forgotten.Load(), Retried: c.retried.Load(),
		Rejected: c.rejected.Load(), Kept: c.kept.Load(), Panics: c.panics.Load(), Overdue: c.overdue.Load(), Stuck: stuck,
		Receipts: c.receipts.Load(), ReceiptsLost: c.receiptsLost.Load(), Pruned: c.pruned.Load(),
		Troubles: c.troubles.Load(), Disconnects: c.disconnects.Load(),
		Paused: in.pausedNow(),
	}
}

func (in *Inbox) destinationsNow() (all []DestinationStats) {
	in.mu.Lock()
	routes := in.routes
	in.mu.Unlock()
	for _, r := range routes {
		c := &r.counts
		all = append(all, DestinationStats{
			Destination: r.destination, Topic: r.o.Topic, Paused: r.isPaused(), Handled: c.handled.Load(), Duplicates: c.duplicates.Load(),
			Superseded: c.superseded.Load(), Retried: c.retried.Load(), Rejected: c.rejected.Load(),
		})
	}
	return all
}

// stuckNow describes the handlers that have not returned although they should have.
func (in *Inbox) stuckNow() (names []string) {
	in.mu.Lock()
	routes := in.routes
	in.mu.Unlock()
	for _, r := range routes {
		names = append(names, r.stuckNow()...)
	}
	return names
}
