package pgxdriver_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the driver "sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/postgres"
	"github.com/waybill-go/waybill/store/postgres/pgxdriver"
	"github.com/waybill-go/waybill/store/sqlite"
)

// shop is a service that has a pool of pgx's.
type shop struct {
	*testing.T
	pool   *pgxpool.Pool
	db     *sql.DB // over the pool
	admin  *sql.DB // not of the pool
	out    *outbox.Outbox
	prefix string
	notes  pgx.Identifier // a table of the service's own
}

func newShop(t *testing.T, configure func(*pgxpool.Config)) *shop {
	t.Helper()
	conn, admin, prefix := connect(t, pgx.QueryExecModeCacheStatement)
	schema := strings.TrimSuffix(prefix, ".")
	s := &shop{T: t, admin: admin, prefix: prefix, notes: pgx.Identifier{schema, "notes"}}
	for _, text := range []string{`CREATE TYPE ` + prefix + `colour AS ENUM ('red', 'blue')`, `CREATE TABLE ` + prefix + `notes (n integer PRIMARY KEY, text text, colours ` + prefix + `colour[])`} {
		if _, err := conn.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	config, err := pgxpool.ParseConfig(testserver.Address(t, "WAYBILL_TEST_POSTGRES"))
	if err != nil {
		t.Fatal(err)
	}
	if configure != nil {
		configure(config)
	}
	if s.pool, err = pgxpool.NewWithConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.pool.Close) // waits until all connections are back
	s.db = stdlib.OpenDBFromPool(s.pool)
	t.Cleanup(func() { s.db.Close() })
	if s.out, err = outbox.New(postgres.Dialect(), &outbox.Options{TablePrefix: prefix}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shop) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *shop) insert(n int) string {
	return fmt.Sprintf(`INSERT INTO %snotes (n) VALUES (%d)`, s.prefix, n)
}

// has checks which notes are committed, and that no connection of the pool is in use.
func (s *shop) has(want ...int64) {
	s.Helper()
	var got []int64
	s.must(s.pool.QueryRow(context.Background(), `SELECT coalesce(array_agg(n ORDER BY n), '{}') FROM `+s.prefix+`notes`).Scan(&got))
	if !slices.Equal(got, want) {
		s.Errorf("got the notes %v, want %v", got, want)
	}
	s.atRest()
}

// atRest waits until no connection of the pool is in use.
func (s *shop) atRest() {
	s.Helper()
	patience.Until(s.T, "the pool is at rest", func() bool { return s.pool.Stat().AcquiredConns() == 0 })
}

// inTx runs fn with pgx's transaction.
func (s *shop) inTx(fn func(tx pgx.Tx) error) error {
	return s.out.InTx(s.Context(), s.db, pgxdriver.InTx(fn))
}

// run runs a relay and an inbox over the pool until the test ends.
func (s *shop) run(o *inbox.Options, handle func(in *inbox.Inbox)) *inbox.Inbox {
	s.Helper()
	b := memory.New(nil)
	r, err := relay.New(s.db, postgres.Dialect(), b, &relay.Options{
		Producer: "shop", TablePrefix: s.prefix, Wake: s.out.Committed(), Listen: pgxdriver.PoolListener(s.pool, postgres.Channel(s.prefix)),
	})
	s.must(err)
	o.Consumer, o.TablePrefix = "shop", s.prefix
	in, err := inbox.New(s.db, postgres.Dialect(), b, o)
	s.must(err)
	handle(in)
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.Run(ctx); err != nil {
			s.Errorf("the relay: %v", err)
		}
	})
	running.Go(func() {
		if err := in.Run(ctx); err != nil {
			s.Errorf("the inbox: %v", err)
		}
	})
	s.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return in
}

// count runs a query beside the pool.
func (s *shop) count(query string) (n int) {
	s.Helper()
	s.must(s.admin.QueryRowContext(s.Context(), query).Scan(&n))
	return n
}

func (s *shop) settled() {
	s.Helper()
	left := func() any { return s.count(`SELECT COUNT(*) FROM ` + s.prefix + `qmessage`) }
	patience.Until(s.T, "all messages are confirmed", func() bool { return left() == 0 }, left)
}

