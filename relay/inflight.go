package relay

import (
	"cmp"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// inflight is a message that is in the window: an id and what is known of its way.
// Bodies are not kept.
type inflight struct {
	row  int64
	id   waybill.ID
	lane *lane

	state  state
	copies int           // how many times it was published since it is in this window
	repeat bool          // it was published before that
	sent   time.Duration // time on term.clock of the last of them

	failures int  // of its handler, as the row had it
	adopted  bool // it was sent before it came into this window: when is not known
	due      bool // it was delayed, and its time has come
	answers       // of Destination.Consumers
}

// state is where a message in the window is.
type state uint8

const (
	// queued: it is in lane.queue, or will be as soon as its body is read.
	queued state = iota
	// publishing: the broker has not answered yet.
	publishing
	// waiting: it was published and waits for its receipt. Or it is in resending.again
	// and waits to be published again, because the broker has refused it, or may have
	// lost it with a connection.
	waiting
	// unsure: it was published and the broker's answer did not come.
	unsure
	// settling: a receipt or the broker has decided what becomes of it, and that is
	// being written to the table.
	settling
)

// byRow orders messages as their rows were inserted.
func byRow(a, b *inflight) int { return cmp.Compare(a.row, b.row) }

// oldest returns the n messages with the lowest rows, in order.
func oldest(all []*inflight, n int) []*inflight {
	slices.SortFunc(all, byRow)
	return all[:max(min(n, len(all)), 0)]
}
