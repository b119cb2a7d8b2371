package postgres

import (
	"fmt"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// What is kept of keys that were forgotten stands in qmessage_key and n2_record, in rows
// without a destination: the destination's name is their business_mark. No message has such
// a destination, and no role needs rights on another table.

const busyKeys = `
SELECT DISTINCT destination, dest_type, business_mark
FROM {qmessage}
WHERE business_mark <> '' AND time_stamp < $2::bigint` + limited

// idle is the condition of a key that may be forgotten.
var idle = fmt.Sprintf(`k.time_stamp >= %d AND k.time_stamp < `, store.FirstTime)

var keepAboveKeys = `
INSERT INTO {qmessage_key} AS f (destination, dest_type, business_mark, sequence, time_stamp)
SELECT '', k.dest_type, k.destination, max(k.sequence), max(k.time_stamp)
FROM {qmessage_key} k
WHERE k.destination <> '' AND ` + idle + `$1::bigint
GROUP BY k.destination, k.dest_type
ORDER BY k.destination, k.dest_type
ON CONFLICT (destination, dest_type, business_mark) DO UPDATE
SET sequence = greatest(f.sequence, excluded.sequence), time_stamp = greatest(f.time_stamp, excluded.time_stamp)`

// openTransactions: every transaction holds a lock on its own virtual id, which everybody
// may see, also where it has no other id.
const openTransactions = `
SELECT DISTINCT l.virtualtransaction
FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid' AND l.pid <> pg_backend_pid()
	AND a.datid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
	AND coalesce(a.backend_type, '') <> 'autovacuum worker'`

var keyPage = `
SELECT k.destination, k.dest_type, k.business_mark, ` + idle + `$5::bigint
FROM {qmessage_key} k
WHERE (k.destination, k.dest_type, k.business_mark) > ($2::text, $3::smallint, $4::text)
ORDER BY k.destination, k.dest_type, k.business_mark` + limited

var forgetKeys = `
DELETE FROM {qmessage_key} k
USING unnest($1::text::text[], $2::text::smallint[], $3::text::text[]) AS m (destination, dest_type, business_mark), {qmessage_key} f
WHERE k.destination = m.destination AND k.dest_type = m.dest_type AND k.business_mark = m.business_mark
	AND f.destination = '' AND f.dest_type = k.dest_type AND f.business_mark = k.destination
	AND k.sequence <= f.sequence AND k.time_stamp <= f.time_stamp AND ` + idle + `$4::bigint`

// keepAboveStates leaves the message_id of such a record the lowest of all.
var keepAboveStates = fmt.Sprintf(`
INSERT INTO {n2_record} AS f (consumer, dest_name, dest_type, business_mark, time_stamp, message_id, producer)
SELECT $1::text, '', r.dest_type, r.dest_name, max(r.time_stamp) FILTER (WHERE r.time_stamp < $2::bigint AND r.message_id < h.message_id),
	'00000000-0000-0000-0000-000000000000', ''
FROM {n2_record} r
LEFT JOIN {n_horizon} h ON h.consumer = r.consumer AND h.producer = r.producer
WHERE r.consumer = $1::text AND r.dest_name <> ''
GROUP BY r.dest_name, r.dest_type
HAVING min(r.time_stamp) >= %d AND max(r.time_stamp) <= $3::bigint
	AND count(*) FILTER (WHERE r.time_stamp < $2::bigint AND r.message_id < h.message_id) > 0
ORDER BY r.dest_name, r.dest_type
ON CONFLICT (consumer, dest_name, dest_type, business_mark) DO UPDATE SET time_stamp = excluded.time_stamp
WHERE excluded.time_stamp > f.time_stamp`, store.FirstTime)

const statePage = `
SELECT r.dest_name, r.dest_type, r.business_mark, coalesce(r.time_stamp < $6::bigint AND r.time_stamp <= f.time_stamp AND r.message_id < h.message_id, false)
FROM {n2_record} r
LEFT JOIN {n2_record} f ON f.consumer = r.consumer AND f.dest_name = '' AND f.dest_type = r.dest_type AND f.business_mark = r.dest_name
LEFT JOIN {n_horizon} h ON h.consumer = r.consumer AND h.producer = r.producer
WHERE r.consumer = $2::text AND (r.dest_name, r.dest_type, r.business_mark) > ($3::text, $4::smallint, $5::text)
ORDER BY r.dest_name, r.dest_type, r.business_mark` + limited

const forgetStates = `
DELETE FROM {n2_record} r
USING unnest($2::text::text[], $3::text::smallint[], $4::text::text[]) AS m (dest_name, dest_type, business_mark), {n2_record} f, {n_horizon} h
WHERE r.consumer = $1::text AND r.dest_name = m.dest_name AND r.dest_type = m.dest_type AND r.business_mark = m.business_mark
	AND f.consumer = r.consumer AND f.dest_name = '' AND f.dest_type = r.dest_type AND f.business_mark = r.dest_name
	AND h.consumer = r.consumer AND h.producer = r.producer
	AND r.time_stamp < $5::bigint AND r.time_stamp <= f.time_stamp AND r.message_id < h.message_id`

const forgottenStates = `SELECT business_mark, dest_type, time_stamp FROM {n2_record} WHERE consumer = $1::text AND dest_name = ''`

// BusyKeys implements store.ProducerDialect.
func (dialect) BusyKeys(n store.Names, before int64, limit int) store.Statement {
	return statement.New(n, busyKeys, int64(limit), before)
}

// KeepAboveKeys implements store.ProducerDialect.
func (dialect) KeepAboveKeys(n store.Names, before int64) store.Statement {
	return statement.New(n, keepAboveKeys, before)
}

// OpenTransactions implements store.ProducerDialect: an INSERT reads what was kept as its
// statement began, or its transaction.
func (dialect) OpenTransactions() store.Statement { return store.Statement{SQL: openTransactions} }

// KeyPage implements store.ProducerDialect.
func (dialect) KeyPage(n store.Names, after store.Key, before int64, limit int) store.Statement {
	return statement.New(n, keyPage, append(pageArgs(limit, after), before)...)
}

// ForgetKeys implements store.ProducerDialect.
func (dialect) ForgetKeys(n store.Names, keys []store.Key, before int64) store.Statement {
	destinations, types, names := keysArrays(keys)
	return statement.New(n, forgetKeys, destinations, types, names, before)
}

// KeepAboveStates implements store.ConsumerDialect.
func (dialect) KeepAboveStates(n store.Names, consumer string, before, ahead int64) store.Statement {
	return statement.New(n, keepAboveStates, consumer, before, ahead)
}

// StatePage implements store.ConsumerDialect.
func (dialect) StatePage(n store.Names, consumer string, after store.Key, before int64, limit int) store.Statement {
	args := pageArgs(limit, after)
	return statement.New(n, statePage, args[0], consumer, args[1], args[2], args[3], before)
}

// ForgetStates implements store.ConsumerDialect.
func (dialect) ForgetStates(n store.Names, consumer string, keys []store.Key, before int64) store.Statement {
	destinations, types, names := keysArrays(keys)
	return statement.New(n, forgetStates, consumer, destinations, types, names, before)
}

// ForgottenStates implements store.ConsumerDialect.
func (dialect) ForgottenStates(n store.Names, consumer string) store.Statement {
	return statement.New(n, forgottenStates, consumer)
}

// pageArgs are the limit of a page and the key that it begins behind. Those without a
// destination are passed over.
func pageArgs(limit int, after store.Key) []any {
	if after == (store.Key{}) {
		return []any{int64(limit), "", int64(1 << 14), ""}
	}
	return []any{int64(limit), after.Destination, statement.Flag(after.Topic), after.Key}
}

func keysArrays(keys []store.Key) (destinations, types, names string) {
	d, t, k := newArray(16*len(keys)), newArray(2*len(keys)), newArray(16*len(keys))
	for _, key := range keys {
		d.text(key.Destination)
		t.int(statement.Flag(key.Topic))
		k.text(key.Key)
	}
	return d.String(), t.String(), k.String()
}
