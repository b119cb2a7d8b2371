package inbox

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/guest"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
)

// A handler's error is not ours: a method of it may panic, as Error of a nil pointer does that
// is returned as an error. So it is asked for all that is ever wanted of it while the handler's
// time goes on, and from then on an error of ours says it.

// saidError is what a handler's error has said.
type saidError struct {
	text string
	// marks are what errors.Is and errors.As find: waybill.ErrTxEnded, a PermanentError or a
	// RetryError without a reason, a guest.PanicError.
	marks     []error
	condition store.Condition
	full      bool
}

func (e *saidError) Error() string   { return e.text }
func (e *saidError) Unwrap() []error { return e.marks }

// hear asks a handler's error what it says, of all and of single messages. Where the time was
// over, it may name whichever message was in hand: those do not count then.
func (r *route) hear(err error, timedOut bool) (said *saidError, named map[waybill.ID]error) {
	said = r.ask(err)
	if timedOut {
		said.text = fmt.Sprintf("timed out after %v (inbox.Options.Timeout): %s", r.o.Timeout, said.text)
		return said, nil
	}
	found := map[waybill.ID]error{}
	if guest.Try(func() { collect(err, func(err error) error { return err }, found) }) != nil {
		return said, nil
	}
	for id, why := range found {
		found[id] = r.ask(why)
	}
	return said, found
}

// ask asks an error for its text, and what it is. A question that it panics over has no for an
// answer; the first such panic is counted, and is in its marks.
func (r *route) ask(err error) *saidError {
	text, panicked := guest.Text(err)
	said := &saidError{text: text}
	for _, question := range []func(){
		func() {
			if errors.Is(err, waybill.ErrTxEnded) {
				said.marks = append(said.marks, waybill.ErrTxEnded)
			}
		},
		func() {
			if found, ok := errors.AsType[*waybill.PermanentError](err); ok && found != nil {
				said.marks = append(said.marks, &waybill.PermanentError{})
			}
		},
		func() {
			if found, ok := errors.AsType[*waybill.RetryError](err); ok && found != nil {
				said.marks = append(said.marks, &waybill.RetryError{After: found.After})
			}
		},
		func() { said.condition = r.in.ledger.Condition(err) },
		func() { said.full = r.in.ledger.Full(err) },
	} {
		if ended := guest.Try(question); panicked == nil {
			panicked = ended
		}
	}
	if panicked != nil {
		r.in.counters.panics.Add(1)
		said.marks = append(said.marks, panicked)
	}
	return said
}

// oneLine is text, bounded and on one line: what a handler panics with may be anything.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, wire.ErrorText(text))
}