func mode(m pgx.QueryExecMode, conns int32) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode, c.MaxConns = m, conns }
}

func behindPgBouncer(t *testing.T, m pgx.QueryExecMode) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) {
		u, err := url.Parse(testserver.Address(t, "WAYBILL_TEST_PGBOUNCER"))
		if err != nil {
			t.Fatal(err)
		}
		u.Path = "/" + c.ConnConfig.Database
		pooled, err := pgxpool.ParseConfig(u.String())
		if err != nil {
			t.Fatal(err)
		}
		*c = *pooled
		c.ConnConfig.DefaultQueryExecMode = m
	}
}

// A pool is all that the service has. What it sends in a pgx.Tx is handled in one.
func TestAServiceWithAPoolAlone(t *testing.T) {
	for name, configure := range map[string]func(t *testing.T) func(*pgxpool.Config){
		"one connection":             func(*testing.T) func(*pgxpool.Config) { return mode(pgx.QueryExecModeCacheStatement, 1) },
		"four":                       func(*testing.T) func(*pgxpool.Config) { return mode(pgx.QueryExecModeCacheDescribe, 4) },
		"simple protocol":            func(*testing.T) func(*pgxpool.Config) { return mode(pgx.QueryExecModeSimpleProtocol, 2) },
		"exec":                       func(*testing.T) func(*pgxpool.Config) { return mode(pgx.QueryExecModeExec, 2) },
		"PgBouncer, exec":            func(t *testing.T) func(*pgxpool.Config) { return behindPgBouncer(t, pgx.QueryExecModeExec) },
		"PgBouncer, simple protocol": func(t *testing.T) func(*pgxpool.Config) { return behindPgBouncer(t, pgx.QueryExecModeSimpleProtocol) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, configure(t))
			var calls atomic.Int64
			in := s.run(&inbox.Options{}, func(in *inbox.Inbox) {
				in.Handle("orders", waybill.Once, pgxdriver.Handler(func(ctx context.Context, tx pgx.Tx, m *waybill.Message) error {
					calls.Add(1)
					return s.work(ctx, tx, m)
				}))
				in.Handle("shipped", waybill.Once, inbox.JSON(pgxdriver.Decoded(func(ctx context.Context, tx pgx.Tx, _ *waybill.Message, n int) error {
					_, err := tx.Exec(ctx, s.insert(n))
					return err
				})))
			})
			for n := 100; n <= 300; n += 100 {
				s.must(pgx.BeginFunc(s.Context(), s.pool, func(tx pgx.Tx) error {
					if _, err := tx.Exec(s.Context(), s.insert(n)); err != nil {
						return err
					}
					m, err := waybill.JSON("orders", "", n)
					return errors.Join(err, s.out.Send(s.Context(), pgxdriver.Tx(tx), m))
				}))
				s.out.Wake(s.Context(), pgxdriver.Pool(s.pool))
			}
			s.settled()
			s.atRest()
			if got := s.count(`SELECT SUM(n) FROM ` + s.prefix + `notes`); got != 7*600+3*(1+2+3+4+5+50) || calls.Load() != 3 {
				t.Errorf("the notes' sum is %d after %d calls: %+v", got, calls.Load(), in.Stats())
			}
		})
	}
}

