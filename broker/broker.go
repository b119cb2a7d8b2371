// Package broker is the seam between Waybill and message brokers. To use a broker, call
// New of its adapter (stomp, amqp1, activemq, rabbitmq, nats, nats/embedded, kafka, memory)
// and give what it returns to relays and inboxes, which see it as a Broker. To write an
// adapter, implement Broker, Conn and Receiver, and pass the suite of package brokertest.
//
// An adapter speaks one protocol and decides nothing: it never tries again, never
// reconnects and keeps no message. When a connection breaks it says so, and the caller
// connects again. Waybill's promises do not depend on a broker: whatever a broker or its
// adapter loses, repeats or reorders costs time and copies only.
package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// Broker makes connections to one broker. Implementations are safe for concurrent
// use and hold no connection of their own.
type Broker interface {
	// Capabilities declares what the broker and its adapter can do. It answers
	// without I/O and always the same.
	Capabilities() Capabilities
	// Connect opens one connection, authenticates, and returns. It tries once: an
	// error is returned as it comes, without the address's password. It matches
	// ErrRefused where trying again cannot help, such as a wrong password or a
	// certificate that is not trusted. ctx bounds the opening only.
	Connect(ctx context.Context) (Conn, error)
}

// Conn is one connection. Its methods are safe for concurrent use. Its dynamic type
// is comparable, such as a pointer, and a Conn equals itself and no other: callers
// compare them and use them as keys of maps.
type Conn interface {
	// Publish sends the messages in order, as one batch, in the way that is fastest
	// on this broker, and returns when the fate of each is known or ctx ends. There
	// is one result for each message, at the same position, whatever happens. A fate
	// that is not known, because ctx ended or the connection broke, is Unknown and
	// never Confirmed.
	//
	// A destination that does not exist is made where the broker makes them on
	// demand, and durable. With Durable, Confirmed means that the broker says it has
	// stored the message as safely as it is set up to; with Transient, that the
	// message has reached the broker's process. For that, an adapter need not ask for
	// each message: only often enough to bound what is under way, and at the end of
	// each batch.
	//
	// A message that the broker refuses does not affect the others of its batch. Only
	// a broken connection is an error of the call, and ends the Conn. Publish does not
	// change the messages, and keeps nothing of them after it returns.
	Publish(ctx context.Context, messages []Message, transport waybill.Transport) ([]Result, error)

	// Subscribe begins to receive from one destination, which is made where it does
	// not exist. Several subscriptions of one queue share its messages. Messages
	// that were received and not settled when a subscription or its connection ends
	// come again, to any subscriber.
	Subscribe(ctx context.Context, s Subscription) (Receiver, error)

	// Done is closed when the connection has ended, by Close or by itself.
	Done() <-chan struct{}
	// Err is why the connection ended: nil before, ErrClosed after Close.
	Err() error
	// Close ends the connection and every Receiver of it, and waits, no longer than
	// ctx allows, until its goroutines have ended. It may be called again.
	Close(ctx context.Context) error
}

// Remover is a Conn through which destinations can be removed. Not every protocol has a
// way to do that, so it is not part of Conn. Relays and inboxes never remove anything;
// 'waybill torture' removes the destinations that it has made.
type Remover interface {
	// Remove removes a queue with the messages in it; of a topic, what the broker keeps
	// for s.Group, or with no Group the topic itself. Nobody may be subscribed. It is no
	// error where there is nothing to remove; an error that matches errors.ErrUnsupported
	// says that the protocol has no way to remove it. s.Prefetch is ignored.
	Remove(ctx context.Context, s Subscription) error
}

// Receiver receives from one destination. Receive is for one goroutine at a time; the
// other methods may be called at the same time as it and as each other. It is
// comparable, as a Conn is.
type Receiver interface {
	// Receive waits for at least one message and returns what has arrived, at most
	// limit, in the broker's order. When ctx ends it returns ctx.Err(); when the
	// subscription or its connection ends, ErrClosed or the reason. It never returns
	// messages together with an error. The slices and bodies belong to the caller.
	Receive(ctx context.Context, limit int) ([]Delivery, error)
	// Settle tells the broker what became of messages that Receive returned, each
	// once. The broker may still deliver a message again after Settle has returned
	// nil, where it loses what it was told. A Disposition that Capabilities does not
	// declare is an error that matches errors.ErrUnsupported.
	Settle(ctx context.Context, deliveries []Delivery, d Disposition) error
	// Close ends the subscription; what is not settled comes again. A durable
	// subscription of a topic stays with the broker and goes on collecting.
	Close(ctx context.Context) error
}

