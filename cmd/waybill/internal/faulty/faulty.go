// Package faulty is a broker that passes everything on to another one and, by a
// seed, does to messages what brokers and networks do: it loses them after it has
// confirmed them, passes them on twice, out of order, or late.
//
// New wraps any adapter, so that the real one is under test and no stand-in; Set says what
// goes wrong from now on, and Counts what has gone wrong so far. Faults happen where
// messages are published; receiving and settling go straight through.
package faulty

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// Faults are shares of messages, from 0, never, to 1, always. A share is kept
// exactly: 0.05 picks one of every twenty, at a random place among them. So a fault
// is certain to happen, and where is decided by the seed.
type Faults struct {
	// Lose is the share of messages that are Confirmed and not passed on.
	Lose float64 `json:"lose,omitempty"`
	// Repeat is the share of messages that are passed on twice.
	Repeat float64 `json:"repeat,omitempty"`
	// Reorder is the share of messages that a later one of their batch changes places
	// with; the last of a batch comes 20 ms late.
	Reorder float64 `json:"reorder,omitempty"`
	// Hold is the share of messages that are Confirmed and held back for a random
	// time up to Delay. Others overtake them. What is held when the connection ends
	// is lost. There is none without a Delay.
	Hold  float64       `json:"hold,omitempty"`
	Delay time.Duration `json:"delay,omitempty"`
}

// Network is what happens to messages and what to receipts.
type Network struct {
	Messages Faults `json:"messages"`
	Receipts Faults `json:"receipts"`
}

// Options configure a Broker; nil and the zero value hold the defaults.
type Options struct {
	// Seed makes the faults repeatable: the same seed and the same sequence of
	// messages get the same faults. Default 0.
	Seed uint64
	// Network has the faults at first; see Broker.Set. Default none.
	Network Network
}

// Broker passes messages on to another one. It is safe for concurrent use.
type Broker struct {
	inner broker.Broker

	mu       sync.Mutex
	dice     *rand.Rand
	messages traffic
	receipts traffic
}

// traffic is what happens to messages, or to receipts.
type traffic struct {
	faults                      Faults
	lose, repeat, reorder, hold chooser
	tally                       Tally
}

// Tally counts what has happened since the Broker was made.
type Tally struct {
	Published int64 `json:"published"` // given to it, and taken
	Lost      int64 `json:"lost"`      // of these, confirmed and not passed on, for whatever reason
	Repeated  int64 `json:"repeated"`  // passed on twice
	Reordered int64 `json:"reordered"`
	Held      int64 `json:"held"` // held back; those that were lost meanwhile are in Lost too
}

// Add returns the sum of two tallies.
func (t Tally) Add(u Tally) Tally {
	return Tally{
		Published: t.Published + u.Published, Lost: t.Lost + u.Lost, Repeated: t.Repeated + u.Repeated,
		Reordered: t.Reordered + u.Reordered, Held: t.Held + u.Held,
	}
}

// Counts are the tallies of messages and of receipts.
type Counts struct {
	Messages Tally `json:"messages"`
	Receipts Tally `json:"receipts"`
}

// Add returns the sums of two counts' tallies.
func (c Counts) Add(d Counts) Counts {
	return Counts{Messages: c.Messages.Add(d.Messages), Receipts: c.Receipts.Add(d.Receipts)}
}

var _ broker.Broker = (*Broker)(nil)

// New wraps a broker.
func New(inner broker.Broker, o *Options) *Broker {
	if o == nil {
		o = &Options{}
	}
	b := &Broker{inner: inner, dice: rand.New(rand.NewPCG(o.Seed, 0x6661756c7479))}
	b.Set(o.Network)
	return b
}

// Set says what happens from now on.
func (b *Broker) Set(n Network) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages.faults, b.receipts.faults = n.Messages, n.Receipts
}

// Counts returns what has happened so far.
func (b *Broker) Counts() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Counts{Messages: b.messages.tally, Receipts: b.receipts.tally}
}

// Capabilities are the other broker's.
func (b *Broker) Capabilities() broker.Capabilities { return b.inner.Capabilities() }

// Connect opens a connection of the other broker's.
func (b *Broker) Connect(ctx context.Context) (broker.Conn, error) {
	inner, err := b.inner.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: inner, b: b, held: map[*time.Timer]string{}}, nil
}

// count counts something that has happened to a message or a receipt.
func (b *Broker) count(destination string, add func(*Tally)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	add(&b.trafficTo(destination).tally)
}

// trafficTo tells receipts from messages. mu is held.
func (b *Broker) trafficTo(destination string) *traffic {
	if strings.HasPrefix(destination, waybill.ReceiptPrefix) {
		return &b.receipts
	}
	return &b.messages
}

// fault is what happens to one message.
type fault struct {
	lose, repeat, reorder bool
	hold                  time.Duration
}

// decide draws what happens to one message.
func (b *Broker) decide(destination string) fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.trafficTo(destination)
	// Each chooser sees each message, so that one fault does not shift another's.
	f := fault{
		lose:    t.lose.hit(t.faults.Lose, b.dice),
		repeat:  t.repeat.hit(t.faults.Repeat, b.dice),
		reorder: t.reorder.hit(t.faults.Reorder, b.dice),
	}
	if t.hold.hit(t.faults.Hold, b.dice) && t.faults.Delay > 0 {
		f.hold = 1 + time.Duration(b.dice.Int64N(int64(t.faults.Delay)))
	}
	return f
}

// place is a random place from 0 to n-1.
func (b *Broker) place(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dice.IntN(n)
}

// chooser picks a share of what comes by: one of each 1/share, at a random place.
type chooser struct {
	share float64
	seen  int // since the share was set
	picks int
	next  int // which one is picked next
}

func (c *chooser) hit(share float64, dice *rand.Rand) bool {
	if share <= 0 {
		c.share = 0
		return false
	}
	share = min(share, 1)
	if share != c.share {
		*c = chooser{share: share}
		c.draw(dice)
	}
	hit := c.seen >= c.next
	c.seen++
	if hit {
		c.picks++
		c.draw(dice)
	}
	return hit
}

func (c *chooser) draw(dice *rand.Rand) {
	c.next = int((float64(c.picks) + dice.Float64()) / c.share)
}
