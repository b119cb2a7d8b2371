package postgres

import (
	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

const saveAnswers = `
INSERT INTO {qconfirmed} AS c (message_id, consumer, outcome, last_error, time_stamp)
SELECT a.message_id, a.consumer, a.outcome, nullif(a.reason, ''), ` + readClock + `
FROM unnest((SELECT $1::text::uuid[]` + impatient + `), $2::text::text[], $3::text::bigint[], $4::text::text[]) AS a (message_id, consumer, outcome, reason)
ON CONFLICT (message_id, consumer) DO UPDATE
SET outcome = excluded.outcome, last_error = excluded.last_error, time_stamp = excluded.time_stamp
WHERE c.outcome <> 0`

const answers = `
SELECT message_id, consumer, outcome, last_error, time_stamp
FROM {qconfirmed}
WHERE message_id = ANY ((SELECT $1::text::uuid[])::uuid[])`

const unlockedAnswers = `
SELECT message_id, consumer FROM {qconfirmed} WHERE message_id = ANY ((SELECT $1::text::uuid[])::uuid[])
FOR UPDATE SKIP LOCKED`

const answered = `
SELECT DISTINCT message_id
FROM {qconfirmed}
WHERE message_id > $2::uuid
ORDER BY message_id` + limited

const deleteAnswers = `DELETE FROM {qconfirmed} WHERE message_id = ANY ((SELECT $1::text::uuid[]` + impatient + `)::uuid[])`

const deleteRejections = `DELETE FROM {qconfirmed} WHERE message_id = $1::uuid AND outcome = 2`

// scanUnanswered looks into qconfirmed by scalar subqueries, which are run for a row at
// a time: EXISTS might become a join that reads the whole table.
const scanUnanswered = `
SELECT ` + brief + `
FROM {qmessage} q
WHERE id > $2::bigint AND (id, 0) <= ($3::bigint, 0)
	AND coalesce(destination = $4::text AND dest_type = $5::smallint AND status = 0 AND not_before <= ` + readClock + `
		AND (SELECT 1 FROM {qconfirmed} c WHERE c.message_id = q.message_id LIMIT 1) IS NOT NULL
		AND (SELECT 1 FROM {qconfirmed} c WHERE c.message_id = q.message_id AND c.consumer = $6::text) IS NULL, false)
ORDER BY id` + limited

const findBriefly = `SELECT ` + brief + ` FROM {qmessage} WHERE message_id = ANY ((SELECT $1::text::uuid[])::uuid[]) ORDER BY id`

// SaveAnswers implements store.ProducerDialect.
func (dialect) SaveAnswers(n store.Names, answers []store.Answer) store.Statement {
	ids, consumers := newArray(37*len(answers)), newArray(16*len(answers))
	outcomes, reasons := newArray(2*len(answers)), newArray(3*len(answers))
	for _, a := range answers {
		ids.id(a.MessageID)
		consumers.text(a.Consumer)
		outcomes.int(statement.Outcome(a))
		reasons.text(a.Reason)
	}
	return statement.New(n, saveAnswers, ids.String(), consumers.String(), outcomes.String(), reasons.String())
}

// UnlockedAnswers implements store.ProducerDialect.
func (dialect) UnlockedAnswers(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, unlockedAnswers, idArray(ids))
}

// Answers implements store.ProducerDialect.
func (dialect) Answers(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, answers, idArray(ids))
}

// Answered implements store.ProducerDialect.
func (dialect) Answered(n store.Names, after waybill.ID, limit int) store.Statement {
	return statement.New(n, answered, int64(limit), after.String())
}

// DeleteAnswers implements store.ProducerDialect.
func (dialect) DeleteAnswers(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, deleteAnswers, idArray(ids))
}

// DeleteRejections implements store.ProducerDialect.
func (dialect) DeleteRejections(n store.Names, id waybill.ID) store.Statement {
	return statement.New(n, deleteRejections, id.String())
}

// ScanUnanswered implements store.ProducerDialect.
func (dialect) ScanUnanswered(n store.Names, destination string, topic bool, consumer string, after, upTo int64, limit int) store.Statement {
	return statement.New(n, scanUnanswered, int64(limit), after, upTo, destination, statement.Flag(topic), consumer)
}

// FindBriefly implements store.ProducerDialect.
func (dialect) FindBriefly(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, findBriefly, idArray(ids))
}
