// Package outbox writes messages in the transaction of the business change that
// they tell of: the message exists if and only if the change committed.
//
// The files: outbox.go (Outbox, its options, Send, InTx, Wake), clock.go (the time that ids
// are minted for) and row.go (the check of a message, and its row).
package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/option"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
)

// DefaultMaxBody is the default of Options.MaxBody: 1 MiB.
const DefaultMaxBody = 1 << 20

// ContentType is the name, in lower case, of the header for a body's media type, such
// as "application/json". It travels as each protocol's own content type, and the
// consumer finds it among the message's headers again; an empty value is none. In any
// other case the name is that of an ordinary header.
const ContentType = wire.ContentType

// Tx is a transaction that messages can be sent in. *sql.Tx satisfies it and
// *sql.DB does not, so that sending outside a transaction does not compile;
// pgxdriver.Tx adapts a pgx.Tx.
type Tx = store.Tx

// Options configure an Outbox; nil and the zero value hold the defaults.
type Options struct {
	// TablePrefix is the prefix or schema of the tables; see store.NewNames.
	TablePrefix string
	// MaxBody is the greatest size of a body in bytes; the broker's own limit should not
	// be lower. Below 0 is refused. Default DefaultMaxBody.
	MaxBody int
	// NoNotify keeps Wake, and with it InTx, from notifying relays in other processes
	// where the database can do that (PostgreSQL). They then find messages by polling.
	NoNotify bool
}

// Outbox writes messages. It is safe for concurrent use and holds no connection, and one
// goroutine at most, for as long as relays are being notified.
type Outbox struct {
	dialect   store.Dialect
	beginner  *store.Beginner
	names     store.Names
	maxBody   int
	clock     databaseClock
	typed     atomic.Bool      // the tables are known to have this program's version
	notify    *store.Statement // nil where other processes are not notified
	notified  atomic.Int64     // when they were, in ns since the Unix epoch
	notifying atomic.Bool      // somebody notifies them through a pool
	committed chan struct{}

	middleware []func(next Sender) Sender
	sender     Sender // write, within the middleware
}

// Sender is what Send does, within middleware: it is given one message at least.
type Sender func(ctx context.Context, tx Tx, messages []waybill.Message) error

// New returns an Outbox for databases of the dialect. All faults of its arguments and
// options are reported at once. It does no I/O.
func New(dialect store.Dialect, o *Options) (*Outbox, error) {
	c := Options{}
	if o != nil {
		c = *o
	}
	var check option.Check
	if dialect == nil {
		check.Problem("a dialect is required, such as postgres.Dialect()")
	}
	names, err := store.NewNames(c.TablePrefix)
	if err != nil {
		check.Problem("%w", err)
	}
	check.Count("MaxBody", &c.MaxBody, DefaultMaxBody, 0)
	if err := check.Err("outbox options"); err != nil {
		return nil, err
	}
	out := &Outbox{dialect: dialect, beginner: store.NewBeginner(dialect), names: names, maxBody: c.MaxBody, committed: make(chan struct{}, 1)}
	if s := dialect.Notify(names); s.SQL != "" && !c.NoNotify {
		out.notify = &s
	}
	out.sender = out.write
	return out, nil
}

// Use puts middleware around Send: for logs, tenants, headers that every message needs. The
// first one given is the outermost. The messages that it is given are the caller's, headers
// too: what changes them makes copies. Its errors are Send's. Use is called before the first
// Send, and by one goroutine.
func (o *Outbox) Use(middleware ...func(next Sender) Sender) {
	o.middleware = append(o.middleware, middleware...)
	o.sender = o.write
	for _, m := range slices.Backward(o.middleware) {
		o.sender = m(o.sender)
	}
}

// Send writes messages through tx and does nothing else: no goroutine, no other
// connection, no I/O besides the caller's transaction. They are sent once the
// caller commits, and never if it rolls back.
//
// All messages are checked before the first is written; a *waybill.MessageError
// says which one cannot be sent and why, and the transaction is as it was. Where there are
// several faults, of one message or of several, the error joins one for each, of the first
// 20, a line each. Any other
// error, but that of a nil tx, comes from the database, and the transaction is to be
// rolled back; one that matches waybill.ErrSchema says that the tables are missing.
//
// Where no transaction is open on tx's connection, as after a deadlock on MySQL or a COMMIT
// as a statement, Send writes nothing and returns an error that matches
// waybill.ErrTxEnded; on MySQL it asks for that with two short statements, unless the
// transaction is one of InTx or of an inbox. On PostgreSQL no statement can tell without
// costing the transaction an id more: there a Send behind a COMMIT or ROLLBACK that was sent
// as a statement commits by itself. One that loses to another transaction matches
// waybill.ErrConflict.
//
// Messages with a key take a row lock on that key until the transaction ends, so that
// per key the order of Sequence and of commit is one order, and so is that of TimeStamp
// where Send fills it. Messages of one key are written in the order given; no other
// order is promised. Keys are locked in sorted order within one Send; a transaction
// that calls Send several times with several keys should do so in a fixed order of its
// own.
//
// In a transaction of InTx or of an inbox, as in a handler that sends messages on, the
// commit wakes the relay as InTx does; after one of the caller's own, Wake may be called.
//
// A message without an ID gets one, minted by the database's clock, which the transaction
// is asked for about once a minute.
func (o *Outbox) Send(ctx context.Context, tx Tx, messages ...waybill.Message) error {
	if isNil(tx) {
		return errors.New("waybill: Send needs a transaction: the one that the business change is made in")
	}
	if len(messages) == 0 {
		return nil
	}
	return o.sender(ctx, tx, messages)
}

