package stomp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/go-stomp/stomp/v3/frame"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/stomp"
	"github.com/waybill-go/waybill/internal/test/patience"
)

// fake is a broker that says what a test tells it to.
type fake struct {
	address string
	server  string // its name in CONNECTED
	// answer is called with each frame after CONNECT; what it returns is sent, and
	// nil at the end closes the connection.
	answer func(f *frame.Frame) []*frame.Frame

	mu       sync.Mutex
	connects []string       // CONNECT frames as they came
	frames   []*frame.Frame // all others
}

// hangUp as an answer closes the connection.
var hangUp = &frame.Frame{Command: "hang up"}

func newFake(t *testing.T, server string, answer func(f *frame.Frame) []*frame.Frame) *fake {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fake{address: listener.Addr().String(), server: server, answer: answer}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	return s
}

func (s *fake) serve(c net.Conn) {
	defer c.Close()
	buffered := bufio.NewReader(c)
	connect, err := buffered.ReadString(0)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.connects = append(s.connects, connect)
	s.mu.Unlock()
	fmt.Fprintf(c, "CONNECTED\nversion:1.2\nserver:%s\n\n\x00\n", s.server)
	reader, writer := frame.NewReader(buffered), frame.NewWriter(c)
	for {
		f, err := reader.Read()
		if err != nil {
			return
		}
		if f == nil {
			continue
		}
		s.mu.Lock()
		s.frames = append(s.frames, f)
		s.mu.Unlock()
		for _, f := range s.answer(f) {
			if f == hangUp {
				c.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, c)
				return
			}
			if writer.Write(f) != nil {
				return
			}
		}
	}
}

// receipt answers what asks for a receipt.
func receipt(f *frame.Frame) []*frame.Frame {
	if id, ok := f.Header.Contains(frame.Receipt); ok {
		return []*frame.Frame{frame.New(frame.RECEIPT, frame.ReceiptId, id)}
	}
	return nil
}

// failure is an ERROR, which answers f where f asks for a receipt.
func failure(f *frame.Frame, message string) *frame.Frame {
	e := frame.New(frame.ERROR, frame.Message, message)
	if id, ok := f.Header.Contains(frame.Receipt); ok {
		e.Header.Add(frame.ReceiptId, id)
	}
	return e
}

func batch(bodies ...string) []broker.Message {
	var ms []broker.Message
	for _, body := range bodies {
		ms = append(ms, broker.Message{Destination: "q", Body: []byte(body)})
	}
	return ms
}

