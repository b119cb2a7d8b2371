package postgres

import (
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// tallied and grouped enclose the rows that are counted. Time stamps from the year 2000 to a
// minute from now are taken for times.
const tallied = `
SELECT destination, dest_type, status, count(*), min(message_id::text COLLATE "C"), max(retry), min(sent), count(due), min(due),
	count(*) FILTER (WHERE failures > 0), min(id), max(id)
FROM (
	SELECT id, destination, dest_type, status, message_id, retry, failures,
		CASE WHEN time_stamp BETWEEN 946684800000000 AND ` + readClock + ` + 60000000 THEN time_stamp END AS sent,
		CASE WHEN status = 0 AND not_before > ` + readClock + ` THEN not_before END AS due
	FROM {qmessage}`

const grouped = `
) AS r
GROUP BY destination, dest_type, status`

const tallyOldest = tallied + `
	WHERE id > $2::bigint AND id < $3::bigint
	ORDER BY id` + limited + grouped

const tallyNewest = tallied + `
	WHERE id > $2::bigint AND id < $3::bigint
	ORDER BY id DESC` + limited + grouped

// tallyRejected reads them in order of id, by qmessage_rejected.
const tallyRejected = tallied + `
	WHERE status = 2
	ORDER BY id` + limited + grouped

const tallyKept = `
SELECT consumer, dest_name, dest_type, status, count(*), min(kept_at)
FROM (SELECT consumer, dest_name, dest_type, status, kept_at FROM {n_rejected} ORDER BY id` + limited + `) AS k
GROUP BY consumer, dest_name, dest_type, status
ORDER BY consumer, dest_name, dest_type, status`

const tallyKeptBy = `
SELECT consumer, dest_name, dest_type, status, count(*), min(kept_at)
FROM (SELECT consumer, dest_name, dest_type, status, kept_at FROM {n_rejected} WHERE consumer = $2::text` + limited + `) AS k
GROUP BY consumer, dest_name, dest_type, status
ORDER BY consumer, dest_name, dest_type, status`

const tallyRecords = `
SELECT
	(SELECT count(*) FROM (SELECT 1 FROM {n1_record} WHERE consumer = $2::text` + limited + `) AS o),
	(SELECT count(*) FROM (SELECT 1 FROM {n2_record} WHERE consumer = $2::text AND dest_name <> ''` + limited + `) AS l)`

const nextConsumer = `
SELECT min(name)
FROM (
	SELECT min(consumer) AS name FROM {n1_record} WHERE consumer > $1::text
	UNION ALL
	SELECT min(consumer) FROM {n2_record} WHERE consumer > $1::text
) AS c`

const noteWait = `
INSERT INTO {qrelay} AS r (name, holder, expires_at, scan_cursor)
VALUES ($1::text, $2::text, ` + clock + ` + $4::bigint, ` + clock + ` - $3::bigint)
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, expires_at = excluded.expires_at, scan_cursor = excluded.scan_cursor`

const endWait = `DELETE FROM {qrelay} WHERE name = $1::text`

const waits = `
SELECT name, holder, ` + clock + ` - scan_cursor
FROM {qrelay}
WHERE name LIKE 'why.%' AND expires_at > ` + clock + `
ORDER BY name` + limited

// Tally implements store.TallyDialect.
func (dialect) Tally(n store.Names, part store.TallyPart, above, below int64, limit int) store.Statement {
	switch part {
	case store.NewestRows:
		return statement.New(n, tallyNewest, int64(limit), above, below)
	case store.RejectedRows:
		return statement.New(n, tallyRejected, int64(limit))
	}
	return statement.New(n, tallyOldest, int64(limit), above, below)
}

// TallyKept implements store.TallyDialect.
func (dialect) TallyKept(n store.Names, consumer string, limit int) store.Statement {
	if consumer != "" {
		return statement.New(n, tallyKeptBy, int64(limit), consumer)
	}
	return statement.New(n, tallyKept, int64(limit))
}

// TallyRecords implements store.TallyDialect.
func (dialect) TallyRecords(n store.Names, consumer string, limit int) store.Statement {
	return statement.New(n, tallyRecords, int64(limit), consumer)
}

// NextConsumer implements store.TallyDialect.
func (dialect) NextConsumer(n store.Names, after string) store.Statement {
	return statement.New(n, nextConsumer, after)
}

// NoteWait implements store.WaitDialect.
func (dialect) NoteWait(n store.Names, name, text string, ago, ttl int64) store.Statement {
	return statement.New(n, noteWait, name, text, ago, ttl)
}

// EndWait implements store.WaitDialect.
func (dialect) EndWait(n store.Names, name string) store.Statement {
	return statement.New(n, endWait, name)
}

// Waits implements store.WaitDialect.
func (dialect) Waits(n store.Names, limit int) store.Statement {
	return statement.New(n, waits, int64(limit))
}
