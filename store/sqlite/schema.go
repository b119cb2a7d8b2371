package sqlite

import (
	"fmt"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// Lock is empty: BeginMigration holds the lock.
func (dialect) Lock(store.Names) store.Statement { return store.Statement{} }

// Unlock is empty: the lock ends with the transaction.
func (dialect) Unlock(store.Names) store.Statement { return store.Statement{} }

// BeginMigration opens a transaction that holds the database's write lock.
func (dialect) BeginMigration() string { return `BEGIN IMMEDIATE` }

// CreateVersions implements store.Dialect. A schema is an attached database, which
// the caller has to attach on each connection.
func (dialect) CreateVersions(n store.Names) []store.Statement {
	return []store.Statement{statement.New(n, `
CREATE TABLE IF NOT EXISTS {waybill_version} (
	side TEXT PRIMARY KEY NOT NULL,
	version INTEGER NOT NULL
) STRICT`)}
}

// Version implements store.Dialect.
func (dialect) Version(n store.Names, side store.Side) store.Statement {
	return statement.New(n, `SELECT version FROM {waybill_version} WHERE side = ?`, string(side))
}

// SetVersion implements store.Dialect.
func (dialect) SetVersion(n store.Names, side store.Side, version int) store.Statement {
	return statement.New(n, fmt.Sprintf(`
INSERT INTO {waybill_version} (side, version) VALUES ('%s', %d)
ON CONFLICT (side) DO UPDATE SET version = excluded.version`, side, version))
}

// Migrations implements store.Dialect.
func (dialect) Migrations(n store.Names) []store.Migration {
	schema := n.Schema()
	if schema != "" {
		schema += "."
	}
	return statement.Migrations(n,
		store.Migration{Side: store.Producer, Version: 1, Statements: []string{
			createMessage,
			`CREATE INDEX IF NOT EXISTS ` + schema + createDueIndex,
			`CREATE INDEX IF NOT EXISTS ` + schema + createRejectedIndex,
			createMessageKey, createRelay,
			`CREATE TRIGGER IF NOT EXISTS ` + schema + createFillTrigger,
		}, Undo: []string{`DROP TABLE IF EXISTS {qmessage}`, `DROP TABLE IF EXISTS {qmessage_key}`, `DROP TABLE IF EXISTS {qrelay}`}},
		store.Migration{Side: store.Producer, Version: 2, CompatibleFrom: 2, WorksWith: 1, Statements: []string{
			`DROP TRIGGER IF EXISTS {qmessage_fill}`,
			createMessageKey, fmt.Sprintf(createTypedKey, `{qmessage_key_typed}`), copyKeys, `DROP TABLE {qmessage_key}`,
			fmt.Sprintf(createTypedKey, `{qmessage_key}`), copyKeysBack, `DROP TABLE {qmessage_key_typed}`,
			`CREATE TRIGGER IF NOT EXISTS ` + schema + createLiftTrigger,
			`CREATE TRIGGER IF NOT EXISTS ` + schema + createTypedFillTrigger,
			createOutbox, fillOutbox, createConfirmed,
			`CREATE INDEX IF NOT EXISTS ` + schema + createRejectedIDIndex,
		}, Added: []string{createPause}, Undo: []string{`DROP TABLE IF EXISTS {qoutbox}`, `DROP TABLE IF EXISTS {qconfirmed}`, `DROP TABLE IF EXISTS {qpause}`}},
		store.Migration{
			Side: store.Consumer, Version: 1, Statements: []string{createOnce, createLatest, createHorizon},
			Undo: []string{`DROP TABLE IF EXISTS {n1_record}`, `DROP TABLE IF EXISTS {n2_record}`, `DROP TABLE IF EXISTS {n_horizon}`},
		},
		store.Migration{Side: store.Consumer, Version: 2, CompatibleFrom: 2, WorksWith: 1, Statements: []string{
			createLatest, fmt.Sprintf(createTypedLatest, `{n2_record_typed}`), copyLatest, `DROP TABLE {n2_record}`,
			fmt.Sprintf(createTypedLatest, `{n2_record}`), copyLatestBack, `DROP TABLE {n2_record_typed}`,
			createRejected,
			`CREATE INDEX IF NOT EXISTS ` + schema + createWaitingIndex,
			`CREATE INDEX IF NOT EXISTS ` + schema + createKeptIndex,
		}, Added: []string{createConsumerPause}, Undo: []string{`DROP TABLE IF EXISTS {n_rejected}`, `DROP TABLE IF EXISTS {n_pause}`}},
	)
}

const hex = `[0-9a-fA-F]`
const hex4 = hex + hex + hex + hex
const uuidv7 = hex4 + hex4 + `-` + hex4 + `-7` + hex + hex + hex + `-[89abAB]` + hex + hex + hex + `-` + hex4 + hex4 + hex4

// createMessage: AUTOINCREMENT never gives an id twice, also not when the newest
// rows have gone: the relay's cursor would pass the second one. The table is STRICT,
// so that text is text and compares as such; message_content alone takes text too,
// which is what a writer of plain SQL gives. message_id and time_stamp are filled by
// a trigger after the insertion, so no constraint can ask for them.
const createMessage = `
CREATE TABLE IF NOT EXISTS {qmessage} (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	message_id TEXT COLLATE NOCASE UNIQUE
		CONSTRAINT message_id_is_uuidv7 CHECK (message_id GLOB '` + uuidv7 + `'),
	destination TEXT NOT NULL
		CONSTRAINT destination_is_free CHECK (length(destination) BETWEEN 1 AND 255 AND lower(substr(destination, 1, 4)) <> 'ack.'),
	dest_type INTEGER NOT NULL DEFAULT 0 CHECK (dest_type IN (0, 1)),
	business_mark TEXT NOT NULL DEFAULT '' CHECK (length(business_mark) <= 255),
	sequence INTEGER NOT NULL DEFAULT 0 CHECK (sequence >= 0),
	time_stamp INTEGER NOT NULL DEFAULT 0 CHECK (time_stamp >= 0),
	headers TEXT,
	message_content ANY NOT NULL
		CONSTRAINT message_content_is_blob_or_text CHECK (typeof(message_content) IN ('blob', 'text')),
	status INTEGER NOT NULL DEFAULT 0 CHECK (status IN (0, 2)),
	retry INTEGER NOT NULL DEFAULT 0,
	failures INTEGER NOT NULL DEFAULT 0,
	not_before INTEGER NOT NULL DEFAULT 0,
	last_error TEXT
) STRICT`

// createDueIndex holds delayed and postponed rows alone.
const createDueIndex = `{.qmessage_due} ON {.qmessage} (not_before, id) WHERE not_before > 0 AND status = 0`

// createRejectedIndex finds the few rejected rows among any number of pending ones.
const createRejectedIndex = `{.qmessage_rejected} ON {.qmessage} (id) WHERE status = 2`

const createMessageKey = `
CREATE TABLE IF NOT EXISTS {qmessage_key} (
	destination TEXT NOT NULL,
	business_mark TEXT NOT NULL,
	sequence INTEGER NOT NULL,
	time_stamp INTEGER NOT NULL,
	PRIMARY KEY (destination, business_mark)
) STRICT, WITHOUT ROWID`

const createRelay = `
CREATE TABLE IF NOT EXISTS {qrelay} (
	name TEXT PRIMARY KEY NOT NULL,
	holder TEXT NOT NULL,
	expires_at INTEGER NOT NULL,
	scan_cursor INTEGER NOT NULL DEFAULT 0
) STRICT`

// due is the time in ms that the id of a new row is minted for: a delayed row gets
// that of its time, so that it does not hold the producer's floor until then.
const due = `(max(` + clock + `, NEW.not_before) / 1000)`

// createFillTrigger completes the rows of writers that leave message_id, sequence
// or time_stamp out. Within a trigger, tables are those of its own schema.
const createFillTrigger = `{.qmessage_fill} AFTER INSERT ON {.qmessage} FOR EACH ROW
WHEN NEW.message_id IS NULL OR NEW.time_stamp = 0 OR NEW.sequence = 0 AND NEW.business_mark <> ''
BEGIN
	INSERT INTO {.qmessage_key} (destination, business_mark, sequence, time_stamp)
	SELECT NEW.destination, NEW.business_mark, 1, CASE WHEN NEW.time_stamp > 0 THEN NEW.time_stamp ELSE ` + clock + ` END
	WHERE NEW.business_mark <> '' AND NEW.sequence = 0
	ON CONFLICT (destination, business_mark) DO UPDATE
	SET sequence = sequence + 1,
		time_stamp = CASE WHEN NEW.time_stamp > 0 THEN max(time_stamp, NEW.time_stamp)
			ELSE max(` + clock + `, time_stamp + 1) END;
	UPDATE {.qmessage}
	SET message_id = coalesce(NEW.message_id, printf('%08x-%04x-7%03x-%04x-%012x', ` + due + ` >> 16, ` + due + ` & 65535,
			random() & 4095, 32768 | (random() & 16383), random() & 281474976710655)),
		time_stamp = CASE WHEN NEW.time_stamp > 0 THEN NEW.time_stamp
			WHEN NEW.business_mark <> '' AND NEW.sequence = 0 THEN (
				SELECT k.time_stamp FROM {.qmessage_key} k
				WHERE k.destination = NEW.destination AND k.business_mark = NEW.business_mark)
			ELSE ` + clock + ` END,
		sequence = CASE WHEN NEW.business_mark <> '' AND NEW.sequence = 0 THEN (
				SELECT k.sequence FROM {.qmessage_key} k
				WHERE k.destination = NEW.destination AND k.business_mark = NEW.business_mark)
			ELSE NEW.sequence END
	WHERE id = NEW.id;
END`

const createOnce = `
CREATE TABLE IF NOT EXISTS {n1_record} (
	consumer TEXT NOT NULL,
	message_id TEXT NOT NULL,
	time_stamp INTEGER NOT NULL,
	producer TEXT NOT NULL,
	PRIMARY KEY (consumer, message_id)
) STRICT, WITHOUT ROWID`

const createLatest = `
CREATE TABLE IF NOT EXISTS {n2_record} (
	consumer TEXT NOT NULL,
	dest_name TEXT NOT NULL,
	business_mark TEXT NOT NULL,
	time_stamp INTEGER NOT NULL,
	message_id TEXT NOT NULL,
	producer TEXT NOT NULL,
	PRIMARY KEY (consumer, dest_name, business_mark)
) STRICT, WITHOUT ROWID`

const createHorizon = `
CREATE TABLE IF NOT EXISTS {n_horizon} (
	consumer TEXT NOT NULL,
	producer TEXT NOT NULL,
	message_id TEXT,
	floor TEXT,
	PRIMARY KEY (consumer, producer)
) STRICT, WITHOUT ROWID`

// What follows is version 2: a queue and a topic of one name have keys of their own.
// Nothing tells which of the two a row of version 1 was for, so both go on above it.
//
// A primary key cannot be changed here: what the table holds is copied, and copied back into
// a new one. ALTER TABLE … RENAME would spare the second copy; but it reads every view and
// trigger of the database, and fails for one that speaks of the table, or of any other that
// is not there. The old table is made where it is missing, so that the steps can be run
// again from any of them; a row that is found to have been copied keeps the greater
// numbers.

const createTypedKey = `
CREATE TABLE IF NOT EXISTS %s (
	destination TEXT NOT NULL,
	dest_type INTEGER NOT NULL CHECK (dest_type IN (0, 1)),
	business_mark TEXT NOT NULL,
	sequence INTEGER NOT NULL,
	time_stamp INTEGER NOT NULL,
	PRIMARY KEY (destination, dest_type, business_mark)
) STRICT, WITHOUT ROWID`

const copyKeys = `
INSERT INTO {qmessage_key_typed} (destination, dest_type, business_mark, sequence, time_stamp)
SELECT k.destination, t.dest_type, k.business_mark, k.sequence, k.time_stamp
FROM {qmessage_key} k, (SELECT 0 AS dest_type UNION ALL SELECT 1) t
WHERE true` + greaterKey

const copyKeysBack = `
INSERT INTO {qmessage_key} (destination, dest_type, business_mark, sequence, time_stamp)
SELECT k.destination, k.dest_type, k.business_mark, k.sequence, k.time_stamp
FROM {qmessage_key_typed} k
WHERE true` + greaterKey

const greaterKey = `
ON CONFLICT (destination, dest_type, business_mark) DO UPDATE
SET sequence = max(sequence, excluded.sequence), time_stamp = max(time_stamp, excluded.time_stamp)`

// createLiftTrigger has a key without a row, new or returning, go on above what was forgotten
// of its destination's keys (see keys.go), if anything. The row comes with the number of its
// messages as its sequence, and with the last one's time stamp. An upsert of a key that has its
// row does not come here.
const createLiftTrigger = `{.qmessage_key_lift} AFTER INSERT ON {.qmessage_key} FOR EACH ROW
WHEN NEW.destination <> '' AND EXISTS (
	SELECT 1 FROM {.qmessage_key} f
	WHERE f.destination = '' AND f.dest_type = NEW.dest_type AND f.business_mark = NEW.destination)
BEGIN
	UPDATE {.qmessage_key}
	SET sequence = NEW.sequence + f.sequence, time_stamp = max(NEW.time_stamp, f.time_stamp + NEW.sequence)
	FROM {.qmessage_key} f
	WHERE f.destination = '' AND f.dest_type = NEW.dest_type AND f.business_mark = NEW.destination
		AND {.qmessage_key}.destination = NEW.destination AND {.qmessage_key}.dest_type = NEW.dest_type
		AND {.qmessage_key}.business_mark = NEW.business_mark;
END`

// earliest and latest are the times in ms that a new row's id may be of: within half a day
// of the clock, or of the row's own time where that is later.
const (
	earliest = `((` + clock + ` - 43200000000) / 1000)`
	latest   = `((max(` + clock + `, min(NEW.not_before, 280000000000000000)) + 43200000000) / 1000)`
)

// createTypedFillTrigger is createFillTrigger for keys with a type. It refuses an id that is
// far from the clock: consumers judge by ids what they may have forgotten. A row that is
// complete, as one that is restored is, it leaves alone.
const createTypedFillTrigger = `{.qmessage_fill} AFTER INSERT ON {.qmessage} FOR EACH ROW
WHEN NEW.message_id IS NULL OR NEW.time_stamp = 0 OR NEW.sequence = 0 AND NEW.business_mark <> ''
BEGIN
	SELECT RAISE(ABORT, 'message_id is no UUIDv7 of the last or next 12 hours by the database''s clock, nor of not_before; leave it out')
	WHERE lower(NEW.message_id) NOT BETWEEN printf('%08x-%04x', ` + earliest + ` >> 16, ` + earliest + ` & 65535)
		AND printf('%08x-%04x~', ` + latest + ` >> 16, ` + latest + ` & 65535);
	INSERT INTO {.qmessage_key} (destination, dest_type, business_mark, sequence, time_stamp)
	SELECT NEW.destination, NEW.dest_type, NEW.business_mark, 1, CASE WHEN NEW.time_stamp > 0 THEN NEW.time_stamp ELSE ` + clock + ` END
	WHERE NEW.business_mark <> '' AND NEW.sequence = 0
	ON CONFLICT (destination, dest_type, business_mark) DO UPDATE
	SET sequence = sequence + 1,
		time_stamp = CASE WHEN NEW.time_stamp > 0 THEN max(time_stamp, NEW.time_stamp)
			ELSE max(` + clock + `, time_stamp + 1) END;
	UPDATE {.qmessage}
	SET message_id = coalesce(NEW.message_id, printf('%08x-%04x-7%03x-%04x-%012x', ` + due + ` >> 16, ` + due + ` & 65535,
			random() & 4095, 32768 | (random() & 16383), random() & 281474976710655)),
		time_stamp = CASE WHEN NEW.time_stamp > 0 THEN NEW.time_stamp
			WHEN NEW.business_mark <> '' AND NEW.sequence = 0 THEN (
				SELECT k.time_stamp FROM {.qmessage_key} k
				WHERE k.destination = NEW.destination AND k.dest_type = NEW.dest_type AND k.business_mark = NEW.business_mark)
			ELSE ` + clock + ` END,
		sequence = CASE WHEN NEW.business_mark <> '' AND NEW.sequence = 0 THEN (
				SELECT k.sequence FROM {.qmessage_key} k
				WHERE k.destination = NEW.destination AND k.dest_type = NEW.dest_type AND k.business_mark = NEW.business_mark)
			ELSE NEW.sequence END
	WHERE id = NEW.id;
END`

// createRejectedIDIndex finds the lowest of the rejected rows that hold the floor. Its condition
// is that of this statement alone, so that no other one finds this index better.
const createRejectedIDIndex = `{.qmessage_rejected_id} ON {.qmessage} (message_id) WHERE status + 0 = 2`

// createOutbox has one row: the outbox's own name among all others, and the relay that was
// heard to have the same one.
const createOutbox = `
CREATE TABLE IF NOT EXISTS {qoutbox} (
	id INTEGER PRIMARY KEY CHECK (id = 1),
	identity TEXT NOT NULL CHECK (length(identity) BETWEEN 16 AND 64 AND identity NOT GLOB '*[^a-z0-9]*'),
	made_at INTEGER NOT NULL,
	twin TEXT NOT NULL DEFAULT '',
	twin_at INTEGER NOT NULL DEFAULT 0
) STRICT`

// fillOutbox draws 96 random bits.
const fillOutbox = `
INSERT INTO {qoutbox} (id, identity, made_at) VALUES (1, lower(hex(randomblob(12))), ` + clock + `)
ON CONFLICT (id) DO NOTHING`

// createConfirmed holds what some of a message's named consumers have said while others
// have not.
const createConfirmed = `
CREATE TABLE IF NOT EXISTS {qconfirmed} (
	message_id TEXT COLLATE NOCASE NOT NULL,
	consumer TEXT NOT NULL,
	outcome INTEGER NOT NULL CHECK (outcome IN (0, 2)),
	last_error TEXT,
	time_stamp INTEGER NOT NULL,
	PRIMARY KEY (message_id, consumer)
) STRICT, WITHOUT ROWID`

const createTypedLatest = `
CREATE TABLE IF NOT EXISTS %s (
	consumer TEXT NOT NULL,
	dest_name TEXT NOT NULL,
	dest_type INTEGER NOT NULL CHECK (dest_type IN (0, 1)),
	business_mark TEXT NOT NULL,
	time_stamp INTEGER NOT NULL,
	message_id TEXT NOT NULL,
	producer TEXT NOT NULL,
	PRIMARY KEY (consumer, dest_name, dest_type, business_mark)
) STRICT, WITHOUT ROWID`

const copyLatest = `
INSERT INTO {n2_record_typed} AS r (consumer, dest_name, dest_type, business_mark, time_stamp, message_id, producer)
SELECT o.consumer, o.dest_name, t.dest_type, o.business_mark, o.time_stamp, o.message_id, o.producer
FROM {n2_record} o, (SELECT 0 AS dest_type UNION ALL SELECT 1) t
WHERE true` + newerLatest

const copyLatestBack = `
INSERT INTO {n2_record} AS r (consumer, dest_name, dest_type, business_mark, time_stamp, message_id, producer)
SELECT o.consumer, o.dest_name, o.dest_type, o.business_mark, o.time_stamp, o.message_id, o.producer
FROM {n2_record_typed} o
WHERE true` + newerLatest

const newerLatest = `
ON CONFLICT (consumer, dest_name, dest_type, business_mark) DO UPDATE
SET time_stamp = excluded.time_stamp, message_id = excluded.message_id, producer = excluded.producer
WHERE (excluded.time_stamp, excluded.message_id) > (r.time_stamp, r.message_id)`

// createRejected holds whole messages that nobody else keeps. Headers and body are as large
// as the broker let them be. AUTOINCREMENT never gives an id twice.
const createRejected = `
CREATE TABLE IF NOT EXISTS {n_rejected} (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	consumer TEXT NOT NULL,
	message_id TEXT NOT NULL,
	dest_name TEXT NOT NULL,
	dest_type INTEGER NOT NULL CHECK (dest_type IN (0, 1)),
	business_mark TEXT NOT NULL,
	delivery TEXT NOT NULL,
	headers TEXT NOT NULL,
	message_content BLOB NOT NULL,
	status INTEGER NOT NULL CHECK (status IN (0, 2)),
	tries INTEGER NOT NULL,
	failures INTEGER NOT NULL,
	not_before INTEGER NOT NULL,
	kept_at INTEGER NOT NULL,
	tried_at INTEGER NOT NULL,
	reason TEXT NOT NULL,
	CONSTRAINT once UNIQUE (consumer, dest_name, dest_type, delivery)
) STRICT`

// createWaitingIndex finds the few messages that are to be handled again.
const createWaitingIndex = `{.n_rejected_waiting} ON {.n_rejected} (consumer, id) WHERE status = 0`

const createKeptIndex = `{.n_rejected_message_id} ON {.n_rejected} (message_id)`
