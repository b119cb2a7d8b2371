package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
)

// Prune forgets what may be forgotten: records of n1_record with an ID minted before
// now - retention and below their producer's floor; for a producer that has never told
// one, such as a program that is no Waybill outbox, the retention alone counts. Records
// of a producer that SaveFloor has not made known stay. It returns how many records are
// gone, also beside an error.
//
// Each producer's horizon is committed before the first record below it goes, so
// a guard that misses a record because it was pruned always finds the horizon.
// The old end of n1_record is then passed once, in windows of limit records (above 0)
// of the primary key, each a read that locks no rows and transactions that delete what it
// found. So there is no index that pruning alone would need and every message would
// pay for.
//
// n2_record stays, one row a key as in the producer's qmessage_key: a key's older
// states may come at any time (sent again by a person under a new id, delayed, or
// another producer's), and only the record of the newer one keeps them out.
func (l *Ledger) Prune(ctx context.Context, now time.Time, retention time.Duration, limit int) (int64, error) {
	if limit <= 0 {
		return 0, errors.New("waybill: prune records: the limit of a batch must be above 0")
	}
	known, err := l.Horizons(ctx)
	if err != nil {
		return 0, err
	}
	var highest waybill.ID
	for _, h := range known {
		horizon := waybill.LowestID(now.Add(-retention))
		if floor := effectiveFloor(h, known); !mutant.ForgetByClock && !floor.IsZero() && floor.Compare(horizon) < 0 {
			horizon = floor
		}
		save := l.dialect.SaveHorizon(l.names, l.consumer, h.Producer, horizon)
		crash.Point("store.horizon.before")
		_, err := l.sessions.exec(ctx, l.sessions.writes, nil, save)
		crash.Point("store.horizon.after")
		if err != nil {
			return 0, wrap(l.dialect, Consumer, "store a horizon", err)
		}
		for _, id := range []waybill.ID{horizon, h.ID} {
			if id.Compare(highest) > 0 {
				highest = id
			}
		}
	}
	if highest.IsZero() {
		return 0, nil
	}
	return l.pruneOnce(ctx, highest, limit)
}

// pruneOnce passes n1_record up to the highest horizon.
func (l *Ledger) pruneOnce(ctx context.Context, highest waybill.ID, limit int) (int64, error) {
	var deleted int64
	var last waybill.ID
	for {
		read, old, err := l.onceWindow(ctx, last, highest, limit)
		if err != nil {
			return deleted, wrap(l.dialect, Consumer, "prune records", err)
		}
		for batch := range batches(l.dialect, old) {
			n, err := l.remove(ctx, l.dialect.PruneOnce(l.names, l.consumer, batch))
			deleted += n
			if err != nil {
				return deleted, err
			}
		}
		if len(read) < limit {
			return deleted, nil
		}
		last = read[len(read)-1]
	}
}

// onceWindow reads the next records of n1_record after an id, and which of them are
// old: below their own producer's horizon.
func (l *Ledger) onceWindow(ctx context.Context, after, below waybill.ID, limit int) (read, old []waybill.ID, err error) {
	window := l.dialect.OnceWindow(l.names, l.consumer, after, below, limit)
	err = l.sessions.each(ctx, l.sessions.reads, window, func(rows *sql.Rows) error {
		var id waybill.ID
		var isOld bool
		if err := rows.Scan(&id, &isOld); err != nil {
			return err
		}
		read = append(read, id)
		if isOld {
			old = append(old, id)
		}
		return nil
	})
	return read, old, err
}

// remove runs a deletion in a transaction. Its isolation level is the guards', since
// at a stricter one it would fail where another deletion takes the same records, or
// hold off guards that write beside them.
func (l *Ledger) remove(ctx context.Context, s Statement) (int64, error) {
	crash.Point("store.forget.before")
	n, err := l.sessions.exec(ctx, l.sessions.writes, l.guardOptions(), s)
	crash.Point("store.forget.after")
	return n, wrap(l.dialect, Consumer, "prune records", err)
}