// write is what Send does.
func (o *Outbox) write(ctx context.Context, tx Tx, messages []waybill.Message) error {
	tx = plain(tx)
	if o.clock.isDue() {
		o.clock.read(ctx, tx, o.dialect)
		o.seeTables(ctx, tx)
	}
	now, known := o.clock.now()
	rows := make([]store.NewRow, len(messages))
	var faults faults
	for i := range messages {
		row, wrong := o.row(&messages[i], now, known)
		faults.add(i, messages[i].Destination, wrong)
		rows[i] = row
	}
	if err := faults.err(); err != nil {
		return err
	}
	insert := store.Insert
	if !o.typed.Load() {
		insert = store.InsertPlain
	}
	crash.Point("outbox.insert.before")
	err := insert(ctx, tx, o.dialect, o.names, rows)
	crash.Point("outbox.insert.after")
	if err != nil {
		o.clock.doubt()
		o.typed.Store(false)
	} else {
		o.wakeAfter(ctx, tx)
	}
	if errors.Is(err, sql.ErrTxDone) {
		return fmt.Errorf("%w: Send was given one that has been committed or rolled back: %w", waybill.ErrTxEnded, err)
	}
	return err
}

// seeTables asks whether the tables have this program's version, until they have. As long as
// that is not known, messages are written as tables of an older version take them, too:
// these may be upgraded at any time, and no Send fails.
func (o *Outbox) seeTables(ctx context.Context, tx Tx) {
	if o.typed.Load() {
		return
	}
	crash.Point("outbox.tables.before")
	typed, err := store.HasTypedKeys(ctx, tx, o.dialect, o.names)
	crash.Point("outbox.tables.after")
	o.typed.Store(typed || errors.Is(err, errors.ErrUnsupported))
}