// work does of a message with the number n what a pgx.Tx is for, and makes the notes n+1 to n+5.
func (s *shop) work(ctx context.Context, tx pgx.Tx, m *waybill.Message) error {
	var n int
	if err := tx.QueryRow(ctx, `SELECT $1::text::int`, string(m.Body)).Scan(&n); err != nil {
		return err
	}
	copied, err := tx.CopyFrom(ctx, s.notes, []string{"n", "text"}, pgx.CopyFromRows([][]any{{n + 1, "one"}, {n + 2, "two"}}))
	if err != nil || copied != 2 {
		return fmt.Errorf("copied %d: %w", copied, err)
	}
	// A statement that fails is healed by a savepoint.
	err = pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, s.insert(n))
		return err
	})
	var failed *pgconn.PgError
	if !errors.As(err, &failed) || failed.Code != "23505" {
		return fmt.Errorf("a note that is there: %w", err)
	}
	var batch pgx.Batch
	batch.Queue(s.insert(n + 3))
	batch.Queue(`INSERT INTO `+s.prefix+`notes (n) VALUES (@n)`, pgx.NamedArgs{"n": n + 4})
	read := 0
	batch.Queue(`SELECT n FROM `+s.prefix+`notes WHERE n BETWEEN $1::int AND $2::int`, n, n+9).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			read++
		}
		return rows.Err()
	})
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil || read != 5 {
		return fmt.Errorf("a batch has read %d: %w", read, err)
	}
	results := tx.SendBatch(ctx, func() *pgx.Batch {
		var b pgx.Batch
		b.Queue(s.insert(n + 5))
		b.Queue(`SELECT count(*) FROM `+s.prefix+`notes WHERE n > $1::int AND n < $2::int`, n, n+9)
		b.Queue(`SELECT generate_series(1, 3)`)
		return &b
	}())
	tag, err := results.Exec()
	var counted int
	err = errors.Join(err, results.QueryRow().Scan(&counted))
	rows, _ := results.Query()
	series, readErr := pgx.CollectRows(rows, pgx.RowTo[int])
	if err := errors.Join(err, readErr, results.Close()); err != nil || tag.RowsAffected() != 1 || counted != 5 || len(series) != 3 {
		return fmt.Errorf("a batch read by hand: %v, %d, %v, %w", tag, counted, series, err)
	}
	if err := tx.QueryRow(ctx, `SELECT 1 WHERE false`).Scan(nil); !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("no row: %w", err)
	}
	on, err := waybill.JSON("shipped", "", n+50)
	return errors.Join(err, s.out.Send(ctx, pgxdriver.Tx(tx), on))
}

func TestABatchOfMessagesIsHandledInATransactionOfPgx(t *testing.T) {
	s := newShop(t, mode(pgx.QueryExecModeCacheStatement, 2))
	s.run(&inbox.Options{}, func(in *inbox.Inbox) {
		in.HandleBatch("orders", waybill.Once, pgxdriver.Handler(func(ctx context.Context, tx pgx.Tx, all []*waybill.Message) error {
			_, err := tx.CopyFrom(ctx, s.notes, []string{"n"}, pgx.CopyFromSlice(len(all), func(i int) ([]any, error) {
				return []any{len(all[i].Body)}, nil
			}))
			return err
		}))
	})
	s.must(s.inTx(func(tx pgx.Tx) error {
		for n := 1; n <= 5; n++ {
			if err := s.out.Send(t.Context(), pgxdriver.Tx(tx), waybill.Message{Destination: "orders", Body: make([]byte, n)}); err != nil {
				return err
			}
		}
		return nil
	}))
	s.settled()
	s.has(1, 2, 3, 4, 5)
}

func TestWhoeverEndsATransactionOfWaybillsCommitsNothing(t *testing.T) {
	s := newShop(t, mode(pgx.QueryExecModeCacheStatement, 1))
	exec := func(text string) func(tx pgx.Tx) {
		return func(tx pgx.Tx) { _, _ = tx.Exec(t.Context(), text) }
	}
	for name, end := range map[string]func(tx pgx.Tx){
		"Commit":   func(tx pgx.Tx) { _ = tx.Commit(t.Context()) },
		"Rollback": func(tx pgx.Tx) { _ = tx.Rollback(t.Context()) },
		"COMMIT":   exec(`COMMIT`),
		"ROLLBACK": exec(`ROLLBACK`),
		"a batch": func(tx pgx.Tx) {
			var b pgx.Batch
			b.Queue(`COMMIT`)
			_ = tx.SendBatch(t.Context(), &b).Close()
		},
		"a batch that begins": func(tx pgx.Tx) {
			var b pgx.Batch
			b.BeginTx(pgx.TxOptions{})
			b.Queue(s.insert(3))
			if err := tx.SendBatch(t.Context(), &b).Close(); err == nil {
				t.Error("a batch has begun a transaction in a transaction")
			}
			_ = tx.Rollback(t.Context())
		},
		"the connection": func(tx pgx.Tx) { _, _ = tx.Conn().Exec(t.Context(), `COMMIT`) },
		"a transaction of the connection's": func(tx pgx.Tx) {
			if inner, err := tx.Conn().Begin(t.Context()); err == nil {
				_ = inner.Commit(t.Context())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := s.inTx(func(tx pgx.Tx) error {
				if _, err := tx.Exec(t.Context(), s.insert(1)); err != nil {
					return err
				}
				end(tx)
				if _, err := tx.Exec(t.Context(), s.insert(2)); err == nil {
					t.Error("a statement behind the end succeeded")
				}
				return nil
			})
			// A COMMIT ends the session, of which the client may hear before the statement's error.
			if !errors.Is(err, waybill.ErrTxEnded) && (name == "Commit" || name == "Rollback" || !errors.Is(err, driver.ErrBadConn)) {
				t.Errorf("got error %v, want one that matches ErrTxEnded", err)
			}
			s.has()
		})
	}
}

