package postgres

import (
	"crypto/sha256"
	"fmt"
	"math"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

const columns = `id, message_id, destination, dest_type, business_mark, sequence, time_stamp,
	headers, message_content, status, retry, failures, not_before, last_error`

const brief = `id, message_id, destination, dest_type, business_mark, sequence, time_stamp,
	NULL::text, ''::bytea, status, retry, failures, not_before, NULL::text`

// Statistics of a table that fills and empties within seconds are always wrong, and
// a plan that reads and sorts the whole backlog to return one page of it looks cheap
// where few rows are expected. So the statements that read pages hide what would
// promise few rows: their filters stand within coalesce, which is taken to let half of
// the rows pass, the upper bound of ids is a comparison of pairs, since two bounds of
// one column are taken for one row in 200, and the limit is a subquery, which is taken
// for a tenth of the rows. What is left is to walk the index in order. The clock is a
// subquery as well: it is then read once and can bound an index, as a volatile function
// cannot.

const limited = ` LIMIT (SELECT $1::bigint)`

const readClock = `(SELECT ` + clock + `)`

const scan = `SELECT ` + columns + ` FROM {qmessage} WHERE id > $2::bigint ORDER BY id` + limited

const scanDestination = `
SELECT ` + columns + `
FROM {qmessage}
WHERE id > $2::bigint AND (id, 0) <= ($3::bigint, 0)
	AND coalesce(destination = $4::text AND dest_type = $5::smallint AND status = 0 AND not_before <= ` + readClock + `, false)
ORDER BY id` + limited

// scanDue repeats the condition of the partial index qmessage_due.
const scanDue = `
SELECT ` + columns + `
FROM {qmessage}
WHERE not_before > 0 AND status = 0
	AND (not_before, id) > ($2::bigint, $3::bigint) AND not_before <= ` + readClock + `
ORDER BY not_before, id` + limited

const rows = `
SELECT ` + columns + `
FROM {qmessage}
WHERE id = ANY ((SELECT $1::text::bigint[])::bigint[]) AND status = 0
ORDER BY id`

const sweep = `
SELECT ` + brief + `
FROM {qmessage}
WHERE id > $2::bigint AND (id, 0) <= ($3::bigint, 0) AND coalesce(status = 0, false)
ORDER BY id` + limited

const scanNewest = `
SELECT ` + brief + `
FROM {qmessage}
WHERE message_id > $2::uuid AND (message_id, 0) < ($3::uuid, 0) AND coalesce(status = 0, false)
ORDER BY message_id` + limited

// scanPast compares a destination and its type as one text.
const scanPast = `
SELECT id, CASE WHEN status = 0 AND (dest_type || ' ' || destination) <> ALL ((SELECT $3::text::text[])::text[]) THEN 1 ELSE 0 END
FROM {qmessage}
WHERE id > $2::bigint
ORDER BY id` + limited

// impatient bounds, for one statement alone, how long it waits for the lock of a row: as a
// FROM clause of the subquery with the ids it is run before the first row is looked for.
const impatient = ` FROM set_config('lock_timeout', '500ms', true)`

const deleteRows = `DELETE FROM {qmessage} WHERE message_id = ANY ((SELECT $1::text::uuid[]` + impatient + `)::uuid[])`

const unlocked = `
SELECT message_id FROM {qmessage} WHERE message_id = ANY ((SELECT $1::text::uuid[])::uuid[])
FOR UPDATE SKIP LOCKED`

const unlockedRows = `
SELECT id FROM {qmessage} WHERE id = ANY ((SELECT $1::text::bigint[])::bigint[])
FOR UPDATE SKIP LOCKED`

const present = `SELECT message_id FROM {qmessage} WHERE message_id = ANY ((SELECT $1::text::uuid[])::uuid[])`

const countCopies = `UPDATE {qmessage} SET retry = retry + 1 WHERE id = ANY ((SELECT $1::text::bigint[]` + impatient + `)::bigint[])`

const reject = `
UPDATE {qmessage} SET status = 2, not_before = ` + clock + `, last_error = $2::text
WHERE message_id = (SELECT $1::uuid` + impatient + `) AND status = 0`

const postpone = `
UPDATE {qmessage}
SET not_before = ` + clock + ` + $2::bigint, retry = retry + 1, failures = failures + $3::integer, last_error = $4::text
WHERE message_id = (SELECT $1::uuid` + impatient + `) AND status = 0 AND ($5::integer = 0 OR failures < $5::integer)`

// floor and rejectedFloor repeat the expressions of the partial indexes qmessage_pending and
// qmessage_rejected_id, whose low ends they read. (PostgreSQL up to 18 has no min(uuid).)
const floor = `
SELECT (
	SELECT message_id
	FROM {qmessage}
	WHERE uuid_send(message_id) < uuid_send($1::uuid) AND coalesce(status + 0 = 0, false)
	ORDER BY uuid_send(message_id)
	LIMIT 1)`

const rejectedFloor = `
SELECT (
	SELECT message_id
	FROM {qmessage}
	WHERE uuid_send(message_id) >= uuid_send($1::uuid) AND uuid_send(message_id) < uuid_send($2::uuid) AND coalesce(status + 0 = 2, false)
	ORDER BY uuid_send(message_id)
	LIMIT 1)`

// rejections reads all rejected rows, in order of id, and compares ids as count does. The bound,
// which it never comes to, keeps the conditions out of the inner part, so that it is planned
// as listRejected is.
const rejections = `
SELECT max(not_before), min(message_id::text COLLATE "C")
FROM (
	SELECT message_id, not_before
	FROM {qmessage}
	WHERE status = 2
	ORDER BY id` + limited + `
) AS r
WHERE not_before >= $2::bigint AND not_before < $3::bigint
GROUP BY not_before / $4::bigint`

// count compares ids as text, in which their order is the same.
const count = `
SELECT destination, dest_type, status, count(*), min(message_id::text COLLATE "C"), max(retry)
FROM {qmessage}
GROUP BY destination, dest_type, status
ORDER BY destination, dest_type, status`

const listPending = `
SELECT ` + columns + `
FROM {qmessage}
WHERE id > $2::bigint AND coalesce(status = 0 AND ($3::text = '' OR destination = $3::text), false)
ORDER BY id` + limited

// listRejected repeats the condition of the partial index qmessage_rejected.
const listRejected = `
SELECT ` + columns + `
FROM {qmessage}
WHERE id > $2::bigint AND status = 2 AND ($3::text = '' OR destination = $3::text)
ORDER BY id` + limited

const find = `SELECT ` + columns + ` FROM {qmessage} WHERE message_id = ANY ((SELECT $1::text::uuid[])::uuid[]) ORDER BY id`

const identity = `SELECT identity FROM {qoutbox} WHERE id = 1`

const noteTwin = `UPDATE {qoutbox} SET twin = $1::text, twin_at = ` + clock + ` WHERE id = 1`

const twin = `SELECT twin, ` + clock + ` - twin_at FROM {qoutbox} WHERE id = 1 AND twin_at > 0`

const resend = `
UPDATE {qmessage}
SET message_id = $2::uuid, status = 0, not_before = ` + clock + `, retry = CASE WHEN message_id = $2::uuid THEN retry + 1 ELSE 0 END, failures = 0, last_error = NULL
WHERE message_id = $1::uuid AND status = 2`

const discard = `DELETE FROM {qmessage} WHERE message_id = $1::uuid AND status = 2`

// Scan implements store.ProducerDialect.
func (dialect) Scan(n store.Names, after int64, limit int) store.Statement {
	return statement.New(n, scan, int64(limit), after)
}

// ScanDestination implements store.ProducerDialect.
func (dialect) ScanDestination(n store.Names, destination string, topic bool, after, upTo int64, limit int) store.Statement {
	return statement.New(n, scanDestination, int64(limit), after, upTo, destination, statement.Flag(topic))
}

// ScanDue implements store.ProducerDialect.
func (dialect) ScanDue(n store.Names, notBefore, id int64, limit int) store.Statement {
	return statement.New(n, scanDue, int64(limit), notBefore, id)
}

// Rows implements store.ProducerDialect.
func (dialect) Rows(n store.Names, ids []int64) store.Statement {
	return statement.New(n, rows, intArray(ids))
}

// Sweep implements store.ProducerDialect.
func (dialect) Sweep(n store.Names, after, upTo int64, limit int) store.Statement {
	return statement.New(n, sweep, int64(limit), after, upTo)
}

// ScanNewest implements store.ProducerDialect.
func (dialect) ScanNewest(n store.Names, after, below waybill.ID, limit int) store.Statement {
	return statement.New(n, scanNewest, int64(limit), after.String(), below.String())
}

// ScanPast implements store.ProducerDialect.
func (dialect) ScanPast(n store.Names, passed []store.Lane, after int64, size int) store.Statement {
	lanes := make([]string, len(passed))
	for i, l := range passed {
		lanes[i] = fmt.Sprint(statement.Flag(l.Topic), " ", l.Destination)
	}
	return statement.New(n, scanPast, int64(size), after, textArray(lanes))
}

// Delete implements store.ProducerDialect.
func (dialect) Delete(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, deleteRows, idArray(ids))
}

