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
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

// socket is one network connection after its handshake. One goroutine reads and another
// writes, so that neither direction can hold up the other.
//
// Of go-stomp, only frames and what writes them are used, and not its connection. That one reads
// and writes in one loop, which deadlocks when a subscriber acknowledges while its own
// channel is full; it bounds the wait for a commit's receipt by the heart-beat, flushes
// each frame by itself, and escapes the password in CONNECT, which STOMP forbids.
type socket struct {
	conn    net.Conn
	kind    jmsbroker.Kind
	message func(*frame.Frame)  // takes a MESSAGE; called by the reader, must not block
	ended   func(error)         // called once, when the socket ends
	redact  func(string) string // removes the password from the broker's words

	writeEvery time.Duration // a heart-beat is due when nothing was written for this long; 0: never
	readWithin time.Duration // the broker is gone when nothing arrives for this long; 0: never
	out        chan *batch
	done       chan struct{}
	running    sync.WaitGroup
	ids        atomic.Uint64
	subscribed atomic.Value // a string: the id of the subscription, where there is one

	mu      sync.Mutex
	err     error
	closing bool               // close has been called: whatever ends the socket now is ErrClosed
	waiters map[string]*waiter // by the receipt's id
	order   uint64             // of the last waiter
	strays  uint64             // ERROR frames that answered no frame of ours, so far
	stray   error              // the first of them since the last receipt
}

// start starts the reader and the writer.
func (s *socket) start() {
	s.running.Add(2)
	go s.read()
	go s.write()
}

// run runs f in a goroutine that running waits for, unless the socket has ended.
func (s *socket) run(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil { // so the reader runs
		s.running.Go(f)
	}
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
		err = s.stray // the broker said why before it hung up
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

// failure is why the socket has ended, or nil.
func (s *socket) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// read passes frames on to whom they are for, until the connection ends.
func (s *socket) read() {
	defer s.running.Done()
	reader := newFrameReader(deadlineReader{s.conn, s.readWithin}, 64<<10)
	for {
		f, err := reader.read()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				err = fmt.Errorf("nothing came from the broker for %v: %w", s.readWithin, err)
			}
			s.fail(fmt.Errorf("stomp: read: %w", err))
			return
		}
		if f == nil {
			continue // a heart-beat
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

// send hands a batch of frames to the writer. It waits while the broker does not read,
// for no longer than ctx allows; an error means that nothing of the batch was written.
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

// write writes batches as they come, and heart-beats between them. A broker that does not
// read holds it up without limit: it is the reader that notices when the broker is gone,
// and closes the connection.
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

// close asks the broker to end the connection, waits for its answers for no longer than
// ctx allows and 5 s, and ends the socket. The answers mean that the broker has read all
// that was written before, such as acknowledgements, and has taken back what was not
// settled, which on DISCONNECT alone brokers do after they have answered. A durable
// subscription stays, since UNSUBSCRIBE does not name it.
func (s *socket) close(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	polite, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if id, _ := s.subscribed.Load().(string); id != "" {
		_ = s.ask(polite, frame.New(frame.UNSUBSCRIBE, frame.Id, id))
	}
	_ = s.ask(polite, frame.New(frame.DISCONNECT))
	s.fail(broker.ErrClosed)
}

// deadlineReader is an io.Reader of a connection whose reads end with a time-out.
type deadlineReader struct {
	conn  net.Conn
	limit time.Duration // 0 for none
}

func (r deadlineReader) Read(p []byte) (int, error) {
	if r.limit > 0 {
		if err := r.conn.SetReadDeadline(time.Now().Add(r.limit)); err != nil {
			return 0, err
		}
	}
	return r.conn.Read(p)
}
