package sqlite

import (
	"fmt"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

const columns = `id, message_id, destination, dest_type, business_mark, sequence, time_stamp,
	headers, message_content, status, retry, failures, not_before, last_error`

const brief = `id, message_id, destination, dest_type, business_mark, sequence, time_stamp,
	NULL, x'', status, retry, failures, not_before, NULL`

const scan = `SELECT ` + columns + ` FROM {qmessage} WHERE id > ? ORDER BY id LIMIT ?`

const scanDestination = `
SELECT ` + columns + `
FROM {qmessage}
WHERE likelihood(id > ?, 0.8) AND likelihood(id <= ?, 0.8) AND destination = ? AND dest_type = ? AND status = 0 AND not_before <= ` + clock + `
ORDER BY id
LIMIT ?`

// scanDue repeats the condition of the partial index qmessage_due.
const scanDue = `
SELECT ` + columns + `
FROM {qmessage}
WHERE not_before > 0 AND status = 0 AND (not_before, id) > (?, ?) AND not_before <= ` + clock + `
ORDER BY not_before, id
LIMIT ?`

// Where ANALYZE has seen a table of a few rows, SQLite would read it all rather than look up
// many ids, and a range of ids from one of its ends to the end of the table. That is why
// statements that look up message ids name their index, which is the one of the UNIQUE
// constraint; that those by row id join what they look up; and that ranges have likelihoods,
// such that both ends together are more selective than either, in a table of three rows, too.

// rows and presentRows are to be completed with a list of ids. present, deleteRows and find end
// with one and ")".
const rows = `
SELECT ` + columns + `
FROM (SELECT column1 AS wanted FROM (VALUES %s)) AS g
CROSS JOIN {qmessage} AS q ON q.id = g.wanted
WHERE status = 0
ORDER BY id`

const sweep = `SELECT ` + brief + ` FROM {qmessage} WHERE likelihood(id > ?, 0.8) AND likelihood(id <= ?, 0.8) AND status = 0 ORDER BY id LIMIT ?`

const scanNewest = `
SELECT ` + brief + `
FROM {qmessage}
WHERE message_id > ? AND message_id < ? AND status = 0
ORDER BY message_id
LIMIT ?`

const present = `SELECT message_id FROM {qmessage}` + byMessageID + `WHERE message_id IN (`

const presentRows = `
SELECT id
FROM (SELECT column1 AS wanted FROM (VALUES %s)) AS g
CROSS JOIN {qmessage} AS q ON q.id = g.wanted`

// scanPast is to be completed with a list of pairs.
const scanPast = `
SELECT id, status = 0 AND (destination, dest_type) NOT IN (VALUES %s)
FROM {qmessage}
WHERE id > ?
ORDER BY id
LIMIT ?`

const byMessageID = ` INDEXED BY "sqlite_autoindex_{.qmessage}_1" `

const deleteRows = `DELETE FROM {qmessage}` + byMessageID + `WHERE message_id IN (`

// countCopies is to be completed with a list of ids.
const countCopies = `UPDATE {qmessage} AS q SET retry = q.retry + 1 FROM (SELECT column1 AS id FROM (VALUES %s)) AS g WHERE q.id = g.id`

const reject = `UPDATE {qmessage} SET status = 2, not_before = ` + clock + `, last_error = ? WHERE message_id = ? AND status = 0`

const postpone = `
UPDATE {qmessage}
SET not_before = ` + clock + ` + ?, retry = retry + 1, failures = failures + ?, last_error = ?
WHERE message_id = ? AND status = 0 AND (? = 0 OR failures < ?)`

// floor walks the unique index from its low end, over rejected rows too: an index of the
// pending rows alone would cost each message more than that costs the relay, which reads
// the floor beside all else. rejectedFloor reads the low end of qmessage_rejected_id.
const floor = `
SELECT (SELECT message_id FROM {qmessage}` + byMessageID + `WHERE message_id < ? AND status = 0 ORDER BY message_id LIMIT 1)`

const rejectedFloor = `
SELECT (SELECT message_id FROM {qmessage} INDEXED BY {.qmessage_rejected_id}
	WHERE message_id >= ? AND message_id < ? AND status + 0 = 2 ORDER BY message_id LIMIT 1)`

// rejections reads all rejected rows, in order of id.
const rejections = `
SELECT max(not_before), min(message_id)
FROM {qmessage} INDEXED BY {.qmessage_rejected}
WHERE status = 2 AND not_before >= ? AND not_before < ?
GROUP BY not_before / ?`

const count = `
SELECT destination, dest_type, status, count(*), min(message_id), max(retry)
FROM {qmessage}
GROUP BY destination, dest_type, status
ORDER BY destination, dest_type, status`

const listPending = `
SELECT ` + columns + `
FROM {qmessage}
WHERE id > ? AND status = 0 AND (? = '' OR destination = ?)
ORDER BY id
LIMIT ?`

// listRejected has its status in the text, so that it can use a partial index.
const listRejected = `
SELECT ` + columns + `
FROM {qmessage} INDEXED BY {.qmessage_rejected}
WHERE id > ? AND status = 2 AND (? = '' OR destination = ?)
ORDER BY id
LIMIT ?`

const find = `SELECT ` + columns + ` FROM {qmessage}` + byMessageID + `WHERE message_id IN (`

const identity = `SELECT identity FROM {qoutbox} WHERE id = 1`

const noteTwin = `UPDATE {qoutbox} SET twin = ?, twin_at = ` + clock + ` WHERE id = 1`

const twin = `SELECT twin, ` + clock + ` - twin_at FROM {qoutbox} WHERE id = 1 AND twin_at > 0`

const resend = `
UPDATE {qmessage}
SET retry = CASE WHEN message_id = ? THEN retry + 1 ELSE 0 END, message_id = ?, status = 0, not_before = ` + clock + `, failures = 0, last_error = NULL
WHERE message_id = ? AND status = 2`

const discard = `DELETE FROM {qmessage} WHERE message_id = ? AND status = 2`

// Scan implements store.ProducerDialect.
func (dialect) Scan(n store.Names, after int64, limit int) store.Statement {
	return statement.New(n, scan, after, limit)
}

// ScanDestination implements store.ProducerDialect.
func (dialect) ScanDestination(n store.Names, destination string, topic bool, after, upTo int64, limit int) store.Statement {
	return statement.New(n, scanDestination, after, upTo, destination, statement.Flag(topic), limit)
}

// ScanDue implements store.ProducerDialect.
func (dialect) ScanDue(n store.Names, notBefore, id int64, limit int) store.Statement {
	return statement.New(n, scanDue, notBefore, id, limit)
}

// Rows implements store.ProducerDialect.
func (dialect) Rows(n store.Names, ids []int64) store.Statement {
	return statement.New(n, fmt.Sprintf(rows, statement.List("(?)", len(ids))), statement.Args(ids)...)
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
	return statement.New(n, deleteRows+statement.List("?", len(ids))+`)`, statement.IDs(ids)...)
}

// Unlocked is Present: SQLite locks no rows.
func (d dialect) Unlocked(n store.Names, ids []waybill.ID) store.Statement { return d.Present(n, ids) }

// UnlockedRows implements store.ProducerDialect.
func (dialect) UnlockedRows(n store.Names, ids []int64) store.Statement {
	return statement.New(n, fmt.Sprintf(presentRows, statement.List("(?)", len(ids))), statement.Args(ids)...)
}

// Present implements store.ProducerDialect.
func (dialect) Present(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, present+statement.List("?", len(ids))+`)`, statement.IDs(ids)...)
}

// CountCopies implements store.ProducerDialect.
func (dialect) CountCopies(n store.Names, ids []int64) store.Statement {
	return statement.New(n, fmt.Sprintf(countCopies, statement.List("(?)", len(ids))), statement.Args(ids)...)
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
	return statement.New(n, floor, below.String())
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

// Notify is empty: SQLite cannot wake other processes.
func (dialect) Notify(store.Names) store.Statement { return store.Statement{} }

// Count implements store.ProducerDialect.
func (dialect) Count(n store.Names) store.Statement { return statement.New(n, count) }

// List implements store.ProducerDialect.
func (dialect) List(n store.Names, destination string, status int, after int64, limit int) store.Statement {
	if status == store.Rejected {
		return statement.New(n, listRejected, after, destination, destination, limit)
	}
	return statement.New(n, listPending, after, destination, destination, limit)
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