func TestBehindItsEndATransactionIsClosed(t *testing.T) {
	s := newShop(t, mode(pgx.QueryExecModeCacheStatement, 1))
	var kept pgx.Tx
	var unread pgx.Rows
	var batch pgx.BatchResults
	failure := errors.New("no")
	if err := s.inTx(func(tx pgx.Tx) (err error) {
		kept = tx
		//nolint:sqlclosecheck // that is what it is about
		unread, err = tx.Query(t.Context(), `SELECT generate_series(1, 3)`)
		return errors.Join(err, failure)
	}); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	if err := s.inTx(func(tx pgx.Tx) error {
		var b pgx.Batch
		b.Queue(`SELECT 1`)
		batch = tx.SendBatch(t.Context(), &b)
		return failure
	}); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	var n int
	for name, call := range map[string]func() error{
		"Exec": func() error { _, err := kept.Exec(t.Context(), s.insert(1)); return err },
		"Query": func() error {
			rows, err := kept.Query(t.Context(), `SELECT 1`)
			rows.Close()
			return err
		},
		"QueryRow": func() error { return kept.QueryRow(t.Context(), `SELECT 1`).Scan(&n) },
		"CopyFrom": func() error {
			_, err := kept.CopyFrom(t.Context(), s.notes, []string{"n"}, pgx.CopyFromRows([][]any{{1}}))
			return err
		},
		"SendBatch": func() error { return kept.SendBatch(t.Context(), new(pgx.Batch)).Close() },
		"Prepare":   func() error { _, err := kept.Prepare(t.Context(), "p", `SELECT 1`); return err },
		"Begin":     func() error { _, err := kept.Begin(t.Context()); return err },
		"Commit":    func() error { return kept.Commit(t.Context()) },
		"Rollback":  func() error { return kept.Rollback(t.Context()) },
		"Send": func() error {
			return s.out.Send(t.Context(), pgxdriver.Tx(kept), waybill.Message{Destination: "orders"})
		},
		"Rows.Next": func() error {
			if unread.Next() {
				t.Error("there is a row")
			}
			return unread.Err()
		},
		"Rows.Scan":         func() error { return unread.Scan(&n) },
		"Rows.Values":       func() error { _, err := unread.Values(); return err },
		"BatchResults.Exec": func() error { _, err := batch.Exec(); return err },
		"BatchResults.Query": func() error {
			rows, err := batch.Query()
			rows.Close()
			return err
		},
		"BatchResults.Close": func() error { return batch.Close() },
	} {
		if err := call(); !errors.Is(err, pgx.ErrTxClosed) || !errors.Is(err, waybill.ErrTxEnded) {
			t.Errorf("%s: got error %v, want ErrTxClosed and ErrTxEnded", name, err)
		}
	}
	unread.Close()
	if kept.Conn() != nil {
		t.Error("the connection is still there")
	}
	s.has()
}

