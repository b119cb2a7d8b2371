package mysql

import (
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// tallied and grouped enclose the rows that are counted. Time stamps from the year 2000 to a
// minute from now are taken for times.
const tallied = `
SELECT destination, dest_type, status, COUNT(*), MIN(message_id), MAX(retry), MIN(sent), COUNT(due), MIN(due), MAX(id)
FROM (
	SELECT id, destination, dest_type, status, message_id, retry,
		CASE WHEN time_stamp BETWEEN 946684800000000 AND ` + clock + ` + 60000000 THEN time_stamp END AS sent,
		CASE WHEN status = 0 AND not_before > ` + clock + ` THEN not_before END AS due
	FROM {qmessage}`

const grouped = `
) AS r
GROUP BY destination, dest_type, status
ORDER BY destination, dest_type, status`

const tallyOldest = tallied + ` FORCE INDEX (PRIMARY)
	WHERE id > ?
	ORDER BY id
	LIMIT ?` + grouped

const tallyNewest = tallied + ` FORCE INDEX (PRIMARY)
	WHERE id > ?
	ORDER BY id DESC
	LIMIT ?` + grouped

// tallyRejected reads them as they come in the index.
const tallyRejected = tallied + ` FORCE INDEX (qmessage_due)
	WHERE status = 2
	LIMIT ?` + grouped

const tallyKept = `
SELECT consumer, dest_name, dest_type, status, COUNT(*), MIN(kept_at)
FROM (SELECT consumer, dest_name, dest_type, status, kept_at FROM {n_rejected} FORCE INDEX (PRIMARY) ORDER BY id LIMIT ?) AS k
GROUP BY consumer, dest_name, dest_type, status
ORDER BY consumer, dest_name, dest_type, status`

const tallyKeptBy = `
SELECT consumer, dest_name, dest_type, status, COUNT(*), MIN(kept_at)
FROM (SELECT consumer, dest_name, dest_type, status, kept_at FROM {n_rejected} FORCE INDEX (n_rejected_once) WHERE consumer = ? LIMIT ?) AS k
GROUP BY consumer, dest_name, dest_type, status
ORDER BY consumer, dest_name, dest_type, status`

const tallyRecords = `
SELECT
	(SELECT COUNT(*) FROM (SELECT 1 FROM {n1_record} FORCE INDEX (PRIMARY) WHERE consumer = ? LIMIT ?) AS o),
	(SELECT COUNT(*) FROM (SELECT 1 FROM {n2_record} FORCE INDEX (PRIMARY) WHERE consumer = ? AND dest_name <> '' LIMIT ?) AS l)`

const nextConsumer = `
SELECT MIN(name)
FROM (
	SELECT MIN(consumer) AS name FROM {n1_record} WHERE consumer > ?
	UNION ALL
	SELECT MIN(consumer) FROM {n2_record} WHERE consumer > ?
) AS c`

const noteWait = `
INSERT INTO {qrelay} (name, holder, expires_at, scan_cursor)
VALUES (?, ?, ` + clock + ` + ?, ` + clock + ` - ?)
ON DUPLICATE KEY UPDATE holder = VALUES(holder), expires_at = VALUES(expires_at), scan_cursor = VALUES(scan_cursor)`

const endWait = `DELETE FROM {qrelay} WHERE name = ?`

const waits = `
SELECT name, holder, ` + clock + ` - scan_cursor
FROM {qrelay}
WHERE name LIKE 'why.%' AND expires_at > ` + clock + `
ORDER BY name
LIMIT ?`

// Tally implements store.TallyDialect.
func (dialect) Tally(n store.Names, part store.TallyPart, after int64, limit int) store.Statement {
	switch part {
	case store.NewestRows:
		return statement.New(n, tallyNewest, after, limit)
	case store.RejectedRows:
		return statement.New(n, tallyRejected, limit)
	}
	return statement.New(n, tallyOldest, after, limit)
}

// TallyKept implements store.TallyDialect.
func (dialect) TallyKept(n store.Names, consumer string, limit int) store.Statement {
	if consumer != "" {
		return statement.New(n, tallyKeptBy, consumer, limit)
	}
	return statement.New(n, tallyKept, limit)
}

// TallyRecords implements store.TallyDialect.
func (dialect) TallyRecords(n store.Names, consumer string, limit int) store.Statement {
	return statement.New(n, tallyRecords, consumer, limit, consumer, limit)
}

// NextConsumer implements store.TallyDialect.
func (dialect) NextConsumer(n store.Names, after string) store.Statement {
	return statement.New(n, nextConsumer, after, after)
}

// NoteWait implements store.WaitDialect.
func (dialect) NoteWait(n store.Names, name, text string, ago, ttl int64) store.Statement {
	return statement.New(n, noteWait, name, text, ttl, ago)
}

// EndWait implements store.WaitDialect.
func (dialect) EndWait(n store.Names, name string) store.Statement {
	return statement.New(n, endWait, name)
}

// Waits implements store.WaitDialect.
func (dialect) Waits(n store.Names, limit int) store.Statement { return statement.New(n, waits, limit) }
