// Package terminal is what commands do for a person: Progress and Confirm at a terminal,
// which Is recognizes, and values in a form that reads well (format.go).
package terminal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
)

// Is reports whether stream, such as os.Stdout, is a terminal.
func Is(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && (isatty.IsTerminal(file.Fd()) || isatty.IsCygwinTerminal(file.Fd()))
}

// Progress shows how far long work has come, in one line that it overwrites. It is
// safe for concurrent use. On what is no terminal it shows nothing.
type Progress struct {
	mu    sync.Mutex
	w     io.Writer
	shown time.Time
	any   bool
}

// progressEvery is the least time between two updates.
const progressEvery = 200 * time.Millisecond

// NewProgress shows progress on stream where that is a terminal.
func NewProgress(stream io.Writer) *Progress {
	if !Is(stream) {
		return &Progress{}
	}
	return &Progress{w: stream}
}

// Update shows a text in place of the last one, unless that has been there for less than
// a fifth of a second.
func (p *Progress) Update(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.w == nil || now.Sub(p.shown) < progressEvery {
		return
	}
	p.shown, p.any = now, true
	fmt.Fprintf(p.w, "\r\x1b[K"+format, args...)
}

// Clear takes the text away.
func (p *Progress) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.any {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.any = false
	}
}

// ErrNoAnswer says that the input ended where an answer was asked for.
var ErrNoAnswer = errors.New("no answer")

// Confirm asks a question and reports whether the answer is yes. Anything but
// "y" or "yes" is no.
func Confirm(in io.Reader, out io.Writer, question string) (bool, error) {
	fmt.Fprintf(out, "%s [y/N] ", question)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && (answer == "" || !errors.Is(err, io.EOF)) {
		fmt.Fprintln(out)
		return false, ErrNoAnswer
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

// Printable returns text as it may be shown on a terminal: control characters other
// than a line's end and a tab, which could drive the terminal, are written out.
func Printable(text string) string {
	clean := func(r rune) bool { return r == '\n' || r == '\t' || r >= 0x20 && r != 0x7f && (r < 0x80 || r > 0x9f) }
	if strings.IndexFunc(text, func(r rune) bool { return !clean(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if clean(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x%02x`, r)
		}
	}
	return b.String()
}
