package postgres

import (
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// createPause and createConsumerPause may be filled by plain SQL, which needs to name the
// destination alone.

const createPause = `
CREATE TABLE IF NOT EXISTS {qpause} (
	destination varchar(255) COLLATE "C" NOT NULL,
	dest_type smallint NOT NULL DEFAULT 0,
	paused_by varchar(255) NOT NULL DEFAULT '',
	reason varchar(1000) NOT NULL DEFAULT '',
	paused_at bigint NOT NULL DEFAULT 0,
	paused_until bigint NOT NULL DEFAULT 0,
	PRIMARY KEY (destination, dest_type),
	CONSTRAINT {.qpause_dest_type_known} CHECK (dest_type IN (0, 1))
)`

const createConsumerPause = `
CREATE TABLE IF NOT EXISTS {n_pause} (
	consumer varchar(255) COLLATE "C" NOT NULL DEFAULT '',
	dest_name varchar(255) COLLATE "C" NOT NULL,
	dest_type smallint NOT NULL DEFAULT 0,
	paused_by varchar(255) NOT NULL DEFAULT '',
	reason varchar(1000) NOT NULL DEFAULT '',
	paused_at bigint NOT NULL DEFAULT 0,
	paused_until bigint NOT NULL DEFAULT 0,
	PRIMARY KEY (consumer, dest_name, dest_type),
	CONSTRAINT {.n_pause_dest_type_known} CHECK (dest_type IN (0, 1))
)`

const pauses = `
SELECT '', destination, dest_type, paused_by, reason, paused_at, paused_until
FROM {qpause}
WHERE paused_until = 0 OR paused_until > ` + readClock + `
ORDER BY destination, dest_type`

const consumerPauses = `
SELECT consumer, dest_name, dest_type, paused_by, reason, paused_at, paused_until
FROM {n_pause}
WHERE ($1::text = '' OR consumer IN ('', $1::text)) AND (paused_until = 0 OR paused_until > ` + readClock + `)
ORDER BY dest_name, dest_type, consumer`

// beginsAndEnds is when a pause begins, and when one of a length, or up to a time, is over: by
// one reading of the clock.
const beginsAndEnds = `c.now, CASE WHEN $5::bigint > 0 THEN c.now + $5::bigint ELSE $6::bigint END`

const pause = `
INSERT INTO {qpause} AS p (destination, dest_type, paused_by, reason, paused_at, paused_until)
SELECT $1::text, $2::smallint, $3::text, $4::text, ` + beginsAndEnds + `
FROM (SELECT ` + clock + ` AS now) AS c
ON CONFLICT (destination, dest_type) DO UPDATE
SET paused_by = excluded.paused_by, reason = excluded.reason, paused_at = excluded.paused_at, paused_until = excluded.paused_until
WHERE NOT $7::boolean OR p.paused_until BETWEEN 1 AND ` + clock

const consumerPause = `
INSERT INTO {n_pause} AS p (dest_name, dest_type, paused_by, reason, paused_at, paused_until, consumer)
SELECT $1::text, $2::smallint, $3::text, $4::text, ` + beginsAndEnds + `, $8::text
FROM (SELECT ` + clock + ` AS now) AS c
ON CONFLICT (consumer, dest_name, dest_type) DO UPDATE
SET paused_by = excluded.paused_by, reason = excluded.reason, paused_at = excluded.paused_at, paused_until = excluded.paused_until
WHERE NOT $7::boolean OR p.paused_until BETWEEN 1 AND ` + clock

const resume = `
DELETE FROM {qpause}
WHERE destination = $1::text AND dest_type = $2::smallint AND (paused_until = 0 OR paused_until > ` + clock + `)`

const consumerResume = `
DELETE FROM {n_pause}
WHERE dest_name = $1::text AND dest_type = $2::smallint AND ($3::text = '' OR consumer = $3::text)
	AND (paused_until = 0 OR paused_until > ` + clock + `)`

// Pauses implements store.PauseDialect.
func (dialect) Pauses(n store.Names, side store.Side, consumer string) store.Statement {
	if side == store.Producer {
		return statement.New(n, pauses)
	}
	return statement.New(n, consumerPauses, consumer)
}

// Pause implements store.PauseDialect.
func (dialect) Pause(n store.Names, side store.Side, p *store.Pause, length, until int64, keeps bool) store.Statement {
	args := []any{p.Destination, statement.Flag(p.Topic), p.By, p.Reason, length, until, keeps}
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
