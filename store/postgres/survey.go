package postgres

import (
	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

const glance = `id, message_id, destination, dest_type, business_mark, sequence, time_stamp,
	NULL::text, ''::bytea, status, retry, failures, not_before, left(last_error, 500)`

const glanceOldest = `SELECT ` + glance + ` FROM {qmessage} WHERE id > $2::bigint ORDER BY id` + limited

const glanceNewest = `SELECT ` + glance + ` FROM {qmessage} WHERE id < $2::bigint ORDER BY id DESC` + limited

// glanceRejected repeats the expressions of the partial index qmessage_rejected_id.
const glanceRejected = `
SELECT ` + glance + `
FROM {qmessage}
WHERE uuid_send(message_id) > uuid_send($2::uuid) AND coalesce(status + 0 = 2, false)
ORDER BY uuid_send(message_id)` + limited

const resendSeen = `
UPDATE {qmessage}
SET status = 0, not_before = ` + clock + `, retry = retry + 1, failures = 0, last_error = NULL
WHERE message_id = $1::uuid AND status = 2 AND not_before = $2::bigint`

const discardSeen = `DELETE FROM {qmessage} WHERE message_id = $1::uuid AND status = 2 AND not_before = $2::bigint`

const glanceKept = `
SELECT id, consumer, message_id, dest_name, dest_type, business_mark, delivery, ''::text,
	''::bytea, status, tries, failures, not_before, kept_at, tried_at, left(reason, 500)
FROM {n_rejected}
WHERE id > $2::bigint
ORDER BY id` + limited

const resendKeptSeen = `
UPDATE {n_rejected} SET status = 0, failures = 0, not_before = 0
WHERE id = $1::bigint AND status = 2 AND tries = $2::integer`

const discardKeptSeen = `DELETE FROM {n_rejected} WHERE id = $1::bigint AND status = 2 AND tries = $2::integer`

// Glance implements store.SurveyDialect.
func (dialect) Glance(n store.Names, from int64, newest bool, limit int) store.Statement {
	if newest {
		return statement.New(n, glanceNewest, int64(limit), from)
	}
	return statement.New(n, glanceOldest, int64(limit), from)
}

// GlanceRejected implements store.SurveyDialect.
func (dialect) GlanceRejected(n store.Names, after store.Place, limit int) store.Statement {
	return statement.New(n, glanceRejected, int64(limit), after.MessageID.String())
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
	return statement.New(n, glanceKept, int64(limit), after)
}

// ResendKeptSeen implements store.SurveyDialect.
func (dialect) ResendKeptSeen(n store.Names, id int64, tries int) store.Statement {
	return statement.New(n, resendKeptSeen, id, int64(tries))
}

// DiscardKeptSeen implements store.SurveyDialect.
func (dialect) DiscardKeptSeen(n store.Names, id int64, tries int) store.Statement {
	return statement.New(n, discardKeptSeen, id, int64(tries))
}