func TestSavepointsOfPgx(t *testing.T) {
	s := newShop(t, mode(pgx.QueryExecModeExec, 1))
	s.must(s.inTx(func(tx pgx.Tx) error {
		begin := func(tx pgx.Tx, n int) pgx.Tx {
			inner, err := tx.Begin(t.Context())
			s.must(err)
			_, err = inner.Exec(t.Context(), s.insert(n))
			s.must(err)
			return inner
		}
		s.must(begin(tx, 1).Commit(t.Context()))
		s.must(begin(tx, 2).Rollback(t.Context()))
		outer := begin(tx, 3)
		s.must(begin(outer, 4).Commit(t.Context()))
		s.must(s.out.Send(t.Context(), pgxdriver.Tx(outer), waybill.Message{Destination: "orders"}))
		inner := begin(outer, 5)
		s.must(outer.Rollback(t.Context()))
		for name, closed := range map[string]pgx.Tx{"closed": outer, "inside of a closed one": inner} {
			if _, err := closed.Exec(t.Context(), s.insert(6)); !errors.Is(err, pgx.ErrTxClosed) || errors.Is(err, waybill.ErrTxEnded) {
				t.Errorf("%s: got error %v, want ErrTxClosed alone", name, err)
			}
			if err := s.out.Send(t.Context(), pgxdriver.Tx(closed), waybill.Message{Destination: "orders"}); err == nil {
				t.Errorf("%s: a message was sent in it", name)
			}
		}
		return begin(tx, 7).Commit(t.Context())
	}))
	s.has(1, 7)
	if n := s.count(`SELECT COUNT(*) FROM ` + s.prefix + `qmessage`); n != 0 {
		t.Errorf("%d messages are left of a savepoint that was rolled back", n)
	}
}

func TestWhatIsLeftUnreadIsSaid(t *testing.T) {
	s := newShop(t, mode(pgx.QueryExecModeCacheStatement, 1))
	for name, fn := range map[string]func(tx *sql.Tx) error{
		"Rows": pgxdriver.InTx(func(tx pgx.Tx) error {
			//nolint:sqlclosecheck // that is what it is about
			_, err := tx.Query(t.Context(), `SELECT generate_series(1, 3)`)
			return err
		}),
		"BatchResults": pgxdriver.InTx(func(tx pgx.Tx) error {
			var b pgx.Batch
			b.Queue(s.insert(1))
			tx.SendBatch(t.Context(), &b)
			return nil
		}),
		"sql.Rows": func(tx *sql.Tx) error {
			//nolint:rowserrcheck,sqlclosecheck // that is what it is about
			_, err := tx.QueryContext(t.Context(), `SELECT generate_series(1, 3)`)
			return err
		},
	} {
		if err := s.out.InTx(t.Context(), s.db, fn); err == nil || !strings.Contains(err.Error(), "has not been closed") {
			t.Errorf("%s: got error %v, want one that says what to do", name, err)
		}
		s.has()
	}
}

func TestACallFromWithinACallIsRefusedAndDoesNotHang(t *testing.T) {
	s := newShop(t, mode(pgx.QueryExecModeCacheStatement, 1))
	err := s.inTx(func(tx pgx.Tx) error {
		_, err := tx.CopyFrom(t.Context(), s.notes, []string{"n"}, pgx.CopyFromFunc(func() ([]any, error) {
			_, err := tx.Exec(t.Context(), s.insert(1))
			return nil, err
		}))
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "in use by another call") {
		t.Errorf("got error %v, want one that says that the connection is in use", err)
	}
	s.has()
}

// Under the race detector: database/sql rolls back when the context ends, and the function goes on.
func TestAContextThatEndsClosesTheTransactionBetweenCalls(t *testing.T) {
	for name, loop := range map[string]func(s *shop, tx pgx.Tx, end func()) error{
		"Exec": func(s *shop, tx pgx.Tx, end func()) (err error) {
			for n := 1; err == nil; n++ {
				if n == 10 {
					end()
				}
				_, err = tx.Exec(s.Context(), s.insert(n))
			}
			return err
		},
		"Rows": func(s *shop, tx pgx.Tx, end func()) error {
			rows, err := tx.Query(s.Context(), `SELECT generate_series(1, 100000000)`)
			s.must(err)
			defer rows.Close()
			for n := 0; rows.Next(); n++ {
				if n == 10 {
					end()
				}
			}
			return rows.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, mode(pgx.QueryExecModeCacheStatement, 1))
			ctx, cancel := context.WithCancel(t.Context())
			err := s.out.InTx(ctx, s.db, pgxdriver.InTx(func(tx pgx.Tx) error {
				if err := loop(s, tx, cancel); !errors.Is(err, pgx.ErrTxClosed) {
					t.Errorf("got error %v, want ErrTxClosed", err)
				}
				return nil
			}))
			if err == nil {
				t.Error("it was committed")
			}
			s.has()
		})
	}
}