// What a broker may say to a batch, and what is known of each message then.
func TestEveryMessageGetsTheFateThatTheBrokerTold(t *testing.T) {
	inTransaction := func(f *frame.Frame) bool {
		_, ok := f.Header.Contains(frame.Transaction)
		return ok
	}
	bad := func(f *frame.Frame) bool { return f.Command == frame.SEND && strings.HasPrefix(string(f.Body), "bad") }
	for name, c := range map[string]struct {
		server    string
		bodies    []string
		transient bool
		answer    func(s *state, f *frame.Frame) []*frame.Frame
		want      []broker.Fate
		ends      bool
	}{
		"Classic fails the commit: one by one": {
			server: "ActiveMQ/5.18.3", bodies: []string{"a", "bad", "c"},
			answer: func(s *state, f *frame.Frame) []*frame.Frame {
				if f.Command == frame.COMMIT || bad(f) && !inTransaction(f) {
					return []*frame.Frame{failure(f, "User x is not authorized to write")}
				}
				return receipt(f)
			},
			want: []broker.Fate{broker.Confirmed, broker.Refused, broker.Confirmed},
		},
		"Classic complains of nobody and commits: not believed": {
			server: "ActiveMQ/5.18.3", bodies: []string{"a", "bad", "c"},
			answer: func(s *state, f *frame.Frame) []*frame.Frame {
				if bad(f) {
					return []*frame.Frame{failure(f, "Unsupported message type 'x'")}
				}
				return receipt(f)
			},
			want: []broker.Fate{broker.Confirmed, broker.Unacceptable, broker.Confirmed},
		},
		"Classic complains of nobody in a transient batch": {
			server: "ActiveMQ/5.18.3", bodies: []string{"a", "bad", "c"}, transient: true,
			answer: func(s *state, f *frame.Frame) []*frame.Frame {
				if bad(f) {
					return []*frame.Frame{failure(f, "Usage Manager Memory Limit reached")}
				}
				return receipt(f)
			},
			want: []broker.Fate{broker.Confirmed, broker.Refused, broker.Confirmed},
		},
		"Classic finds a frame too large and hangs up: the largest": {
			server: "ActiveMQ/5.18.3", bodies: []string{"a", "bad and large", "c"},
			answer: func(s *state, f *frame.Frame) []*frame.Frame {
				if bad(f) {
					return []*frame.Frame{frame.New(frame.ERROR, frame.Message, "The maximum frame size was exceeded"), hangUp}
				}
				return receipt(f)
			},
			want: []broker.Fate{broker.Unknown, broker.Unacceptable, broker.Unknown}, ends: true,
		},
		"Classic stumbles after it may have stored": {
			server: "ActiveMQ/5.18.3", bodies: []string{"bad"},
			answer: func(s *state, f *frame.Frame) []*frame.Frame {
				if bad(f) {
					return []*frame.Frame{failure(f, "Java heap space")}
				}
				return receipt(f)
			},
			want: []broker.Fate{broker.Unknown},
		},
		"Artemis names the message and hangs up": {
			server: "ActiveMQ-Artemis/2.40.0", bodies: []string{"a", "bad", "c", "d"},
			answer: func(s *state, f *frame.Frame) []*frame.Frame {
				switch {
				case s.failed && f.Command == frame.COMMIT:
					return []*frame.Frame{failure(f, "AMQ339013 Error committing"), hangUp}
				case bad(f):
					s.failed = true
					return []*frame.Frame{failure(f, "AMQ339001 Destination does not exist")}
				}
				return receipt(f)
			},
			want: []broker.Fate{broker.Unknown, broker.Refused, broker.Unknown, broker.Unknown}, ends: true,
		},
		"Artemis names the message of a transient batch and hangs up": {
			server: "ActiveMQ-Artemis/2.40.0", bodies: []string{"a", "bad", "c"}, transient: true,
			answer: func(s *state, f *frame.Frame) []*frame.Frame {
				if bad(f) {
					return []*frame.Frame{failure(f, "AMQ229102: Address q is full"), hangUp}
				}
				return receipt(f)
			},
			want: []broker.Fate{broker.Confirmed, broker.Refused, broker.Unknown}, ends: true,
		},
		"hang up without a word": {
			server: "ActiveMQ/5.18.3", bodies: []string{"a", "b"},
			answer: func(s *state, f *frame.Frame) []*frame.Frame { return []*frame.Frame{hangUp} },
			want:   []broker.Fate{broker.Unknown, broker.Unknown}, ends: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &state{}
			server := newFake(t, c.server, func(f *frame.Frame) []*frame.Frame { return c.answer(s, f) })
			conn := dialFake(t, server, nil)
			transport := durable
			if c.transient {
				transport = transient
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience.Limit)
			defer cancel()
			results, err := conn.Publish(ctx, batch(c.bodies...), transport)
			var got []broker.Fate
			for _, r := range results {
				got = append(got, r.Fate)
				if (r.Err == nil) != (r.Fate == broker.Confirmed) {
					t.Errorf("%v with the reason %v", r.Fate, r.Err)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("fates %v, want %v", got, c.want)
			}
			if (err != nil) != c.ends {
				t.Errorf("Publish: %v; the connection ends: %v", err, c.ends)
			}
			if c.ends {
				<-conn.Done()
			}
		})
	}
}

// state is what an answer remembers.
type state struct{ failed bool }

