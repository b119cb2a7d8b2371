package storetest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"

	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/store"
)

// deadConnections ends the sessions of a pool's idle connections.
func deadConnections(s *suite) {
	if s.h.Sever == nil {
		s.Skip("the harness cannot end sessions (Sever)")
	}
	s.db.SetMaxIdleConns(5)
	var conns []*sql.Conn
	for range 5 {
		conn, err := s.db.Conn(s.Context())
		s.must(err)
		conns = append(conns, conn)
	}
	admin, err := s.db.Conn(s.Context())
	s.must(err)
	defer admin.Close()
	for _, conn := range conns {
		s.h.Sever(s.T, s.db, conn)
	}
	for _, conn := range conns {
		conn.Close()
	}
	ctx, cancel := context.WithTimeout(s.Context(), patience.Limit)
	defer cancel()
	t, err := store.NewBeginner(s.dialect).Begin(ctx, s.db, nil)
	s.must(err)
	s.must(t.Commit(ctx))
}

// connectionDies ends the session of a transaction, and looks at it in every way.
func connectionDies(s *suite) {
	if s.h.Sever == nil {
		s.Skip("the harness cannot end sessions (Sever)")
	}
	read := s.notes()
	for _, end := range []struct {
		name string
		end  func(t *store.Transaction) error
	}{
		{"Commit", func(t *store.Transaction) error { return t.Commit(s.Context()) }},
		{"Commit after a statement", func(t *store.Transaction) error {
			if err := s.write(t.SQL(), "2"); err == nil {
				s.Error("a statement on a dead connection succeeded")
			}
			return t.Commit(s.Context())
		}},
		{"Alive", func(t *store.Transaction) error {
			if t.Alive(s.Context(), driver.ErrBadConn) {
				s.Error("a dead connection is said to be alive")
			}
			return t.Commit(s.Context())
		}},
		{"Rollback", func(t *store.Transaction) error {
			if lost := t.Rollback(); lost != nil {
				s.Errorf("Rollback says that the database had rolled back: %v", lost)
			}
			return sql.ErrConnDone
		}},
	} {
		s.Run(end.name, func(*testing.T) {
			t := s.beginHeld()
			s.must(s.write(t.SQL(), "1"))
			s.h.Sever(s.T, s.db, t.SQL())
			err := end.end(t)
			if c := s.ledger.Condition(err); c != store.Unavailable {
				s.Errorf("got %v, which is %v, want Unavailable", err, c)
			}
			_ = t.Rollback()
			if got := read(); len(got) > 0 {
				s.Errorf("the table has %v, want nothing", got)
			}
		})
	}
	s.db.SetMaxOpenConns(1)
	s.poolIsClean(read)
}
