// Package guest takes what code that is not ours leaves behind: the error that it returns,
// the value that it panics with. Their methods are not ours either, and may panic in turn, as
// Error does that is called on a nil pointer. Whoever asks them behind the call, in a goroutine
// of ours, would end the process with that. So they are asked here, and ours goes on with text.
package guest

import (
	"fmt"
	"reflect"
	"runtime/debug"
)

// PanicError is a panic of code that is not ours, or the end of a goroutine that it was lent.
type PanicError struct {
	text   string
	Stack  []byte // as debug.Stack has it
	Exited bool   // it has called runtime.Goexit, and not panicked; see Apart
}

// Error is the value that it was raised with, as text of any length.
func (p *PanicError) Error() string { return p.text }

const exited = "it has ended its goroutine with runtime.Goexit, as t.FailNow and testify's require do; it has to return"

// Apart is Try in a goroutine of its own, for which it waits: one that runtime.Goexit may end.
// That is returned, too. It costs some microseconds: for what is called once a batch.
func Apart(f func()) *PanicError {
	ended := make(chan *PanicError, 1)
	go func() {
		why := &PanicError{text: exited, Exited: true}
		defer func() {
			if why != nil && why.Exited {
				why.Stack = debug.Stack()
			}
			ended <- why
		}()
		why = Try(f)
	}()
	return <-ended
}

// Try calls f, and returns the panic that has ended it, if one has. runtime.Goexit goes through.
func Try(f func()) (ended *PanicError) {
	defer func() {
		if value := recover(); value != nil {
			ended = &PanicError{text: show(value), Stack: debug.Stack()}
		}
	}()
	f()
	return nil
}

// show is a panic's value as text. fmt takes a panic of one of its methods, and no second one.
func show(value any) (text string) {
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("a value of type %T, which cannot be shown", value)
		}
	}()
	return fmt.Sprint(value)
}

// Text is the text of err, which is not nil. Where its method panics, that is returned too, and
// the text says what err is.
func Text(err error) (text string, ended *PanicError) {
	ended = Try(func() { text = err.Error() })
	if ended == nil {
		return text, nil
	}
	if v := reflect.ValueOf(err); v.Kind() == reflect.Pointer && v.IsNil() {
		return fmt.Sprintf("the error is a nil %T, which is not the same as no error", err), ended
	}
	return fmt.Sprintf("the error is a %T whose Error panics: %s", err, ended.text), ended
}
