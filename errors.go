package waybill

import (
	"errors"
	"fmt"
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
// ErrInvalidMessage, and ErrTooLarge where the body's size is the reason.
type MessageError struct {
	Index       int    // position of the message among those given to Send
	Destination string // the message's destination, as given
	Field       string // the field at fault, such as "Key" or "Headers"
	Reason      string // what is wrong and what would be right
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
	Have int    // version found; 0 where there are no tables
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

// RetryError is a handler's wish to see the message again after a delay.
type RetryError struct {
	After time.Duration
	Err   error
}

// RetryAfter tells the inbox to have the message sent again after at least d. It
// does not count towards the limit of tries. The transaction is rolled back.
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

// PermanentError is a handler's word that no further try can help.
type PermanentError struct{ Err error }

// Permanent tells the inbox to reject the message at once: it goes back to its
// producer's outbox with the reason. The transaction is rolled back.
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
