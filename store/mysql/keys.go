package mysql

import (
	"encoding/json"
	"fmt"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// What is kept of keys that were forgotten stands in qmessage_key and n2_record, in rows
// without a destination: the destination's name is their business_mark. No message has such
// a destination.

const busyKeys = `
SELECT DISTINCT destination, dest_type, business_mark
FROM {qmessage}
WHERE business_mark <> '' AND time_stamp < ?
LIMIT ?`

// idle is the condition of a key that may be forgotten.
var idle = fmt.Sprintf(`k.time_stamp >= %d AND k.time_stamp < ?`, store.FirstTime)

var keepAboveKeys = `
INSERT INTO {qmessage_key} (destination, dest_type, business_mark, sequence, time_stamp)
SELECT '', g.dest_type, g.destination, g.sequence, g.time_stamp
FROM (
	SELECT k.destination, k.dest_type, MAX(k.sequence) AS sequence, MAX(k.time_stamp) AS time_stamp
	FROM {qmessage_key} k
	WHERE k.destination <> '' AND ` + idle + `
	GROUP BY k.destination, k.dest_type) AS g
ON DUPLICATE KEY UPDATE
	sequence = GREATEST({qmessage_key}.sequence, VALUES(sequence)),
	time_stamp = GREATEST({qmessage_key}.time_stamp, VALUES(time_stamp))`

// keyPage and statePage spell the comparison of triples out, because MySQL finds no range
// of an index in (a, b, c) > (?, ?, ?).
var keyPage = `
SELECT k.destination, k.dest_type, k.business_mark, ` + idle + `
FROM {qmessage_key} k FORCE INDEX (PRIMARY)
WHERE k.destination > ? OR k.destination = ? AND (k.dest_type > ? OR k.dest_type = ? AND k.business_mark > ?)
ORDER BY k.destination, k.dest_type, k.business_mark
LIMIT ?`

// given are keys as a JSON array of triples. It is followed by what is joined with them.
const given = `JSON_TABLE(?, '$[*]' COLUMNS (destination VARCHAR(255) PATH '$[0]', dest_type SMALLINT PATH '$[1]', business_mark VARCHAR(255) PATH '$[2]')) AS g`

const ofGiven = `CONVERT(g.destination USING utf8mb4) COLLATE ` + collation

const keyOfGiven = `CONVERT(g.business_mark USING utf8mb4) COLLATE ` + collation

// forgetKeys and forgetStates look each key up in turn, as deleteRows does and for the same
// reason.
var forgetKeys = `
DELETE k
FROM ` + given + `
STRAIGHT_JOIN {qmessage_key} AS k FORCE INDEX (PRIMARY)
	ON k.destination = ` + ofGiven + ` AND k.dest_type = g.dest_type AND k.business_mark = ` + keyOfGiven + `
STRAIGHT_JOIN {qmessage_key} AS f FORCE INDEX (PRIMARY)
	ON f.destination = '' AND f.dest_type = k.dest_type AND f.business_mark = k.destination
WHERE k.sequence <= f.sequence AND k.time_stamp <= f.time_stamp AND ` + idle

// keepAboveStates leaves the message_id of such a record the lowest of all.
var keepAboveStates = fmt.Sprintf(`
INSERT INTO {n2_record} (consumer, dest_name, dest_type, business_mark, time_stamp, message_id, producer, guard)
SELECT g.consumer, '', g.dest_type, g.dest_name, g.time_stamp, '00000000-0000-0000-0000-000000000000', '', 0
FROM (
	SELECT r.consumer, r.dest_name, r.dest_type, MAX(IF(r.time_stamp < ? AND r.message_id < h.message_id, r.time_stamp, NULL)) AS time_stamp
	FROM {n2_record} r
	LEFT JOIN {n_horizon} h ON h.consumer = r.consumer AND h.producer = r.producer
	WHERE r.consumer = ? AND r.dest_name <> ''
	GROUP BY r.consumer, r.dest_name, r.dest_type
	HAVING MIN(r.time_stamp) >= %d AND MAX(r.time_stamp) <= ?) AS g
WHERE g.time_stamp IS NOT NULL
ON DUPLICATE KEY UPDATE time_stamp = GREATEST({n2_record}.time_stamp, VALUES(time_stamp))`, store.FirstTime)

const statePage = `
SELECT r.dest_name, r.dest_type, r.business_mark, COALESCE(r.time_stamp < ? AND r.time_stamp <= f.time_stamp AND r.message_id < h.message_id, 0)
FROM {n2_record} r FORCE INDEX (PRIMARY)
LEFT JOIN {n2_record} f ON f.consumer = r.consumer AND f.dest_name = '' AND f.dest_type = r.dest_type AND f.business_mark = r.dest_name
LEFT JOIN {n_horizon} h ON h.consumer = r.consumer AND h.producer = r.producer
WHERE r.consumer = ? AND (r.dest_name > ? OR r.dest_name = ? AND (r.dest_type > ? OR r.dest_type = ? AND r.business_mark > ?))
ORDER BY r.dest_name, r.dest_type, r.business_mark
LIMIT ?`

const forgetStates = `
DELETE r
FROM ` + given + `
STRAIGHT_JOIN {n2_record} AS r FORCE INDEX (PRIMARY)
	ON r.consumer = ? AND r.dest_name = ` + ofGiven + ` AND r.dest_type = g.dest_type AND r.business_mark = ` + keyOfGiven + `
STRAIGHT_JOIN {n2_record} AS f FORCE INDEX (PRIMARY)
	ON f.consumer = r.consumer AND f.dest_name = '' AND f.dest_type = r.dest_type AND f.business_mark = r.dest_name
STRAIGHT_JOIN {n_horizon} AS h FORCE INDEX (PRIMARY)
	ON h.consumer = r.consumer AND h.producer = r.producer
WHERE r.time_stamp < ? AND r.time_stamp <= f.time_stamp AND r.message_id < h.message_id`

// forgottenStates runs in a handler's session, where sql_mode may make NULL of an empty text
// (MariaDB's EMPTY_STRING_IS_NULL).
const forgottenStates = `SELECT business_mark, dest_type, time_stamp FROM {n2_record} WHERE consumer = ? AND dest_name = LEFT('x', 0)` + all

// BusyKeys implements store.ProducerDialect.
func (dialect) BusyKeys(n store.Names, before int64, limit int) store.Statement {
	return statement.New(n, busyKeys, before, limit)
}

// KeepAboveKeys implements store.ProducerDialect.
func (dialect) KeepAboveKeys(n store.Names, before int64) store.Statement {
	return statement.New(n, keepAboveKeys, before)
}

// OpenTransactions is empty: the trigger's look at what was kept locks, and so sees what was
// committed last.
func (dialect) OpenTransactions() store.Statement { return store.Statement{} }

// KeyPage implements store.ProducerDialect.
func (dialect) KeyPage(n store.Names, after store.Key, before int64, limit int) store.Statement {
	return statement.New(n, keyPage, append(append([]any{before}, afterKey(after)...), limit)...)
}

// ForgetKeys implements store.ProducerDialect.
func (dialect) ForgetKeys(n store.Names, keys []store.Key, before int64) store.Statement {
	return statement.New(n, forgetKeys, triples(keys), before)
}

// KeepAboveStates implements store.ConsumerDialect.
func (dialect) KeepAboveStates(n store.Names, consumer string, before, ahead int64) store.Statement {
	return statement.New(n, keepAboveStates, before, consumer, ahead)
}

// StatePage implements store.ConsumerDialect.
func (dialect) StatePage(n store.Names, consumer string, after store.Key, before int64, limit int) store.Statement {
	return statement.New(n, statePage, append(append([]any{before, consumer}, afterKey(after)...), limit)...)
}

// ForgetStates implements store.ConsumerDialect.
func (dialect) ForgetStates(n store.Names, consumer string, keys []store.Key, before int64) store.Statement {
	return statement.New(n, forgetStates, triples(keys), consumer, before)
}

// ForgottenStates implements store.ConsumerDialect.
func (dialect) ForgottenStates(n store.Names, consumer string) store.Statement {
	return statement.New(n, forgottenStates, consumer)
}

// afterKey is what a page begins behind. The zero Key stands for the last of those without a
// destination.
func afterKey(after store.Key) []any {
	kind := statement.Flag(after.Topic)
	if after == (store.Key{}) {
		kind = 1 << 14
	}
	return []any{after.Destination, after.Destination, kind, kind, after.Key}
}

// triples are keys as given takes them.
func triples(keys []store.Key) string {
	all := make([][3]any, len(keys))
	for i, k := range keys {
		all[i] = [3]any{k.Destination, statement.Flag(k.Topic), k.Key}
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // what these types hold can always be marshaled
	}
	return string(text)
}
