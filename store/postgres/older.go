package postgres

import (
	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// hasTypedKeys reads the catalog, which everybody may.
const hasTypedKeys = `
SELECT count(*)
FROM pg_attribute
WHERE attrelid = to_regclass('{qmessage_key}') AND attname = 'dest_type' AND NOT attisdropped`

// insertPlain gives neither sequence nor, unless it is the caller's own, time stamp: the
// trigger does. Bodies travel as in insertMany.
const insertPlain = `
WITH given AS (
	SELECT *
	FROM unnest($1::text::uuid[], $2::text::text[], $3::text::smallint[], $4::text::text[], $5::text::bigint[],
		$6::text::text[], $7::text::bigint[], $8::text::int[])
	WITH ORDINALITY AS g (message_id, destination, dest_type, business_mark, own, headers, not_before, size, place)
), placed AS (
	SELECT *, sum(size) OVER (ORDER BY place) - size AS body_at FROM given
)
INSERT INTO {qmessage} (message_id, destination, dest_type, business_mark, time_stamp, headers, message_content, not_before)
SELECT message_id, destination, dest_type, business_mark, own, nullif(headers, ''),
	substring($9::bytea FROM body_at::int + 1 FOR size), not_before
FROM placed
ORDER BY place`

const recordLatestUntyped = `
INSERT INTO {n2_record} AS r (consumer, dest_name, business_mark, time_stamp, message_id, producer)
SELECT $1::text, m.*
FROM unnest($2::text::text[], $3::text::text[], $4::text::bigint[], $5::text::uuid[], $6::text::text[]) AS m
ON CONFLICT (consumer, dest_name, business_mark) DO UPDATE
SET time_stamp = excluded.time_stamp, message_id = excluded.message_id, producer = excluded.producer
WHERE (excluded.time_stamp, excluded.message_id) > (r.time_stamp, r.message_id)
RETURNING message_id`

const latestIDsUntyped = `
SELECT r.dest_name, r.business_mark, r.message_id
FROM unnest($2::text::text[], $3::text::text[]) AS m (dest_name, business_mark)
JOIN {n2_record} r ON r.consumer = $1::text AND r.dest_name = m.dest_name AND r.business_mark = m.business_mark`

// floorUnindexed walks the unique index from its low end.
const floorUnindexed = `
SELECT (
	SELECT message_id
	FROM {qmessage}
	WHERE message_id < $1::uuid AND coalesce(status = 0, false)
	ORDER BY message_id
	LIMIT 1)`

// HasTypedKeys implements store.OlderDialect.
func (dialect) HasTypedKeys(n store.Names) store.Statement { return statement.New(n, hasTypedKeys) }

// InsertPlain implements store.OlderDialect.
func (dialect) InsertPlain(n store.Names, rows []store.NewRow) []store.Statement {
	a := arraysOf(rows)
	return []store.Statement{statement.New(n, insertPlain, a.ids, a.destinations, a.types, a.keys, a.own, a.headers, a.delays, a.sizes, a.bodies)}
}

// FloorUnindexed implements store.OlderDialect.
func (dialect) FloorUnindexed(n store.Names, below waybill.ID) store.Statement {
	return statement.New(n, floorUnindexed, below.String())
}

// RecordLatestUntyped implements store.OlderDialect.
func (dialect) RecordLatestUntyped(n store.Names, consumer string, _ int64, marks []store.Mark) store.Guard {
	destinations, _, keys := keyArrays(marks)
	ids, stamps, producers := recordArrays(marks)
	return store.Guard{Query: statement.New(n, recordLatestUntyped, consumer, destinations, keys, stamps, ids, producers)}
}

// LatestIDsUntyped implements store.OlderDialect.
func (dialect) LatestIDsUntyped(n store.Names, consumer string, marks []store.Mark) store.Statement {
	destinations, _, keys := keyArrays(marks)
	return statement.New(n, latestIDsUntyped, consumer, destinations, keys)
}
