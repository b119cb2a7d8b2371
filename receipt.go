package waybill

import (
	"errors"
	"strings"
	"time"
)

// Outcome is what a consumer says of one message.
type Outcome string

const (
	// Done: the effect is committed, or was before, or a newer state is. The row may go.
	Done Outcome = "done"
	// Retry: the consumer could not handle the message now and wants another copy.
	Retry Outcome = "retry"
	// Rejected: the consumer will never take the message. The row stays in the
	// outbox, where the person who can mend it looks.
	Rejected Outcome = "rejected"
)

// Receipt says what became of one message. Receipts are idempotent: they may
// repeat, come in any order and name messages that are long gone.
type Receipt struct {
	ID      ID
	Outcome Outcome
	// After is the delay of the next copy of a Retry. It travels in whole
	// milliseconds, rounded down, and relays take 30 days for anything above that.
	// 0 leaves it to the relay's backoff, and counts as a failure.
	After time.Duration
	// Tries is, for a Retry that counts as a failure, how often the consumer's handler has
	// failed with the message by now, this time included: by it the producer knows a
	// receipt that comes twice. 0 where that is not told.
	Tries int
	// Error is why, for Retry and Rejected. The first 2,000 bytes of it travel.
	Error string
}

// ReasonForgotten begins the Error of a Rejected receipt of a consumer that has
// forgotten what it knew of messages that old, so that nothing can tell whether this
// one took effect. A consumer that has said so says it of every further copy.
const ReasonForgotten = "waybill:forgotten: "

// ReceiptPrefix begins the names of the queues that receipts travel on. No
// message's destination may begin with it, in any case.
const ReceiptPrefix = "ack."

// ReceiptQueue is the name of the queue that an outbox's receipts come back on: the name
// that its relay gives it, and the random identity that its tables have had since they
// were made (store.Queue.Identity). Consumers take it from the header receiptTo as it
// comes. Whoever may write to it and knows a message's id can confirm that message, so a
// broker should let only its consumers do that. Without an identity it is the queue of Waybill's version 1.
func ReceiptQueue(producer, identity string) string {
	if identity == "" {
		return ReceiptPrefix + producer
	}
	return ReceiptPrefix + producer + "." + identity
}

// CheckReceiptQueue reports why name cannot be a queue for receipts, or nil: it begins with
// "ack.", and what follows keeps the rules of a destination. A forged message must not
// make a consumer write to any other queue.
func CheckReceiptQueue(name string) error {
	rest, ok := strings.CutPrefix(name, ReceiptPrefix)
	if !ok {
		return errors.New(`does not begin with "` + ReceiptPrefix + `"`)
	}
	if err := checkName(rest); err != nil {
		return err
	}
	return checkText(name, MaxName)
}
