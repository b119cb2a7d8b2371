package stomp

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-stomp/stomp/v3/frame"
)

// frameReader reads frames. It takes whatever a broker makes of what others have sent: a
// header that is no header, such as what ActiveMQ Classic writes for the name of a property of
// AMQP with a line break in it, must not break the connection, since the message would come
// again with the next one. That is why it is not go-stomp's.
type frameReader struct{ buffered *bufio.Reader }

// newFrameReader returns a reader with a buffer of this size in bytes, 16 at least.
func newFrameReader(r io.Reader, size int) *frameReader {
	return &frameReader{bufio.NewReaderSize(r, size)}
}

// commands are what a broker says.
var commands = []string{frame.MESSAGE, frame.RECEIPT, frame.ERROR, frame.CONNECTED}

// read returns the next frame, or nil for a heart-beat.
func (r *frameReader) read() (*frame.Frame, error) {
	line, err := r.line()
	if err != nil {
		return nil, err
	}
	if len(line) == 0 {
		return nil, nil
	}
	f := frame.New(string(line))
	if !slices.Contains(commands, f.Command) {
		return nil, fmt.Errorf("the other end says %.20q, which is no STOMP", line)
	}
	lengths, err := r.headers(f)
	if err != nil {
		return nil, err
	}
	f.Body, err = r.body(lengths)
	return f, err
}

// line reads up to the end of a line.
func (r *frameReader) line() ([]byte, error) {
	line, err := r.buffered.ReadBytes('\n')
	if err != nil {
		if len(line) > 0 && err == io.EOF {
			return nil, fmt.Errorf("the other end says %.20q and hangs up", line)
		}
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

// headers reads a frame's headers, and returns the lengths that they give the body.
func (r *frameReader) headers(f *frame.Frame) (lengths []int, err error) {
	for {
		line, err := r.line()
		if err != nil || len(line) == 0 {
			return lengths, err
		}
		name, value, _ := strings.Cut(string(line), ":")
		name, value = unescaped(name), unescaped(value)
		if name == "" {
			continue
		}
		if name == frame.ContentLength {
			if n, err := strconv.Atoi(value); err == nil && n >= 0 {
				lengths = append(lengths, n)
			}
		}
		f.Header.Add(name, value)
	}
}

var unescape = strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\c`, ":", `\\`, `\`)

// unescaped undoes STOMP's escapes. Others are left as they are.
func unescaped(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	return unescape.Replace(s)
}

// body reads a body and the zero byte behind it. Where there are several lengths, the first
// that has a zero byte behind it is the one.
func (r *frameReader) body(lengths []int) ([]byte, error) {
	if len(lengths) == 0 {
		body, err := r.buffered.ReadBytes(0)
		if err != nil {
			return nil, err
		}
		return body[:len(body)-1], nil
	}
	slices.Sort(lengths)
	body := make([]byte, 0, min(lengths[0], 1<<20)) // nobody's word is worth more memory than that
	for _, length := range lengths {
		var err error
		if body, err = r.more(body, length); err != nil {
			return nil, err
		}
		end, err := r.buffered.ReadByte()
		if err != nil {
			return nil, err
		}
		if end == 0 {
			return body, nil
		}
		if err := r.buffered.UnreadByte(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("a body does not end after its %d bytes", len(body))
}

// more reads until body has length bytes.
func (r *frameReader) more(body []byte, length int) ([]byte, error) {
	for len(body) < length {
		if len(body) == cap(body) {
			body = slices.Grow(body, min(length-len(body), max(len(body), 512)))
		}
		n, err := r.buffered.Read(body[len(body):min(cap(body), length)])
		if err != nil {
			return nil, err
		}
		body = body[:len(body)+n]
	}
	return body, nil
}
