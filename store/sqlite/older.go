package sqlite

import (
	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

const hasTypedKeys = `SELECT count(*) FROM pragma_table_info('{.qmessage_key}') WHERE name = 'dest_type'`

const hasTypedKeysIn = `SELECT count(*) FROM pragma_table_info('{.qmessage_key}', ?) WHERE name = 'dest_type'`

// insertPlain gives neither sequence nor, unless it is the caller's own, time stamp: the
// trigger does.
const insertPlain = `
INSERT INTO {qmessage} (message_id, destination, dest_type, business_mark, time_stamp, headers, message_content, not_before)
VALUES `

const recordLatestUntyped = `
INSERT INTO {n2_record} AS r (consumer, dest_name, business_mark, time_stamp, message_id, producer)
VALUES `

const recordLatestUntypedEnd = `
ON CONFLICT (consumer, dest_name, business_mark) DO UPDATE
SET time_stamp = excluded.time_stamp, message_id = excluded.message_id, producer = excluded.producer
WHERE (excluded.time_stamp, excluded.message_id) > (r.time_stamp, r.message_id)
RETURNING message_id`

// latestIDsUntyped ends with a list of pairs and ")".
const latestIDsUntyped = `
SELECT dest_name, business_mark, message_id
FROM {n2_record}
WHERE consumer = ? AND (dest_name, business_mark) IN (VALUES `

// HasTypedKeys implements store.OlderDialect.
func (dialect) HasTypedKeys(n store.Names) store.Statement {
	if schema := n.Schema(); schema != "" {
		return statement.New(n, hasTypedKeysIn, schema)
	}
	return statement.New(n, hasTypedKeys)
}

// InsertPlain implements store.OlderDialect.
func (dialect) InsertPlain(n store.Names, rows []store.NewRow) []store.Statement {
	args := make([]any, 0, 8*len(rows))
	for _, r := range rows {
		args = append(args, r.ID.String(), r.Destination, statement.Flag(r.Topic), r.Key, r.TimeStamp, statement.TextOrNull(r.Headers), r.Body, r.NotBefore)
	}
	return []store.Statement{statement.New(n, insertPlain+statement.List("(?, ?, ?, ?, ?, ?, ?, ?)", len(rows)), args...)}
}

// FloorUnindexed is Floor, which has no index of its own.
func (d dialect) FloorUnindexed(n store.Names, below waybill.ID) store.Statement {
	return d.Floor(n, below)
}

// RecordLatestUntyped implements store.OlderDialect.
func (dialect) RecordLatestUntyped(n store.Names, consumer string, _ int64, marks []store.Mark) store.Guard {
	args := make([]any, 0, 6*len(marks))
	for _, m := range marks {
		args = append(args, consumer, m.Destination, m.Key, m.TimeStamp, m.ID.String(), m.Producer)
	}
	return store.Guard{Query: statement.New(n, recordLatestUntyped+statement.List("(?, ?, ?, ?, ?, ?)", len(marks))+recordLatestUntypedEnd, args...)}
}

// LatestIDsUntyped implements store.OlderDialect.
func (dialect) LatestIDsUntyped(n store.Names, consumer string, marks []store.Mark) store.Statement {
	args := append([]any{consumer}, statement.UntypedKeys(marks)...)
	return statement.New(n, latestIDsUntyped+statement.List("(?, ?)", len(marks))+`)`, args...)
}
