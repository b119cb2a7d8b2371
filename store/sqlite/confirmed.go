package sqlite

import (
	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// saveAnswers ends with a list of rows and onConflict.
const saveAnswers = `
INSERT INTO {qconfirmed} (message_id, consumer, outcome, last_error, time_stamp)
VALUES `

const onConflict = `
ON CONFLICT (message_id, consumer) DO UPDATE
SET outcome = excluded.outcome, last_error = excluded.last_error, time_stamp = excluded.time_stamp
WHERE outcome <> 0`

// answers, unlockedAnswers, deleteAnswers and findBriefly end with a list of ids and ")".
const answers = `SELECT message_id, consumer, outcome, last_error, time_stamp FROM {qconfirmed} WHERE message_id IN (`

const unlockedAnswers = `SELECT message_id, consumer FROM {qconfirmed} WHERE message_id IN (`

const answered = `SELECT DISTINCT message_id FROM {qconfirmed} WHERE message_id > ? ORDER BY message_id LIMIT ?`

const deleteAnswers = `DELETE FROM {qconfirmed} WHERE message_id IN (`

const deleteRejections = `DELETE FROM {qconfirmed} WHERE message_id = ? AND outcome = 2`

const scanUnanswered = `
SELECT ` + brief + `
FROM {qmessage} q
WHERE likelihood(id > ?, 0.8) AND likelihood(id <= ?, 0.8) AND destination = ? AND dest_type = ? AND status = 0 AND not_before <= ` + clock + `
	AND (SELECT 1 FROM {qconfirmed} c WHERE c.message_id = q.message_id LIMIT 1) IS NOT NULL
	AND (SELECT 1 FROM {qconfirmed} c WHERE c.message_id = q.message_id AND c.consumer = ?) IS NULL
ORDER BY id
LIMIT ?`

const findBriefly = `SELECT ` + brief + ` FROM {qmessage}` + byMessageID + `WHERE message_id IN (`

// SaveAnswers implements store.ProducerDialect.
func (dialect) SaveAnswers(n store.Names, answers []store.Answer) store.Statement {
	args := make([]any, 0, 4*len(answers))
	for _, a := range answers {
		args = append(args, a.MessageID.String(), a.Consumer, statement.Outcome(a), statement.TextOrNull(a.Reason))
	}
	return statement.New(n, saveAnswers+statement.List("(?, ?, ?, ?, "+clock+")", len(answers))+onConflict, args...)
}

// UnlockedAnswers implements store.ProducerDialect. SQLite locks no rows.
func (dialect) UnlockedAnswers(n store.Names, ids []waybill.ID) store.Statement {
	return statement.New(n, unlockedAnswers+statement.List("?", len(ids))+`)`, statement.IDs(ids)...)
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
	return statement.New(n, deleteAnswers+statement.List("?", len(ids))+`)`, statement.IDs(ids)...)
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