// Unlocked implements store.ProducerDialect.
func (dialect) Unlocked(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, unlocked, idArray(ids))
}

// UnlockedRows implements store.ProducerDialect.
func (dialect) UnlockedRows(n store.Names, ids []int64) store.Statement {
	return statement.New(n, unlockedRows, intArray(ids))
}

// Present implements store.ProducerDialect.
func (dialect) Present(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, present, idArray(ids))
}

// CountCopies implements store.ProducerDialect.
func (dialect) CountCopies(n store.Names, ids []int64) store.Statement {
	return statement.New(n, countCopies, intArray(ids))
}

// Reject implements store.ProducerDialect.
func (dialect) Reject(n store.Names, id waybill.ID, reason string) store.Statement {
	return statement.New(n, reject, id.String(), reason)
}

// Postpone implements store.ProducerDialect.
func (dialect) Postpone(n store.Names, id waybill.ID, delay int64, failures, tries int, reason string) store.Statement {
	return statement.New(n, postpone, id.String(), delay, int64(failures), reason, int64(tries))
}

// Floor implements store.ProducerDialect.
func (dialect) Floor(n store.Names, below waybill.ID) store.Statement {
	return statement.New(n, floor, below.String())
}

// RejectedFloor implements store.ProducerDialect.
func (dialect) RejectedFloor(n store.Names, from, below waybill.ID) store.Statement {
	return statement.New(n, rejectedFloor, from.String(), below.String())
}