func dialFake(t *testing.T, server *fake, user *url.Userinfo) broker.Conn {
	t.Helper()
	u := url.URL{Scheme: "stomp", Host: server.address, User: user}
	c, err := open(t, u.String(), nil).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func TestReceiptsThatComeLateConfuseNothing(t *testing.T) {
	held := make(chan *frame.Frame, 1)
	server := newFake(t, "ActiveMQ/5.18.3", func(f *frame.Frame) []*frame.Frame {
		if string(f.Body) == "held" {
			held <- f
			return nil
		}
		if string(f.Body) == "next" {
			return append(receipt(<-held), receipt(f)...)
		}
		return receipt(f)
	})
	c := dialFake(t, server, nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		f := <-held
		cancel()
		held <- f
	}()
	results, err := c.Publish(ctx, batch("held"), durable)
	if err != nil || results[0].Fate != broker.Unknown || !errors.Is(results[0].Err, context.Canceled) {
		t.Errorf("%v, %v; want unknown, since the context ended", results, err)
	}
	results, err = c.Publish(t.Context(), batch("next"), durable)
	if err != nil || results[0].Fate != broker.Confirmed {
		t.Errorf("%v, %v; want confirmed", results, err)
	}
}

func TestConnectIsNotEscaped(t *testing.T) {
	server := newFake(t, "ActiveMQ/5.18.3", receipt)
	dialFake(t, server, url.UserPassword("me:too", `p:a\s/s@`))
	server.mu.Lock()
	defer server.mu.Unlock()
	if want := "\nlogin:me:too\npasscode:p:a\\s/s@\n"; !strings.Contains(server.connects[0], want) {
		t.Errorf("CONNECT is %q, want %q in it", server.connects[0], want)
	}
}

func TestHeadersThatClassicCannotReadAreUnacceptable(t *testing.T) {
	for name, c := range map[string]struct {
		server string
		header broker.Header
		many   int
		want   broker.Fate
	}{
		"long, Classic":        {"ActiveMQ/5.18.3", broker.Header{Name: "h", Value: strings.Repeat("x", 10_300)}, 1, broker.Unacceptable},
		"long, Artemis":        {"ActiveMQ-Artemis/2.40.0", broker.Header{Name: "h", Value: strings.Repeat("x", 10_300)}, 1, broker.Confirmed},
		"long when escaped":    {"ActiveMQ/5.18.3", broker.Header{Name: "h", Value: strings.Repeat(":", 6_000)}, 1, broker.Unacceptable},
		"just short enough":    {"ActiveMQ/5.18.3", broker.Header{Name: "h", Value: strings.Repeat("x", 10_200)}, 1, broker.Confirmed},
		"many, Classic":        {"ActiveMQ/5.18.3", broker.Header{Name: "h"}, 1000, broker.Unacceptable},
		"the protocol's own":   {"ActiveMQ/5.18.3", broker.Header{Name: "amq-msg-type", Value: "map"}, 1, broker.Unacceptable},
		"the protocol's other": {"ActiveMQ-Artemis/2.40.0", broker.Header{Name: "transaction", Value: "x"}, 1, broker.Unacceptable},
	} {
		t.Run(name, func(t *testing.T) {
			c2 := dialFake(t, newFake(t, c.server, receipt), nil)
			ms := batch("a", "b", "c")
			for range c.many {
				ms[1].Headers = append(ms[1].Headers, c.header)
			}
			results, err := c2.Publish(t.Context(), ms, durable)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []broker.Fate{broker.Confirmed, c.want, broker.Confirmed} {
				if results[i].Fate != want {
					t.Errorf("message %d is %v: %v; want %v", i, results[i].Fate, results[i].Err, want)
				}
			}
		})
	}
}

func TestASubscriptionThatIsRefusedIsAnError(t *testing.T) {
	server := newFake(t, "ActiveMQ/5.18.3", func(f *frame.Frame) []*frame.Frame {
		if f.Command == frame.SUBSCRIBE {
			return []*frame.Frame{failure(f, "User x is not authorized to read from: queue://q")}
		}
		return receipt(f)
	})
	c := dialFake(t, server, nil)
	_, err := c.Subscribe(t.Context(), broker.Subscription{Destination: "q", Prefetch: 1})
	var said *stomp.BrokerError
	if !errors.As(err, &said) || !strings.Contains(said.Message, "not authorized") {
		t.Errorf("Subscribe: %v; want the broker's words", err)
	}
	if err := c.Err(); err != nil {
		t.Errorf("the connection ended with it: %v", err)
	}
}
