package sqlite

import (
	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// One transaction writes at a time, so a guard's one statement is alone with the
// records; it writes before it reads, so a deferred transaction will do.

const recordOnce = `
INSERT INTO {n1_record} (consumer, message_id, time_stamp, producer)
VALUES `

const recordOnceEnd = `
ON CONFLICT (consumer, message_id) DO NOTHING
RETURNING message_id`

const recordLatest = `
INSERT INTO {n2_record} AS r (consumer, dest_name, dest_type, business_mark, time_stamp, message_id, producer)
VALUES `

const recordLatestEnd = `
ON CONFLICT (consumer, dest_name, dest_type, business_mark) DO UPDATE
SET time_stamp = excluded.time_stamp, message_id = excluded.message_id, producer = excluded.producer
WHERE (excluded.time_stamp, excluded.message_id) > (r.time_stamp, r.message_id)
RETURNING message_id`

// latestIDs ends with a list of triples and ")".
const latestIDs = `
SELECT dest_name, dest_type, business_mark, message_id
FROM {n2_record}
WHERE consumer = ? AND (dest_name, dest_type, business_mark) IN (VALUES `

const horizons = `
SELECT producer, message_id, floor
FROM {n_horizon}
WHERE consumer = ?`

const saveFloor = `
INSERT INTO {n_horizon} AS h (consumer, producer, floor)
VALUES (?, ?, ?)
ON CONFLICT (consumer, producer) DO UPDATE SET floor = excluded.floor
WHERE h.floor IS NULL AND excluded.floor IS NOT NULL OR excluded.floor > h.floor`

const saveHorizon = `
INSERT INTO {n_horizon} AS h (consumer, producer, message_id)
VALUES (?, ?, ?)
ON CONFLICT (consumer, producer) DO UPDATE SET message_id = excluded.message_id
WHERE h.message_id IS NULL AND excluded.message_id IS NOT NULL OR excluded.message_id > h.message_id`

const onceWindow = `
SELECT r.message_id, coalesce(r.message_id < (
	SELECT h.message_id FROM {n_horizon} h WHERE h.consumer = r.consumer AND h.producer = r.producer), 0)
FROM {n1_record} r
WHERE r.consumer = ? AND r.message_id > ? AND r.message_id < ?
ORDER BY r.message_id
LIMIT ?`

// pruneOnce ends with a list of ids and ")".
const pruneOnce = `
DELETE FROM {n1_record} AS r
WHERE consumer = ?
	AND message_id < (SELECT h.message_id FROM {n_horizon} h WHERE h.consumer = r.consumer AND h.producer = r.producer)
	AND message_id IN (`

const consumers = `SELECT DISTINCT consumer FROM {n_horizon} ORDER BY consumer`

// RecordOnce implements store.ConsumerDialect.
func (dialect) RecordOnce(n store.Names, consumer string, _ int64, marks []store.Mark) store.Guard {
	args := make([]any, 0, 4*len(marks))
	for _, m := range marks {
		args = append(args, consumer, m.ID.String(), m.TimeStamp, m.Producer)
	}
	return store.Guard{Query: statement.New(n, recordOnce+statement.List("(?, ?, ?, ?)", len(marks))+recordOnceEnd, args...)}
}

// RecordLatest implements store.ConsumerDialect.
func (dialect) RecordLatest(n store.Names, consumer string, _ int64, marks []store.Mark) store.Guard {
	args := make([]any, 0, 7*len(marks))
	for _, m := range marks {
		args = append(args, consumer, m.Destination, statement.Flag(m.Topic), m.Key, m.TimeStamp, m.ID.String(), m.Producer)
	}
	return store.Guard{Query: statement.New(n, recordLatest+statement.List("(?, ?, ?, ?, ?, ?, ?)", len(marks))+recordLatestEnd, args...)}
}

// LatestIDs implements store.ConsumerDialect.
func (dialect) LatestIDs(n store.Names, consumer string, marks []store.Mark) store.Statement {
	args := append([]any{consumer}, statement.Keys(marks)...)
	return statement.New(n, latestIDs+statement.List("(?, ?, ?)", len(marks))+`)`, args...)
}

// Horizons implements store.ConsumerDialect.
func (dialect) Horizons(n store.Names, consumer string, producers []string) store.Statement {
	text, args := horizons, []any{consumer}
	if producers != nil {
		text += ` AND producer IN (` + statement.List("?", len(producers)) + `)`
		args = append(args, statement.Args(producers)...)
	}
	return statement.New(n, text+` ORDER BY producer`, args...)
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
	return statement.New(n, onceWindow, consumer, after.String(), below.String(), size)
}

// PruneOnce implements store.ConsumerDialect.
func (dialect) PruneOnce(n store.Names, consumer string, ids []waybill.ID) store.Statement {
	return statement.New(n, pruneOnce+statement.List("?", len(ids))+`)`, append([]any{consumer}, statement.IDs(ids)...)...)
}

// Consumers implements store.ConsumerDialect.
func (dialect) Consumers(n store.Names) store.Statement { return statement.New(n, consumers) }
