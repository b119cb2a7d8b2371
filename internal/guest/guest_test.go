package guest_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/internal/guest"
)

// pointer is an error that is often returned as a nil pointer, by mistake.
type pointer struct{ text string }

func (e *pointer) Error() string { return e.text }

// evil panics with itself.
type evil struct{}

func (e evil) Error() string { panic(e) }

func TestTextNeverPanics(t *testing.T) {
	for _, c := range []struct {
		err      error
		want     string
		panicked bool
	}{
		{errors.New("no order"), "no order", false},
		{&pointer{"no order"}, "no order", false},
		{(*pointer)(nil), "the error is a nil *guest_test.pointer, which is not the same as no error", true},
		{evil{}, "the error is a guest_test.evil whose Error panics: a value of type guest_test.evil, which cannot be shown", true},
	} {
		text, ended := guest.Text(c.err)
		if text != c.want || (ended != nil) != c.panicked {
			t.Errorf("got %q and %v, want %q", text, ended, c.want)
		}
	}
}

func TestTryTakesAPanicWhateverItsValueIs(t *testing.T) {
	for _, c := range []struct {
		value any
		want  string
	}{
		{"oh", "oh"},
		{errors.New("oh"), "oh"},
		{(*pointer)(nil), "<nil>"},
		{evil{}, "a value of type guest_test.evil, which cannot be shown"},
	} {
		ended := guest.Try(func() { panic(c.value) })
		if ended == nil || ended.Error() != c.want || !strings.Contains(string(ended.Stack), "guest_test.go") {
			t.Errorf("got %v, want %q, and where it was", ended, c.want)
		}
	}
	if ended := guest.Try(func() {}); ended != nil {
		t.Errorf("got %v of a call that returns", ended)
	}
}

func TestApartTakesTheEndOfAGoroutineToo(t *testing.T) {
	for _, c := range []struct {
		name, want string
		f          func()
		exited     bool
	}{
		{"a panic", "oh", func() { panic("oh") }, false},
		{"Goexit", "it has ended its goroutine with runtime.Goexit", func() { runtime.Goexit() }, true},
		{"Goexit behind a panic that was recovered", "it has ended its goroutine with runtime.Goexit", func() {
			defer func() {
				_ = recover()
				runtime.Goexit()
			}()
			panic("oh")
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ended := guest.Apart(c.f)
			if ended == nil || !strings.HasPrefix(ended.Error(), c.want) || ended.Exited != c.exited || !strings.Contains(string(ended.Stack), "guest_test.go") {
				t.Errorf("got %+v, want %q, and where it was", ended, c.want)
			}
		})
	}
	if ended := guest.Apart(func() {}); ended != nil {
		t.Errorf("got %v of a call that returns", ended)
	}
}

func BenchmarkApart(b *testing.B) {
	for b.Loop() {
		_ = guest.Apart(func() {})
	}
}
