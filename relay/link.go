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
	"github.com/waybill-go/waybill/internal/redact"
)

// link is the term's connection to the broker. It connects again for as long as it
// takes. The time in which the broker is away counts towards no message's time-out.
type link struct {
	t *term

	mu           sync.Mutex
	conn         broker.Conn        // nil while there is none
	number       int                // of conn, or of the last one: term.connection
	up           chan struct{}      // closed while there is one
	drop         context.CancelFunc // ends conn's use
	answered     time.Time          // when the broker last answered anything
	wasConnected bool               // there was a connection in this term
	downSince    time.Time          // when the last one ended, or the term began
	problem      string             // why there is none; "" where that is not known yet
	raw          string             // problem, with what is not to be shown
	told         bool               // the log has it that there is none
}

// receiptPrefetch is how many receipt messages are on their way to us at once; one
// carries up to wire.MaxReceipts receipts.
const receiptPrefetch = 64

// openTimeout bounds the opening of a connection, with the subscription to receipts.
const openTimeout = 30 * time.Second

var errNoAnswer = errors.New("the broker did not answer in time")

// run keeps a connection until settle ends, and receives receipts through it until
// lead ends. closing bounds the end of the last one. run returns an error only where
// the broker refuses us and has never let us in before.
func (l *link) run(lead, settle, closing context.Context) error {
	wait := backoff.Backoff{Least: 100 * time.Millisecond, Most: 10 * time.Second}
	for settle.Err() == nil {
		began := time.Now()
		err := l.session(lead, settle, closing)
		if settle.Err() != nil {
			return nil
		}
		if errors.Is(err, broker.ErrRefused) && !l.t.r.wasConnected.Load() {
			return err
		}
		l.noteProblem(settle, err)
		l.t.r.counters.disconnects.Add(1)
		if time.Since(began) > wait.Most {
			wait.Reset()
		}
		wait.Sleep(settle)
	}
	return nil
}

// noteProblem notes why there is no connection.
func (l *link) noteProblem(ctx context.Context, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text := err.Error(); text != l.raw { // in an outage it is the same again and again
		l.raw, l.problem = text, redact.Message(text)
	}
	if times, due := l.t.r.repeats.Due("connection", err.Error()); due {
		l.told = true
		l.t.log.WarnContext(ctx, "no connection to the broker; connecting again", slog.Int64("times", times), slog.Time("since", l.downSince), slog.Any("error", err))
	}
}

// away returns since when there is no connection, and why; away is false where there is one.
func (l *link) away() (since time.Time, problem string, away bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.downSince, l.problem, l.conn == nil
}

