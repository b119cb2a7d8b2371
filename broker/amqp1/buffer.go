package amqp1

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/waybill-go/waybill/broker/internal/dial"
)

// bufferedConn is a network connection that collects what is written while an earlier
// write is under way. go-amqp writes each frame by itself and waits for it; with the
// buffer, hundreds of small frames share one system call, and a slow network delays
// nobody until the buffer is full.
type bufferedConn struct {
	net.Conn
	patience time.Duration // a write that finds no room for this long breaks the connection
	flushed  sync.WaitGroup

	// Of the reader alone, and of whoever comes after it.
	header     []byte        // of the protocol, as far as it has come
	answerTime time.Duration // how long the next bytes of the header may take
	deadline   time.Time     // of what is read after it
	stranger   error         // why the other end is none that speaks AMQP

	mu      sync.Mutex
	changed *sync.Cond
	waiting []byte
	room    chan struct{} // closed when there is room again; nil while there is
	err     error
	closed  bool
}

// bufferBytes may wait to be written before Write waits.
const bufferBytes = 256 << 10

func newBufferedConn(conn net.Conn, patience, answerTime time.Duration) *bufferedConn {
	c := &bufferedConn{Conn: conn, patience: patience, answerTime: answerTime}
	c.changed = sync.NewCond(&c.mu)
	c.flushed.Add(1)
	go c.flush()
	return c
}

// protocolHeader begins whatever a peer of AMQP sends.
const protocolHeader = "AMQP"

// Read reads, and fails where the other end begins with anything but AMQP's header. The library
// would wait, or read it as a frame.
func (c *bufferedConn) Read(p []byte) (int, error) {
	if len(c.header) == len(protocolHeader) {
		return c.Conn.Read(p)
	}
	c.Conn.SetReadDeadline(time.Now().Add(c.answerTime))
	n, err := c.Conn.Read(p)
	c.Conn.SetReadDeadline(c.deadline)
	if err != nil && len(c.header)+n < len(protocolHeader) {
		c.stranger = dial.NoAnswer(err, c.answerTime, "AMQP 1.0")
		if said := string(append(c.header, p[:n]...)); said != "" {
			c.stranger = fmt.Errorf("the other end says %.20q and hangs up", said)
		}
		return n, c.stranger
	}
	c.header = append(c.header, p[:min(n, len(protocolHeader)-len(c.header))]...)
	if !strings.HasPrefix(protocolHeader, string(c.header)) {
		c.stranger = fmt.Errorf("the other end says %.20q, which is no AMQP", p[:n])
		return 0, c.stranger
	}
	return n, err
}

// Write takes a copy of p to be written, and waits only while the buffer is full.
func (c *bufferedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.waiting) >= bufferBytes && c.err == nil {
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		timer := time.NewTimer(c.patience)
		select {
		case <-room:
		case <-timer.C:
			c.fail(errors.New("the broker has read nothing for too long"))
		}
		timer.Stop()
		c.mu.Lock()
	}
	if c.err != nil {
		return 0, c.err
	}
	c.waiting = append(c.waiting, p...)
	c.changed.Signal()
	return len(p), nil
}

// flush writes what is waiting until the connection is closed or fails.
func (c *bufferedConn) flush() {
	defer c.flushed.Done()
	var spare []byte
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for len(c.waiting) == 0 && c.err == nil && !c.closed {
			c.changed.Wait()
		}
		if c.err != nil || len(c.waiting) == 0 {
			return
		}
		data := c.waiting
		c.waiting = spare[:0]
		if c.room != nil {
			close(c.room)
			c.room = nil
		}
		c.mu.Unlock()
		_, err := c.Conn.Write(data)
		if spare = data; cap(spare) > 4*bufferBytes {
			spare = nil
		}
		if err != nil {
			c.fail(err)
		}
		c.mu.Lock()
	}
}

// fail breaks the connection.
func (c *bufferedConn) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
	c.changed.Signal()
	c.mu.Unlock()
	c.Conn.Close()
}

// stuck reports whether a write is waiting for room.
func (c *bufferedConn) stuck() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.room != nil
}

// SetDeadline sets the reader's deadline; see SetWriteDeadline.
func (c *bufferedConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline sets the reader's deadline. The library calls it where it reads.
func (c *bufferedConn) SetReadDeadline(t time.Time) error {
	c.deadline = t
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline does nothing: Write does not wait for the network, and patience bounds
// how long it waits for the buffer.
func (c *bufferedConn) SetWriteDeadline(time.Time) error { return nil }

// Close writes what is waiting, for no longer than a second, and closes.
func (c *bufferedConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.changed.Signal()
	c.mu.Unlock()
	_ = c.Conn.SetWriteDeadline(time.Now().Add(time.Second))
	c.flushed.Wait()
	c.fail(net.ErrClosed)
	return nil
}
