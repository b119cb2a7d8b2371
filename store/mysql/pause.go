package mysql

import (
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// createPause and createConsumerPause may be filled by plain SQL, which needs to name the
// destination alone.

const createPause = `
CREATE TABLE IF NOT EXISTS {qpause} (
	destination VARCHAR(255) NOT NULL,
	dest_type SMALLINT NOT NULL DEFAULT 0,
	paused_by VARCHAR(255) NOT NULL DEFAULT '',
	reason VARCHAR(1000) NOT NULL DEFAULT '',
	paused_at BIGINT NOT NULL DEFAULT 0,
	paused_until BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (destination, dest_type),
	CONSTRAINT {.qpause_dest_type_known} CHECK (dest_type IN (0, 1))
)` + options

const createConsumerPause = `
CREATE TABLE IF NOT EXISTS {n_pause} (
	consumer VARCHAR(255) NOT NULL DEFAULT '',
	dest_name VARCHAR(255) NOT NULL,
	dest_type SMALLINT NOT NULL DEFAULT 0,
	paused_by VARCHAR(255) NOT NULL DEFAULT '',
	reason VARCHAR(1000) NOT NULL DEFAULT '',
	paused_at BIGINT NOT NULL DEFAULT 0,
	paused_until BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (consumer, dest_name, dest_type),
	CONSTRAINT {.n_pause_dest_type_known} CHECK (dest_type IN (0, 1))
)` + options

const pauses = `
SELECT '', destination, dest_type, paused_by, reason, paused_at, paused_until
FROM {qpause}
WHERE paused_until = 0 OR paused_until > ` + clock + `
ORDER BY destination, dest_type`

const consumerPauses = `
SELECT consumer, dest_name, dest_type, paused_by, reason, paused_at, paused_until
FROM {n_pause}
WHERE (COALESCE(?, '') = '' OR consumer IN ('', ?)) AND (paused_until = 0 OR paused_until > ` + clock + `)
ORDER BY dest_name, dest_type, consumer`

// ends is when a pause of a length, or up to a time, is over.
const ends = `IF(? > 0, ` + clock + ` + ?, ?)`

// replacePause ends with what paused_until was before: it is set last, since what stands
// before it sees the one that was there. In sql_mode SIMULTANEOUS_ASSIGNMENT all of it does.
const replacePause = `
ON DUPLICATE KEY UPDATE
	paused_by = IF(? OR paused_until BETWEEN 1 AND ` + clock + `, VALUES(paused_by), paused_by),
	reason = IF(? OR paused_until BETWEEN 1 AND ` + clock + `, VALUES(reason), reason),
	paused_at = IF(? OR paused_until BETWEEN 1 AND ` + clock + `, VALUES(paused_at), paused_at),
	paused_until = IF(? OR paused_until BETWEEN 1 AND ` + clock + `, VALUES(paused_until), paused_until)`

const pause = `
INSERT INTO {qpause} (destination, dest_type, paused_by, reason, paused_at, paused_until)
VALUES (?, ?, ` + text + `, ` + text + `, ` + clock + `, ` + ends + `)` + replacePause

const consumerPause = `
INSERT INTO {n_pause} (consumer, dest_name, dest_type, paused_by, reason, paused_at, paused_until)
VALUES (` + text + `, ?, ?, ` + text + `, ` + text + `, ` + clock + `, ` + ends + `)` + replacePause

const resume = `
DELETE FROM {qpause}
WHERE destination = ? AND dest_type = ? AND (paused_until = 0 OR paused_until > ` + clock + `)`

const consumerResume = `
DELETE FROM {n_pause}
WHERE dest_name = ? AND dest_type = ? AND (COALESCE(?, '') = '' OR consumer = ?) AND (paused_until = 0 OR paused_until > ` + clock + `)`

// Pauses implements store.PauseDialect.
func (dialect) Pauses(n store.Names, side store.Side, consumer string) store.Statement {
	if side == store.Producer {
		return statement.New(n, pauses)
	}
	return statement.New(n, consumerPauses, consumer, consumer)
}

// Pause implements store.PauseDialect.
func (dialect) Pause(n store.Names, side store.Side, p *store.Pause, length, until int64, keeps bool) store.Statement {
	replaces := statement.Flag(!keeps)
	args := []any{p.Destination, statement.Flag(p.Topic), p.By, p.Reason, length, length, until, replaces, replaces, replaces, replaces}
	if side == store.Producer {
		return statement.New(n, pause, args...)
	}
	return statement.New(n, consumerPause, append([]any{p.Consumer}, args...)...)
}

// Resume implements store.PauseDialect.
func (dialect) Resume(n store.Names, side store.Side, consumer, destination string, topic bool) store.Statement {
	if side == store.Producer {
		return statement.New(n, resume, destination, statement.Flag(topic))
	}
	return statement.New(n, consumerResume, destination, statement.Flag(topic), consumer, consumer)
}
