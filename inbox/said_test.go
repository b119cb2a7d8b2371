package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// stockError is an error whose methods panic on a nil pointer.
type stockError struct{ article string }

func (e *stockError) Error() string     { return "no stock of " + e.article }
func (e *stockError) SQLState() string  { return e.article }
func (e *stockError) SafeToRetry() bool { return e.article == "" }

// trap is an error with a method that panics.
type trap struct{ method string }

func (e trap) spring(method string) {
	if e.method == method {
		panic("trap")
	}
}

func (e trap) Error() string   { e.spring("Error"); return "a trap" }
func (e trap) Is(error) bool   { e.spring("Is"); return false }
func (e trap) As(any) bool     { e.spring("As"); return false }
func (e trap) Unwrap() []error { e.spring("Unwrap"); return nil }
func (e trap) Code() int       { e.spring("Code"); return 0 }

func TestAnErrorWhoseMethodsPanicIsAFailureAsAnyOther(t *testing.T) {
	retry := waybill.Receipt{Outcome: waybill.Retry, Tries: 1}
	const isNil = "the error is a nil *inbox.stockError, which is not the same as no error"
	for _, c := range []struct {
		name string
		err  func(m *waybill.Message) error
		want waybill.Receipt
		text string // that its producer is told; where fmt has made it, that has taken the panic
	}{
		{"a nil pointer", func(*waybill.Message) error { return (*stockError)(nil) }, retry, isNil},
		{"a nil pointer that is wrapped", func(*waybill.Message) error { return fmt.Errorf("reserve: %w", (*stockError)(nil)) }, retry, "reserve: <nil>"},
		{"a nil pointer that is joined", func(*waybill.Message) error { return errors.Join((*stockError)(nil), errors.New("no")) }, retry, "the error is a *errors.joinError whose Error panics"},
		{"a nil pointer as permanent", func(*waybill.Message) error { return waybill.Permanent((*stockError)(nil)) }, waybill.Receipt{Outcome: waybill.Rejected}, "PermanentError"},
		{"a nil pointer with a time", func(*waybill.Message) error { return waybill.RetryAfter(time.Hour, (*stockError)(nil)) }, waybill.Receipt{Outcome: waybill.Retry, After: time.Hour}, "<nil> (retry after 1h0m0s)"},
		{"a nil pointer about a message", func(m *waybill.Message) error { return Failed(m, (*stockError)(nil)) }, retry, isNil},
		{"a nil permanent", func(*waybill.Message) error { return (*waybill.PermanentError)(nil) }, retry, "a nil *waybill.PermanentError"},
		{"a nil time", func(*waybill.Message) error { return (*waybill.RetryError)(nil) }, retry, "a nil *waybill.RetryError"},
		{"a nil word about a message", func(*waybill.Message) error { return (*FailedError)(nil) }, retry, "a nil *inbox.FailedError"},
		{"Error", func(*waybill.Message) error { return trap{"Error"} }, retry, "the error is a inbox.trap whose Error panics: trap"},
		{"Is", func(*waybill.Message) error { return trap{"Is"} }, retry, "a trap"},
		{"As", func(*waybill.Message) error { return trap{"As"} }, retry, "a trap"},
		{"Unwrap", func(*waybill.Message) error { return trap{"Unwrap"} }, retry, "a trap"},
		{"what a driver's error has", func(*waybill.Message) error { return trap{"Code"} }, retry, "a trap"},
		{"a panic's value", func(*waybill.Message) error { panic(trap{"Error"}) }, retry, "panic: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBatches(t, waybill.Once, Options{Breaker: waybill.Breaker{InARow: 9}}, func(_ context.Context, _ *sql.Tx, of map[string]*waybill.Message) error {
					if m := of["a"]; m != nil {
						return c.err(m)
					}
					return nil
				})
				told := b.handle(t, b.arrived(waybill.Message{Body: []byte("a")}), b.arrived(waybill.Message{Body: []byte("b")}))
				got := told["a"]
				if !strings.Contains(got.Error, c.text) {
					t.Errorf("its producer was told %q, want %q in it", got.Error, c.text)
				}
				if got.Outcome != c.want.Outcome || got.After != c.want.After || got.Tries != c.want.Tries {
					t.Errorf("it was answered %+v, want %+v", got, c.want)
				}
				if told["b"].Outcome != waybill.Done {
					t.Errorf("the other one was answered %+v, want it done", told["b"])
				}
				if got := b.in.Stats().Panics; got == 0 && !strings.Contains(c.text, "<nil>") {
					t.Error("no panic was counted")
				}
			})
		})
	}
}

func TestTheStackOfAnErrorThatPanicsIsInTheLog(t *testing.T) {
	var log lines
	answered(t, &log, func(context.Context, *sql.Tx, *waybill.Message) error { return (*stockError)(nil) }, 1)
	if log.count("(*stockError).Error") == 0 {
		t.Errorf("the log does not say where:\n%.3000s", log.text.String())
	}
}
