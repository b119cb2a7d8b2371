package stomp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"github.com/waybill-go/waybill/broker"
)

// socket is one network connection after its handshake. A goroutine reads and
// another writes, so that neither direction can hold up the other.
type socket struct {
	conn    net.Conn
	kind    Kind
	message func(*frame.Frame) // takes a MESSAGE; called by the reader, must not block
	ended   func(error)        // told once, when the socket ends
	redact  func(string) string

	writeEvery time.Duration // a sign of life is due when nothing was written for so long; 0: never
	readWithin time.Duration // the broker is gone when nothing arrives for so long; 0: never
	out        chan *batch
	done       chan struct{}
	running    sync.WaitGroup
	ids        atomic.Uint64

	mu      sync.Mutex
	err     error
	closing bool // by its owner: whatever ends it now is ErrClosed
	waiters map[string]*waiter
	order   uint64 // of the waiters
	strays  uint64 // ERROR frames that answered no frame of ours
	stray   error  // the first of them since the last receipt
}

func (s *socket) start() {
	s.running.Add(2)
	go s.read()
	go s.write()
}

// id returns a number for a receipt or transaction, unique on this socket.
func (s *socket) id() string { return strconv.FormatUint(s.ids.Add(1), 36) }

// fail ends the socket, once, for the reason err.
func (s *socket) fail(err error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	switch {
	case s.closing:
		err = broker.ErrClosed
	case s.stray != nil:
		err = s.stray // a broker says why and hangs up
	}
	s.err = err
	var oldest *waiter
	for _, w := range s.waiters {
		if oldest == nil || w.order < oldest.order {
			oldest = w
		}
	}
	for _, w := range s.waiters {
		w.answer <- answer{err: err, dead: true, first: w == oldest, parts: w.parts}
	}
	clear(s.waiters)
	close(s.done)
	s.mu.Unlock()
	s.conn.Close()
	s.ended(err)
}

func (s *socket) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// read takes frames to where they belong until the connection ends.
func (s *socket) read() {
	defer s.running.Done()
	reader := frame.NewReaderSize(deadlineReader{s.conn, s.readWithin}, 64<<10)
	for {
		f, err := reader.Read()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				err = fmt.Errorf("nothing came from the broker for %v: %w", s.readWithin, err)
			}
			s.fail(fmt.Errorf("stomp: read: %w", err))
			return
		}
		if f == nil {
			continue // a sign of life
		}
		switch f.Command {
		case frame.MESSAGE:
			if s.message != nil {
				s.message(f)
			}
		case frame.RECEIPT:
			s.answered(f.Header.Get(frame.ReceiptId), nil)
		case frame.ERROR:
			s.answered(f.Header.Get(frame.ReceiptId), s.brokerError(f))
		}
	}
}

// brokerError reads an ERROR frame.
func (s *socket) brokerError(f *frame.Frame) error {
	text := f.Header.Get(frame.Message)
	if text == "" {
		text = string(f.Body[:min(len(f.Body), 200)])
	}
	return fmt.Errorf("stomp: %w", &BrokerError{Message: s.redact(text)})
}

// send hands a batch of frames to the writer. It waits while the broker does not
// read, no longer than ctx allows; an error means that nothing was written.
func (s *socket) send(ctx context.Context, b *batch) error {
	select {
	case <-s.done:
		return s.failure()
	default:
	}
	select {
	case s.out <- b:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return s.failure()
	}
}

// write writes batches as they come, and signs of life between them. A broker that
// does not read holds it up for as long as the broker itself lives: whether it
// does is the reader's business, which closes the connection under the writer.
func (s *socket) write() {
	defer s.running.Done()
	var beat <-chan time.Time
	if s.writeEvery > 0 {
		ticker := time.NewTicker(s.writeEvery)
		defer ticker.Stop()
		beat = ticker.C
	}
	idle := false // nothing was written since the last beat
	for {
		var data []byte
		var b *batch
		select {
		case b = <-s.out:
			data, idle = b.bytes(), false
		case <-beat:
			if !idle {
				idle = true
				continue
			}
			data = []byte{'\n'}
		case <-s.done:
			return
		}
		_, err := s.conn.Write(data)
		if b != nil {
			b.release()
		}
		if err != nil {
			s.fail(fmt.Errorf("stomp: write: %w", err))
			return
		}
	}
}

// close says goodbye and ends the socket. The broker's answers mean that it has
// read all that was written before, acknowledgements among it, and has taken back
// what was not settled: on DISCONNECT alone brokers do so later than they answer. A
// durable subscription stays, since UNSUBSCRIBE does not name it.
func (s *socket) close(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	polite, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if s.message != nil {
		_ = s.ask(polite, frame.New(frame.UNSUBSCRIBE, frame.Id, subscriptionID))
	}
	_ = s.ask(polite, frame.New(frame.DISCONNECT))
	s.fail(broker.ErrClosed)
}

// deadlineReader gives up when a read takes longer than it may.
type deadlineReader struct {
	conn   net.Conn
	within time.Duration
}

func (r deadlineReader) Read(p []byte) (int, error) {
	if r.within > 0 {
		if err := r.conn.SetReadDeadline(time.Now().Add(r.within)); err != nil {
			return 0, err
		}
	}
	return r.conn.Read(p)
}
