// Package outbox writes messages in the transaction of the business change that
// they tell of: the message exists if and only if the change committed.
package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
)

// DefaultMaxBody is the default limit of a message's body: 1 MiB.
const DefaultMaxBody = 1 << 20

// notifyEvery bounds how often InTx notifies a relay in another process. A relay
// that was notified polls quickly for longer than this, so nothing waits for the
// next notification.
const notifyEvery = 20 * time.Millisecond

// Tx is a transaction that messages can be sent in. *sql.Tx satisfies it and
// *sql.DB does not, so that sending outside a transaction does not compile;
// pgxdriver.Tx adapts a pgx.Tx.
type Tx = store.Tx

// Options configure an Outbox. The zero value holds the defaults.
type Options struct {
	// TablePrefix is the prefix or schema of the tables; see store.NewNames.
	TablePrefix string
	// MaxBody is the greatest body in bytes; 0 means DefaultMaxBody. The broker's
	// own limit should not be lower.
	MaxBody int
	// NoNotify keeps InTx from notifying relays in other processes (on databases
	// that can: PostgreSQL). They then find messages by polling.
	NoNotify bool
}

// Outbox writes messages. It is safe for concurrent use and holds no connection
// and no goroutine.
type Outbox struct {
	dialect   store.Dialect
	names     store.Names
	maxBody   int
	notify    *store.Statement
	notified  atomic.Int64
	committed chan struct{}
}

// New returns an Outbox for databases of the dialect. It does no I/O.
func New(dialect store.Dialect, o *Options) (*Outbox, error) {
	if o == nil {
		o = &Options{}
	}
	if dialect == nil {
		return nil, errors.New("waybill: outbox.New needs a dialect, such as postgres.Dialect()")
	}
	names, err := store.NewNames(o.TablePrefix)
	if err != nil {
		return nil, err
	}
	if o.MaxBody < 0 {
		return nil, fmt.Errorf("waybill: MaxBody is %d, below 0", o.MaxBody)
	}
	out := &Outbox{dialect: dialect, names: names, maxBody: o.MaxBody, committed: make(chan struct{}, 1)}
	if out.maxBody == 0 {
		out.maxBody = DefaultMaxBody
	}
	if s := dialect.Notify(names); s.SQL != "" && !o.NoNotify {
		out.notify = &s
	}
	return out, nil
}

// Send writes messages through tx and does nothing else: no goroutine, no other
// connection, no I/O besides the caller's transaction. They are sent once the
// caller commits, and never if it rolls back.
//
// All messages are checked before the first is written; a *waybill.MessageError
// says which one cannot be sent and why, and the transaction is as it was. Any
// other error comes from the database, and the transaction is to be rolled back.
//
// Messages with a key take a row lock on that key until the transaction ends, so
// that per key the order of Sequence, of TimeStamp and of commit is one order.
// Keys are locked in sorted order within one Send; a transaction that calls Send
// several times with several keys should do so in a fixed order of its own.
func (o *Outbox) Send(ctx context.Context, tx Tx, messages ...waybill.Message) error {
	if isNil(tx) {
		return errors.New("waybill: Send needs a transaction: the one that the business change is made in")
	}
	if len(messages) == 0 {
		return nil
	}
	rows := make([]store.NewRow, len(messages))
	for i := range messages {
		row, err := o.row(&messages[i])
		if err != nil {
			err.Index, err.Destination = i, messages[i].Destination
			return err
		}
		rows[i] = row
	}
	crash.Point("outbox.insert.before")
	err := store.Insert(ctx, tx, o.dialect, o.names, rows)
	crash.Point("outbox.insert.after")
	if errors.Is(err, sql.ErrTxDone) {
		return fmt.Errorf("waybill: Send was given a transaction that has ended already: %w", err)
	}
	return err
}

