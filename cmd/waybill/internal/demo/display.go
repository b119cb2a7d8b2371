package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
)

// display is what a person sees: lines that stay and, on a terminal, a few lines
// below them that are drawn again and again.
type display struct {
	out    io.Writer
	width  func() int // of the terminal; nil where there is none
	colour bool

	mu    sync.Mutex
	drawn int // lines of the block that is on the terminal
}

// live says whether it is on a terminal.
func (d *display) live() bool { return d.width != nil }

// say writes lines that stay.
func (d *display) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.write(d.wipe() + fmt.Sprintf(format, args...) + "\n")
}

// draw replaces the block below what stays.
func (d *display) draw(lines []string) {
	if !d.live() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	b.WriteString(d.wipe())
	width := d.width() - 1
	for _, line := range lines {
		b.WriteString(cutTo(line, width))
		b.WriteString("\n")
	}
	d.write(b.String())
	d.drawn = len(lines)
}

// clear takes the block away.
func (d *display) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.write(d.wipe())
}

// wipe is what takes the block from the terminal. mu is held.
func (d *display) wipe() string {
	if d.drawn == 0 {
		return ""
	}
	up := fmt.Sprintf("\x1b[%dA\r\x1b[J", d.drawn)
	d.drawn = 0
	return up
}

// write writes; a terminal that is gone is no reason to end the demo.
func (d *display) write(text string) { _, _ = io.WriteString(d.out, text) }

// The styles of a terminal.
const (
	bold  = "1"
	dim   = "2"
	red   = "1;31"
	green = "1;32"
)

// style gives a text a style where the terminal has colours.
func (d *display) style(style, text string) string {
	if !d.colour {
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

// money writes an amount of cents.
func money(cents int64) string {
	sign := ""
	if cents < 0 {
		sign, cents = "-", -cents
	}
	return fmt.Sprintf("%s%s.%02d", sign, terminal.Number(cents/100), cents%100)
}

// count writes a number with its noun, in the plural unless it is one.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return terminal.Number(n) + " " + noun + "s"
}

// bar draws a share of a whole.
func bar(done, all int64, width int) string {
	full := int(int64(width) * min(done, all) / max(all, 1))
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}
