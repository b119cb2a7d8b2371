package mysql

import (
	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

const keptColumns = `id, consumer, message_id, dest_name, dest_type, business_mark, delivery, headers,
	message_content, status, tries, failures, not_before, kept_at, tried_at, reason`

const keep = `
INSERT INTO {n_rejected} (consumer, message_id, dest_name, dest_type, business_mark, delivery, headers,
	message_content, status, tries, failures, not_before, kept_at, tried_at, reason)
VALUES (?, ?, ?, ?, ` + text + `, ?, ?, ` + text + `, ?, 1, ?, ` + clock + ` + ?, ` + clock + `, ` + clock + `, ` + text + `)
ON DUPLICATE KEY UPDATE tries = {n_rejected}.tries + 1, tried_at = VALUES(tried_at), reason = VALUES(reason)`

const takeKept = `DELETE FROM {n_rejected} WHERE id = ? AND consumer = ? AND status = 0`

const keepAgain = `
UPDATE {n_rejected}
SET message_id = ?, status = ?, tries = tries + 1, failures = ?, not_before = ` + clock + ` + ?, tried_at = ` + clock + `, reason = ` + text + `
WHERE id = ? AND consumer = ? AND status = 0`

const dueKept = `
SELECT id, dest_name, dest_type
FROM {n_rejected} FORCE INDEX (n_rejected_waiting)
WHERE consumer = ? AND status = 0 AND id > ? AND not_before <= ` + clock + `
ORDER BY id
LIMIT ?`

const countWaiting = `
SELECT COUNT(*)
FROM (SELECT 1 FROM {n_rejected} FORCE INDEX (n_rejected_waiting) WHERE consumer = ? AND status = 0 LIMIT ?) AS w`

const lowestWaiting = `
SELECT MIN(message_id)
FROM {n_rejected} FORCE INDEX (n_rejected_waiting)
WHERE consumer = ? AND status = 0`

const keptRow = `
SELECT ` + keptColumns + `
FROM {n_rejected}
WHERE id = ? AND consumer = ? AND status = 0 AND not_before <= ` + clock

const listKept = `
SELECT ` + keptColumns + `
FROM {n_rejected} FORCE INDEX (PRIMARY)
WHERE id > ? AND (COALESCE(?, '') = '' OR consumer = ?) AND (COALESCE(?, '') = '' OR dest_name = ?) AND (? = -1 OR status = ?)
ORDER BY id
LIMIT ?`

const findKept = `
SELECT ` + keptColumns + `
FROM {n_rejected}
WHERE message_id = ? AND (COALESCE(?, '') = '' OR consumer = ?)
ORDER BY id`

const resendKept = `
UPDATE {n_rejected}
SET message_id = ?, status = 0, failures = 0, not_before = 0
WHERE message_id = ? AND status = 2 AND (COALESCE(?, '') = '' OR consumer = ?)`

const discardKept = `DELETE FROM {n_rejected} WHERE message_id = ? AND status = 2 AND (COALESCE(?, '') = '' OR consumer = ?)`

// Keep implements store.KeptDialect.
func (dialect) Keep(n store.Names, k *store.Kept, delay int64) store.Statement {
	return statement.New(n, keep, k.Consumer, k.MessageID.String(), k.Destination, statement.Flag(k.Topic), k.Key, k.Delivery, k.Headers,
		k.Body, k.Status, k.Failures, delay, k.Reason)
}

// TakeKept implements store.KeptDialect.
func (dialect) TakeKept(n store.Names, consumer string, id int64) store.Statement {
	return statement.New(n, takeKept, id, consumer)
}

// KeepAgain implements store.KeptDialect.
func (dialect) KeepAgain(n store.Names, k *store.Kept, delay int64) store.Statement {
	return statement.New(n, keepAgain, k.MessageID.String(), k.Status, k.Failures, delay, k.Reason, k.ID, k.Consumer)
}

// DueKept implements store.KeptDialect.
func (dialect) DueKept(n store.Names, consumer string, after int64, limit int) store.Statement {
	return statement.New(n, dueKept, consumer, after, limit)
}

// CountWaiting implements store.KeptDialect.
func (dialect) CountWaiting(n store.Names, consumer string, most int) store.Statement {
	return statement.New(n, countWaiting, consumer, most)
}

// LowestWaiting implements store.KeptDialect.
func (dialect) LowestWaiting(n store.Names, consumer string) store.Statement {
	return statement.New(n, lowestWaiting, consumer)
}

// KeptRow implements store.KeptDialect.
func (dialect) KeptRow(n store.Names, consumer string, id int64) store.Statement {
	return statement.New(n, keptRow, id, consumer)
}

// ListKept implements store.KeptDialect.
func (dialect) ListKept(n store.Names, consumer, destination string, status int, after int64, limit int) store.Statement {
	return statement.New(n, listKept, after, consumer, consumer, destination, destination, status, status, limit)
}

// FindKept implements store.KeptDialect.
func (dialect) FindKept(n store.Names, consumer string, id waybill.ID) store.Statement {
	return statement.New(n, findKept, id.String(), consumer, consumer)
}

// ResendKept implements store.KeptDialect.
func (dialect) ResendKept(n store.Names, consumer string, id, newID waybill.ID) store.Statement {
	return statement.New(n, resendKept, newID.String(), id.String(), consumer, consumer)
}

// DiscardKept implements store.KeptDialect.
func (dialect) DiscardKept(n store.Names, consumer string, id waybill.ID) store.Statement {
	return statement.New(n, discardKept, id.String(), consumer, consumer)
}
