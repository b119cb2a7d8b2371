package store

import (
	"cmp"
	"context"
	"iter"
	"slices"
)

// Insert writes rows in the caller's transaction and nothing else. Where the database
// can tell that no transaction is open, it writes nothing and returns an error that
// matches waybill.ErrTxEnded. The rows are sorted and split into statements as the
// dialect asks; the rows of one key keep the order given, and so do the rows without one
// among themselves. Any other error means that some of them may have been written, so the
// caller rolls the transaction back.
func Insert(ctx context.Context, tx Tx, dialect Dialect, names Names, rows []NewRow) error {
	return insert(ctx, tx, dialect, names, rows, dialect.Insert)
}

// InsertPlain is Insert for tables of which it is not known that they have this program's
// version; it serves those of version 1, too, and is slower.
func InsertPlain(ctx context.Context, tx Tx, dialect Dialect, names Names, rows []NewRow) error {
	return insert(ctx, tx, dialect, names, rows, dialect.InsertPlain)
}

func insert(ctx context.Context, tx Tx, dialect Dialect, names Names, rows []NewRow, build func(Names, []NewRow) []Statement) error {
	if err := probe(ctx, tx, dialect); err != nil {
		return err
	}
	for part := range parts(sortByKey(rows), dialect.Capabilities().MaxBatch) {
		if err := run(ctx, tx, build(names, part)...); err != nil {
			if t := heldTransaction(tx); t != nil {
				t.noteOwn(err)
			}
			return wrap(dialect, Producer, "write messages", err)
		}
	}
	return nil
}

// ReadClock asks a transaction, which has to be a NumberReader or to have the method
// QueryContext of *sql.Tx, for the database's clock in µs since the Unix epoch. Of any other
// it matches errors.ErrUnsupported.
func ReadClock(ctx context.Context, tx Tx, dialect Dialect) (us int64, err error) {
	return readNumber(ctx, tx, dialect.Clock())
}

// sortByKey puts rows in the order that the dialects ask for: rows without a key
// first, then keys sorted, the rows of one key in the order given.
func sortByKey(rows []NewRow) []NewRow {
	if len(rows) < 2 {
		return rows
	}
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b NewRow) int {
		switch {
		case a.Key == "" && b.Key == "":
			return 0
		case a.Key == "":
			return -1
		case b.Key == "":
			return 1
		}
		return cmp.Or(cmp.Compare(a.Destination, b.Destination), compareTypes(a.Topic, b.Topic), cmp.Compare(a.Key, b.Key))
	})
	return rows
}

// compareTypes orders queues before topics.
func compareTypes(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// maxStatement is the size in bytes at which Insert begins another statement, so
// that many large bodies stay below the databases' limits of a packet.
const maxStatement = 4 << 20

// parts splits sorted rows into what one call of Dialect.Insert takes: at most
// size rows, no more bodies than one statement should carry, and either all with a
// TimeStamp of their own or none.
func parts(rows []NewRow, size int) iter.Seq[[]NewRow] {
	return func(yield func([]NewRow) bool) {
		for len(rows) > 0 {
			n, bytes := 1, len(rows[0].Body)
			for n < len(rows) && n < size && (rows[n].TimeStamp > 0) == (rows[0].TimeStamp > 0) {
				if bytes += len(rows[n].Body); bytes > maxStatement {
					break
				}
				n++
			}
			if !yield(rows[:n:n]) {
				return
			}
			rows = rows[n:]
		}
	}
}

// CountFollowing returns for each row how many of the rows behind it have its key, for
// rows sorted as Dialect.Insert gets them; 0 for rows without a key. A dialect that
// adds all rows of a key to its sequence at once counts each row's own back from there.
func CountFollowing(rows []NewRow) []int64 {
	following := make([]int64, len(rows))
	for i := len(rows) - 2; i >= 0; i-- {
		if rows[i].Key != "" && rows[i].Key == rows[i+1].Key && rows[i].Topic == rows[i+1].Topic && rows[i].Destination == rows[i+1].Destination {
			following[i] = following[i+1] + 1
		}
	}
	return following
}
