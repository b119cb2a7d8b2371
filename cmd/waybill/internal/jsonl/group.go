package jsonl

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// MaxLine is the greatest length of a line, in bytes.
const MaxLine = 16 << 20

// Limits of a group: what one transaction should carry.
const (
	groupLines = 500
	groupBytes = 4 << 20
	// groupPause is how long to wait for more lines before a group is complete, so
	// that what a slow program writes is not held back until there is more.
	groupPause = 50 * time.Millisecond
)

// Error is what is wrong with a line.
type Error struct {
	Line int // from 1
	Err  error
}

// Error names the line and what is wrong with it.
func (e *Error) Error() string { return fmt.Sprintf("line %d %v", e.Line, e.Err) }

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// Group is some messages from lines that follow each other.
type Group struct {
	Messages []waybill.Message
	Lines    []int // the number of each message's line
}

// First is the number of the group's first line.
func (g *Group) First() int { return g.Lines[0] }

// Last is the number of the group's last line.
func (g *Group) Last() int { return g.Lines[len(g.Lines)-1] }

// Reader reads messages from lines in groups of bounded size.
type Reader struct {
	base  waybill.Message
	items chan item
	ahead *item // that the last group had no place for, or the end
}

// item is a line that was read.
type item struct {
	message waybill.Message
	line    int
	err     error // of this line; io.EOF at the end
}

// NewReader reads from in until it ends, fails or ctx ends. base gives what lines
// leave out; see Decode. Empty lines are passed over.
func NewReader(ctx context.Context, in io.Reader, base waybill.Message) *Reader {
	r := &Reader{base: base, items: make(chan item, groupLines)}
	go r.read(ctx, in)
	return r
}

// read parses lines ahead of Next. A read that blocks, as at a terminal, outlives
// ctx: the process's end ends it.
func (r *Reader) read(ctx context.Context, in io.Reader) {
	buffered := bufio.NewReaderSize(in, 64<<10)
	for number := 1; ; number++ {
		text, err := readLine(buffered)
		if err == nil || errors.Is(err, io.EOF) && len(text) > 0 {
			if len(bytes.TrimSpace(text)) == 0 {
				continue
			}
			err = nil
		}
		x := item{line: number, err: err}
		if err == nil {
			x.message, x.err = Decode(text, r.base)
		}
		select {
		case r.items <- x:
		case <-ctx.Done():
			return
		}
		if x.err != nil {
			return
		}
	}
}

// readLine reads up to and with the next line's end. It returns what is left with
// io.EOF where the last line has none.
func readLine(in *bufio.Reader) ([]byte, error) {
	var text []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(text)+len(part) > MaxLine {
			return nil, fmt.Errorf("is longer than %d bytes", MaxLine)
		}
		text = append(text, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err == nil || errors.Is(err, io.EOF):
			return text, err
		default:
			return nil, fmt.Errorf("cannot be read: %w", err)
		}
	}
}

// Next returns the next group; io.EOF once there is none. A line that is wrong is an
// *Error and takes the lines of its group before it along: a group is whole or not
// there. After an error there is nothing more to read.
func (r *Reader) Next(ctx context.Context) (*Group, error) {
	g := &Group{}
	size := 0
	var pause <-chan time.Time
	for {
		var x item
		if r.ahead != nil {
			x, r.ahead = *r.ahead, nil
		} else {
			select {
			case x = <-r.items:
			case <-pause:
				return g, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if x.err != nil {
			if !errors.Is(x.err, io.EOF) {
				return nil, &Error{Line: x.line, Err: x.err}
			}
			r.ahead = &x
			if len(g.Lines) > 0 {
				return g, nil
			}
			return nil, io.EOF
		}
		if len(g.Lines) > 0 && size+len(x.message.Body) > groupBytes {
			r.ahead = &x
			return g, nil
		}
		g.Messages, g.Lines = append(g.Messages, x.message), append(g.Lines, x.line)
		if size += len(x.message.Body); len(g.Lines) == groupLines {
			return g, nil
		}
		if len(r.items) == 0 {
			pause = time.After(groupPause)
		}
	}
}
