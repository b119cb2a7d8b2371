package rabbitmq

import (
	"bufio"
	"context"
	"net"
	"sync"
	"time"
)

// bufferedConn is a network connection whose Write does not wait for the network: a
// goroutine writes what has been collected meanwhile.
//
// The client library holds a lock while it writes, and flushes each message by itself. A
// broker that does not read, and RabbitMQ does that on purpose when it is short of memory,
// would stop acknowledgements and heart-beats. The goroutine of the heart-beats also moves
// the read deadline, so after a while the connection would end.
type bufferedConn struct {
	net.Conn
	reader *bufio.Reader
	done   chan struct{} // closed when the writing goroutine has ended
	wake   chan struct{} // has room for one: there is something to write, or the end

	mu      sync.Mutex
	out     []byte
	pending int           // bytes in out and being written
	drained chan struct{} // closed when pending falls to bufferBytes; nil where nobody waits
	closing bool
	broken  error // why the network connection broke; nil where it was closed
}

const (
	// bufferBytes may wait to be written before a publisher waits.
	bufferBytes = 1 << 20
	// closeTimeout bounds the writing of what is left when a connection is closed.
	closeTimeout = time.Second
)

func newBufferedConn(conn net.Conn) *bufferedConn {
	c := &bufferedConn{
		Conn: conn, reader: bufio.NewReaderSize(conn, 64<<10),
		done: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	go c.run()
	return c
}

// Read reads from the network; it is for one goroutine.
func (c *bufferedConn) Read(p []byte) (int, error) {
	n, err := c.reader.Read(p)
	if err != nil {
		c.noteBroken(err)
	}
	return n, err
}

// Write takes a copy of p to be written, and does not wait.
func (c *bufferedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return 0, c.broken
	}
	if c.closing {
		return 0, net.ErrClosed
	}
	c.out = append(c.out, p...)
	c.pending += len(p)
	c.signal()
	return len(p), nil
}

// signal wakes run.
func (c *bufferedConn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run writes until the connection is closed and all is written, or until writing fails.
func (c *bufferedConn) run() {
	defer close(c.done)
	defer c.Conn.Close()
	var spare []byte
	for {
		c.mu.Lock()
		data, closing := c.out, c.closing
		c.out = spare[:0]
		c.mu.Unlock()
		if len(data) == 0 {
			spare = data
			if closing {
				return
			}
			<-c.wake
			continue
		}
		_, err := c.Conn.Write(data)
		c.mu.Lock()
		c.pending -= len(data)
		if c.drained != nil && (c.pending <= bufferBytes || err != nil) {
			close(c.drained)
			c.drained = nil
		}
		c.mu.Unlock()
		if err != nil {
			c.noteBroken(err)
			return
		}
		spare = data
		if cap(spare) > 2*bufferBytes {
			spare = nil // a large message has made it grow
		}
	}
}

// room waits while more than bufferBytes wait to be written, until ctx or the connection
// ends, or stop or halt is closed.
func (c *bufferedConn) room(ctx context.Context, stop, halt <-chan struct{}) {
	c.mu.Lock()
	if c.pending <= bufferBytes || c.broken != nil || c.closing {
		c.mu.Unlock()
		return
	}
	if c.drained == nil {
		c.drained = make(chan struct{})
	}
	drained := c.drained
	c.mu.Unlock()
	select {
	case <-drained:
	case <-ctx.Done():
	case <-stop:
	case <-halt:
	case <-c.done:
	}
}

// noteBroken notes the first error of the network.
func (c *bufferedConn) noteBroken(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken == nil && !c.closing {
		c.broken = err
	}
}

// reason is the network's error, where that has ended the connection.
func (c *bufferedConn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// Close ends the connection when all is written, or after closeTimeout. It does not wait
// for that.
func (c *bufferedConn) Close() error {
	c.mu.Lock()
	c.closing = true
	c.signal()
	c.mu.Unlock()
	return c.Conn.SetWriteDeadline(time.Now().Add(closeTimeout))
}

// kill ends the connection at once.
func (c *bufferedConn) kill() {
	c.mu.Lock()
	c.closing = true
	c.signal()
	c.mu.Unlock()
	c.Conn.Close()
}
