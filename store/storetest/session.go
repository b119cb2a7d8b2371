package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"

	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/store"
)

// The engine's own statements need little of a pool and nothing of its sessions.
var sessionCases = []testCase{
	{name: "connections do not grow with the number of callers", run: func(s *suite) {
		s.needsWriters("the pool of one writer is small anyway")
		s.engine.SetMaxOpenConns(0)
		s.must(concurrently(100, func(int) error {
			_, err := s.queue.Delete(s.Context(), []waybill.ID{waybill.NewID()})
			if err == nil {
				_, err = s.queue.Clock(s.Context())
			}
			return err
		}))
		if most := s.engine.Stats().OpenConnections; most > 16 {
			s.Errorf("got %d connections for 100 callers, want 8 and what the pool had", most)
		}
	}},
	{name: "a pool of one connection is enough, and is left free", run: func(s *suite) {
		s.engine.SetMaxOpenConns(1)
		ctx, cancel := context.WithTimeout(s.Context(), patience.Limit)
		defer cancel()
		s.must(concurrently(20, func(int) error {
			_, scan := s.queue.Scan(ctx, 0, 10, 0)
			_, lease := s.queue.AcquireLease(ctx, "relay", "a", time.Minute)
			return errors.Join(scan, lease)
		}))
		conn, err := s.engine.Conn(ctx)
		s.must(err)
		defer conn.Close()
		waiting, end := context.WithTimeout(ctx, 50*time.Millisecond)
		defer end()
		if _, err := s.queue.Clock(waiting); !errors.Is(err, context.DeadlineExceeded) {
			s.Errorf("while another one has the connection: got error %v, want that of its context", err)
		}
	}},
	{name: "the first transaction writes, whatever the session's default is", run: func(s *suite) {
		b := store.NewBeginner(s.dialect)
		for n := range 3 {
			tx, err := b.Begin(s.Context(), s.engine, nil)
			s.must(err)
			s.must(s.insert(tx.SQL(), row("orders", "", "")))
			s.must(tx.Commit(s.Context()))
			s.wantRowCount(n + 1)
		}
	}},
	{name: "who waits for a commit has its connection until he is done", run: connectionAfterCommit},
	{name: "a check of good tables finds nothing that blocks and leaves nothing", run: func(s *suite) {
		found, err := s.queue.Check(s.Context())
		s.must(err)
		more, err := s.ledger.Check(s.Context(), waybill.Once, waybill.Latest)
		s.must(err)
		for _, f := range append(found, more...) {
			if f.Blocks {
				s.Errorf("got %q, want nothing that blocks", f.Text)
			}
		}
		s.wantRowCount(0)
		for _, table := range []string{"qmessage_key", "qrelay", "qconfirmed", "n1_record", "n2_record", "n_horizon", "n_rejected"} {
			var n int
			where := ""
			if table == "qmessage_key" {
				where = ` WHERE business_mark <> ''` // a dialect may need a row that is no key's
			}
			s.must(s.db.QueryRowContext(s.Context(), s.names.SQL(`SELECT COUNT(*) FROM {`+table+`}`+where)).Scan(&n))
			if n != 0 {
				s.Errorf("the check left %d rows in %s", n, table)
			}
		}
	}},
	{name: "a check of missing tables is a SchemaError", empty: true, run: func(s *suite) {
		if _, err := s.queue.Check(s.Context()); !errors.Is(err, waybill.ErrSchema) {
			s.Errorf("got error %v of the producer's tables, want a SchemaError", err)
		}
		if _, err := s.ledger.Check(s.Context(), waybill.Once); !errors.Is(err, waybill.ErrSchema) {
			s.Errorf("got error %v of the consumer's tables, want a SchemaError", err)
		}
	}},
}

func connectionAfterCommit(s *suite) {
	for _, c := range []struct {
		name    string
		before  func(tx *store.Transaction)
		fromNow int // the connections in use after the commit
	}{
		{"a good one", func(*store.Transaction) {}, 1},
		{"one of no use", (*store.Transaction).Forsake, 0},
	} {
		s.Run(c.name, func(t *testing.T) {
			tx, err := store.NewBeginner(s.dialect).Begin(t.Context(), s.engine, nil)
			if err != nil {
				t.Fatal(err)
			}
			var lent []store.Execer
			var ends []func()
			for key := range 2 {
				store.AfterCommit(tx.SQL(), key, func(on store.Execer, done func()) {
					lent, ends = append(lent, on), append(ends, done)
				})
			}
			c.before(tx)
			others := s.engine.Stats().InUse - 1
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(lent) != 2 {
				t.Fatalf("%d of 2 have heard of the commit", len(lent))
			}
			for i, end := range ends {
				if got := s.engine.Stats().InUse - others; got != c.fromNow {
					t.Errorf("got %d connections in use while %d have not done, want %d", got, 2-i, c.fromNow)
				}
				if _, err := lent[i].ExecContext(t.Context(), `SELECT 1`); err != nil {
					t.Errorf("a statement on what is lent: %v", err)
				}
				end()
				end() // which counts once
			}
			if got := s.engine.Stats().InUse - others; got != 0 {
				t.Errorf("got %d connections in use when all have done, want none", got)
			}
		})
	}
}
