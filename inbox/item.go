package inbox

import (
	"errors"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
)

// item is a message that has arrived.
type item struct {
	wire.Arrival
	sourceOf
	delivery broker.Delivery
	receiver *subscription
	gone     <-chan struct{} // closed with the subscription that it came through
	arrived  time.Time
	problem  error         // why it cannot be handled at all
	noted    bool          // its outcome is known
	took     time.Duration // of its handler, at the last try

	kept   *store.Kept   // where it comes from n_rejected; there is no delivery and no receiver then
	over   chan struct{} // closed by end once it has an outcome; nil but for a kept message
	keptAs waybill.ID    // under which it is to be kept
	unkept int           // how often that has failed
}

// sourceOf is Ledger.Source.
type sourceOf func(producer, receiptTo string, topic bool) string

// newItem decodes a message. What is wrong with it becomes its problem.
func newItem(d *broker.Delivery, receiver *subscription, gone <-chan struct{}, level waybill.Level, source sourceOf) *item {
	x := &item{sourceOf: source, delivery: *d, receiver: receiver, gone: gone, arrived: time.Now()}
	x.Arrival, x.problem = wire.Decode(&d.Message)
	// Where there is a header, or somebody to answer, its sender has an id of its own for it.
	if x.Message.ID.IsZero() && !x.Stated && x.ReceiptTo == "" {
		if id := wire.NativeID(d.Identity(), d.Destination, d.Topic); !id.IsZero() {
			x.problem = x.Named(id)
		}
	}
	if d.Problem != nil {
		x.problem = d.Problem
	}
	if x.ReceiptTo != "" && waybill.CheckReceiptQueue(x.ReceiptTo) != nil {
		x.ReceiptTo = ""
		if x.problem == nil {
			x.problem = errors.New(`the header receiptTo names no queue that begins with "` + waybill.ReceiptPrefix + `"`)
		}
	}
	x.checkLevel(level)
	return x
}

// checkLevel notes what the level needs and the message lacks.
func (x *item) checkLevel(level waybill.Level) {
	if x.problem != nil || level != waybill.Latest {
		return
	}
	switch {
	case x.Message.Key == "":
		x.problem = errors.New("the level Latest needs a key (header businessMark), and the message has none")
	case x.Message.TimeStamp <= 0:
		x.problem = errors.New("the level Latest needs a time stamp above 0 (header timeStamp), and the message has none")
	}
}

// mark is what the guard records of the message.
func (x *item) mark() store.Mark {
	m := &x.Message
	stamp := m.TimeStamp
	if mutant.GuardBySequence {
		stamp = m.Sequence
	}
	return store.Mark{ID: m.ID, Producer: x.source(), Destination: m.Destination, Topic: m.Topic, Key: m.Key, TimeStamp: stamp}
}

// source is the name under which forgetting knows where the message came from.
func (x *item) source() string { return x.sourceOf(x.Message.Producer, x.ReceiptTo, x.Message.Topic) }

// isGone says whether the subscription that the message came through has ended. There is
// no use in beginning with it then: the broker delivers it again.
func (x *item) isGone() bool {
	select {
	case <-x.gone:
		return true
	default:
		return false
	}
}

// newer says whether x's state is newer than y's. Two producers' equal time stamps
// still have one winner everywhere.
func (x *item) newer(y *item) bool {
	if x.Message.TimeStamp != y.Message.TimeStamp {
		return x.Message.TimeStamp > y.Message.TimeStamp
	}
	return x.Message.ID.Compare(y.Message.ID) > 0
}