func isNil(tx Tx) bool {
	if tx == nil {
		return true
	}
	v := reflect.ValueOf(tx)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

// row checks a message and makes its row.
func (o *Outbox) row(m *waybill.Message) (store.NewRow, *waybill.MessageError) {
	bad := func(field string, err error) *waybill.MessageError {
		return &waybill.MessageError{Field: field, Reason: err.Error()}
	}
	if err := waybill.CheckDestination(m.Destination); err != nil {
		return store.NewRow{}, bad("Destination", err)
	}
	if err := waybill.CheckKey(m.Key); err != nil {
		return store.NewRow{}, bad("Key", err)
	}
	if m.TimeStamp < 0 {
		return store.NewRow{}, bad("TimeStamp", fmt.Errorf("is %d; a version of your own is above 0", m.TimeStamp))
	}
	if !m.ID.IsZero() && !m.ID.IsV7() {
		return store.NewRow{}, bad("ID", fmt.Errorf("%s is no UUIDv7; leave it zero or use waybill.NewID", m.ID))
	}
	if len(m.Body) > o.maxBody {
		err := bad("Body", fmt.Errorf("has %d bytes, the limit is %d (outbox.Options.MaxBody); send a reference to large content instead", len(m.Body), o.maxBody))
		err.TooLarge = true
		return store.NewRow{}, err
	}
	for name, value := range m.Headers {
		if err := waybill.CheckHeader(name, value); err != nil {
			return store.NewRow{}, bad("Headers", err)
		}
	}
	row := store.NewRow{ID: m.ID, Destination: m.Destination, Topic: m.Topic, Key: m.Key, TimeStamp: m.TimeStamp, Body: m.Body}
	if row.Body == nil {
		row.Body = []byte{}
	}
	if len(m.Headers) > 0 {
		headers, err := json.Marshal(m.Headers)
		if err != nil {
			return store.NewRow{}, bad("Headers", err)
		}
		row.Headers = string(headers)
	}
	delayed := !m.NotBefore.IsZero() && m.NotBefore.After(time.Now())
	if delayed {
		if m.NotBefore.Year() > 9999 {
			return store.NewRow{}, bad("NotBefore", errors.New("is after the year 9999"))
		}
		row.NotBefore = m.NotBefore.UnixMicro()
	}
	if mutant.ProcessClock && m.Key != "" && row.TimeStamp == 0 {
		row.TimeStamp = time.Now().UnixMicro()
		if !m.ID.IsZero() {
			row.TimeStamp = m.ID.Time().UnixMicro() // minted by that clock, too
		}
	}
	if row.ID.IsZero() {
		if delayed {
			row.ID = waybill.NewIDAt(m.NotBefore)
		} else {
			row.ID = waybill.NewID()
		}
	}
	return row, nil
}

// InTx runs fn in a transaction of db and commits it, or rolls it back where fn
// returns an error or panics. After the commit it wakes the relay: the one in this
// process through Committed, others through the database where it can do that.
func (o *Outbox) InTx(ctx context.Context, db *sql.DB, fn func(tx *sql.Tx) error) (err error) {
	if db == nil {
		return errors.New("waybill: InTx needs a database")
	}
	crash.Point("outbox.begin.before")
	tx, err := db.BeginTx(ctx, nil)
	crash.Point("outbox.begin.after")
	if err != nil {
		return fmt.Errorf("waybill: begin a transaction: %w", err)
	}
	defer func() {
		crash.Point("outbox.rollback.before")
		tx.Rollback() // does nothing after a commit
		crash.Point("outbox.rollback.after")
	}()
	if err := fn(tx); err != nil {
		return err
	}
	crash.Point("outbox.commit.before")
	err = tx.Commit()
	crash.Point("outbox.commit.after")
	if err != nil {
		return fmt.Errorf("waybill: commit a transaction: %w", err)
	}
	o.Wake(ctx, db)
	return nil
}

// Wake tells relays that messages may have been committed. InTx does it; a caller
// who commits a transaction by other means may. It never fails, since a relay that
// is not woken finds messages by polling.
func (o *Outbox) Wake(ctx context.Context, db store.Execer) {
	select {
	case o.committed <- struct{}{}:
	default:
	}
	if o.notify == nil || db == nil {
		return
	}
	now, last := time.Now().UnixNano(), o.notified.Load()
	if now-last < int64(notifyEvery) || !o.notified.CompareAndSwap(last, now) {
		return
	}
	crash.Point("outbox.notify.before")
	_, _ = db.ExecContext(ctx, o.notify.SQL, o.notify.Args...)
	crash.Point("outbox.notify.after")
}

// Committed receives a value after commits that InTx made, for the relay of this
// process: relay.Options.Wake.
func (o *Outbox) Committed() <-chan struct{} { return o.committed }

// ContentType is the name of the header that travels as each protocol's own
// content type.
const ContentType = wire.ContentType
