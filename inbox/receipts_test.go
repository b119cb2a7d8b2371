package inbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/publish"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store/sqlite"
)

// sender is an inbox that does nothing but send receipts.
type sender struct {
	*Inbox
	t   *testing.T
	log lines
}

func newSender(t *testing.T, b broker.Broker) *sender {
	s := &sender{t: t}
	s.Inbox = newInbox(t, sqlite.Dialect(), b, &Options{Consumer: "test", Logger: slog.New(slog.NewTextHandler(&s.log, nil))})
	return s
}

// through sends receipts through a connection for as long as during takes.
func (s *sender) through(conn broker.Conn, during func()) {
	s.t.Helper()
	ctx, stop := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.receipts.send(ctx, conn)
	}()
	during()
	synctest.Wait()
	stop()
	<-done
}

func (s *sender) add(queue string, n int) {
	all := make([]waybill.Receipt, n)
	for i := range all {
		all[i] = waybill.Receipt{ID: waybill.NewID(), Outcome: waybill.Done}
	}
	s.receipts.add(queue, all)
}

func (s *sender) waiting() int {
	s.receipts.mu.Lock()
	defer s.receipts.mu.Unlock()
	return s.receipts.total.count
}

// told returns the receipts that a queue holds, and how many messages they came in.
func told(t *testing.T, b *memory.Broker, queue string) (receipts []waybill.Receipt, messages int) {
	t.Helper()
	messages = b.Depth(queue)
	receiver, err := connect(t, b).Subscribe(t.Context(), broker.Subscription{Destination: queue, Prefetch: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	for seen := 0; seen < messages; {
		deliveries, err := receiver.Receive(t.Context(), 10_000)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(deliveries)
		for i := range deliveries {
			_, some, bad, err := wire.DecodeReceipts(&deliveries[i].Message)
			if err != nil || bad > 0 {
				t.Fatal(err)
			}
			receipts = append(receipts, some...)
		}
	}
	return receipts, messages
}

func TestReceiptsThatTheBrokerDoesNotTakeStayAndOneLineSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		s := newSender(t, b)
		b.Declare("ack.shop")
		blocked := connect(t, b)
		b.Hold()
		s.add("ack.shop", 1)
		s.through(blocked, func() { time.Sleep(3*publish.Timeout + publish.Timeout/2) })
		if got := s.waiting(); got != 1 {
			t.Errorf("got %d receipts left, want 1", got)
		}
		if n := s.log.count("out of disk or memory"); n != 1 {
			t.Errorf("got %d lines on it, want 1:\n%s", n, s.log.text.String())
		}
		b.Release()
		s.through(connect(t, b), func() { time.Sleep(mostQueueDelay) })
		if got := s.waiting(); got != 0 || b.Depth("ack.shop") != 1 {
			t.Errorf("got %d receipts left, and %d with a broker that takes them; want 0 and 1", got, b.Depth("ack.shop"))
		}
	})
}

func TestReceiptsThatTheBrokerRefusesAreLostAndOneLineSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		s := newSender(t, b)
		b.Declare("ack.shop")
		conn := connect(t, b)
		for range 2 { // it is told again, once receipts have been taken
			s.log.text.Reset()
			b.SetFaults(memory.Fault{Refuse: 1})
			for range 3 {
				s.add("ack.shop", 1)
				s.through(conn, func() {})
			}
			if n := s.log.count("next copies bring new ones"); n != 1 || s.waiting() != 0 || s.log.count("queue=ack.shop") != 1 {
				t.Errorf("got %d lines that name the queue and %d receipts left, want 1 and 0:\n%s", n, s.waiting(), s.log.text.String())
			}
			b.SetFaults()
			s.add("ack.shop", 1)
			s.through(conn, func() {})
		}
		if got := s.Stats(); got.ReceiptsLost != 6 || got.Receipts != 2 {
			t.Errorf("got %d receipts counted as lost and %d as sent, want 6 and 2", got.ReceiptsLost, got.Receipts)
		}
	})
}

// A thousand receipts with errors of 2,000 bytes, each of which JSON makes six, are more than
// most brokers take in one message.
func TestReceiptsAreSplitBySize(t *testing.T) {
	long := strings.Repeat("\x01", 2000)
	for _, c := range []struct {
		name     string
		declared int // what the adapter says that the broker takes, in bytes
		limit    int // what it takes
		n        int
		want     int // bytes of an error
	}{
		{"by the limit that the broker has told", 100_000, 100_000, 1000, 2000},
		{"by our own where none is known", 0, 1 << 20, 1000, 2000},
		{"by halves where the broker takes less than it says", 0, 20_000, 100, 2000},
		{"with short errors where it takes no long one", 0, 2000, 10, shortError},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.New(&memory.Options{MaxMessage: c.limit})
				s := newSender(t, declaring{b, c.declared})
				b.Declare("ack.shop")
				var all []waybill.Receipt
				for range c.n {
					all = append(all, waybill.Receipt{ID: waybill.NewID(), Outcome: waybill.Rejected, Error: long})
				}
				s.receipts.add("ack.shop", all)
				s.through(connect(t, b), func() {})
				got, messages := told(t, b, "ack.shop")
				if len(got) != c.n || s.waiting() != 0 || s.Stats().ReceiptsLost != 0 {
					t.Fatalf("got %d receipts in %d messages, %d wait, %d are lost; want all %d", len(got), messages, s.waiting(), s.Stats().ReceiptsLost, c.n)
				}
				for i := range got {
					if got[i].ID != all[i].ID || got[i].Error != long[:c.want] {
						t.Fatalf("receipt %d is of %s with an error of %d bytes; want %s and %d", i, got[i].ID, len(got[i].Error), all[i].ID, c.want)
					}
				}
			})
		})
	}
}

