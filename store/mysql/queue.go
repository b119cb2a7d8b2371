package mysql

import (
	"encoding/json"
	"fmt"
	"strings"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

const columns = `id, message_id, destination, dest_type, business_mark, sequence, time_stamp,
	headers, message_content, status, retry, failures, not_before, last_error`

const brief = `id, message_id, destination, dest_type, business_mark, sequence, time_stamp,
	NULL, '', status, retry, failures, not_before, NULL`

// text is the placeholder of a text or body that may be empty, in sessions that are the
// user's: in MariaDB's sql_mode EMPTY_STRING_IS_NULL an empty literal is null.
const text = `COALESCE(?, LEFT(' ', 0))`

// textOf is the placeholder of this text: calls of functions are a good part of what a
// statement of many rows costs the server, and only an empty one needs them.
func textOf[T string | []byte](value T) string {
	if len(value) == 0 {
		return text
	}
	return `?`
}

// rowsOf is a list of rows, each with placeholders of its own.
func rowsOf[T any](all []T, row func(x *T) string) string {
	var b strings.Builder
	for i := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(row(&all[i]))
	}
	return b.String()
}

// insert leaves sequence to the trigger, and time_stamp where it is 0.
const insert = `
INSERT INTO {qmessage} (message_id, destination, dest_type, business_mark, time_stamp, headers, message_content, not_before)
VALUES `

const scan = `SELECT ` + columns + ` FROM {qmessage} FORCE INDEX (PRIMARY) WHERE id > ? ORDER BY id LIMIT ?`

const scanDestination = `
SELECT ` + columns + `
FROM {qmessage} FORCE INDEX (PRIMARY)
WHERE id > ? AND id <= ? AND destination = ? AND dest_type = ? AND status = 0 AND not_before <= ` + clock + `
ORDER BY id
LIMIT ?`

// scanDue is to be completed with id or message_id. It spells the comparison of pairs out, because MySQL finds no range of an
// index in (a, b) > (?, ?).
const scanDue = `
SELECT ` + columns + `
FROM {qmessage} FORCE INDEX (qmessage_due)
WHERE not_before > 0 AND status = 0
	AND (not_before > ? OR not_before = ? AND %[1]s > ?) AND not_before <= ` + clock + `
ORDER BY not_before, %[1]s
LIMIT ?`

// rows and find end with a list of ids and ")".
const rows = `SELECT ` + columns + ` FROM {qmessage} FORCE INDEX (PRIMARY) WHERE status = 0 AND id IN (`

const sweep = `
SELECT ` + brief + `
FROM {qmessage} FORCE INDEX (PRIMARY)
WHERE id > ? AND id <= ? AND status = 0
ORDER BY id
LIMIT ?`

const scanNewest = `
SELECT ` + brief + `
FROM {qmessage} FORCE INDEX (qmessage_message_id)
WHERE message_id > ? AND message_id < ? AND status = 0
ORDER BY message_id
LIMIT ?`

// scanPast is to be completed with a list of pairs.
const scanPast = `
SELECT id, IF(status = 0 AND (destination, dest_type) NOT IN (%s), 1, 0)
FROM {qmessage} FORCE INDEX (PRIMARY)
WHERE id > ?
ORDER BY id
LIMIT ?`

// deleteRows and countCopies look each id up in turn, which STRAIGHT_JOIN and the
// index's name make sure of. With a list of ids the optimizer scans the table while it
// is small, whatever index is named, and a scan that writes waits for every row of an
// open transaction and holds off the next senders until it has them.
const deleteRows = `
DELETE q
FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(36) PATH '$')) AS g
STRAIGHT_JOIN {qmessage} AS q FORCE INDEX (qmessage_message_id)
	ON q.message_id = CONVERT(g.id USING ascii) COLLATE ascii_general_ci`

// unlocked and unlockedRows look each id up in turn, as deleteRows does.
const unlocked = `
SELECT q.message_id
FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(36) PATH '$')) AS g
STRAIGHT_JOIN {qmessage} AS q FORCE INDEX (qmessage_message_id)
	ON q.message_id = CONVERT(g.id USING ascii) COLLATE ascii_general_ci
FOR UPDATE SKIP LOCKED`

const unlockedRows = `
SELECT q.id
FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) AS g
STRAIGHT_JOIN {qmessage} AS q FORCE INDEX (PRIMARY) ON q.id = g.id
FOR UPDATE SKIP LOCKED`