// Message is a message on its way. The relay and the inbox write and read the
// headers; an adapter carries them.
type Message struct {
	// Destination is a queue's name, or a topic's where Topic is set. Every name that
	// waybill.CheckDestination takes must work, and every receipt queue: where a broker
	// has narrower rules, the adapter maps names, one to one.
	Destination string
	Topic       bool
	// Key is the ordering key, for brokers that place messages by key; it is also
	// in Headers.
	Key string
	// Headers have names that waybill.CheckHeader takes, or Waybill's own, each once,
	// and values of valid UTF-8 without control characters. A value may be empty
	// and may begin or end with a space.
	Headers []Header
	// ContentType travels as the protocol's own content type; empty for none.
	ContentType string
	Body        []byte // any bytes; may be empty
	// MustExist asks that Publish does not make the queue: where there is none, the message
	// is Refused with an error that matches ErrNoQueue. It is for names that strangers may
	// have made up, and holds where Capabilities.MustExist is declared.
	MustExist bool
}

// Header is one header of a Message.
type Header struct{ Name, Value string }

// Header returns the value of the header with this name, in this case.
func (m *Message) Header(name string) (value string, ok bool) {
	for i := range m.Headers {
		if m.Headers[i].Name == name {
			return m.Headers[i].Value, true
		}
	}
	return "", false
}

// Delivery is a message as it was received. Headers may hold more than the sender
// gave, where the broker or a foreign producer added them. A value that travels as bytes and
// is no UTF-8 stands there as these bytes.
type Delivery struct {
	Message
	// Redelivered says that the broker knows it has delivered the message before.
	Redelivered bool
	// Problem is why the message cannot be read, such as a body of a type that the protocol
	// does not show; nil where it can. Body then holds what there is of it, and Headers what
	// could be read. Nobody may take such a message for one that is sound.
	Problem error
	// Token is the adapter's: what its Settle needs to know of the message. Where it is
	// Identified, it also tells the message's Identity.
	Token any
}

// Identity is the broker's own identity of the message; zero where it tells none.
func (d *Delivery) Identity() Identity {
	if token, ok := d.Token.(Identified); ok {
		return token.Identity()
	}
	return Identity{}
}

// Identified is a Token of a message that its broker knows by an Identity. Few messages are
// asked for it: only those that say too little of themselves, or have to be kept.
type Identified interface {
	// Identity may be called at any time, also after the message was settled, and by several
	// goroutines at once.
	Identity() Identity
}

// Identity is how a broker itself knows a message: the same each time it delivers the
// message to one group, and no other message's. What the producer may choose freely, such as
// a message id of AMQP, is none. It is told field by field, since most messages need no text
// of it.
type Identity struct {
	Place  string // of the stream or topic, where numbers count in one: its own identity, or its name
	Part   int32  // of the place, such as a partition
	Number uint64 // in that part
	Name   string // the message's, where brokers give names
	// Time is when the broker took the message or, where it does not tell that, its
	// producer's client library sent it; zero where unknown. It is a part of the identity: a
	// broker that was wiped may begin to number anew.
	Time time.Time
}

// IsZero reports whether nothing is known of how the broker knows the message.
func (i Identity) IsZero() bool { return i.Place == "" && i.Name == "" }

// String is the identity as a text, which differs where any of it does.
func (i Identity) String() string {
	at := int64(0)
	if !i.Time.IsZero() {
		at = i.Time.UnixNano()
	}
	return fmt.Sprintf("%q/%d/%d/%q@%d", i.Place, i.Part, i.Number, i.Name, at)
}

// Subscription says what to receive.
type Subscription struct {
	Destination string
	Topic       bool
	// Group is the consumer's name: the subscribers of a topic with the same Group are
	// one durable subscription. A topic needs it; a queue does not.
	Group string
	// Prefetch is the greatest number of messages received and not settled, above 0.
	Prefetch int
	// Window is that number to begin with, where the Receiver is a Resizer: at most
	// Prefetch, which 0 stands for. Other Receivers ignore it.
	Window int
}

