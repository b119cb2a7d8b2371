package inbox

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	waybill "github.com/waybill-go/waybill"
)

// BatchHandler does the effects of several messages at once through tx, as with one
// statement of many rows. All that Handler says holds for it, too, with these differences:
//
// It is called once in a transaction, with the messages that the guard has found to be new, in
// the order in which they have arrived; there is at least one, and there are at most
// Options.Batch. At level waybill.Latest they are the newest of each key; at level waybill.Once
// there may be several of a key. ctx ends after Options.Timeout, however many they are.
//
// An error has the transaction rolled back. It should name the messages at fault: with Failed,
// and where there are several with errors.Join. Each of these is tried again or rejected as its
// own error says (waybill.RetryAfter, waybill.Permanent), and the handler is called with the
// others at once. Where the error names none of them, and after a panic or when the time is
// over, the batch is halved until those at fault are found, which takes about two calls for
// each halving and each of them; an error counts only against a message that was alone in its
// batch. Messages that have failed before are handled apart from others.
//
// While a call goes on that has not returned after twice Options.Timeout, all messages of its
// keys are put off; when it has returned, each of its messages is handled alone.
type BatchHandler func(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) error

// HandleBatch is Handle with a handler that takes all new messages of a transaction at once.
func (in *Inbox) HandleBatch(destination string, level waybill.Level, handler BatchHandler) {
	in.HandleBatchWith(destination, level, handler, nil)
}

// HandleBatchWith is HandleBatch with options of the destination's own, such as for a topic.
func (in *Inbox) HandleBatchWith(destination string, level waybill.Level, handler BatchHandler, o *HandleOptions) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if handler != nil {
		for _, m := range slices.Backward(in.batchMiddleware) {
			handler = m(handler)
		}
	}
	in.add(destination, level, handler, true, o)
}

// UseBatch is Use for the handlers that HandleBatch and HandleBatchWith are given from now on.
func (in *Inbox) UseBatch(middleware ...func(next BatchHandler) BatchHandler) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.batchMiddleware = appendSound(in, in.batchMiddleware, middleware)
}

// FailedError is a BatchHandler's word about one message of its batch; see Failed.
type FailedError struct {
	ID  waybill.ID // the message's
	Err error      // why
}

// Failed says that one message of a batch is at fault, and why: err is to that message what
// the error of a Handler would be. Where err is nil so is what it returns.
func Failed(m *waybill.Message, err error) error {
	if err == nil {
		return nil
	}
	return &FailedError{ID: m.ID, Err: err}
}

// Error names the message and the reason.
func (e *FailedError) Error() string { return fmt.Sprintf("message %v: %v", e.ID, e.Err) }

// Unwrap returns the reason.
func (e *FailedError) Unwrap() error { return e.Err }

// JSONBatch is JSON for a batch: values[i] is that of messages[i]. Messages whose bodies are no
// JSON of a T are rejected at once, and the handler gets the others.
func JSONBatch[T any](handler func(ctx context.Context, tx *sql.Tx, messages []*waybill.Message, values []T) error) BatchHandler {
	return DecodedBatch(decodeJSON[T], handler)
}

// DecodedBatch is Decoded for a batch: values[i] is that of messages[i]. Messages whose bodies
// cannot be decoded are rejected at once, and the handler gets the others.
func DecodedBatch[T any](decode func(body []byte) (T, error), handler func(ctx context.Context, tx *sql.Tx, messages []*waybill.Message, values []T) error) BatchHandler {
	return func(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) error {
		values := make([]T, len(messages))
		var unreadable []error
		for i, m := range messages {
			var err error
			if values[i], err = decoded(decode, m); err != nil {
				unreadable = append(unreadable, Failed(m, err))
			}
		}
		if len(unreadable) > 0 {
			return errors.Join(unreadable...)
		}
		return handler(ctx, tx, messages, values)
	}
}

// alone is the handler as one that is only ever called with one message.
func (h Handler) alone() BatchHandler {
	if h == nil {
		return nil
	}
	return func(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) error {
		return h(ctx, tx, messages[0])
	}
}

// blame is what is held against one message.
type blame struct {
	x   *item
	err error
}

// blameFor finds out which of the messages that a handler was called with are at fault: those
// that its error names, or the only one. It returns none where that cannot be told.
func blameFor(xs []*item, err error, named map[waybill.ID]error) (found []blame) {
	for _, x := range xs {
		if why := named[x.Message.ID]; why != nil {
			found = append(found, blame{x, why})
		}
	}
	if len(xs) == 1 && len(found) == 0 {
		found = []blame{{xs[0], err}}
	}
	return found
}

// collect finds what an error says of single messages. What is around that, be it
// waybill.Permanent or waybill.RetryAfter, holds for each: as puts it around. It may panic, as
// the error's methods may.
func collect(err error, as func(error) error, named map[waybill.ID]error) {
	switch e := err.(type) { //nolint:errorlint // it goes through the chain itself
	case *FailedError:
		why := as(cmp.Or(e.Err, error(e)))
		if before := named[e.ID]; before != nil {
			why = errors.Join(before, why)
		}
		named[e.ID] = why
	case *waybill.PermanentError:
		collect(e.Err, func(err error) error { return as(waybill.Permanent(err)) }, named)
	case *waybill.RetryError:
		collect(e.Err, func(err error) error { return as(waybill.RetryAfter(e.After, err)) }, named)
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			collect(err, as, named)
		}
	case interface{ Unwrap() error }:
		collect(e.Unwrap(), as, named)
	}
}

// A batch handler that has hung may hang again, and as long as it does all messages of its
// batch are put off: those are tried alone from then on. maxHung is how many of them are
// remembered at least.
const maxHung = 10_000

// noteHung notes that the handler of these messages has not returned.
func (r *route) noteHung(xs []*item) {
	if len(xs) == 1 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range xs {
		r.hung.Set(x.Message.ID, struct{}{})
	}
}

// parts are the parts of a batch that are to be done in a transaction each. Messages of a
// batch handler that have failed before are kept apart, so that they hold up no others.
func (r *route) parts(batch []*item) [][]*item {
	if !r.several {
		return [][]*item{batch}
	}
	var fresh, failed []*item
	var parts [][]*item
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range batch {
		tries, _ := r.tries.Get(x.Message.ID)
		switch {
		case r.hung.Has(x.Message.ID):
			parts = append(parts, []*item{x})
		case tries+x.Message.Failures > 0:
			failed = append(failed, x)
		default:
			fresh = append(fresh, x)
		}
	}
	return append([][]*item{fresh, failed}, parts...)
}

// split are the parts of a batch that has failed, where nothing tells which of its messages
// did. With a handler of single messages each gets a transaction of its own: those whose
// handlers were quick first, so that one that takes a connection down with it holds up nobody.
// With one of batches they are its halves, since the handler may be a costly one to call.
func (r *route) split(batch []*item) (parts [][]*item) {
	if r.several {
		n := len(batch) / 2
		return [][]*item{batch[:n], batch[n:]}
	}
	slices.SortStableFunc(batch, func(x, y *item) int { return cmp.Compare(x.took, y.took) })
	return slices.Collect(slices.Chunk(batch, 1))
}
