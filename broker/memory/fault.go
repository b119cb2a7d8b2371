package memory

import (
	"errors"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// Fault says what goes wrong with the messages of some destinations. Shares are from 0,
// never, to 1, always, and are drawn one by one: a message may have several faults, but
// one that is refused has no other.
type Fault struct {
	// Where picks the destinations; nil means all. It may be called from several
	// goroutines at once.
	Where func(destination string) bool
	// Lose is the share of messages that are Confirmed and not kept.
	Lose float64
	// Repeat is the share of messages that are kept twice.
	Repeat float64
	// Reorder is the share of messages that change places with one that waits before
	// them in the queue. The first message of a batch is held back instead, for up to
	// 10 ms, so that others may overtake it.
	Reorder float64
	// Late is the share of messages that are held back for a random time up to Delay.
	// Others overtake them.
	Late  float64
	Delay time.Duration
	// Doubt is the share of messages that are kept and reported Unknown.
	Doubt float64
	// Refuse is the share of messages that are Refused.
	Refuse float64
}

// Receipts picks, as the Where of a Fault, the queues that receipts travel on.
func Receipts(destination string) bool {
	return strings.HasPrefix(destination, waybill.ReceiptPrefix)
}

// Messages picks, as the Where of a Fault, every destination that Receipts does not.
func Messages(destination string) bool { return !Receipts(destination) }

// SetFaults sets what goes wrong from now on; no faults means that nothing does.
// Of several, the first whose Where picks the destination counts.
func (b *Broker) SetFaults(faults ...Fault) {
	if len(faults) == 0 {
		b.faults.Store(nil)
		return
	}
	kept := append([]Fault(nil), faults...)
	b.faults.Store(&kept)
}

// fault returns what goes wrong at a destination, or nil.
func (b *Broker) fault(destination string) *Fault {
	faults := b.faults.Load()
	if faults == nil {
		return nil
	}
	for i := range *faults {
		if f := &(*faults)[i]; f.Where == nil || f.Where(destination) {
			return f
		}
	}
	return nil
}

const (
	// reorderSpan is how far back a message may change places.
	reorderSpan = 64
	// reorderDelay is the longest that a message waits for others to overtake it.
	reorderDelay = 10 * time.Millisecond
)

var (
	errRefused = errors.New("the memory broker was told to refuse it")
	errDoubt   = errors.New("the memory broker was told not to confirm it")
)

// decision is what happens to one message.
type decision struct {
	lose, repeat, doubt, refuse bool
	swap                        int
	delay                       time.Duration
}

// decide draws what happens to one message, and counts it. before is the number of
// messages of its batch that are kept before it: with none, it is held back where it
// would change places.
func (b *Broker) decide(f *Fault, before int) (d decision) {
	b.diceMu.Lock()
	defer b.diceMu.Unlock()
	hit := func(share float64) bool { return share > 0 && b.dice.Float64() < share }
	if hit(f.Refuse) {
		b.stats.refused.Add(1)
		return decision{refuse: true}
	}
	if hit(f.Doubt) {
		d.doubt = true
		b.stats.doubted.Add(1)
	}
	if hit(f.Lose) {
		d.lose = true
		b.stats.lost.Add(1)
		return d
	}
	if hit(f.Repeat) {
		d.repeat = true
		b.stats.repeated.Add(1)
	}
	if hit(f.Reorder) {
		b.stats.reordered.Add(1)
		if before > 0 {
			d.swap = 1 + b.dice.IntN(reorderSpan)
		} else {
			d.delay = 1 + time.Duration(b.dice.Int64N(int64(reorderDelay)))
		}
	}
	if f.Delay > 0 && hit(f.Late) {
		b.stats.delayed.Add(1)
		d.delay = 1 + time.Duration(b.dice.Int64N(int64(f.Delay)))
	}
	return d
}
