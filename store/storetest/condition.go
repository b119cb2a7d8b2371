package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

var conditionCases = []testCase{
	{name: "a missing table or column is NoTable", run: func(s *suite) {
		for _, text := range []string{`SELECT 1 FROM no_such_table`, `SELECT no_such_column FROM {qmessage}`, `INSERT INTO {qmessage} (no_such_column) VALUES (1)`} {
			s.sub(text, func(s *suite) { s.wantCondition(text, s.exec(s.db, text), store.NoTable) })
		}
	}},
	{name: "errors that the statement itself makes are Other", run: func(s *suite) {
		s.wantCondition("no error", nil, store.Other)
		s.wantCondition("an error of no database", errors.New("no such table, connection refused"), store.Other)
		for _, text := range []string{`NO SQL`, `INSERT INTO {qmessage} (destination, message_content) VALUES ('o', NULL)`, `INSERT INTO {qrelay} (name, holder, expires_at) VALUES ('a', 'b', 1), ('a', 'b', 1)`} {
			s.sub(text, func(s *suite) {
				err := s.exec(s.db, text)
				if err == nil {
					s.Error("got no error, want one")
				}
				s.wantCondition(text, err, store.Other)
			})
		}
	}},
	{name: "a deadlock is a Conflict of one and the other goes on", run: func(s *suite) {
		s.needsWriters("transactions that write wait for each other before they can deadlock")
		locked := make(chan struct{}, 2)
		both := make(chan struct{})
		go func() {
			<-locked
			<-locked
			close(both)
		}()
		conflicts := make(chan error, 2)
		s.must(concurrently(2, func(i int) error {
			err := s.inTx(func(tx *sql.Tx) error {
				err := s.insert(tx, row("o", fmt.Sprint(i), ""))
				locked <- struct{}{}
				if err != nil {
					return err
				}
				<-both
				return s.insert(tx, row("o", fmt.Sprint(1-i), ""))
			})
			if s.queue.Condition(err) == store.Conflict {
				conflicts <- err
				return nil
			}
			return err
		}))
		if len(conflicts) == 0 {
			s.Error("got no conflict, want one")
		}
	}},
	{name: "a session that ended from outside is Unavailable", run: func(s *suite) {
		if s.h.Sever == nil {
			s.Skip("the harness has no Sever")
		}
		for _, use := range []struct {
			name string
			f    func(s *suite, conn *sql.Conn) error
		}{
			{"a ping", func(s *suite, conn *sql.Conn) error { return conn.PingContext(s.Context()) }},
			{"a statement", func(s *suite, conn *sql.Conn) error {
				return s.exec(conn, `INSERT INTO {qmessage} (destination, message_content) VALUES ('o', 'x')`)
			}},
			{"a transaction", func(s *suite, conn *sql.Conn) error {
				tx, err := conn.BeginTx(s.Context(), nil)
				if err == nil {
					err = s.insert(tx, row("o", "k", ""))
					_ = tx.Rollback()
				}
				return err
			}},
		} {
			s.sub(use.name, func(s *suite) {
				conn, err := s.db.Conn(s.Context())
				s.must(err)
				s.h.Sever(s.T, s.db, conn)
				err = use.f(s, conn)
				if err == nil {
					s.Error("got no error of a session that has ended, want one")
				}
				s.wantCondition("a session that has ended", err, store.Unavailable)
				_ = conn.Close()
				s.wantCondition("a connection that was closed", s.exec(conn, `SELECT 1`), store.Unavailable)
			})
		}
	}},
	{name: "a session that ends within a transaction is Unavailable and leaves nothing", run: func(s *suite) {
		if s.h.Sever == nil {
			s.Skip("the harness has no Sever")
		}
		conn, err := s.db.Conn(s.Context())
		s.must(err)
		defer conn.Close()
		tx, err := conn.BeginTx(s.Context(), nil)
		s.must(err)
		s.must(s.insert(tx, row("o", "k", "")))
		s.h.Sever(s.T, s.db, conn)
		if err = s.insert(tx, row("o", "k", "")); err == nil {
			err = tx.Commit()
		}
		s.wantCondition("a session that ended", err, store.Unavailable)
		_ = tx.Rollback()
		s.send(row("o", "k", ""))
		s.checkKeys(map[string]int{"o/k": 1})
	}},
	{name: "a canceled context ends a statement and is Other", run: func(s *suite) {
		ctx, cancel := context.WithCancel(s.Context())
		cancel()
		_, err := s.queue.Scan(ctx, 0, 1, 0)
		if !errors.Is(err, context.Canceled) {
			s.Errorf("got error %v of a scan with a canceled context, want context.Canceled", err)
		}
		s.wantCondition("canceled", err, store.Other)
	}},
	{name: "a canceled context ends a wait for another's lock", run: func(s *suite) {
		holder, err := s.db.BeginTx(s.Context(), nil)
		s.must(err)
		defer holder.Rollback()
		s.must(s.insert(holder, row("o", "k", "")))
		ctx, cancel := context.WithCancel(s.Context())
		waiting, done := make(chan struct{}), make(chan error, 1)
		go func() {
			done <- func() error {
				conn, err := s.db.Conn(ctx)
				if err != nil {
					return err
				}
				defer conn.Close()
				close(waiting)
				tx, err := conn.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				defer tx.Rollback()
				return store.Insert(ctx, tx, s.dialect, s.names, []store.NewRow{row("o", "k", "")})
			}()
		}()
		<-waiting
		cancel()
		if err := <-done; err == nil {
			s.Error("got no error of a sender whose key another transaction holds, want one")
		} else if s.queue.Condition(err) != store.Conflict {
			// (A driver that cannot break a wait off sees its lock time-out instead.)
			s.wantCondition("canceled", err, store.Other)
		}
		s.must(holder.Commit())
		s.checkKeys(map[string]int{"o/k": 1})
	}},
	{name: "a Queue and a Ledger need a database, a dialect and a valid prefix", run: func(s *suite) {
		for _, prefix := range []string{"a b", "a;", "A_", "a.b.", "1a", `a"`} {
			s.sub(prefix, func(s *suite) {
				if _, err := store.NewQueue(s.db, s.dialect, prefix); err == nil {
					s.Error("got a Queue with this prefix, want an error")
				}
				if _, err := store.NewLedger(s.db, s.dialect, prefix, consumer); err == nil {
					s.Error("got a Ledger with this prefix, want an error")
				}
			})
		}
		if _, err := store.NewQueue(nil, s.dialect, ""); err == nil {
			s.Error("got no error without a database, want one")
		}
		if _, err := store.NewLedger(s.db, nil, "", consumer); err == nil {
			s.Error("got no error without a dialect, want one")
		}
	}},
	{name: "an error says what was being done and keeps its cause", run: func(s *suite) {
		ctx, cancel := context.WithCancel(s.Context())
		cancel()
		_, err := s.queue.Delete(ctx, []waybill.ID{waybill.NewID()})
		if err == nil || !errors.Is(err, context.Canceled) || err.Error() == context.Canceled.Error() {
			s.Errorf("got error %v, want the cause and what was being done", err)
		}
	}},
}

func (s *suite) wantCondition(what string, err error, want store.Condition) {
	s.Helper()
	if got := s.queue.Condition(err); got != want {
		s.Errorf("%s: got the condition %v of error %v (%T), want %v", what, got, err, errors.Unwrap(err), want)
	}
}
