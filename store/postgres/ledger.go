package postgres

import (
	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// recordOnce waits for a transaction that writes the same record and then knows:
// what is returned was inserted here and nowhere else. The conflict's target is
// named, because without it any other unique key would swallow a record.
const recordOnce = `
INSERT INTO {n1_record} (consumer, message_id, time_stamp, producer)
SELECT $1::text, m.*
FROM unnest($2::text::uuid[], $3::text::bigint[], $4::text::text[]) AS m
ON CONFLICT (consumer, message_id) DO NOTHING
RETURNING message_id`

// recordLatest judges "newer" under the row's lock, so of two racing states the
// newer one stays whatever their order.
const recordLatest = `
INSERT INTO {n2_record} AS r (consumer, dest_name, dest_type, business_mark, time_stamp, message_id, producer)
SELECT $1::text, m.*
FROM unnest($2::text::text[], $3::text::smallint[], $4::text::text[], $5::text::bigint[], $6::text::uuid[], $7::text::text[]) AS m
ON CONFLICT (consumer, dest_name, dest_type, business_mark) DO UPDATE
SET time_stamp = excluded.time_stamp, message_id = excluded.message_id, producer = excluded.producer
WHERE (excluded.time_stamp, excluded.message_id) > (r.time_stamp, r.message_id)
RETURNING message_id`

const latestIDs = `
SELECT r.dest_name, r.dest_type, r.business_mark, r.message_id
FROM unnest($2::text::text[], $3::text::smallint[], $4::text::text[]) AS m (dest_name, dest_type, business_mark)
JOIN {n2_record} r ON r.consumer = $1::text AND r.dest_name = m.dest_name AND r.dest_type = m.dest_type AND r.business_mark = m.business_mark`

const horizons = `
SELECT producer, message_id, floor
FROM {n_horizon}
WHERE consumer = $1::text AND ($2::text IS NULL OR producer = ANY ($2::text::text[]))
ORDER BY producer`

const saveFloor = `
INSERT INTO {n_horizon} AS h (consumer, producer, floor)
VALUES ($1::text, $2::text, $3::uuid)
ON CONFLICT (consumer, producer) DO UPDATE SET floor = excluded.floor
WHERE h.floor IS NULL AND excluded.floor IS NOT NULL OR excluded.floor > h.floor`

const saveHorizon = `
INSERT INTO {n_horizon} AS h (consumer, producer, message_id)
VALUES ($1::text, $2::text, $3::uuid)
ON CONFLICT (consumer, producer) DO UPDATE SET message_id = excluded.message_id
WHERE h.message_id IS NULL AND excluded.message_id IS NOT NULL OR excluded.message_id > h.message_id`

// onceWindow has its limit in a subquery for the reason that queue.go gives.
const onceWindow = `
SELECT r.message_id, coalesce(r.message_id < (
	SELECT h.message_id FROM {n_horizon} h WHERE h.consumer = r.consumer AND h.producer = r.producer), false)
FROM {n1_record} r
WHERE r.consumer = $2::text AND r.message_id > $3::uuid AND r.message_id < $4::uuid
ORDER BY r.message_id` + limited

const pruneOnce = `
DELETE FROM {n1_record} r
USING {n_horizon} h
WHERE r.consumer = $1::text AND r.message_id = ANY ((SELECT $2::text::uuid[])::uuid[])
	AND h.consumer = r.consumer AND h.producer = r.producer AND r.message_id < h.message_id`

const consumers = `SELECT DISTINCT consumer FROM {n_horizon} ORDER BY consumer`

// RecordOnce implements store.ConsumerDialect.
func (dialect) RecordOnce(n store.Names, consumer string, _ int64, marks []store.Mark) store.Guard {
	ids, stamps, producers := recordArrays(marks)
	return store.Guard{Query: statement.New(n, recordOnce, consumer, ids, stamps, producers)}
}

// RecordLatest implements store.ConsumerDialect.
func (dialect) RecordLatest(n store.Names, consumer string, _ int64, marks []store.Mark) store.Guard {
	destinations, types, keys := keyArrays(marks)
	ids, stamps, producers := recordArrays(marks)
	return store.Guard{Query: statement.New(n, recordLatest, consumer, destinations, types, keys, stamps, ids, producers)}
}

// LatestIDs implements store.ConsumerDialect.
func (dialect) LatestIDs(n store.Names, consumer string, marks []store.Mark) store.Statement {
	destinations, types, keys := keyArrays(marks)
	return statement.New(n, latestIDs, consumer, destinations, types, keys)
}

// recordArrays are what both guards store of the marks.
func recordArrays(marks []store.Mark) (ids, stamps, producers string) {
	i, s, p := newArray(37*len(marks)), newArray(17*len(marks)), newArray(16*len(marks))
	for _, m := range marks {
		i.id(m.ID)
		s.int(m.TimeStamp)
		p.text(m.Producer)
	}
	return i.String(), s.String(), p.String()
}

func keyArrays(marks []store.Mark) (destinations, types, keys string) {
	d, t, k := newArray(16*len(marks)), newArray(2*len(marks)), newArray(16*len(marks))
	for _, m := range marks {
		d.text(m.Destination)
		t.int(statement.Flag(m.Topic))
		k.text(m.Key)
	}
	return d.String(), t.String(), k.String()
}

// Horizons implements store.ConsumerDialect.
func (dialect) Horizons(n store.Names, consumer string, producers []string) store.Statement {
	if producers == nil {
		return statement.New(n, horizons, consumer, nil)
	}
	return statement.New(n, horizons, consumer, textArray(producers))
}

// SaveFloor implements store.ConsumerDialect.
func (dialect) SaveFloor(n store.Names, consumer, producer string, floor waybill.ID) store.Statement {
	return statement.New(n, saveFloor, consumer, producer, statement.IDOrNull(floor))
}

// SaveHorizon implements store.ConsumerDialect.
func (dialect) SaveHorizon(n store.Names, consumer, producer string, horizon waybill.ID) store.Statement {
	return statement.New(n, saveHorizon, consumer, producer, statement.IDOrNull(horizon))
}

// OnceWindow implements store.ConsumerDialect.
func (dialect) OnceWindow(n store.Names, consumer string, after, below waybill.ID, size int) store.Statement {
	return statement.New(n, onceWindow, int64(size), consumer, after.String(), below.String())
}

// PruneOnce implements store.ConsumerDialect.
func (dialect) PruneOnce(n store.Names, consumer string, ids []waybill.ID) store.Statement {
	return statement.New(n, pruneOnce, consumer, idArray(ids))
}

// Consumers implements store.ConsumerDialect.
func (dialect) Consumers(n store.Names) store.Statement { return statement.New(n, consumers) }