func TestAHandlerThatWasLeftBehindHasNoConnectionAnyMore(t *testing.T) {
	s := newShop(t, mode(pgx.QueryExecModeCacheStatement, 1))
	called, goOn, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	s.run(&inbox.Options{Timeout: 200 * time.Millisecond, MaxTries: 1}, func(in *inbox.Inbox) {
		in.Handle("orders", waybill.Once, pgxdriver.Handler(func(_ context.Context, tx pgx.Tx, _ *waybill.Message) error {
			ctx := context.WithoutCancel(t.Context())
			conn := tx.Conn()
			_, _ = tx.Exec(ctx, s.insert(1)) // its time may be over by now
			close(called)
			<-goOn
			if _, err := tx.Exec(ctx, s.insert(2)); !errors.Is(err, pgx.ErrTxClosed) {
				t.Errorf("got error %v, want ErrTxClosed", err)
			}
			if conn != nil {
				if _, err := conn.Exec(ctx, s.insert(3)); err == nil {
					t.Error("it still has the connection")
				}
			}
			close(done)
			return nil
		}))
	})
	s.must(s.out.InTx(t.Context(), s.db, func(tx *sql.Tx) error {
		return s.out.Send(t.Context(), tx, waybill.Message{Destination: "orders"})
	}))
	<-called
	patience.Until(s.T, "it is rejected", func() bool { return s.count(`SELECT COUNT(*) FROM `+s.prefix+`qmessage WHERE status = 2`) == 1 })
	close(goOn)
	<-done
	s.atRest()
	if n := s.count(`SELECT COUNT(*) FROM ` + s.prefix + `notes`); n != 0 {
		t.Errorf("got %d notes, want none", n)
	}
}

func TestAHandlerThatEndsItsTransactionHasFailed(t *testing.T) {
	s := newShop(t, mode(pgx.QueryExecModeCacheStatement, 2))
	s.run(&inbox.Options{MaxTries: 1}, func(in *inbox.Inbox) {
		in.Handle("orders", waybill.Once, pgxdriver.Handler(func(ctx context.Context, tx pgx.Tx, m *waybill.Message) error {
			if _, err := tx.Exec(ctx, s.insert(len(m.Body))); err != nil {
				return err
			}
			if m.Key == "bad" {
				return tx.Commit(ctx)
			}
			return nil
		}))
	})
	s.must(s.inTx(func(tx pgx.Tx) error {
		return s.out.Send(t.Context(), pgxdriver.Tx(tx), waybill.Message{Destination: "orders", Key: "bad", Body: make([]byte, 1)},
			waybill.Message{Destination: "orders", Key: "good", Body: make([]byte, 2)})
	}))
	patience.Until(s.T, "the good one is done", func() bool { return s.count(`SELECT COUNT(*) FROM `+s.prefix+`qmessage WHERE status = 0`) == 0 })
	var reason string
	s.must(s.admin.QueryRowContext(t.Context(), `SELECT last_error FROM `+s.prefix+`qmessage`).Scan(&reason))
	if !strings.Contains(reason, "Waybill commits it when the handler returns nil") {
		t.Errorf("the reason is %q", reason)
	}
	s.has(2)
}

func TestAConnectionOfAPoolThatIsOfNoUseIsClosed(t *testing.T) {
	s := newShop(t, mode(pgx.QueryExecModeCacheStatement, 1))
	pid := func() (pid int) {
		s.must(s.pool.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid))
		return pid
	}
	begin := func() *store.Transaction {
		tx, err := store.NewBeginner(postgres.Dialect()).Begin(t.Context(), s.db, nil)
		s.must(err)
		return tx
	}
	first := pid()
	s.must(begin().Rollback())
	if got := pid(); got != first {
		t.Errorf("the pool has another connection behind a rollback: %d, want %d", got, first)
	}
	tx := begin()
	_, err := tx.ExecContext(t.Context(), `SET TRANSACTION READ ONLY`)
	s.must(err)
	if _, err := tx.ExecContext(t.Context(), s.insert(1)); err == nil {
		t.Fatal("a read-only transaction has written")
	}
	s.must(tx.Rollback())
	if got := pid(); got == first {
		t.Error("a connection that takes no writes is still in the pool")
	}
	err = s.inTx(func(tx pgx.Tx) error {
		var pid int
		s.must(tx.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid))
		if n := s.count(fmt.Sprintf(`SELECT pg_terminate_backend(%d, 10000)::int`, pid)); n != 1 {
			t.Fatal("the session was not ended")
		}
		_, err := tx.Exec(t.Context(), s.insert(1))
		return err
	})
	if err == nil || errors.Is(err, waybill.ErrTxEnded) {
		t.Errorf("got error %v, want that of the connection", err)
	}
	s.has()
}

