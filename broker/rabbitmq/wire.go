package rabbitmq

import (
	"bufio"
	"context"
	"net"
	"sync"
	"time"
)

// wire is a network connection whose Write does not wait for the network: a
// goroutine writes what has come together meanwhile.
//
// The client library holds a lock while it writes, and flushes each message by
// itself. A broker that does not read, as RabbitMQ does on purpose when it is short
// of memory, would stop its acknowledgements, heart-beats and, since the goroutine
// of the heart-beats also moves the read deadline, after a while the connection.
type wire struct {
	net.Conn
	reader *bufio.Reader
	done   chan struct{} // closed when the writing goroutine has ended
	wake   chan struct{} // has room for one: there is something to write, or an end

	mu      sync.Mutex
	out     []byte
	pending int           // bytes in out and being written
	drained chan struct{} // closed when pending falls to backlog; nil where nobody waits
	closing bool
	lost    error // why the network connection broke, where it was not closed
}

const (
	// backlog is how many bytes may wait to be written before a publisher waits.
	backlog = 1 << 20
	// goodbye bounds the writing of what is left when a wire is closed.
	goodbye = time.Second
)

func newWire(conn net.Conn) *wire {
	w := &wire{
		Conn: conn, reader: bufio.NewReaderSize(conn, 64<<10),
		done: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	go w.run()
	return w
}

// Read reads from the network; it is for one goroutine.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.reader.Read(p)
	if err != nil {
		w.lose(err)
	}
	return n, err
}

// Write takes a copy of p to be written, and does not wait.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost != nil {
		return 0, w.lost
	}
	if w.closing {
		return 0, net.ErrClosed
	}
	w.out = append(w.out, p...)
	w.pending += len(p)
	w.signal()
	return len(p), nil
}

func (w *wire) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run writes until the wire is closed and all is written, or writing fails.
func (w *wire) run() {
	defer close(w.done)
	defer w.Conn.Close()
	var spare []byte
	for {
		w.mu.Lock()
		data, closing := w.out, w.closing
		w.out = spare[:0]
		w.mu.Unlock()
		if len(data) == 0 {
			spare = data
			if closing {
				return
			}
			<-w.wake
			continue
		}
		_, err := w.Conn.Write(data)
		w.mu.Lock()
		w.pending -= len(data)
		if w.drained != nil && (w.pending <= backlog || err != nil) {
			close(w.drained)
			w.drained = nil
		}
		w.mu.Unlock()
		if err != nil {
			w.lose(err)
			return
		}
		spare = data
		if cap(spare) > 2*backlog {
			spare = nil // a large message has blown it up
		}
	}
}

// room waits until little enough waits to be written, or for as long as there is
// hope: until ctx, stop, halt or the wire end.
func (w *wire) room(ctx context.Context, stop, halt <-chan struct{}) {
	w.mu.Lock()
	if w.pending <= backlog || w.lost != nil || w.closing {
		w.mu.Unlock()
		return
	}
	if w.drained == nil {
		w.drained = make(chan struct{})
	}
	drained := w.drained
	w.mu.Unlock()
	select {
	case <-drained:
	case <-ctx.Done():
	case <-stop:
	case <-halt:
	case <-w.done:
	}
}

// lose notes the first error of the network.
func (w *wire) lose(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost == nil && !w.closing {
		w.lost = err
	}
}

// reason is the network's error, if that is how the wire ended.
func (w *wire) reason() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

// Close ends the connection when what was written before has gone out, or soon. It
// does not wait for that.
func (w *wire) Close() error {
	w.mu.Lock()
	w.closing = true
	w.signal()
	w.mu.Unlock()
	return w.Conn.SetWriteDeadline(time.Now().Add(goodbye))
}

// kill ends the connection at once.
func (w *wire) kill() {
	w.mu.Lock()
	w.closing = true
	w.signal()
	w.mu.Unlock()
	w.Conn.Close()
}
