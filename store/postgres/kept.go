package postgres

import (
	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

const keptColumns = `id, consumer, message_id, dest_name, dest_type, business_mark, delivery, headers,
	message_content, status, tries, failures, not_before, kept_at, tried_at, reason`

const keep = `
INSERT INTO {n_rejected} AS k (consumer, message_id, dest_name, dest_type, business_mark, delivery, headers,
	message_content, status, tries, failures, not_before, kept_at, tried_at, reason)
VALUES ($1::text, $2::text::uuid, $3::text, $4::smallint, $5::text, $6::text, $7::text,
	$8::bytea, $9::smallint, 1, $10::integer, ` + clock + ` + $11::bigint, ` + clock + `, ` + clock + `, $12::text)
ON CONFLICT (consumer, dest_name, dest_type, delivery) DO UPDATE
SET tries = k.tries + 1, tried_at = excluded.tried_at, reason = excluded.reason`

const takeKept = `DELETE FROM {n_rejected} WHERE id = $1::bigint AND consumer = $2::text AND status = 0`

const keepAgain = `
UPDATE {n_rejected}
SET message_id = $1::text::uuid, status = $2::smallint, tries = tries + 1, failures = $3::integer,
	not_before = ` + clock + ` + $4::bigint, tried_at = ` + clock + `, reason = $5::text
WHERE id = $6::bigint AND consumer = $7::text AND status = 0`

const dueKept = `
SELECT id, dest_name, dest_type
FROM {n_rejected}
WHERE consumer = $2::text AND status = 0 AND id > $3::bigint AND coalesce(not_before <= ` + readClock + `, false)
ORDER BY id` + limited

const countWaiting = `SELECT count(*) FROM (SELECT 1 FROM {n_rejected} WHERE consumer = $2::text AND status = 0` + limited + `) AS w`

// lowestWaiting compares text: there is no least uuid before PostgreSQL 18, and the first one
// in order of message_id would be looked for among all rows.
const lowestWaiting = `SELECT min(message_id::text COLLATE "C") FROM {n_rejected} WHERE consumer = $1::text AND status = 0`

const keptRow = `
SELECT ` + keptColumns + `
FROM {n_rejected}
WHERE id = $1::bigint AND consumer = $2::text AND status = 0 AND not_before <= ` + readClock

const listKept = `
SELECT ` + keptColumns + `
FROM {n_rejected}
WHERE id > $2::bigint AND coalesce(($3::text = '' OR consumer = $3::text) AND ($4::text = '' OR dest_name = $4::text)
	AND ($5::smallint = -1 OR status = $5::smallint), false)
ORDER BY id` + limited

const findKept = `
SELECT ` + keptColumns + `
FROM {n_rejected}
WHERE message_id = $1::text::uuid AND ($2::text = '' OR consumer = $2::text)
ORDER BY id`

const resendKept = `
UPDATE {n_rejected}
SET message_id = $1::text::uuid, status = 0, failures = 0, not_before = 0
WHERE message_id = $2::text::uuid AND status = 2 AND ($3::text = '' OR consumer = $3::text)`

const discardKept = `DELETE FROM {n_rejected} WHERE message_id = $1::text::uuid AND status = 2 AND ($2::text = '' OR consumer = $2::text)`

// Keep implements store.KeptDialect.
func (dialect) Keep(n store.Names, k *store.Kept, delay int64) store.Statement {
	return statement.New(n, keep, k.Consumer, k.MessageID.String(), k.Destination, statement.Flag(k.Topic), k.Key, k.Delivery, k.Headers,
		k.Body, int64(k.Status), int64(k.Failures), delay, k.Reason)
}

// TakeKept implements store.KeptDialect.
func (dialect) TakeKept(n store.Names, consumer string, id int64) store.Statement {
	return statement.New(n, takeKept, id, consumer)
}

// KeepAgain implements store.KeptDialect.
func (dialect) KeepAgain(n store.Names, k *store.Kept, delay int64) store.Statement {
	return statement.New(n, keepAgain, k.MessageID.String(), int64(k.Status), int64(k.Failures), delay, k.Reason, k.ID, k.Consumer)
}

// DueKept implements store.KeptDialect.
func (dialect) DueKept(n store.Names, consumer string, after int64, limit int) store.Statement {
	return statement.New(n, dueKept, int64(limit), consumer, after)
}

// CountWaiting implements store.KeptDialect.
func (dialect) CountWaiting(n store.Names, consumer string, most int) store.Statement {
	return statement.New(n, countWaiting, int64(most), consumer)
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
	return statement.New(n, listKept, int64(limit), after, consumer, destination, int64(status))
}

// FindKept implements store.KeptDialect.
func (dialect) FindKept(n store.Names, consumer string, id waybill.ID) store.Statement {
	return statement.New(n, findKept, id.String(), consumer)
}

// ResendKept implements store.KeptDialect.
func (dialect) ResendKept(n store.Names, consumer string, id, newID waybill.ID) store.Statement {
	return statement.New(n, resendKept, newID.String(), id.String(), consumer)
}

// DiscardKept implements store.KeptDialect.
func (dialect) DiscardKept(n store.Names, consumer string, id waybill.ID) store.Statement {
	return statement.New(n, discardKept, id.String(), consumer)
}
