package demo

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTheBlockIsReplacedAndWhatIsSaidStays(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out, width: func() int { return 11 }}
	s.draw([]string{"one", "two"})
	s.say("stays")
	s.draw([]string{"a line that is too long"})
	s.clear()
	want := "one\ntwo\n" + "\x1b[2A\r\x1b[J" + "stays\n" + "a line tha\x1b[0m\n" + "\x1b[1A\r\x1b[J"
	if out.String() != want {
		t.Errorf("wrote %q, want %q", out.String(), want)
	}
}

func TestNothingIsDrawnInAPipe(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out}
	s.draw([]string{"one"})
	s.say("stays %s", s.style(red, "plain"))
	s.clear()
	if out.String() != "stays plain\n" {
		t.Errorf("wrote %q", out.String())
	}
}

func TestStylesTakeNoColumns(t *testing.T) {
	s := &screen{colour: true}
	line := s.style(green, "●") + "abc" + s.style(bold, "déf")
	if got := cutTo(line, 7); got != line {
		t.Errorf("cut to %q", got)
	}
	if got := cutTo(line, 3); strings.Contains(got, "c") || !strings.Contains(got, "ab") {
		t.Errorf("cut to %q", got)
	}
}

func TestNumbersReadWell(t *testing.T) {
	for got, want := range map[string]string{
		number(0): "0", number(999): "999", number(1000): "1,000", number(-1234567): "-1,234,567",
		money(5): "0.05", money(123456): "1,234.56", money(-250): "-2.50",
		count(1, "message"): "1 message", count(2000, "message"): "2,000 messages",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for done, want := range map[int64]int{0: 0, 50: 5, 100: 10, 120: 10} {
		b := bar(done, 100, 10)
		if strings.Count(b, "█") != want || utf8.RuneCountInString(b) != 10 {
			t.Errorf("bar of %d: %q", done, b)
		}
	}
}