// isNil says whether tx, or a database, is nil, or a nil pointer such as that of a *sql.Tx that was never
// set.
func isNil(tx store.Execer) bool {
	if tx == nil {
		return true
	}
	v := reflect.ValueOf(tx)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

// InTx runs fn in a transaction of db and commits it, or rolls it back where fn returns
// an error, which InTx then returns, or panics. The transaction takes writes, also where the
// session's default is not to. After the commit it wakes the
// relay: the one in this process through Committed, others through the database where
// it can do that. An error of the commit may leave it unknown whether it happened, as
// with any transaction. Where ctx ends before the commit, the transaction is rolled back.
//
// The transaction is InTx's to end. What fn does to end it (tx.Commit, tx.Rollback, COMMIT
// as a statement, DDL on MySQL) is refused or found out, and where the database has
// rolled it back on its own, as after a deadlock whose error fn did not return, nothing
// of what follows is committed either: InTx then returns an error that matches
// waybill.ErrTxEnded. One that lost to another transaction matches waybill.ErrConflict.
func (o *Outbox) InTx(ctx context.Context, db *sql.DB, fn func(tx *sql.Tx) error) error {
	return o.InTxWith(ctx, db, fn, nil)
}

// TxOptions configure a transaction of InTxWith; nil and the zero value hold the defaults.
type TxOptions struct {
	// Isolation is the transaction's isolation level. Default: the session's own.
	Isolation sql.IsolationLevel
	// Tries is how often fn is run at most, from 1: again where the transaction has lost
	// to another one, after a short pause that grows. What fn does besides the
	// transaction happens as often. Default 1.
	Tries int
}

// InTxWith is InTx with options of its own.
func (o *Outbox) InTxWith(ctx context.Context, db *sql.DB, fn func(tx *sql.Tx) error, t *TxOptions) error {
	if db == nil {
		return errors.New("waybill: InTx needs a database")
	}
	if t == nil {
		t = &TxOptions{}
	}
	if t.Tries < 0 {
		return fmt.Errorf("waybill: outbox.TxOptions: Tries is %d, below 0", t.Tries)
	}
	wait := backoff.Backoff{Least: 5 * time.Millisecond, Most: 500 * time.Millisecond}
	for try := 1; ; try++ {
		err := o.inTx(ctx, db, fn, t)
		switch {
		case err == nil:
			return nil
		case try >= t.Tries || ctx.Err() != nil || !errors.Is(err, waybill.ErrConflict):
			return err
		}
		wait.Sleep(ctx)
	}
}

func (o *Outbox) inTx(ctx context.Context, db *sql.DB, fn func(tx *sql.Tx) error, t *TxOptions) (err error) {
	crash.Point("outbox.begin.before")
	tx, err := o.beginner.Begin(ctx, db, &sql.TxOptions{Isolation: t.Isolation})
	crash.Point("outbox.begin.after")
	if err != nil {
		return fmt.Errorf("waybill: begin a transaction: %w", err)
	}
	defer func() {
		crash.Point("outbox.rollback.before")
		lost := tx.Rollback() // does nothing after a commit
		crash.Point("outbox.rollback.after")
		if lost != nil {
			err = fmt.Errorf("%w (the database had rolled the transaction back before: %w)", err, lost)
		}
	}()
	o.wakeAfter(ctx, tx.SQL()) // fn may write rows with SQL of its own
	if err := fn(tx.SQL()); err != nil {
		return store.Conflicting(o.dialect, err)
	}
	crash.Point("outbox.commit.before")
	err = tx.Commit(ctx)
	crash.Point("outbox.commit.after")
	if err != nil {
		return fmt.Errorf("waybill: commit a transaction: %w", err)
	}
	return nil
}

// notifyEvery is the least time between two notifications of relays in other processes.
// A relay that was notified polls at short intervals for longer than this, so a commit
// that notifies nobody does not have to wait for the next one that does.
const notifyEvery = 20 * time.Millisecond

// notifyTime bounds how long relays are notified through a pool, which may have no
// connection to spare, and lentTime how long a connection is kept from its pool for that.
const notifyTime, lentTime = 5 * time.Second, time.Second

// Wake tells relays that messages may have been committed. InTx calls it, and so does the
// commit of an inbox whose handler has sent messages; a caller who commits a transaction
// by other means may. It reports no error, since a relay that is not woken finds messages
// by polling. With a nil db only the relay of this process is told. Through a pool, such as
// *sql.DB, *sqlx.DB or gorm's ConnPool, the others are notified in the background, and ctx
// does not end that: Wake waits neither for a connection nor for the database. Through a
// *sql.Conn or a transaction it runs one statement.
func (o *Outbox) Wake(ctx context.Context, db store.Execer) {
	if !o.wakesOthers(db) {
		return
	}
	switch db.(type) {
	case *sql.Conn, Tx: // one connection, which is its caller's
		o.notifyRelays(ctx, db)
	default:
		o.notifyBehind(ctx, db, func() {}, notifyTime)
	}
}

// wakeAfter has relays woken when tx is committed, where it is one of Waybill's own. Those of
// other processes are notified on its connection before the pool has that back, so that no
// other one is opened for it.
func (o *Outbox) wakeAfter(ctx context.Context, tx store.Execer) {
	store.AfterCommit(tx, o, func(on store.Execer, done func()) {
		if !o.wakesOthers(on) {
			done()
			return
		}
		o.notifyBehind(ctx, on, done, lentTime)
	})
}

// wakesOthers wakes the relay of this process, and says whether others are to be notified
// through db: that needs a database which can do it, and not at every commit.
func (o *Outbox) wakesOthers(db store.Execer) bool {
	select {
	case o.committed <- struct{}{}:
	default:
	}
	if o.notify == nil || isNil(db) {
		return false
	}
	now, last := time.Now().UnixNano(), o.notified.Load()
	return now-last >= int64(notifyEvery) && o.notified.CompareAndSwap(last, now)
}

// notifyBehind notifies relays in the background and then calls done. ctx does not end it.
func (o *Outbox) notifyBehind(ctx context.Context, db store.Execer, done func(), limit time.Duration) {
	if !o.notifying.CompareAndSwap(false, true) {
		done()
		return // that one will be later than the commit, or is about to be over
	}
	go func() {
		defer done()
		defer o.notifying.Store(false)
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		o.notifyRelays(limited, db)
	}()
}

func (o *Outbox) notifyRelays(ctx context.Context, db store.Execer) {
	crash.Point("outbox.notify.before")
	_, _ = db.ExecContext(ctx, o.notify.SQL, o.notify.Args...)
	crash.Point("outbox.notify.after")
}

// Committed receives a value after Wake, and so after commits that InTx made, for the
// one relay of this process: it is what relay.Options.Wake takes. Several commits in
// quick succession may be one value.
func (o *Outbox) Committed() <-chan struct{} { return o.committed }