// FirstWindow is how many messages a Resizer may have received and not settled at first.
func (s *Subscription) FirstWindow() int {
	if s.Window <= 0 {
		return s.Prefetch
	}
	return min(s.Window, s.Prefetch)
}

// Resizer is a Receiver whose number of messages that are received and not settled can
// change, so that a slow consumer leaves the others of its queue their share. Not every
// protocol has a way to do that, so it is not part of Receiver.
type Resizer interface {
	// Resize sets how many messages may be received and not settled from now on: 1 to
	// Subscription.Prefetch. It does not wait, and may be called at any time. What is under
	// way by the number before may still come, and does not count where the protocol cannot
	// count it. No message is lost by it, and none that Receive has returned comes again.
	Resize(window int)
}

// Disposition is what became of a received message.
type Disposition int

const (
	// Ack: done with; it does not come again.
	Ack Disposition = iota
	// Requeue: to be delivered again, as soon as the broker does that.
	Requeue
	// DeadLetter: never to be delivered again here; it goes where the broker keeps
	// such messages.
	DeadLetter
)

// Fate is what is known of a message that was published.
type Fate int

const (
	// Unknown: the broker may or may not have it.
	Unknown Fate = iota
	// Confirmed: the broker has said that it has it.
	Confirmed
	// Refused: the broker does not have it and may take it later: full, no such
	// destination, not allowed now.
	Refused
	// Unacceptable: the broker will never take this message as it is: too large,
	// or a name or header that it cannot carry.
	Unacceptable
)

// String returns the fate in lower case.
func (f Fate) String() string {
	switch f {
	case Unknown:
		return "unknown"
	case Confirmed:
		return "confirmed"
	case Refused:
		return "refused"
	case Unacceptable:
		return "unacceptable"
	}
	return fmt.Sprintf("fate %d", int(f))
}

// Result is the fate of one published message, with the reason where it is not
// Confirmed.
type Result struct {
	Fate Fate
	Err  error
}

// Capabilities are what an adapter declares that it and its broker can do; relays,
// inboxes and the conformance suite look here and never guess.
type Capabilities struct {
	// Name of the protocol and broker, as documentation prints it.
	Name string
	// Persistent: what was published Durable and Confirmed survives a restart of the
	// broker, also where it was killed.
	Persistent bool
	// Ordered: without faults, one subscriber receives in the order of publishing;
	// what comes again, after a subscription ended, may come in any order.
	Ordered bool
	// Topics: topics with durable subscriptions work.
	Topics bool
	// SharedTopics: several subscribers with one Group share a topic's messages.
	SharedTopics bool
	// Requeue and DeadLetter: Settle can do them.
	Requeue    bool
	DeadLetter bool
	// Cumulative: the broker remembers a position and not messages, so that a settled
	// message comes again where one before it was not settled.
	Cumulative bool
	// Identity: each delivery has an Identity with a Time, whoever has sent the message.
	Identity bool
	// MaxMessage is the greatest body in bytes that the broker takes, as the adapter's
	// options say or by the broker's own default; 0 where it is not known, or has in
	// practice no limit. A larger one is Unacceptable.
	MaxMessage int
	// Unroutable: a message to a queue that does not exist, and is not made on demand,
	// is Refused.
	Unroutable bool
	// MustExist: Message.MustExist is kept to. Where it is not declared, a queue may be made.
	MustExist bool
	// Redelivery is how long after a receiver has died, with its process or its connection,
	// what it had not settled comes again; 0 where that is when the broker has noticed.
	Redelivery time.Duration
}

var (
	// ErrClosed: the connection or subscription was closed by its owner.
	ErrClosed = errors.New("waybill: the broker connection is closed")
	// ErrRefused: the broker does not let the caller in, and trying again cannot help
	// unless somebody changes the credentials, permissions or certificates.
	ErrRefused = errors.New("waybill: the broker refuses the connection")
	// ErrNoQueue: there is no queue for the message, and none was to be made.
	ErrNoQueue = errors.New("there is no such queue")
)
