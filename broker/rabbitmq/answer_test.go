package rabbitmq

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-go/waybill/broker"
)

// called is a method of AMQP: its class, and its number there.
type called [2]uint16

var (
	channelOpen  = called{20, 10}
	channelClose = called{20, 40}
	basicQos     = called{60, 10}
	basicConsume = called{60, 20}
	basicCancel  = called{60, 30}
)

// replies is a server that answers calls, and has no messages.
type replies struct {
	mu     sync.Mutex
	deaf   map[called]bool // what it does not answer
	counts map[called]int
}

func (s *replies) ignore(calls ...called) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = map[called]bool{}
	for _, c := range calls {
		s.deaf[c] = true
	}
}

// hears counts a call, and reports whether it is to be answered.
func (s *replies) hears(c called) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[c]++
	return !s.deaf[c]
}

func (s *replies) count(c called) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[c]
}

func (s *replies) serve(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	if _, err := r.Discard(len("AMQP0091")); err != nil {
		return
	}
	say := func(channel uint16, c called, arguments string) error {
		payload := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, c[0]), c[1])
		payload = append(payload, arguments...)
		return writeFrame(conn, 1, channel, payload)
	}
	err := say(0, called{10, 10}, "\x00\x09\x00\x00\x00\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x05en_US")
	for err == nil {
		var head [7]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		payload := make([]byte, binary.BigEndian.Uint32(head[3:]))
		if _, err := io.ReadFull(r, payload); err != nil {
			return
		}
		if _, err := r.Discard(1); err != nil {
			return
		}
		channel := binary.BigEndian.Uint16(head[1:])
		if head[0] != 1 {
			err = writeFrame(conn, 8, 0, nil) // a heart-beat for a heart-beat
			continue
		}
		c := called{binary.BigEndian.Uint16(payload), binary.BigEndian.Uint16(payload[2:])}
		if !s.hears(c) {
			continue
		}
		answer := called{c[0], c[1] + 1}
		switch c {
		case called{10, 11}: // start-ok: tune
			err = say(channel, called{10, 30}, "\x00\x00\x00\x02\x00\x00\x00\x0a")
		case called{10, 31}: // tune-ok
		case called{10, 40}:
			err = say(channel, answer, "\x00")
		case channelOpen:
			err = say(channel, answer, "\x00\x00\x00\x00")
		case basicConsume: // behind a number and the queue there is the tag
			tag := payload[6+1+int(payload[6]):]
			err = say(channel, answer, string(tag[:1+int(tag[0])]))
		case basicCancel:
			tag := payload[4:]
			err = say(channel, answer, string(tag[:1+int(tag[0])]))
		default:
			err = say(channel, answer, "")
		}
	}
}

func writeFrame(w io.Writer, kind byte, channel uint16, payload []byte) error {
	frame := binary.BigEndian.AppendUint16([]byte{kind}, channel)
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(payload)))
	_, err := w.Write(append(append(frame, payload...), 0xce))
	return err
}

// talk opens a connection to the server, and subscribes.
func (s *replies) talk(t *testing.T) (*conn, func() *receiver) {
	t.Helper()
	client, server := net.Pipe()
	go s.serve(server)
	b, err := New("rabbitmq://localhost", &Options{NoDeclare: true})
	if err != nil {
		t.Fatal(err)
	}
	socket := &socket{conn: newBufferedConn(client), stalled: make(chan struct{})}
	if socket.amqp, err = b.login(socket.conn); err != nil {
		t.Fatal(err)
	}
	c := newConn(b)
	c.publisher = socket
	c.watch(socket)
	return c, func() *receiver {
		r, err := c.subscribeOn(t.Context(), socket, broker.Subscription{Destination: "orders", Prefetch: 100})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// As of a quorum queue without a leader.
func TestASubscriptionWhoseResizeIsNotAnsweredEnds(t *testing.T) {
	for name, c := range map[string]struct {
		deaf       []called
		closedByUs bool
	}{
		"the end of the consumer":              {deaf: []called{basicCancel}},
		"the window":                           {deaf: []called{basicQos}},
		"the next consumer":                    {deaf: []called{basicConsume}},
		"anything on the channel":              {deaf: []called{basicCancel, channelClose}},
		"anything, and it is closed meanwhile": {deaf: []called{basicCancel, channelClose}, closedByUs: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &replies{counts: map[called]int{}}
				conn, subscribe := s.talk(t)
				ctx, cancel := context.WithTimeout(t.Context(), 2*answerTime)
				defer cancel()
				r := subscribe()
				s.ignore(c.deaf...)
				r.Resize(5)
				if !c.closedByUs {
					if _, err := r.Receive(ctx, 1); !errors.Is(err, errNoAnswer) {
						t.Errorf("Receive: %v; want that the broker did not answer", err)
					}
				}
				began := time.Now()
				err := r.Close(context.WithoutCancel(ctx))
				if took := time.Since(began); c.closedByUs != (err != nil) || took > answerTime {
					t.Errorf("Close took %v: %v", took, err)
				}
				synctest.Wait()
				if got := s.count(channelClose); !c.closedByUs && got != 1 {
					t.Errorf("the channel was closed %d times, want once: what is not settled has to come again", got)
				}
				s.ignore()
				if err := conn.Err(); err != nil {
					t.Errorf("the connection has ended: %v", err)
				}
				again := subscribe()
				again.Resize(5)
				synctest.Wait()
				if err := again.arrivals.Err(); err != nil {
					t.Errorf("the next subscription: %v", err)
				}
				if err := conn.Close(ctx); err != nil {
					t.Error(fmt.Errorf("close: %w", err))
				}
			})
		})
	}
}
