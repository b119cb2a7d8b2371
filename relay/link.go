package relay

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
)

// link is the term's connection to the broker. It connects again for as long as it
// takes; a broker that is away counts as nobody's attempt.
type link struct {
	t *term

	mu           sync.Mutex
	conn         broker.Conn
	up           chan struct{}      // closed while conn is usable
	drop         context.CancelFunc // ends the connection's use
	heard        time.Time          // when the broker last answered anything
	wasConnected bool               // it has been connected in this term
}

// receiptPrefetch is how many receipt messages are on their way to us at once; each
// carries up to a thousand receipts.
const receiptPrefetch = 64

// run keeps the connection, and receives receipts through it until lead ends, until
// settle ends. It returns an error only where the broker refuses the very first
// connection.
func (l *link) run(lead, settle context.Context) error {
	wait := backoff.Backoff{Least: 100 * time.Millisecond, Most: 10 * time.Second}
	for settle.Err() == nil {
		began := time.Now()
		err := l.session(lead, settle)
		if settle.Err() != nil {
			return nil
		}
		if errors.Is(err, broker.ErrRefused) && !l.t.r.wasConnected.Load() {
			return err
		}
		l.t.log.Log(settle, wait.Level(), "broker connection lost or not had; connecting again", slog.Any("error", err))
		l.t.r.counters.disconnects.Add(1)
		if time.Since(began) > wait.Most {
			wait.Reset()
		}
		wait.Sleep(settle)
	}
	return nil
}

// session is the life of one connection.
func (l *link) session(lead, settle context.Context) error {
	r := l.t.r
	opening, cancel := context.WithTimeout(settle, 30*time.Second)
	defer cancel()
	crash.Point("relay.connect.before")
	conn, err := r.broker.Connect(opening)
	crash.Point("relay.connect.after")
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(settle), r.o.Drain)
		defer cancel()
		crash.Point("relay.close.before")
		err := conn.Close(closing)
		crash.Point("relay.close.after")
		if err != nil {
			l.t.log.DebugContext(closing, "broker connection not closed cleanly", slog.Any("error", err))
		}
	}()
	var receiver broker.Receiver
	if r.wantsReceipts() {
		crash.Point("relay.subscribe.before")
		receiver, err = conn.Subscribe(opening, broker.Subscription{
			Destination: waybill.ReceiptQueue(r.o.Producer), Group: r.o.Producer, Prefetch: receiptPrefetch,
		})
		crash.Point("relay.subscribe.after")
		if err != nil {
			return err
		}
	}
	r.wasConnected.Store(true)
	use, drop := context.WithCancel(settle)
	defer drop()
	l.open(conn, drop)
	defer l.close(conn)

	if receiver != nil {
		receiving, stop := context.WithCancel(lead)
		defer stop()
		defer context.AfterFunc(use, stop)()
		if err := l.t.receive(receiving, use, receiver); err != nil && lead.Err() == nil && use.Err() == nil {
			return err
		}
	}
	select {
	case <-use.Done():
	case <-conn.Done():
	}
	if err := conn.Err(); err != nil {
		return err
	}
	return errors.New("the broker did not answer in time")
}

func (l *link) open(conn broker.Conn, drop context.CancelFunc) {
	l.t.mu.Lock()
	l.t.clock.run(true)
	if l.wasConnected {
		for _, lane := range l.t.lanes {
			lane.reconnected(lane.o.Transport == waybill.Transient, l.t.clock.now())
		}
	}
	l.t.mu.Unlock()

	l.mu.Lock()
	l.conn, l.drop, l.wasConnected = conn, drop, true
	close(l.up)
	l.mu.Unlock()
	l.t.wake()
}

func (l *link) close(conn broker.Conn) {
	l.mu.Lock()
	if l.conn == conn {
		l.conn = nil
		l.up = make(chan struct{})
	}
	l.mu.Unlock()

	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	l.t.clock.run(false)
}

// wait returns the connection as soon as there is one, or ctx's error.
func (l *link) wait(ctx context.Context) (broker.Conn, error) {
	for {
		l.mu.Lock()
		conn, up := l.conn, l.up
		l.mu.Unlock()
		if conn != nil {
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-up:
		}
	}
}

// broken says that conn is of no use any more.
func (l *link) broken(conn broker.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == conn {
		l.conn = nil
		l.up = make(chan struct{})
		l.drop()
	}
}

// answered notes that the broker has answered.
func (l *link) answered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = time.Now()
}

// answers says whether the broker has answered anybody since.
func (l *link) answers(since time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard.After(since)
}

// connected reports whether there is a connection.
func (l *link) connected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn != nil
}