// present ends with a list of ids and ")".
const present = `SELECT message_id FROM {qmessage} WHERE message_id IN (`

const countCopies = `
UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) AS g
STRAIGHT_JOIN {qmessage} AS q FORCE INDEX (PRIMARY) ON q.id = g.id
SET q.retry = q.retry + 1`

const reject = `UPDATE {qmessage} SET status = 2, not_before = ` + clock + `, last_error = ? WHERE message_id = ? AND status = 0`

const postpone = `
UPDATE {qmessage}
SET not_before = ` + clock + ` + ?, retry = retry + 1, failures = failures + ?, last_error = ?
WHERE message_id = ? AND status = 0 AND (? = 0 OR failures < ?)`

// floor reads the low end of what was never delayed, and all of what was; both, and
// rejectedFloor, in the index alone.
const floor = `
SELECT MIN(message_id)
FROM (
	(SELECT message_id FROM {qmessage} FORCE INDEX (qmessage_due)
	WHERE status = 0 AND not_before = 0 AND message_id < ?
	ORDER BY message_id
	LIMIT 1)
	UNION ALL
	SELECT MIN(message_id) FROM {qmessage} FORCE INDEX (qmessage_due)
	WHERE status = 0 AND not_before > 0 AND message_id < ?
) AS f`

const rejectedFloor = `
SELECT MIN(message_id) FROM {qmessage} FORCE INDEX (qmessage_due)
WHERE status = 2 AND message_id >= ? AND message_id < ?`

// rejections reads a range of the index alone. MariaDB would sort what it has grouped.
const rejections = `
SELECT MAX(not_before), MIN(message_id)
FROM {qmessage} FORCE INDEX (qmessage_due)
WHERE status = 2 AND not_before >= ? AND not_before < ?
GROUP BY not_before DIV ?
ORDER BY NULL`

const count = `
SELECT destination, dest_type, status, COUNT(*), MIN(message_id), MAX(retry)
FROM {qmessage}
GROUP BY destination, dest_type, status
ORDER BY destination, dest_type, status`

const listRows = `
SELECT ` + columns + `
FROM {qmessage} FORCE INDEX (PRIMARY)
WHERE id > ? AND status = ? AND (? = '' OR destination = ?)
ORDER BY id
LIMIT ?`

const find = `SELECT ` + columns + ` FROM {qmessage} FORCE INDEX (qmessage_message_id) WHERE message_id IN (`

const identity = `SELECT identity FROM {qoutbox} WHERE id = 1`

const noteTwin = `UPDATE {qoutbox} SET twin = ?, twin_at = ` + clock + ` WHERE id = 1`

const twin = `SELECT twin, ` + clock + ` - twin_at FROM {qoutbox} WHERE id = 1 AND twin_at > 0`

const resend = `
UPDATE {qmessage}
SET retry = CASE WHEN message_id = ? THEN retry + 1 ELSE 0 END, message_id = ?, status = 0, not_before = ` + clock + `, failures = 0, last_error = NULL
WHERE message_id = ? AND status = 2`

const discard = `DELETE FROM {qmessage} WHERE message_id = ? AND status = 2`

// Insert implements store.ProducerDialect with one statement.
func (dialect) Insert(n store.Names, rows []store.NewRow) []store.Statement {
	args := make([]any, 0, 8*len(rows))
	for _, r := range rows {
		args = append(args, r.ID.String(), r.Destination, statement.Flag(r.Topic), r.Key, r.TimeStamp, statement.TextOrNull(r.Headers), r.Body, r.NotBefore)
	}
	return []store.Statement{statement.New(n, insert+rowsOf(rows, func(r *store.NewRow) string {
		return "(?, ?, ?, " + textOf(r.Key) + ", ?, ?, " + textOf(r.Body) + ", ?)"
	}), args...)}
}

// Scan implements store.ProducerDialect.
func (dialect) Scan(n store.Names, after int64, limit int) store.Statement {
	return statement.New(n, scan, after, limit)
}

// ScanDestination implements store.ProducerDialect.
func (dialect) ScanDestination(n store.Names, destination string, topic bool, after, upTo int64, limit int) store.Statement {
	return statement.New(n, scanDestination, after, upTo, destination, statement.Flag(topic), limit)
}

// ScanDue implements store.ProducerDialect. By the index of the first tables it reads in order; by
// today's it sorts all that is due.
func (dialect) ScanDue(n store.Names, notBefore, id int64, limit int) store.Statement {
	return statement.New(n, fmt.Sprintf(scanDue, "id"), notBefore, notBefore, id, limit)
}

