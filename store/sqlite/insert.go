package sqlite

import (
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// bumpKeys and bumpKeysOwn count each key on by its number of rows, which the
// placeholder for sequence has. With time stamps of the caller's own, the key keeps
// the greatest; else its last row's is stored. A key that has no row yet is lifted by a
// trigger above what was forgotten of its destination's keys (see keys.go).
const bumpKeys = `
INSERT INTO {qmessage_key} (destination, dest_type, business_mark, sequence, time_stamp)
VALUES `

const bumpKeysRow = `(?, ?, ?, ?, ` + clock + ` + ? - 1)`

const bumpKeysOnConflict = `
ON CONFLICT (destination, dest_type, business_mark) DO UPDATE
SET sequence = sequence + excluded.sequence,
	time_stamp = max(` + clock + `, time_stamp + 1) + excluded.sequence - 1`

const bumpKeysOwnRow = `(?, ?, ?, ?, ?)`

const bumpKeysOwnOnConflict = `
ON CONFLICT (destination, dest_type, business_mark) DO UPDATE
SET sequence = sequence + excluded.sequence, time_stamp = max(time_stamp, excluded.time_stamp)`

// insertRows takes sequence and time stamp from the keys' bumped rows. "following" is
// the number of rows of the same key behind a row.
const insertRows = `
WITH given (place, message_id, destination, dest_type, business_mark, own, headers, message_content, not_before, following) AS (
	VALUES `

const insertRowsRow = `(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

const insertRowsEnd = `
)
INSERT INTO {qmessage} (message_id, destination, dest_type, business_mark, sequence, time_stamp, headers, message_content, not_before)
SELECT g.message_id, g.destination, g.dest_type, g.business_mark,
	coalesce(k.sequence - g.following, 0),
	CASE WHEN g.own > 0 THEN g.own ELSE coalesce(k.time_stamp - g.following, ` + clock + `) END,
	g.headers, g.message_content, g.not_before
FROM given g
LEFT JOIN {qmessage_key} k ON k.destination = g.destination AND k.dest_type = g.dest_type AND k.business_mark = g.business_mark AND g.business_mark <> ''
ORDER BY g.place`

// Insert implements store.ProducerDialect: one statement for the keys, where there
// are any, and one for the messages.
func (dialect) Insert(n store.Names, rows []store.NewRow) []store.Statement {
	following := store.CountFollowing(rows)
	var statements []store.Statement
	own := rows[0].TimeStamp > 0
	if keys, args := bumps(rows, following, own); keys > 0 {
		row, end := bumpKeysRow, bumpKeysOnConflict
		if own {
			row, end = bumpKeysOwnRow, bumpKeysOwnOnConflict
		}
		statements = append(statements, statement.New(n, bumpKeys+statement.List(row, keys)+end, args...))
	}
	var args []any
	for i, r := range rows {
		args = append(args, int64(i), r.ID.String(), r.Destination, statement.Flag(r.Topic), r.Key, r.TimeStamp,
			statement.TextOrNull(r.Headers), r.Body, r.NotBefore, following[i])
	}
	return append(statements, statement.New(n, insertRows+statement.List(insertRowsRow, len(rows))+insertRowsEnd, args...))
}

// bumps returns how many keys the rows have, and each one's arguments: its number of
// rows, and either the greatest of their own time stamps or their number once more,
// by which the clock's time stamp of the last one is above the first one's.
func bumps(rows []store.NewRow, following []int64, own bool) (keys int, args []any) {
	var count, greatest int64
	for i, r := range rows {
		if r.Key == "" {
			continue
		}
		count++
		greatest = max(greatest, r.TimeStamp)
		if following[i] > 0 {
			continue
		}
		stamp := count
		if own {
			stamp = greatest
		}
		args = append(args, r.Destination, statement.Flag(r.Topic), r.Key, count, stamp)
		keys++
		count, greatest = 0, 0
	}
	return keys, args
}
