package stomp

import (
	"context"
	"strconv"
	"strings"

	"github.com/go-stomp/stomp/v3/frame"
)

// waiter waits for the answer to one frame that asked for a receipt.
type waiter struct {
	id     string
	order  uint64
	strays uint64        // socket.strays when it was registered
	parts  map[int]error // answers to single messages of a unit, by position; nil for a RECEIPT
	answer chan answer
}

// answer is what became of a frame that asked for a receipt.
type answer struct {
	err    error // nil for a RECEIPT
	strays bool  // an ERROR came meanwhile, perhaps about something that the receipt stands for
	dead   bool  // the connection ended first
	first  bool  // with dead: this was the oldest frame without an answer, so the broker failed at it
	parts  map[int]error
}

// BrokerError is what a broker says in an ERROR frame.
type BrokerError struct {
	Message string // the header "message", or the beginning of the body
}

// Error returns the broker's words.
func (e *BrokerError) Error() string { return "the broker says: " + e.Message }

// part makes the receipt id of one message of a unit.
func part(id string, n int) string { return id + "-" + strconv.Itoa(n) }

// answered passes a receipt, or with err the ERROR in its place, to whoever waits for it.
func (s *socket) answered(id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.stray = nil
	}
	if w := s.waiters[id]; w != nil {
		delete(s.waiters, id)
		w.answer <- answer{err: err, strays: s.strays != w.strays, parts: w.parts}
		return
	}
	if whole, n, ok := strings.Cut(id, "-"); ok {
		if n, bad := strconv.Atoi(n); bad == nil && s.waiters[whole] != nil {
			w := s.waiters[whole]
			if w.parts == nil {
				w.parts = map[int]error{}
			}
			w.parts[n] = err
			return
		}
	}
	if err != nil { // a RECEIPT that nobody waits for is one that came late
		s.strays++
		if s.stray == nil {
			s.stray = err
		}
	}
}

// expect registers a waiter, before its frame is written.
func (s *socket) expect(id string) *waiter {
	w := &waiter{id: id, answer: make(chan answer, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		w.answer <- answer{err: s.err, dead: true}
		return w
	}
	s.order++
	w.order, w.strays = s.order, s.strays
	s.waiters[id] = w
	return w
}

// wait returns the answer, or an error when ctx ends first.
func (s *socket) wait(ctx context.Context, w *waiter) (answer, error) {
	select {
	case a := <-w.answer:
		return a, nil
	case <-ctx.Done():
	}
	s.forget(w)
	select {
	case a := <-w.answer:
		return a, nil
	default:
		return answer{}, ctx.Err()
	}
}

// forget ends the wait for an answer.
func (s *socket) forget(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiters, w.id)
}

// ask sends one frame and waits for its receipt, or for the ERROR in its place.
func (s *socket) ask(ctx context.Context, f *frame.Frame) error {
	w := s.expect(s.id())
	f.Header.Add(frame.Receipt, w.id)
	b := newBatch()
	b.add(f)
	if err := s.send(ctx, b); err != nil {
		s.forget(w)
		return err
	}
	a, err := s.wait(ctx, w)
	if err != nil {
		return err
	}
	return a.err
}
