package demo

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTheBlockIsReplacedAndWhatIsSaidStays(t *testing.T) {
	var out bytes.Buffer
	d := &display{out: &out, width: func() int { return 11 }}
	d.draw([]string{"one", "two"})
	d.say("stays")
	d.draw([]string{"a line that is too long"})
	d.clear()
	want := "one\ntwo\n" + "\x1b[2A\r\x1b[J" + "stays\n" + "a line tha\x1b[0m\n" + "\x1b[1A\r\x1b[J"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestNothingIsDrawnInAPipe(t *testing.T) {
	var out bytes.Buffer
	d := &display{out: &out}
	d.draw([]string{"one"})
	d.say("stays %s", d.style(red, "plain"))
	d.clear()
	if want := "stays plain\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestStylesTakeNoColumns(t *testing.T) {
	d := &display{colour: true}
	line := d.style(green, "●") + "abc" + d.style(bold, "déf")
	if got := cutTo(line, 7); got != line {
		t.Errorf("cut to 7 columns: got %q, want all of %q", got, line)
	}
	if got := cutTo(line, 3); strings.Contains(got, "c") || !strings.Contains(got, "ab") {
		t.Errorf("cut to 3 columns: got %q, want its first three", got)
	}
}

func TestNumbersReadWell(t *testing.T) {
	for want, got := range map[string]string{
		"0.05": money(5), "1,234.56": money(123456), "-2.50": money(-250), "-0.07": money(-7),
		"1 message": count(1, "message"), "2,000 messages": count(2000, "message"),
	} {
		t.Run(want, func(t *testing.T) {
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestABarShowsAShare(t *testing.T) {
	for done, want := range map[int64]int{0: 0, 50: 5, 100: 10, 120: 10} {
		t.Run(fmt.Sprint(done), func(t *testing.T) {
			b := bar(done, 100, 10)
			if got := strings.Count(b, "█"); got != want || utf8.RuneCountInString(b) != 10 {
				t.Errorf("got %q, want %d of 10 columns full", b, want)
			}
		})
	}
}
