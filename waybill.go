package waybill

import "time"

// Message is one message, as it is given to outbox.Send and as a handler
// receives it. The fields of the second group are set by the inbox alone. A message that
// has any of them and is given to Send, as a handler does that passes its message on,
// becomes a new message: ID and TimeStamp are minted anew, the Headers stay. One of a
// producer that is no Waybill outbox may have none of them: set its ID to zero then. Send
// keeps nothing of a message, and a handler may change the one that it was given.
type Message struct {
	// ID identifies the message everywhere. Where it is zero, Send mints a UUIDv7 by the
	// database's clock, which its caller does not learn; a caller who wants to know it
	// sets NewID(). A caller's own ID must be a UUIDv7 too, minted within twelve hours
	// of the database's clock (or of NotBefore), since the age of a message is judged by
	// its ID. Whoever knows the ID of a pending message, and may write to its outbox's
	// receipt queue, can confirm it.
	ID ID
	// Destination is the name of the queue, or of the topic where Topic is set.
	// CheckDestination has its rules.
	Destination string
	// Topic says that Destination names a topic.
	Topic bool
	// Key is the business mark: the identity of the thing that the message is
	// about, such as an order number. Messages with one key are ordered by
	// TimeStamp, and Latest needs a key. Empty means none. CheckKey has its rules.
	Key string
	// TimeStamp orders the messages of one (Destination, Topic, Key). Where it is 0, Send
	// writes microseconds since the Unix epoch by the database's clock, strictly
	// increasing per key. A caller who has a version of its own, such as an
	// optimistic-lock column, passes it here (above 0) and it is used unchanged.
	TimeStamp int64
	// Headers are the sender's own headers. CheckHeaders has the rules; the name
	// "content-type", in lower case, travels as each protocol's own content type.
	// A received message may have more of them, which its broker has added.
	Headers map[string]string
	// Body is the payload. It is never changed on the way; nil arrives as empty.
	Body []byte
	// NotBefore delays the message until the database's clock has come to it, in
	// whole microseconds. The zero time, and a time that is over, mean at once. At
	// most the year 9999. A received message does not have it.
	NotBefore time.Time

	// Sequence counts the messages of one (Destination, Topic, Key) from 1 without
	// gaps; 0 without a key.
	Sequence int64
	// Producer is the name of the outbox that the message came from; "" for a
	// message of a program that is no Waybill outbox and does not say.
	Producer string
	// Attempt is 0 for the first copy of a message and grows with each copy sent.
	// It begins at 0 again where a person has a rejected message sent again.
	Attempt int
	// Failures counts the times that a consumer has asked for this message again
	// because its handler failed; RetryAfter does not count. It begins at 0 again
	// as Attempt does.
	Failures int
}

// Level says what the inbox guards for a destination.
type Level int

const (
	// Once drops duplicates: every message takes effect exactly once, in no promised
	// order.
	Once Level = iota + 1
	// Latest drops duplicates and stale states: for each key only a message that
	// is newer than the last one applied takes effect.
	Latest
)

// String returns "once" or "latest", or "unknown level".
func (l Level) String() string {
	switch l {
	case Once:
		return "once"
	case Latest:
		return "latest"
	}
	return "unknown level"
}

// Confirmation says when a message's row may leave the outbox.
type Confirmation int

const (
	// Consumed keeps the row until a receipt says that the consumer committed.
	// It is the default.
	Consumed Confirmation = iota
	// Accepted lets the row go on the broker's confirm: the classic outbox, for
	// consumers that know nothing of Waybill. What the broker loses after its
	// confirm is lost.
	Accepted
)

// String returns "consumed" or "accepted".
func (c Confirmation) String() string {
	if c == Accepted {
		return "accepted"
	}
	return "consumed"
}

// Transport says how messages travel through the broker.
type Transport int

const (
	// Durable messages are written to the broker's disk. It is the default.
	Durable Transport = iota
	// Transient messages need not be: the broker may lose them when it stops, and
	// the relay sends again whatever has no receipt. No promise rests on the broker,
	// so all of them hold; throughput is several times higher on brokers that sync
	// their disk. With Accepted, which asks for no receipts, it cannot be had.
	Transient
)

// String returns "durable" or "transient".
func (t Transport) String() string {
	if t == Transient {
		return "transient"
	}
	return "durable"
}
