package inbox

import "sync/atomic"

// counters count since the Inbox was made.
type counters struct {
	received, handled, duplicates, superseded, forgotten atomic.Int64
	retried, rejected, panics, troubles, receipts        atomic.Int64
	receiptsLost, pruned, disconnects                    atomic.Int64
}

// Stats is what an inbox knows about itself. Counters are for people to look at;
// nothing rests on them. They count since the Inbox was made.
type Stats struct {
	Connected bool // there is a connection to the broker

	Received   int64 // messages received, copies included
	Handled    int64 // messages whose effect was committed
	Duplicates int64 // copies dropped
	Superseded int64 // stale states skipped
	Forgotten  int64 // messages rejected because nothing can tell any more
	Retried    int64 // messages whose handler failed and that come again
	Rejected   int64 // messages given up, forgotten ones included
	Panics     int64 // handlers that panicked

	Receipts     int64 // receipts sent
	ReceiptsLost int64 // receipts that the broker did not take
	Pruned       int64 // records forgotten
	Troubles     int64 // transactions that the database failed
	Disconnects  int64 // broker connections that were lost or not had
}

// Stats returns what the inbox knows about itself now.
func (in *Inbox) Stats() Stats {
	c := &in.counters
	return Stats{
		Connected: in.linked.Load(),
		Received:  c.received.Load(), Handled: c.handled.Load(), Duplicates: c.duplicates.Load(),
		Superseded: c.superseded.Load(), Forgotten: c.forgotten.Load(), Retried: c.retried.Load(),
		Rejected: c.rejected.Load(), Panics: c.panics.Load(),
		Receipts: c.receipts.Load(), ReceiptsLost: c.receiptsLost.Load(), Pruned: c.pruned.Load(),
		Troubles: c.troubles.Load(), Disconnects: c.disconnects.Load(),
	}
}
