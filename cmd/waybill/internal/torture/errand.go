package torture

import (
	"context"
	"database/sql"
	"encoding/json"
	"strconv"

	waybill "github.com/waybill-go/waybill"
)

// An errand is a message of which one end is foreign, knowing Waybill by its protocol alone:
// it was sent by a producer that writes rows with plain SQL, or it is for a consumer that has
// no inbox, or both. Each has a code, and so have the errands of our own producers, so that
// the rows of both count in one key.
const (
	foreignProducer = "foreign-producer" // the names of their processes
	foreignConsumer = "foreign-consumer"

	errandSuffix = "-errand"
	errandCodes  = 16
	errandOneIn  = 8 // of so many transactions of a producer of ours, one sends an errand
)

// isAbroad says that the errands of a code are for the foreign consumer.
func isAbroad(code int) bool { return code%2 == 1 }

// prepareErrand writes an errand of the next number of some code, and returns its key, its
// destination and what is in it.
func (w *worker) prepareErrand(ctx context.Context, tx *sql.Tx, token string) (key, to string, p payload, err error) {
	p = payload{Token: token, Errand: token + errandSuffix}
	code := w.dice.IntN(errandCodes)
	_, err = tx.ExecContext(ctx, w.db.sql(`UPDATE {errand_code} SET version = version + 1 WHERE id = ?`), code)
	if err == nil {
		err = tx.QueryRowContext(ctx, w.db.sql(`SELECT version FROM {errand_code} WHERE id = ?`), code).Scan(&p.Version)
	}
	if err == nil {
		_, err = tx.ExecContext(ctx, w.db.sql(`INSERT INTO {errand} (id, code, version, message_id) VALUES (?, ?, ?, '')`), p.Errand, code, p.Version)
	}
	to = w.cmd.Destinations.Errands
	if isAbroad(code) {
		to = w.cmd.Destinations.Abroad
	}
	return "errand " + strconv.Itoa(code), to, p, err
}

// sendErrand returns an errand's message, for Send.
func (w *worker) sendErrand(ctx context.Context, tx *sql.Tx, token string) (waybill.Message, error) {
	key, to, p, err := w.prepareErrand(ctx, tx, token)
	p.Due = w.due()
	return w.message(to, key, p), err
}

// writeErrand sends an errand as a program in any language does: by a row that has only its
// destination, key and body.
func (w *worker) writeErrand(ctx context.Context, tx *sql.Tx, token string) error {
	key, to, p, err := w.prepareErrand(ctx, tx, token)
	if err != nil {
		return err
	}
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, w.db.sql(`INSERT INTO {qmessage} (destination, business_mark, message_content) VALUES (?, ?, ?)`), to, key, body)
	return err
}

func (c *consumer) errand(ctx context.Context, tx *sql.Tx, m *waybill.Message, p *payload) error {
	return c.effect(ctx, tx, m, errandKind, p.Errand, p)
}

// checkErrands: each has one effect, whichever of its ends is foreign.
func (c *checker) checkErrands(ctx context.Context) error {
	all := names(c.committed.errands)
	_, err := c.checkOnce(ctx, errandKind, ofKind{committed: all, must: all, undone: names(c.undone.messages.errands)})
	return err
}