// declaring is a broker that declares another greatest message.
type declaring struct {
	*memory.Broker
	maxMessage int
}

func (d declaring) Capabilities() broker.Capabilities {
	c := d.Broker.Capabilities()
	c.MaxMessage = d.maxMessage
	return c
}

func TestReceiptsWhoseFateIsUnknownAreSentAgainWithGrowingDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		s := newSender(t, b)
		b.Declare("ack.shop")
		b.SetFaults(memory.Fault{Doubt: 1})
		s.add("ack.shop", 1000)
		conn := connect(t, b)
		s.through(conn, func() { time.Sleep(time.Hour) })
		if got := b.Stats().Published; got < 60 || got > 130 {
			t.Errorf("they were published %d times in an hour, want about once in each %v", got, mostQueueDelay)
		}
		b.SetFaults()
		s.through(conn, func() { time.Sleep(mostQueueDelay) })
		if got := s.Stats(); got.Receipts != 1000 || got.ReceiptsLost != 0 {
			t.Errorf("%d are sent and %d lost once the broker answers, want 1000 and 0", got.Receipts, got.ReceiptsLost)
		}
	})
}

func TestForgedAddressesMakeFewQueuesAndHoldUpNoProducer(t *testing.T) {
	for _, c := range []struct {
		name      string
		mustExist bool
		most      int // of the forged queues that are made in an hour
	}{
		{"where the broker can say that there is no queue", true, 100 + 6 + 1},
		{"where it makes a queue for each message", false, 1000 + 10 + 3600 + 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.New(nil)
				made := &making{Broker: b, mustExist: c.mustExist}
				s := newSender(t, made)
				b.Declare("ack.shop", "ack.new")
				conn, err := made.Connect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				s.add("ack.shop", 1)
				s.through(conn, func() { time.Sleep(time.Second) }) // the broker takes its time
				s.through(conn, func() {
					s.add("ack.new", 1)
					for i := range 10_000 {
						s.add(fmt.Sprintf("ack.forged%d", i), 1)
					}
					s.add("ack.shop", 1)
					began := time.Now()
					for b.Depth("ack.shop") < 2 || b.Depth("ack.new") < 1 {
						time.Sleep(time.Millisecond)
					}
					// The broker takes a millisecond for each message, and four for a new queue.
					if took := time.Since(began); took > time.Second {
						t.Errorf("the receipts of those who are no forgers took %v", took)
					}
					time.Sleep(time.Hour)
				})
				n := 0
				for i := range 10_000 {
					n += b.Depth(fmt.Sprintf("ack.forged%d", i))
				}
				if n > c.most || n < c.most/2 {
					t.Errorf("%d forged queues were made in an hour, want at most %d, and that many nearly", n, c.most)
				}
				// Who comes after the forgers, and has made its queue, is answered all the same.
				b.Declare("ack.late")
				s.through(conn, func() {
					s.add("ack.late", 1)
					time.Sleep(time.Second)
				})
				if got := b.Depth("ack.late"); got != 1 {
					t.Errorf("a producer that came later has %d receipts, want 1", got)
				}
			})
		})
	}
}

// making is a broker that takes its time, and perhaps makes each queue that it does not have.
type making struct {
	*memory.Broker
	mustExist bool
}

func (m *making) Capabilities() broker.Capabilities {
	c := m.Broker.Capabilities()
	c.MustExist = m.mustExist
	return c
}

func (m *making) Connect(ctx context.Context) (broker.Conn, error) {
	conn, err := m.Broker.Connect(ctx)
	return makingConn{conn, m}, err
}

type makingConn struct {
	broker.Conn
	m *making
}

func (c makingConn) Publish(ctx context.Context, messages []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	for i := range messages {
		time.Sleep(time.Millisecond) // of the bubble's time
		if !messages[i].MustExist && c.m.Depth(messages[i].Destination) == 0 {
			time.Sleep(4 * time.Millisecond) // of the bubble's time
		}
		if messages[i].MustExist && !c.m.mustExist {
			return nil, errors.New("a broker that cannot say whether there is a queue was asked")
		}
	}
	return c.Conn.Publish(ctx, messages, transport)
}

func TestAReceiptForAQueueThatIsMadeALittleLaterArrivesThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		s := newSender(t, b)
		s.receipts.admission = admission{most: 1, every: time.Hour, since: time.Now()} // none may be made
		s.through(connect(t, b), func() {
			s.add("ack.shop", 1)
			synctest.Wait()
			b.Declare("ack.shop")
			time.Sleep(leastQueueDelay)
		})
		if got := b.Depth("ack.shop"); got != 1 || s.Stats().ReceiptsLost != 0 {
			t.Errorf("%d receipts are there and %d are lost, want 1 and 0", got, s.Stats().ReceiptsLost)
		}
	})
}
