package sqlite

import (
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
SELECT '', k.dest_type, k.destination, max(k.sequence), max(k.time_stamp)
FROM {qmessage_key} k
WHERE k.destination <> '' AND ` + idle + `
GROUP BY k.destination, k.dest_type
ON CONFLICT (destination, dest_type, business_mark) DO UPDATE
SET sequence = max(sequence, excluded.sequence), time_stamp = max(time_stamp, excluded.time_stamp)`

var keyPage = `
SELECT k.destination, k.dest_type, k.business_mark, ` + idle + `
FROM {qmessage_key} k
WHERE (k.destination, k.dest_type, k.business_mark) > (?, ?, ?)
ORDER BY k.destination, k.dest_type, k.business_mark
LIMIT ?`

// forgetKeys ends with a list of triples and ")".
var forgetKeys = `
DELETE FROM {qmessage_key} AS k
WHERE ` + idle + `
	AND EXISTS (SELECT 1 FROM {qmessage_key} f
		WHERE f.destination = '' AND f.dest_type = k.dest_type AND f.business_mark = k.destination
			AND k.sequence <= f.sequence AND k.time_stamp <= f.time_stamp)
	AND (destination, dest_type, business_mark) IN (VALUES `

// keepAboveStates leaves the message_id of such a record the lowest of all.
var keepAboveStates = fmt.Sprintf(`
INSERT INTO {n2_record} AS f (consumer, dest_name, dest_type, business_mark, time_stamp, message_id, producer)
SELECT r.consumer, '', r.dest_type, r.dest_name, max(r.time_stamp) FILTER (WHERE r.time_stamp < ?1 AND r.message_id < h.message_id),
	'00000000-0000-0000-0000-000000000000', ''
FROM {n2_record} r
LEFT JOIN {n_horizon} h ON h.consumer = r.consumer AND h.producer = r.producer
WHERE r.consumer = ?2 AND r.dest_name <> ''
GROUP BY r.dest_name, r.dest_type
HAVING min(r.time_stamp) >= %d AND max(r.time_stamp) <= ?3
	AND count(*) FILTER (WHERE r.time_stamp < ?1 AND r.message_id < h.message_id) > 0
ON CONFLICT (consumer, dest_name, dest_type, business_mark) DO UPDATE SET time_stamp = excluded.time_stamp
WHERE excluded.time_stamp > f.time_stamp`, store.FirstTime)

const statePage = `
SELECT r.dest_name, r.dest_type, r.business_mark, coalesce(r.time_stamp < ? AND r.time_stamp <= f.time_stamp AND r.message_id < h.message_id, 0)
FROM {n2_record} r
LEFT JOIN {n2_record} f ON f.consumer = r.consumer AND f.dest_name = '' AND f.dest_type = r.dest_type AND f.business_mark = r.dest_name
LEFT JOIN {n_horizon} h ON h.consumer = r.consumer AND h.producer = r.producer
WHERE r.consumer = ? AND (r.dest_name, r.dest_type, r.business_mark) > (?, ?, ?)
ORDER BY r.dest_name, r.dest_type, r.business_mark
LIMIT ?`

// forgetStates ends with a list of triples and ")".
const forgetStates = `
DELETE FROM {n2_record} AS r
WHERE consumer = ? AND time_stamp < ?
	AND time_stamp <= (SELECT f.time_stamp FROM {n2_record} f
		WHERE f.consumer = r.consumer AND f.dest_name = '' AND f.dest_type = r.dest_type AND f.business_mark = r.dest_name)
	AND message_id < (SELECT h.message_id FROM {n_horizon} h WHERE h.consumer = r.consumer AND h.producer = r.producer)
	AND (dest_name, dest_type, business_mark) IN (VALUES `

const forgottenStates = `SELECT business_mark, dest_type, time_stamp FROM {n2_record} WHERE consumer = ? AND dest_name = ''`

// BusyKeys implements store.ProducerDialect.
func (dialect) BusyKeys(n store.Names, before int64, limit int) store.Statement {
	return statement.New(n, busyKeys, before, limit)
}

// KeepAboveKeys implements store.ProducerDialect.
func (dialect) KeepAboveKeys(n store.Names, before int64) store.Statement {
	return statement.New(n, keepAboveKeys, before)
}

// OpenTransactions is empty: a transaction that writes sees all that was committed before.
func (dialect) OpenTransactions() store.Statement { return store.Statement{} }

// KeyPage implements store.ProducerDialect.
func (dialect) KeyPage(n store.Names, after store.Key, before int64, limit int) store.Statement {
	return statement.New(n, keyPage, append(append([]any{before}, keyArgs(after)...), limit)...)
}

// ForgetKeys implements store.ProducerDialect.
func (dialect) ForgetKeys(n store.Names, keys []store.Key, before int64) store.Statement {
	return statement.New(n, forgetKeys+statement.List("(?, ?, ?)", len(keys))+`)`, append([]any{before}, keyArgs(keys...)...)...)
}

// KeepAboveStates implements store.ConsumerDialect.
func (dialect) KeepAboveStates(n store.Names, consumer string, before, ahead int64) store.Statement {
	return statement.New(n, keepAboveStates, before, consumer, ahead)
}

// StatePage implements store.ConsumerDialect.
func (dialect) StatePage(n store.Names, consumer string, after store.Key, before int64, limit int) store.Statement {
	return statement.New(n, statePage, append(append([]any{before, consumer}, keyArgs(after)...), limit)...)
}

// ForgetStates implements store.ConsumerDialect.
func (dialect) ForgetStates(n store.Names, consumer string, keys []store.Key, before int64) store.Statement {
	return statement.New(n, forgetStates+statement.List("(?, ?, ?)", len(keys))+`)`, append([]any{consumer, before}, keyArgs(keys...)...)...)
}

// ForgottenStates implements store.ConsumerDialect.
func (dialect) ForgottenStates(n store.Names, consumer string) store.Statement {
	return statement.New(n, forgottenStates, consumer)
}

// keyArgs are the keys' columns. The zero Key stands for the last of those without a
// destination.
func keyArgs(keys ...store.Key) (args []any) {
	for _, k := range keys {
		kind := statement.Flag(k.Topic)
		if k == (store.Key{}) {
			kind = 2
		}
		args = append(args, k.Destination, kind, k.Key)
	}
	return args
}
