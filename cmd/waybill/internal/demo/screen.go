package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"
)

// screen is what a person sees: lines that stay and, on a terminal, a few lines
// below them that are drawn again and again.
type screen struct {
	out    io.Writer
	width  func() int // of the terminal; nil where there is none
	colour bool

	mu    sync.Mutex
	drawn int // lines of the block that is on the terminal
}

// live says whether the screen is a terminal.
func (s *screen) live() bool { return s.width != nil }

// say writes lines that stay.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(s.wipe() + fmt.Sprintf(format, args...) + "\n")
}

// draw replaces the block below what stays.
func (s *screen) draw(lines []string) {
	if !s.live() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	b.WriteString(s.wipe())
	width := s.width() - 1
	for _, line := range lines {
		b.WriteString(cutTo(line, width))
		b.WriteString("\n")
	}
	s.write(b.String())
	s.drawn = len(lines)
}

// clear takes the block away.
func (s *screen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(s.wipe())
}

// wipe is what takes the block from the terminal. mu is held.
func (s *screen) wipe() string {
	if s.drawn == 0 {
		return ""
	}
	up := fmt.Sprintf("\x1b[%dA\r\x1b[J", s.drawn)
	s.drawn = 0
	return up
}

// write writes; a terminal that is gone is no reason to end the demo.
func (s *screen) write(text string) { _, _ = io.WriteString(s.out, text) }

// The styles of a terminal.
const (
	bold  = "1"
	dim   = "2"
	red   = "1;31"
	green = "1;32"
)

// style marks a text where the screen has colours.
func (s *screen) style(style, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// cutTo cuts a line to a number of columns, so that it does not wrap. Marks of
// style take no column.
func cutTo(line string, width int) string {
	columns := 0
	for i := 0; i < len(line); {
		if line[i] == '\x1b' {
			if end := strings.IndexByte(line[i:], 'm'); end > 0 {
				i += end + 1
				continue
			}
		}
		if columns == width {
			return line[:i] + "\x1b[0m"
		}
		_, size := utf8.DecodeRuneInString(line[i:])
		i += size
		columns++
	}
	return line
}

// number writes a number with commas between thousands.
func number(n int64) string {
	digits := fmt.Sprint(n)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// money writes an amount of cents.
func money(cents int64) string {
	sign := ""
	if cents < 0 {
		sign, cents = "-", -cents
	}
	return fmt.Sprintf("%s%s.%02d", sign, number(cents/100), cents%100)
}

// count writes a number with its noun, in the plural unless it is one.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return number(n) + " " + noun + "s"
}

// bar draws a share of a whole.
func bar(done, all int64, width int) string {
	full := int(int64(width) * min(done, all) / max(all, 1))
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}