// What a pool was configured with holds for Waybill's statements and for handlers.
func TestAPoolsOwnConfiguration(t *testing.T) {
	var schema string
	var acquired, traced, connected atomic.Int64
	s := newShop(t, func(c *pgxpool.Config) {
		c.MaxConns = 1
		c.ConnConfig.Tracer = tracer{&traced}
		c.BeforeConnect = func(_ context.Context, config *pgx.ConnConfig) error {
			connected.Add(1)
			config.RuntimeParams["application_name"] = "shop"
			return nil
		}
		c.PrepareConn = func(context.Context, *pgx.Conn) (bool, error) {
			acquired.Add(1)
			return true, nil
		}
		c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			for _, name := range []string{schema + ".colour", schema + "._colour"} {
				found, err := conn.LoadType(ctx, name)
				if err != nil {
					return err
				}
				conn.TypeMap().RegisterType(found)
			}
			return nil
		}
	})
	schema = s.notes[0]
	var listening sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan struct{})
	listening.Go(func() {
		if err := pgxdriver.PoolListener(s.pool, postgres.Channel(s.prefix))(ctx, func() { heard <- struct{}{} }); err != nil {
			t.Error(err)
		}
	})
	<-heard                               // it listens
	s.must(s.inTx(func(tx pgx.Tx) error { // the pool's one connection is in use
		_, err := tx.CopyFrom(t.Context(), s.notes, []string{"n", "colours"}, pgx.CopyFromRows([][]any{{1, []string{"red", "blue"}}}))
		return err
	}))
	<-heard // InTx has notified
	var colours []string
	s.must(s.pool.QueryRow(t.Context(), `SELECT colours FROM `+s.prefix+`notes`).Scan(&colours))
	if !slices.Equal(colours, []string{"red", "blue"}) {
		t.Errorf("got %v, want red and blue", colours)
	}
	other, err := outbox.New(postgres.Dialect(), &outbox.Options{TablePrefix: s.prefix}) // one that has not notified just now
	s.must(err)
	other.Wake(t.Context(), pgxdriver.Pool(s.pool))
	<-heard
	cancel()
	listening.Wait()
	s.has(1)
	if acquired.Load() == 0 || traced.Load() == 0 || connected.Load() != 2 {
		t.Errorf("PrepareConn was called %d times, the tracer %d times and BeforeConnect %d times, want some, some and 2", acquired.Load(), traced.Load(), connected.Load())
	}
	if n := s.pool.Stat().TotalConns(); n != 1 {
		t.Errorf("the pool has %d connections, want 1", n)
	}
}

type tracer struct{ calls *atomic.Int64 }

func (x tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	x.calls.Add(1)
	return ctx
}
func (tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestWithinSaysWhatItNeeds(t *testing.T) {
	other, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tx, err := other.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() // nothing was done in it
	for name, x := range map[string]struct {
		tx   *sql.Tx
		want string
	}{"nil": {nil, "needs a transaction"}, "none of Waybill's": {tx, "of an inbox's handler or of outbox.InTx"}} {
		if _, err := pgxdriver.Within(x.tx); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: got error %v, want %q in it", name, err, x.want)
		}
	}
	_ = tx.Rollback()
	out, err := outbox.New(sqlite.Dialect(), nil)
	if err != nil {
		t.Fatal(err)
	}
	err = out.InTx(t.Context(), other, pgxdriver.InTx(func(pgx.Tx) error { return nil }))
	if err == nil || !strings.Contains(err.Error(), "stdlib.OpenDBFromPool") {
		t.Errorf("another driver: got error %v, want one that says how to open the database", err)
	}
}
