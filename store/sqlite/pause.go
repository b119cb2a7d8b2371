package sqlite

import (
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// createPause and createConsumerPause may be filled by plain SQL, which needs to name the
// destination alone.

const createPause = `
CREATE TABLE IF NOT EXISTS {qpause} (
	destination TEXT NOT NULL,
	dest_type INTEGER NOT NULL DEFAULT 0 CHECK (dest_type IN (0, 1)),
	paused_by TEXT NOT NULL DEFAULT '',
	reason TEXT NOT NULL DEFAULT '',
	paused_at INTEGER NOT NULL DEFAULT 0,
	paused_until INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (destination, dest_type)
) STRICT, WITHOUT ROWID`

const createConsumerPause = `
CREATE TABLE IF NOT EXISTS {n_pause} (
	consumer TEXT NOT NULL DEFAULT '',
	dest_name TEXT NOT NULL,
	dest_type INTEGER NOT NULL DEFAULT 0 CHECK (dest_type IN (0, 1)),
	paused_by TEXT NOT NULL DEFAULT '',
	reason TEXT NOT NULL DEFAULT '',
	paused_at INTEGER NOT NULL DEFAULT 0,
	paused_until INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (consumer, dest_name, dest_type)
) STRICT, WITHOUT ROWID`

const pauses = `
SELECT '', destination, dest_type, paused_by, reason, paused_at, paused_until
FROM {qpause}
WHERE paused_until = 0 OR paused_until > ` + clock + `
ORDER BY destination, dest_type`

const consumerPauses = `
SELECT consumer, dest_name, dest_type, paused_by, reason, paused_at, paused_until
FROM {n_pause}
WHERE (?1 = '' OR consumer IN ('', ?1)) AND (paused_until = 0 OR paused_until > ` + clock + `)
ORDER BY dest_name, dest_type, consumer`

// ends is when a pause of a length, or up to a time, is over.
const ends = `CASE WHEN ?5 > 0 THEN ` + clock + ` + ?5 ELSE ?6 END`

const pause = `
INSERT INTO {qpause} AS p (destination, dest_type, paused_by, reason, paused_at, paused_until)
VALUES (?1, ?2, ?3, ?4, ` + clock + `, ` + ends + `)
ON CONFLICT (destination, dest_type) DO UPDATE
SET paused_by = excluded.paused_by, reason = excluded.reason, paused_at = excluded.paused_at, paused_until = excluded.paused_until
WHERE NOT ?7 OR p.paused_until BETWEEN 1 AND ` + clock

const consumerPause = `
INSERT INTO {n_pause} AS p (dest_name, dest_type, paused_by, reason, paused_at, paused_until, consumer)
VALUES (?1, ?2, ?3, ?4, ` + clock + `, ` + ends + `, ?8)
ON CONFLICT (consumer, dest_name, dest_type) DO UPDATE
SET paused_by = excluded.paused_by, reason = excluded.reason, paused_at = excluded.paused_at, paused_until = excluded.paused_until
WHERE NOT ?7 OR p.paused_until BETWEEN 1 AND ` + clock

const resume = `
DELETE FROM {qpause}
WHERE destination = ?1 AND dest_type = ?2 AND (paused_until = 0 OR paused_until > ` + clock + `)`

const consumerResume = `
DELETE FROM {n_pause}
WHERE dest_name = ?1 AND dest_type = ?2 AND (?3 = '' OR consumer = ?3) AND (paused_until = 0 OR paused_until > ` + clock + `)`

// Pauses implements store.PauseDialect.
func (dialect) Pauses(n store.Names, side store.Side, consumer string) store.Statement {
	if side == store.Producer {
		return statement.New(n, pauses)
	}
	return statement.New(n, consumerPauses, consumer)
}

// Pause implements store.PauseDialect.
func (dialect) Pause(n store.Names, side store.Side, p *store.Pause, length, until int64, keeps bool) store.Statement {
	args := []any{p.Destination, statement.Flag(p.Topic), p.By, p.Reason, length, until, statement.Flag(keeps)}
	if side == store.Producer {
		return statement.New(n, pause, args...)
	}
	return statement.New(n, consumerPause, append(args, p.Consumer)...)
}

// Resume implements store.PauseDialect.
func (dialect) Resume(n store.Names, side store.Side, consumer, destination string, topic bool) store.Statement {
	if side == store.Producer {
		return statement.New(n, resume, destination, statement.Flag(topic))
	}
	return statement.New(n, consumerResume, destination, statement.Flag(topic), consumer)
}
