package waybilltest

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store/sqlite"
)

// part is a program that runs.
type part[T any] struct {
	of   T
	end  context.CancelFunc
	done chan struct{}
	err  error // of its Run, once done is closed
}

func runPart[T any](of T, run func(context.Context) error) *part[T] {
	ctx, cancel := context.WithCancel(context.Background())
	p := &part[T]{of: of, end: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		defer cancel()
		p.err = run(ctx)
	}()
	return p
}

func (p *part[T]) stop() {
	if p != nil {
		p.end()
		<-p.done
	}
}

// ended is why it does not run any more; nil while it does.
func (p *part[T]) ended() error {
	select {
	case <-p.done:
		if p.err == nil {
			return errors.New("it returned")
		}
		return p.err
	default:
		return nil
	}
}

// start starts what does not run.
func (w *World) start() {
	w.t.Helper()
	if w.relay == nil {
		o := w.o.Relay
		o.Wake = w.Outbox.Committed()
		r, err := relay.New(w.DB, sqlite.Dialect(), w.lossy, &o)
		if err != nil {
			w.t.Fatal(err)
		}
		w.relay = runPart(r, r.Run)
	}
	if w.consumer == nil {
		o := w.o.Inbox
		in, err := inbox.New(w.DB, sqlite.Dialect(), w.lossy, &o)
		if err != nil {
			w.t.Fatal(err)
		}
		in.Use(w.middleware...)
		for _, x := range w.routes {
			if x.batch != nil {
				in.HandleBatchWith(x.destination, x.level, notingBatch(x.batch), &x.options)
				continue
			}
			in.HandleWith(x.destination, x.level, noting(x.handler), &x.options)
		}
		run := in.Run
		if len(w.routes) == 0 { // an inbox wants a handler
			run = func(ctx context.Context) error { <-ctx.Done(); return nil }
		}
		w.consumer = runPart(in, run)
	}
}

// noting notes in the handler's transaction that it has succeeded.
func noting(handler inbox.Handler) inbox.Handler {
	return func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		if err := handler(ctx, tx, m); err != nil {
			return err
		}
		return noteApplied(ctx, tx, m)
	}
}

func notingBatch(handler inbox.BatchHandler) inbox.BatchHandler {
	return func(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) error {
		if err := handler(ctx, tx, messages); err != nil {
			return err
		}
		for _, m := range messages {
			if err := noteApplied(ctx, tx, m); err != nil {
				return err
			}
		}
		return nil
	}
}

func noteApplied(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO waybilltest_applied (message_id, destination, topic, business_mark, sequence, time_stamp, body) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		m.ID, m.Destination, m.Topic, m.Key, m.Sequence, m.TimeStamp, m.Body)
	return err
}

func (w *World) checkRunning() {
	w.t.Helper()
	if err := w.relay.ended(); err != nil {
		w.t.Fatalf("waybilltest: the relay has ended: %v\n%s", err, w.log.tail())
	}
	if err := w.consumer.ended(); err != nil {
		w.t.Fatalf("waybilltest: the consumer has ended: %v\n%s", err, w.log.tail())
	}
}

func (w *World) close() {
	w.consumer.stop()
	w.relay.stop()
	if w.t.Failed() {
		w.t.Logf("waybilltest: the last lines of relay's and inbox's log:\n%s", w.log.tail())
	}
	if err := w.DB.Close(); err != nil {
		w.t.Errorf("waybilltest: close the database: %v", err)
	}
}

// logged keeps the last lines of a log.
type logged struct {
	mu    sync.Mutex
	lines []string
}

const linesKept = 40

// Write implements io.Writer: one line each.
func (l *logged) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(line))
	if len(l.lines) > linesKept {
		l.lines = l.lines[1:]
	}
	return len(line), nil
}

func (l *logged) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "")
}
