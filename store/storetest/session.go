package storetest

import (
	"context"
	"errors"
	"time"

	waybill "github.com/waybill-go/waybill"

	"github.com/waybill-go/waybill/internal/test/patience"
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
		for _, table := range []string{"qmessage_key", "qrelay", "n1_record", "n2_record", "n_horizon", "n_rejected"} {
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