// session is the life of one connection. It returns why that ended.
func (l *link) session(lead, settle, closing context.Context) error {
	opening, cancel := context.WithTimeout(settle, openTimeout)
	defer cancel()
	crash.Point("relay.connect.before")
	conn, err := l.t.r.broker.Connect(opening)
	crash.Point("relay.connect.after")
	if err != nil {
		return err
	}
	defer l.end(closing, conn)
	receiver, err := l.subscribe(opening, conn)
	if err != nil {
		return err
	}
	l.t.r.wasConnected.Store(true)
	use, drop := context.WithCancel(settle)
	defer drop()
	l.open(use, conn, drop)
	defer l.close(conn)

	if receiver != nil {
		receiving, stop := context.WithCancel(lead)
		defer stop()
		var greeting sync.WaitGroup
		defer greeting.Wait()
		l.t.r.parts.Go(&greeting, "the connection to the broker", func() { l.t.greet(receiving, conn) })
		defer stop()
		defer context.AfterFunc(use, stop)()
		if err := l.receive(receiving, use, conn, receiver); err != nil && lead.Err() == nil && use.Err() == nil {
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
	return errNoAnswer
}

// receive receives receipts until ctx, use or the connection ends. A subscription that ends by
// itself is made again: it is no reason to publish nothing. An error is that of the connection,
// or says that there is no other subscription.
func (l *link) receive(ctx, use context.Context, conn broker.Conn, receiver broker.Receiver) error {
	wait := backoff.Backoff{Least: 100 * time.Millisecond, Most: 10 * time.Second}
	for {
		began := time.Now()
		err := l.t.receive(ctx, use, receiver)
		select {
		case <-ctx.Done():
			return err
		case <-use.Done():
			return err
		case <-conn.Done():
			return err
		default:
		}
		if times, due := l.t.r.repeats.Due("receipts", err.Error()); due {
			l.t.log.WarnContext(ctx, "the subscription to receipts ended; subscribing again", slog.Int64("times", times), slog.Any("error", err))
		}
		if time.Since(began) > wait.Most {
			wait.Reset()
		}
		closeEnded(use, receiver)
		wait.Sleep(ctx)
		opening, cancel := context.WithTimeout(use, openTimeout)
		receiver, err = l.subscribe(opening, conn)
		cancel()
		if err != nil {
			return err
		}
	}
}

// subscribe begins to receive receipts; nil where no destination has any.
func (l *link) subscribe(ctx context.Context, conn broker.Conn) (receiver broker.Receiver, err error) {
	o := &l.t.r.o
	if !o.wantsReceipts() {
		return nil, nil
	}
	crash.Point("relay.subscribe.before")
	receiver, err = conn.Subscribe(ctx, broker.Subscription{Destination: waybill.ReceiptQueue(o.Producer, l.t.identity), Group: o.Producer, Prefetch: receiptPrefetch})
	crash.Point("relay.subscribe.after")
	return receiver, err
}

// end closes a connection. One that ends in the middle of a term has as much time for
// that as one at its end.
func (l *link) end(closing context.Context, conn broker.Conn) {
	closing, cancel := context.WithTimeout(closing, l.t.r.o.Drain)
	defer cancel()
	crash.Point("relay.close.before")
	err := conn.Close(closing)
	crash.Point("relay.close.after")
	if err != nil {
		l.t.log.DebugContext(closing, "broker connection not closed cleanly", slog.Any("error", err))
	}
}

// open gives a new connection to the lanes.
func (l *link) open(ctx context.Context, conn broker.Conn, drop context.CancelFunc) {
	l.mu.Lock()
	again := l.wasConnected
	l.mu.Unlock()

	l.t.mu.Lock()
	l.t.clock.run(true)
	l.t.connection++
	number := l.t.connection
	if again {
		for _, lane := range l.t.order {
			lane.reconnected(lane.o.Transport == waybill.Transient, l.t.clock.now())
		}
	}
	l.t.mu.Unlock()

	l.mu.Lock()
	l.conn, l.drop, l.wasConnected, l.number = conn, drop, true, number
	close(l.up)
	switch {
	case l.told:
		l.t.log.InfoContext(ctx, "connected to the broker again", slog.Duration("away", time.Since(l.downSince).Round(time.Millisecond)))
		l.t.r.repeats.Over("connection")
	case !again:
		l.t.log.InfoContext(ctx, "connected to the broker")
	}
	l.told, l.problem, l.raw = false, "", ""
	l.mu.Unlock()
	l.t.wake()
}

// close takes a connection away from the lanes.
func (l *link) close(conn broker.Conn) {
	l.mu.Lock()
	l.forget(conn)
	l.mu.Unlock()

	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	l.t.clock.run(false)
}

// giveUp ends the use of a connection that does not work any more.
func (l *link) giveUp(conn broker.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.forget(conn) {
		l.drop()
	}
}

// forget reports whether conn was still in use. mu is held.
func (l *link) forget(conn broker.Conn) bool {
	if l.conn != conn {
		return false
	}
	l.conn, l.up, l.downSince = nil, make(chan struct{}), time.Now()
	return true
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

// numberOf returns the number of the connection where it is in use, and 0 where it is not.
func (l *link) numberOf(conn broker.Conn) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != conn {
		return 0
	}
	return l.number
}

// noteAnswer notes that the broker has answered.
func (l *link) noteAnswer() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answered = time.Now()
}

// hasAnswered reports whether the broker has answered anybody since then.
func (l *link) hasAnswered(since time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answered.After(since)
}

// connected reports whether there is a connection now.
func (l *link) connected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn != nil
}

// closeEnded frees what is left here of a subscription that has ended: it does nothing at
// the broker any more.
func closeEnded(ctx context.Context, r broker.Receiver) {
	closing, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	_ = r.Close(closing)
}
