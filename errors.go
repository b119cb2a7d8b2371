package waybill

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

var (
	// ErrInvalidMessage is matched by every MessageError: the message cannot be
	// sent as it is, and nothing of it was written.
	ErrInvalidMessage = errors.New("waybill: invalid message")
	// ErrTooLarge is matched by a MessageError for a body over the size limit.
	ErrTooLarge = errors.New("waybill: message too large")
	// ErrSchema is matched by every SchemaError.
	ErrSchema = errors.New("waybill: tables are missing or of another version")
	// ErrConflict is matched where a transaction has lost to another one: a deadlock, a
	// serialization failure, a row that has changed since it was read, a database that
	// is busy. Nothing of it was written, and running it again may succeed.
	ErrConflict = errors.New("waybill: the transaction lost to another one; run it again")
	// ErrTxEnded is matched where a transaction has ended before its owner committed
	// it: rolled back by the database, or ended by a statement or a handler. What was
	// written in it is gone.
	ErrTxEnded = errors.New("waybill: the transaction has ended before its time")
)

// MessageError says which message of a Send cannot be sent, and why. It matches
// ErrInvalidMessage, and ErrTooLarge where the body's size is the reason. Where a Send has
// several faults, its error joins one of these for each (see errors.Join).
type MessageError struct {
	Index       int    // position of the message among those given to Send, from 0
	Destination string // the message's destination, as given
	Field       string // the field of Message at fault, such as "Key" or "Headers"
	Reason      string // what is wrong with it
	TooLarge    bool   // the body is over the size limit
}

// Error names the message, the field and the reason.
func (e *MessageError) Error() string {
	return fmt.Sprintf("waybill: message %d to %.80q: %s: %s", e.Index, e.Destination, e.Field, e.Reason)
}

// Is reports whether target is ErrInvalidMessage, or ErrTooLarge for a size error.
func (e *MessageError) Is(target error) bool {
	return target == ErrInvalidMessage || e.TooLarge && target == ErrTooLarge
}

// SchemaError says that Waybill's tables are missing or of a version that this
// program cannot work with. It matches ErrSchema.
type SchemaError struct {
	Side string // "producer" or "consumer"
	Have int    // version found; 0 where a table, or a column of one, is missing
	Want int    // version that this program works with
	Err  error  // the database's own error, where there was one
}

// Error says what was found and what to do about it.
func (e *SchemaError) Error() string {
	switch {
	case e.Have > e.Want:
		return fmt.Sprintf("waybill: the %s's tables are of version %d, newer than this program's %d: use a newer program", e.Side, e.Have, e.Want)
	case e.Have > 0:
		return fmt.Sprintf("waybill: the %s's tables are of version %d, this program needs %d: run 'waybill init --side %s' or call store.Migrate", e.Side, e.Have, e.Want, e.Side)
	}
	return fmt.Sprintf("waybill: the %s's tables are missing: run 'waybill init --side %s' or call store.Migrate", e.Side, e.Side)
}

// Is reports whether target is ErrSchema.
func (e *SchemaError) Is(target error) bool { return target == ErrSchema }

// Unwrap returns the database's own error.
func (e *SchemaError) Unwrap() error { return e.Err }

// RetryError is a handler's wish to see the message again after a delay; see
// RetryAfter.
type RetryError struct {
	After time.Duration
	Err   error // why; may be nil
}

// RetryAfter tells the inbox to roll the transaction back and have the message sent
// again after d, however often it is asked: that is no failure, and does not count
// towards inbox.Options.MaxTries. d counts in whole milliseconds, at least one and at
// most 30 days, from when the relay has handled the receipt. Copies that are under way
// already may come sooner.
//
// A message that asks for no receipt, a foreign producer's or one of a destination that is
// set to Accepted, has no relay that waits for it. It comes again after d all the same, and
// the try does not count either. The consumer holds it for a minute at most, and what is to
// come later waits in its own database, in the table n_rejected; see inbox.Handler.
func RetryAfter(d time.Duration, err error) error { return &RetryError{After: d, Err: err} }

// Error returns the reason, with the delay.
func (e *RetryError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("retry after %v", e.After)
	}
	return fmt.Sprintf("%v (retry after %v)", e.Err, e.After)
}

// Unwrap returns the reason.
func (e *RetryError) Unwrap() error { return e.Err }

// PermanentError is a handler's word that no further try can help; see Permanent.
type PermanentError struct{ Err error }

// Permanent tells the inbox to roll the transaction back and reject the message at
// once: its row stays in the producer's outbox, with the reason, for a person. It wins
// over a RetryAfter in the same chain of errors.
//
// A message that asks for no receipt, a foreign producer's or one of a destination that
// is set to Accepted, has no such row. The consumer keeps it in its own database, in the
// table n_rejected ('waybill list --side consumer').
func Permanent(err error) error { return &PermanentError{Err: err} }

// Error returns the reason.
func (e *PermanentError) Error() string {
	if e.Err == nil {
		return "rejected"
	}
	return e.Err.Error()
}

// Unwrap returns the reason.
func (e *PermanentError) Unwrap() error { return e.Err }

// DrainError says that Run of an inbox or a relay was told to stop, or had to, and has returned
// although something of it goes on: what does not end with its context, such as a handler
// that does not look at it. Nothing of what was left counts any more: a transaction that is
// open is rolled back when its connection is free, and its messages come again.
type DrainError struct {
	After time.Duration // Options.Drain
	Left  []string      // what goes on, each as a person reads it
}

// Error names what was left.
func (e *DrainError) Error() string {
	return fmt.Sprintf("waybill: Run has ended, but not all of it within Options.Drain (%v); it has left behind: %s", e.After, strings.Join(e.Left, "; "))
}