// Rejections implements store.ProducerDialect.
func (dialect) Rejections(n store.Names, from, to, width int64) store.Statement {
	return statement.New(n, rejections, int64(math.MaxInt64), from, to, width)
}

// Identity implements store.ProducerDialect.
func (dialect) Identity(n store.Names) store.Statement { return statement.New(n, identity) }

// NoteTwin implements store.ProducerDialect.
func (dialect) NoteTwin(n store.Names, holder string) store.Statement {
	return statement.New(n, noteTwin, holder)
}

// Twin implements store.ProducerDialect.
func (dialect) Twin(n store.Names) store.Statement { return statement.New(n, twin) }

// Clock implements store.ProducerDialect.
func (dialect) Clock() store.Statement { return store.Statement{SQL: `SELECT ` + clock} }

// maxIdentifier is the greatest length of a name in PostgreSQL, in bytes. pg_notify refuses
// a longer one, and LISTEN cuts it.
const maxIdentifier = 63

// Channel is the channel on which Notify speaks and a relay listens, for tables
// with this prefix: the name of the table of messages or, where that is too long for a
// channel, a hash of it.
func Channel(prefix string) string {
	name := prefix + "qmessage"
	if len(name) <= maxIdentifier {
		return name
	}
	return fmt.Sprintf("waybill_%x", sha256.Sum256([]byte(name)))[:maxIdentifier]
}

// Notify implements store.ProducerDialect. A notification locks the whole
// database's queue of notifications until its commit, so it belongs into no
// business transaction: outbox.Wake sends it after a commit, and not after each.
func (dialect) Notify(n store.Names) store.Statement {
	return store.Statement{SQL: `SELECT pg_notify($1::text, '')`, Args: []any{Channel(n.Prefix)}}
}

// Count implements store.ProducerDialect.
func (dialect) Count(n store.Names) store.Statement { return statement.New(n, count) }

// List implements store.ProducerDialect.
func (dialect) List(n store.Names, destination string, status int, after int64, limit int) store.Statement {
	if status == store.Rejected {
		return statement.New(n, listRejected, int64(limit), after, destination)
	}
	return statement.New(n, listPending, int64(limit), after, destination)
}

// Find implements store.ProducerDialect.
func (dialect) Find(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, find, idArray(ids))
}

// Resend implements store.ProducerDialect.
func (dialect) Resend(n store.Names, id, newID waybill.ID) store.Statement {
	return statement.New(n, resend, id.String(), newID.String())
}

// Discard implements store.ProducerDialect.
func (dialect) Discard(n store.Names, id waybill.ID) store.Statement {
	return statement.New(n, discard, id.String())
}
