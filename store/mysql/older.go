package mysql

import (
	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

const recordLatestUntyped = `
INSERT INTO {n2_record} (consumer, dest_name, business_mark, time_stamp, message_id, producer, guard)
VALUES `

// recordedLatestUntyped and latestIDsUntyped end with a list of pairs and ")".
const recordedLatestUntyped = `
SELECT message_id
FROM {n2_record}
WHERE consumer = ? AND guard = ? AND (dest_name, business_mark) IN (`

const latestIDsUntyped = `
SELECT dest_name, business_mark, message_id
FROM {n2_record}
WHERE consumer = ? AND (dest_name, business_mark) IN (`

// floorUnindexed walks the unique index from its low end.
const floorUnindexed = `
SELECT (
	SELECT message_id FROM {qmessage} FORCE INDEX (qmessage_message_id)
	WHERE message_id < ? AND status = 0
	ORDER BY message_id
	LIMIT 1)`

// HasTypedKeys is empty: the trigger knows the keys.
func (dialect) HasTypedKeys(store.Names) store.Statement { return store.Statement{} }

// InsertPlain is Insert, which leaves keys to the trigger anyway.
func (d dialect) InsertPlain(n store.Names, rows []store.NewRow) []store.Statement {
	return d.Insert(n, rows)
}

// FloorUnindexed implements store.OlderDialect.
func (dialect) FloorUnindexed(n store.Names, below waybill.ID) store.Statement {
	return statement.New(n, floorUnindexed, below.String())
}

// RecordLatestUntyped implements store.OlderDialect.
func (dialect) RecordLatestUntyped(n store.Names, consumer string, nonce int64, marks []store.Mark) store.Guard {
	args := make([]any, 0, 7*len(marks))
	for _, m := range marks {
		args = append(args, consumer, m.Destination, m.Key, m.TimeStamp, m.ID.String(), m.Producer, nonce)
	}
	keys := append([]any{consumer, nonce}, statement.UntypedKeys(marks)...)
	return store.Guard{
		Exec: []store.Statement{statement.New(n, recordLatestUntyped+rowsOf(marks, func(m *store.Mark) string {
			return "(?, ?, " + textOf(m.Key) + ", ?, ?, " + textOf(m.Producer) + ", ?)"
		})+recordLatestEnd, args...)},
		Query: statement.New(n, recordedLatestUntyped+statement.List("(?, ?)", len(marks))+`)`+all, keys...),
	}
}

// LatestIDsUntyped implements store.OlderDialect.
func (dialect) LatestIDsUntyped(n store.Names, consumer string, marks []store.Mark) store.Statement {
	args := append([]any{consumer}, statement.UntypedKeys(marks)...)
	return statement.New(n, latestIDsUntyped+statement.List("(?, ?)", len(marks))+`)`+all, args...)
}
