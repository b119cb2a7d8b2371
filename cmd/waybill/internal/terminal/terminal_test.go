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
		var out bytes.Buffer
		got, err := terminal.Confirm(strings.NewReader(answer), &out, "Sure?")
		if err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", answer, got, err, want)
		}
		if out.String() != "Sure? [y/N] " {
			t.Errorf("asked %q", out.String())
		}
	}
	if _, err := terminal.Confirm(strings.NewReader(""), &bytes.Buffer{}, "Sure?"); !errors.Is(err, terminal.ErrNoAnswer) {
		t.Errorf("an input that has ended: %v", err)
	}
}

func TestPrintableWritesControlCharactersOut(t *testing.T) {
	for text, want := range map[string]string{
		"plain\n\ttext äß": "plain\n\ttext äß",
		"a\x1b[31mb\x07":   `a\x1b[31mb\x07`,
		"\u009b2J":         `\x9b2J`,
		"a\rb":             `a\x0db`,
	} {
		if got := terminal.Printable(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestProgressIsSilentInAPipe(t *testing.T) {
	var out bytes.Buffer
	p := terminal.NewProgress(&out)
	p.Update("%d", 1)
	p.Clear()
	if out.Len() > 0 {
		t.Errorf("wrote %q", out.String())
	}
}
