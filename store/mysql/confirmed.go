package mysql

import (
	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// saveAnswers ends with a list of rows and onConflict.
const saveAnswers = `
INSERT INTO {qconfirmed} (message_id, consumer, outcome, last_error, time_stamp)
VALUES `

// onConflict sets outcome last: what stands before it sees the one that was there.
const onConflict = `
ON DUPLICATE KEY UPDATE
	last_error = IF(outcome = 0, last_error, VALUES(last_error)),
	time_stamp = IF(outcome = 0, time_stamp, VALUES(time_stamp)),
	outcome = IF(outcome = 0, outcome, VALUES(outcome))`

// answers and findBriefly end with a list of ids and ")".
const answers = `SELECT message_id, consumer, outcome, last_error, time_stamp FROM {qconfirmed} FORCE INDEX (PRIMARY) WHERE message_id IN (`

// unlockedAnswers looks each id up in turn, as deleteRows does.
const unlockedAnswers = `
SELECT c.message_id, c.consumer
FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(36) PATH '$')) AS g
STRAIGHT_JOIN {qconfirmed} AS c FORCE INDEX (PRIMARY)
	ON c.message_id = CONVERT(g.id USING ascii) COLLATE ascii_general_ci
FOR UPDATE SKIP LOCKED`

const answered = `SELECT DISTINCT message_id FROM {qconfirmed} WHERE message_id > ? ORDER BY message_id LIMIT ?`

// deleteAnswers looks each id up in turn, as deleteRows does.
const deleteAnswers = `
DELETE c
FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(36) PATH '$')) AS g
STRAIGHT_JOIN {qconfirmed} AS c FORCE INDEX (PRIMARY)
	ON c.message_id = CONVERT(g.id USING ascii) COLLATE ascii_general_ci`

const deleteRejections = `DELETE FROM {qconfirmed} WHERE message_id = ? AND outcome = 2`

// scanUnanswered looks into qconfirmed by scalar subqueries, which are run for a row at
// a time: EXISTS might become a join in another order.
const scanUnanswered = `
SELECT ` + brief + `
FROM {qmessage} q FORCE INDEX (PRIMARY)
WHERE id > ? AND id <= ? AND destination = ? AND dest_type = ? AND status = 0 AND not_before <= ` + clock + `
	AND (SELECT 1 FROM {qconfirmed} c WHERE c.message_id = q.message_id LIMIT 1) IS NOT NULL
	AND (SELECT 1 FROM {qconfirmed} c WHERE c.message_id = q.message_id AND c.consumer = ?) IS NULL
ORDER BY id
LIMIT ?`

const findBriefly = `SELECT ` + brief + ` FROM {qmessage} FORCE INDEX (qmessage_message_id) WHERE message_id IN (`

// SaveAnswers implements store.ProducerDialect.
func (dialect) SaveAnswers(n store.Names, answers []store.Answer) store.Statement {
	args := make([]any, 0, 4*len(answers))
	for _, a := range answers {
		args = append(args, a.MessageID.String(), a.Consumer, statement.Outcome(a), statement.TextOrNull(a.Reason))
	}
	return statement.New(n, saveAnswers+statement.List("(?, ?, ?, ?, "+clock+")", len(answers))+onConflict, args...)
}

// UnlockedAnswers implements store.ProducerDialect.
func (dialect) UnlockedAnswers(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, unlockedAnswers, list(ids))
}

// Answers implements store.ProducerDialect.
func (dialect) Answers(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, answers+statement.List("?", len(ids))+`)`, statement.IDs(ids)...)
}

// Answered implements store.ProducerDialect.
func (dialect) Answered(n store.Names, after waybill.ID, limit int) store.Statement {
	return statement.New(n, answered, after.String(), limit)
}

// DeleteAnswers implements store.ProducerDialect.
func (dialect) DeleteAnswers(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, deleteAnswers, list(ids))
}

// DeleteRejections implements store.ProducerDialect.
func (dialect) DeleteRejections(n store.Names, id waybill.ID) store.Statement {
	return statement.New(n, deleteRejections, id.String())
}

// ScanUnanswered implements store.ProducerDialect.
func (dialect) ScanUnanswered(n store.Names, destination string, topic bool, consumer string, after, upTo int64, limit int) store.Statement {
	return statement.New(n, scanUnanswered, after, upTo, destination, statement.Flag(topic), consumer, limit)
}

// FindBriefly implements store.ProducerDialect.
func (dialect) FindBriefly(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, findBriefly+statement.List("?", len(ids))+`) ORDER BY id`, statement.IDs(ids)...)
}
