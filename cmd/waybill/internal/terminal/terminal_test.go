package terminal_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
)

func TestConfirmTakesOnlyAYesForAYes(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "Yes\n": true, "yes": true, "n\n": false, "\n": false, "yess\n": false} {
		t.Run(answer, func(t *testing.T) {
			var out bytes.Buffer
			got, err := terminal.Confirm(strings.NewReader(answer), &out, "Sure?")
			if err != nil || got != want {
				t.Errorf("got %v, %v; want %v", got, err, want)
			}
			if question := "Sure? [y/N] "; out.String() != question {
				t.Errorf("got the question %q, want %q", out.String(), question)
			}
		})
	}
}

func TestConfirmNeedsAnAnswer(t *testing.T) {
	if _, err := terminal.Confirm(strings.NewReader(""), &bytes.Buffer{}, "Sure?"); !errors.Is(err, terminal.ErrNoAnswer) {
		t.Errorf("got %v, want ErrNoAnswer", err)
	}
}

func TestPrintableWritesControlCharactersOut(t *testing.T) {
	for text, want := range map[string]string{
		"plain\n\ttext äß": "plain\n\ttext äß",
		"a\x1b[31mb\x07":   `a\x1b[31mb\x07`,
		"\u009b2J":         `\x9b2J`,
		"a\rb":             `a\x0db`,
	} {
		t.Run(want, func(t *testing.T) {
			if got := terminal.Printable(text); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestProgressIsSilentInAPipe(t *testing.T) {
	var out bytes.Buffer
	p := terminal.NewProgress(&out)
	p.Update("%d", 1)
	p.Clear()
	if out.Len() > 0 {
		t.Errorf("got %q, want nothing", out.String())
	}
}