// ScanDueByMessageID implements store.DueByMessageID.
func (dialect) ScanDueByMessageID(n store.Names, notBefore int64, id waybill.ID, limit int) store.Statement {
	return statement.New(n, fmt.Sprintf(scanDue, "message_id"), notBefore, notBefore, id.String(), limit)
}

// Rows implements store.ProducerDialect.
func (dialect) Rows(n store.Names, ids []int64) store.Statement {
	return statement.New(n, rows+statement.List("?", len(ids))+`) ORDER BY id`, statement.Args(ids)...)
}

// Sweep implements store.ProducerDialect.
func (dialect) Sweep(n store.Names, after, upTo int64, limit int) store.Statement {
	return statement.New(n, sweep, after, upTo, limit)
}

// ScanNewest implements store.ProducerDialect.
func (dialect) ScanNewest(n store.Names, after, below waybill.ID, limit int) store.Statement {
	return statement.New(n, scanNewest, after.String(), below.String(), limit)
}

// ScanPast implements store.ProducerDialect.
func (dialect) ScanPast(n store.Names, passed []store.Lane, after int64, size int) store.Statement {
	return statement.New(n, fmt.Sprintf(scanPast, statement.List("(?, ?)", len(passed))), append(statement.Lanes(passed), after, size)...)
}

// Delete implements store.ProducerDialect.
func (dialect) Delete(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, deleteRows, list(ids))
}

// Unlocked implements store.ProducerDialect.
func (dialect) Unlocked(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, unlocked, list(ids))
}

// UnlockedRows implements store.ProducerDialect.
func (dialect) UnlockedRows(n store.Names, ids []int64) store.Statement {
	return statement.New(n, unlockedRows, list(ids))
}

// Present implements store.ProducerDialect.
func (dialect) Present(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, present+statement.List("?", len(ids))+`)`, statement.IDs(ids)...)
}

// CountCopies implements store.ProducerDialect.
func (dialect) CountCopies(n store.Names, ids []int64) store.Statement {
	return statement.New(n, countCopies, list(ids))
}

// Reject implements store.ProducerDialect.
func (dialect) Reject(n store.Names, id waybill.ID, reason string) store.Statement {
	return statement.New(n, reject, reason, id.String())
}

// Postpone implements store.ProducerDialect.
func (dialect) Postpone(n store.Names, id waybill.ID, delay int64, failures, tries int, reason string) store.Statement {
	return statement.New(n, postpone, delay, failures, reason, id.String(), tries, tries)
}

// Floor implements store.ProducerDialect.
func (dialect) Floor(n store.Names, below waybill.ID) store.Statement {
	return statement.New(n, floor, below.String(), below.String())
}

// RejectedFloor implements store.ProducerDialect.
func (dialect) RejectedFloor(n store.Names, from, below waybill.ID) store.Statement {
	return statement.New(n, rejectedFloor, from.String(), below.String())
}

// Rejections implements store.ProducerDialect.
func (dialect) Rejections(n store.Names, from, to, width int64) store.Statement {
	return statement.New(n, rejections, from, to, width)
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

// Notify is empty: MySQL cannot wake other processes.
func (dialect) Notify(store.Names) store.Statement { return store.Statement{} }

// Count implements store.ProducerDialect.
func (dialect) Count(n store.Names) store.Statement { return statement.New(n, count) }

// List implements store.ProducerDialect.
func (dialect) List(n store.Names, destination string, status int, after int64, limit int) store.Statement {
	return statement.New(n, listRows, after, status, destination, destination, limit)
}

// Find implements store.ProducerDialect.
func (dialect) Find(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, find+statement.List("?", len(ids))+`) ORDER BY id`, statement.IDs(ids)...)
}

// Resend implements store.ProducerDialect.
func (dialect) Resend(n store.Names, id, newID waybill.ID) store.Statement {
	return statement.New(n, resend, newID.String(), newID.String(), id.String())
}

// Discard implements store.ProducerDialect.
func (dialect) Discard(n store.Names, id waybill.ID) store.Statement {
	return statement.New(n, discard, id.String())
}

// list is elements as a JSON array.
func list[T int64 | waybill.ID](elements []T) string {
	text, err := json.Marshal(elements)
	if err != nil {
		panic(err) // what these types hold can always be marshaled
	}
	return string(text)
}
