package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"strings"
	"sync/atomic"
	"time"

	"github.com/waybill-go/waybill/internal/fault/mutant"
)

// Beginner begins transactions in one database. It remembers which of the dialect's
// ways of holding them the server knows, and whether its sessions have to be asked to take
// writes. It is safe for concurrent use.
type Beginner struct {
	dialect Dialect
	way     atomic.Int32
	// readWrite: transactions that write begin as such, whatever the session's default is.
	readWrite atomic.Bool
	// asked: the session's default is known, or nothing need be asked for it.
	asked atomic.Bool
}

// NewBeginner returns a Beginner for databases of the dialect.
func NewBeginner(dialect Dialect) *Beginner {
	b := &Beginner{dialect: dialect}
	b.readWrite.Store(true)
	b.asked.Store(dialect.ReadOnlyDefault() == "")
	return b
}

// askDefault finds out, once, whether the session's transactions take writes without being
// asked to. Where the database cannot tell, they are asked to.
func (b *Beginner) askDefault(ctx context.Context, conn *sql.Conn) error {
	if b.asked.Load() {
		return nil
	}
	var readOnly bool
	err := conn.QueryRowContext(ctx, b.dialect.ReadOnlyDefault()).Scan(&readOnly)
	switch {
	case err == nil:
		b.readWrite.Store(readOnly)
	case ctx.Err() != nil || b.dialect.TimedOut(err) || condition(b.dialect, err) == Unavailable:
		return err
	}
	b.asked.Store(true)
	return nil
}

// refused has transactions begin as such that write, after one that did not take a write.
// Where asking for that costs something, the session's default is looked at anew.
func (b *Beginner) refused() {
	b.readWrite.Store(true)
	b.asked.Store(b.dialect.ReadOnlyDefault() == "")
}

// Begin begins a transaction on a connection of its own and holds it. o may be nil. When
// ctx ends the transaction is rolled back, as with sql.DB.BeginTx; Commit or Rollback
// has to be called all the same.
func (b *Beginner) Begin(ctx context.Context, db *sql.DB, o *sql.TxOptions) (*Transaction, error) {
	if o == nil {
		o = &sql.TxOptions{}
	}
	asIs := false // once the server has refused a transaction that writes
	for stale := 0; ; {
		conn, err := db.Conn(ctx)
		if err != nil {
			return nil, err
		}
		began := time.Now()
		t := &Transaction{beginner: b, dialect: b.dialect, db: db, conn: conn}
		err = b.askDefault(ctx, conn)
		way, readWrite := b.way.Load(), b.readWrite.Load() && !o.ReadOnly && !asIs
		ways := b.dialect.Hold(strings.ToLower(rand.Text()), o, readWrite)
		if mutant.CommitUnchecked {
			ways = []Hold{{}}
		}
		if t.hold = ways[way]; err == nil {
			err = t.begin(ctx, o)
		}
		if err == nil {
			if asIs {
				b.readWrite.Store(false) // a standby, as it seems
			}
			return t, nil
		}
		dead := condition(b.dialect, err) == Unavailable
		t.loan.end()
		t.release(dead)
		switch {
		case ctx.Err() != nil:
			return nil, err
		case dead && !b.dialect.ReadOnly(err) && stale < maxStale && time.Since(began) < repeatTime:
			stale++ // nothing was written in it
		case readWrite && t.hold.Refused != nil && t.hold.Refused(err):
			asIs = true
		case int(way)+1 < len(ways) && ways[way].Unknown != nil && ways[way].Unknown(err):
			b.way.CompareAndSwap(way, way+1)
			asIs = false
		default:
			return nil, err
		}
	}
}

// maxStale is how many connections of a pool may turn out to be dead before Begin gives
// up, as after a restart of the server.
const maxStale = 20
