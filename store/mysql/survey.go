package mysql

import (
	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

const glance = `id, message_id, destination, dest_type, business_mark, sequence, time_stamp,
	NULL, '', status, retry, failures, not_before, LEFT(last_error, 500)`

const glanceOldest = `SELECT ` + glance + ` FROM {qmessage} FORCE INDEX (PRIMARY) WHERE id > ? ORDER BY id LIMIT ?`

const glanceNewest = `SELECT ` + glance + ` FROM {qmessage} FORCE INDEX (PRIMARY) WHERE id < ? ORDER BY id DESC LIMIT ?`

const glanceRejected = `
SELECT ` + glance + `
FROM {qmessage} FORCE INDEX (qmessage_due)
WHERE status = 2 AND (not_before > ? OR not_before = ? AND message_id > ?)
ORDER BY not_before, message_id
LIMIT ?`

const resendSeen = `
UPDATE {qmessage}
SET status = 0, not_before = ` + clock + `, retry = retry + 1, failures = 0, last_error = NULL
WHERE message_id = ? AND status = 2 AND not_before = ?`

const discardSeen = `DELETE FROM {qmessage} WHERE message_id = ? AND status = 2 AND not_before = ?`

const glanceKept = `
SELECT id, consumer, message_id, dest_name, dest_type, business_mark, delivery, '',
	'', status, tries, failures, not_before, kept_at, tried_at, LEFT(reason, 500)
FROM {n_rejected} FORCE INDEX (PRIMARY)
WHERE id > ?
ORDER BY id
LIMIT ?`

const resendKeptSeen = `UPDATE {n_rejected} SET status = 0, failures = 0, not_before = 0 WHERE id = ? AND status = 2 AND tries = ?`

const discardKeptSeen = `DELETE FROM {n_rejected} WHERE id = ? AND status = 2 AND tries = ?`

// Glance implements store.SurveyDialect.
func (dialect) Glance(n store.Names, from int64, newest bool, limit int) store.Statement {
	if newest {
		return statement.New(n, glanceNewest, from, limit)
	}
	return statement.New(n, glanceOldest, from, limit)
}

// GlanceRejected implements store.SurveyDialect.
func (dialect) GlanceRejected(n store.Names, after store.Place, limit int) store.Statement {
	return statement.New(n, glanceRejected, after.NotBefore, after.NotBefore, after.MessageID.String(), limit)
}

// ResendSeen implements store.SurveyDialect.
func (dialect) ResendSeen(n store.Names, id waybill.ID, notBefore int64) store.Statement {
	return statement.New(n, resendSeen, id.String(), notBefore)
}

// DiscardSeen implements store.SurveyDialect.
func (dialect) DiscardSeen(n store.Names, id waybill.ID, notBefore int64) store.Statement {
	return statement.New(n, discardSeen, id.String(), notBefore)
}

// GlanceKept implements store.SurveyDialect.
func (dialect) GlanceKept(n store.Names, after int64, limit int) store.Statement {
	return statement.New(n, glanceKept, after, limit)
}

// ResendKeptSeen implements store.SurveyDialect.
func (dialect) ResendKeptSeen(n store.Names, id int64, tries int) store.Statement {
	return statement.New(n, resendKeptSeen, id, tries)
}

// DiscardKeptSeen implements store.SurveyDialect.
func (dialect) DiscardKeptSeen(n store.Names, id int64, tries int) store.Statement {
	return statement.New(n, discardKeptSeen, id, tries)
}
