package sqlite

import (
	"github.com/waybill-go/waybill/store"
)

// bumpKeys and bumpKeysOwn count each key on by its number of rows, which the
// placeholder for sequence has. With time stamps of the caller's own, the key keeps
// the greatest; else its last row's is stored.
const bumpKeys = `
INSERT INTO {qmessage_key} (destination, business_mark, sequence, time_stamp)
VALUES `

const bumpKeysRow = `(?, ?, ?, ` + clock + ` + ? - 1)`

const bumpKeysOnConflict = `
ON CONFLICT (destination, business_mark) DO UPDATE
SET sequence = sequence + excluded.sequence,
	time_stamp = max(` + clock + `, time_stamp + 1) + excluded.sequence - 1`

const bumpKeysOwnRow = `(?, ?, ?, ?)`

const bumpKeysOwnOnConflict = `
ON CONFLICT (destination, business_mark) DO UPDATE
SET sequence = sequence + excluded.sequence, time_stamp = max(time_stamp, excluded.time_stamp)`

// insertRows takes sequence and time stamp from the keys' bumped rows. "later" is
// the number of rows of the same key that follow.
const insertRows = `
WITH given (place, message_id, destination, dest_type, business_mark, own, headers, message_content, not_before, later) AS (
	VALUES `

const insertRowsRow = `(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

const insertRowsEnd = `
)
INSERT INTO {qmessage} (message_id, destination, dest_type, business_mark, sequence, time_stamp, headers, message_content, not_before)
SELECT g.message_id, g.destination, g.dest_type, g.business_mark,
	coalesce(k.sequence - g.later, 0),
	CASE WHEN g.own > 0 THEN g.own ELSE coalesce(k.time_stamp - g.later, ` + clock + `) END,
	g.headers, g.message_content, g.not_before
FROM given g
LEFT JOIN {qmessage_key} k ON k.destination = g.destination AND k.business_mark = g.business_mark AND g.business_mark <> ''
ORDER BY g.place`

// Insert implements store.ProducerDialect: one statement for the keys, where there
// are any, and one for the messages.
func (dialect) Insert(n store.Names, rows []store.NewRow) []store.Statement {
	var statements []store.Statement
	var keys, messages []any
	var count, greatest int64
	distinct := 0
	own := rows[0].TimeStamp > 0
	for i, later := range store.Later(rows) {
		r := rows[i]
		messages = append(messages, int64(i), r.ID.String(), r.Destination, flag(r.Topic), r.Key, r.TimeStamp,
			orNull(r.Headers), r.Body, r.NotBefore, later)
		if r.Key == "" {
			continue
		}
		count++
		greatest = max(greatest, r.TimeStamp)
		if later > 0 {
			continue
		}
		stamp := greatest
		if !own {
			stamp = count
		}
		keys = append(keys, r.Destination, r.Key, count, stamp)
		distinct++
		count, greatest = 0, 0
	}
	if distinct > 0 {
		row, end := bumpKeysRow, bumpKeysOnConflict
		if own {
			row, end = bumpKeysOwnRow, bumpKeysOwnOnConflict
		}
		statements = append(statements, statement(n, bumpKeys+repeat(row, distinct)+end, keys...))
	}
	return append(statements, statement(n, insertRows+repeat(insertRowsRow, len(rows))+insertRowsEnd, messages...))
}
