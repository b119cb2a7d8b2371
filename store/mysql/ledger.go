package mysql

import (
	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// recordOnce leaves a record that is there as it is. INSERT IGNORE would too, and
// would swallow every other error with it, such as a text that is too long.
const recordOnce = `
INSERT INTO {n1_record} (consumer, message_id, time_stamp, producer, guard)
VALUES `

const recordOnceEnd = `
ON DUPLICATE KEY UPDATE guard = {n1_record}.guard`

// recordedOnce reads back what this guard inserted. It ends with a list of ids and ")".
const recordedOnce = `SELECT message_id FROM {n1_record} WHERE consumer = ? AND guard = ? AND message_id IN (`

// newer holds where the new record is newer than the one that is there. Once an
// assignment has been made, the later ones see its effect (except in MariaDB's sql_mode
// SIMULTANEOUS_ASSIGNMENT): guard comes first and tells them what was decided.
const newer = `(guard = VALUES(guard) OR VALUES(time_stamp) > time_stamp
		OR VALUES(time_stamp) = time_stamp AND VALUES(message_id) > message_id)`

const recordLatest = `
INSERT INTO {n2_record} (consumer, dest_name, dest_type, business_mark, time_stamp, message_id, producer, guard)
VALUES `

const recordLatestEnd = `
ON DUPLICATE KEY UPDATE
	guard = IF(` + newer + `, VALUES(guard), guard),
	producer = IF(` + newer + `, VALUES(producer), producer),
	time_stamp = IF(` + newer + `, VALUES(time_stamp), time_stamp),
	message_id = IF(` + newer + `, VALUES(message_id), message_id)`

// recordedLatest and latestIDs end with a list of triples and ")".
const recordedLatest = `
SELECT message_id
FROM {n2_record}
WHERE consumer = ? AND guard = ? AND (dest_name, dest_type, business_mark) IN (`

const latestIDs = `
SELECT dest_name, dest_type, business_mark, message_id
FROM {n2_record}
WHERE consumer = ? AND (dest_name, dest_type, business_mark) IN (`

const horizons = `
SELECT producer, message_id, floor
FROM {n_horizon}
WHERE consumer = ?`

const saveFloor = `
INSERT INTO {n_horizon} (consumer, producer, floor)
VALUES (?, ?, ?)
ON DUPLICATE KEY UPDATE
	floor = IF(VALUES(floor) > COALESCE({n_horizon}.floor, ''), VALUES(floor), {n_horizon}.floor)`

const saveHorizon = `
INSERT INTO {n_horizon} (consumer, producer, message_id)
VALUES (?, ?, ?)
ON DUPLICATE KEY UPDATE
	message_id = IF(VALUES(message_id) > COALESCE({n_horizon}.message_id, ''), VALUES(message_id), {n_horizon}.message_id)`

const onceWindow = `
SELECT r.message_id, COALESCE(r.message_id < (
	SELECT h.message_id FROM {n_horizon} h WHERE h.consumer = r.consumer AND h.producer = r.producer), 0)
FROM {n1_record} r FORCE INDEX (PRIMARY)
WHERE r.consumer = ? AND r.message_id > ? AND r.message_id < ?
ORDER BY r.message_id
LIMIT ?`

// pruneOnce looks each record up in turn, as deleteRows does and for the same reason: a
// scan would wait for the records of every guard that is under way.
const pruneOnce = `
DELETE r
FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(36) PATH '$')) AS g
STRAIGHT_JOIN {n1_record} AS r FORCE INDEX (PRIMARY)
	ON r.consumer = ? AND r.message_id = CONVERT(g.id USING ascii) COLLATE ascii_general_ci
STRAIGHT_JOIN {n_horizon} AS h FORCE INDEX (PRIMARY)
	ON h.consumer = r.consumer AND h.producer = r.producer AND r.message_id < h.message_id`

// all ends statements that a guard reads with, in sessions that are the user's: a
// sql_select_limit that is set there would hide what was recorded.
const all = ` LIMIT 18446744073709551615`

const consumers = `SELECT DISTINCT consumer FROM {n_horizon} ORDER BY consumer`

// RecordOnce implements store.ConsumerDialect.
func (dialect) RecordOnce(n store.Names, consumer string, nonce int64, marks []store.Mark) store.Guard {
	args := make([]any, 0, 5*len(marks))
	ids := append(make([]any, 0, 2+len(marks)), consumer, nonce)
	for _, m := range marks {
		args = append(args, consumer, m.ID.String(), m.TimeStamp, m.Producer, nonce)
		ids = append(ids, m.ID.String())
	}
	return store.Guard{
		Exec:  []store.Statement{statement.New(n, recordOnce+rowsOf(marks, func(m *store.Mark) string { return "(?, ?, ?, " + textOf(m.Producer) + ", ?)" })+recordOnceEnd, args...)},
		Query: statement.New(n, recordedOnce+statement.List("?", len(marks))+`)`+all, ids...),
	}
}

// RecordLatest implements store.ConsumerDialect.
func (dialect) RecordLatest(n store.Names, consumer string, nonce int64, marks []store.Mark) store.Guard {
	args := make([]any, 0, 8*len(marks))
	for _, m := range marks {
		args = append(args, consumer, m.Destination, statement.Flag(m.Topic), m.Key, m.TimeStamp, m.ID.String(), m.Producer, nonce)
	}
	keys := append([]any{consumer, nonce}, statement.Keys(marks)...)
	return store.Guard{
		Exec: []store.Statement{statement.New(n, recordLatest+rowsOf(marks, func(m *store.Mark) string {
			return "(?, ?, ?, " + textOf(m.Key) + ", ?, ?, " + textOf(m.Producer) + ", ?)"
		})+recordLatestEnd, args...)},
		Query: statement.New(n, recordedLatest+statement.List("(?, ?, ?)", len(marks))+`)`+all, keys...),
	}
}

// LatestIDs implements store.ConsumerDialect.
func (dialect) LatestIDs(n store.Names, consumer string, marks []store.Mark) store.Statement {
	args := append([]any{consumer}, statement.Keys(marks)...)
	return statement.New(n, latestIDs+statement.List("(?, ?, ?)", len(marks))+`)`+all, args...)
}

// Horizons implements store.ConsumerDialect.
func (dialect) Horizons(n store.Names, consumer string, producers []string) store.Statement {
	query, args := horizons, []any{consumer}
	if producers != nil {
		query += ` AND producer IN (` + statement.List("?", len(producers)) + `)`
		args = append(args, statement.Args(producers)...)
	}
	return statement.New(n, query+` ORDER BY producer`+all, args...)
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
	return statement.New(n, pruneOnce, list(ids), consumer)
}

// Consumers implements store.ConsumerDialect.
func (dialect) Consumers(n store.Names) store.Statement { return statement.New(n, consumers) }
