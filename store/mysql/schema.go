package mysql

import (
	"fmt"
	"slices"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// lockWait is how long, in seconds, a migration waits for others.
const lockWait = 3600

// Lock implements store.Dialect. DDL commits by itself here, so no transaction can
// hold migrations off; the lock belongs to the connection and ends with it.
func (dialect) Lock(n store.Names) store.Statement {
	if schema := n.Schema(); schema != "" {
		return store.Statement{SQL: `SELECT GET_LOCK(?, ?)`, Args: []any{"waybill." + schema, lockWait}}
	}
	return store.Statement{SQL: `SELECT GET_LOCK(LEFT(CONCAT('waybill.', COALESCE(DATABASE(), '')), 64), ?)`, Args: []any{lockWait}}
}

// Unlock implements store.Dialect.
func (dialect) Unlock(n store.Names) store.Statement {
	if schema := n.Schema(); schema != "" {
		return store.Statement{SQL: `DO RELEASE_LOCK(?)`, Args: []any{"waybill." + schema}}
	}
	return store.Statement{SQL: `DO RELEASE_LOCK(LEFT(CONCAT('waybill.', COALESCE(DATABASE(), '')), 64))`}
}

// BeginMigration is empty: DDL commits by itself.
func (dialect) BeginMigration() string { return "" }

// CreateVersions implements store.Dialect. A schema is a database. CREATE DATABASE
// asks for its privilege even where the database exists, so it is asked for only
// where missing.
func (dialect) CreateVersions(n store.Names) []store.Statement {
	var statements []store.Statement
	if schema := n.Schema(); schema != "" {
		for _, text := range []string{
			fmt.Sprintf(`SET @waybill = IF((SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = '%s') > 0, 'DO 0', 'CREATE DATABASE %s')`, schema, schema),
			`PREPARE waybill FROM @waybill`, `EXECUTE waybill`, `DEALLOCATE PREPARE waybill`,
		} {
			statements = append(statements, store.Statement{SQL: text})
		}
	}
	return append(statements, statement.New(n, `
CREATE TABLE IF NOT EXISTS {waybill_version} (
	side VARCHAR(20) NOT NULL PRIMARY KEY,
	version INT NOT NULL
)`+options))
}

// Version implements store.Dialect.
func (dialect) Version(n store.Names, side store.Side) store.Statement {
	return statement.New(n, `SELECT version FROM {waybill_version} WHERE side = ?`, string(side))
}

// SetVersion implements store.Dialect.
func (dialect) SetVersion(n store.Names, side store.Side, version int) store.Statement {
	return statement.New(n, fmt.Sprintf(`
INSERT INTO {waybill_version} (side, version) VALUES ('%s', %d)
ON DUPLICATE KEY UPDATE version = %d`, side, version, version))
}

// Migrations implements store.Dialect.
func (dialect) Migrations(n store.Names) []store.Migration {
	return statement.Migrations(n,
		store.Migration{Side: store.Producer, Version: 1, Statements: []string{
			createMessage, createMessageKey, createRelay,
			dropFillTrigger, createFillTrigger,
		}, Undo: []string{`DROP TABLE IF EXISTS {qmessage}, {qmessage_key}, {qrelay}`}},
		store.Migration{
			Side: store.Producer, Version: 2, CompatibleFrom: 2, WorksWith: 1,
			Prepare: []string{createOutbox, fillOutbox, createConfirmed},
			Hold:    []string{boundWait, holdMessages}, Release: []string{releaseTables, unboundWait},
			Statements: slices.Concat(
				unlessTyped(n, "qmessage_key", keyByType),
				unlessThere(n, "statistics", "qmessage", "index_name = 'qmessage_due' AND column_name = 'status'", widenDueIndex),
				// The keys come before the trigger, so that what ends here, as a full disk does,
				// leaves tables of version 1 that go on.
				[]string{copyKeys, endForgotten, dropFillTrigger, createTypedFillTrigger},
			),
			Added: []string{createPause},
			Undo:  []string{`DROP TABLE IF EXISTS {qoutbox}, {qconfirmed}, {qpause}`},
		},
		store.Migration{
			Side: store.Consumer, Version: 1, Statements: []string{createOnce, createLatest, createHorizon},
			Undo: []string{`DROP TABLE IF EXISTS {n1_record}, {n2_record}, {n_horizon}`},
		},
		store.Migration{
			Side: store.Consumer, Version: 2, CompatibleFrom: 2, WorksWith: 1,
			Prepare: []string{createRejected},
			Added:   []string{createConsumerPause},
			Undo:    []string{`DROP TABLE IF EXISTS {n_rejected}, {n_pause}`},
			Hold:    []string{boundWait, holdRecords}, Release: []string{releaseTables, unboundWait},
			Statements: append(unlessTyped(n, "n2_record", latestByType), copyLatest, refuseUntyped),
		},
	)
}

// collation of all text: 'a', 'A' and 'a ' are three keys, so it has to compare bytes
// and must not pad with spaces, as utf8mb4_bin does. The one that does is
// utf8mb4_0900_bin in MySQL (since 8.0.17) and utf8mb4_nopad_bin in MariaDB: each reads
// the comment that is its own and skips the other's.
const collation = `/*!80017 utf8mb4_0900_bin */ /*M!100203 utf8mb4_nopad_bin */`

// options end each table.
const options = ` ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = ` + collation

// id is the type of a message's id. Its collation takes both cases for the same, as
// UUIDs are.
const id = `CHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci`

const hex = `[0-9a-f]`
const hex4 = hex + hex + hex + hex
const uuidv7 = `^` + hex4 + hex4 + `-` + hex4 + `-7` + hex + hex + hex + `-[89ab]` + hex + hex + hex + `-` + hex4 + hex4 + hex4 + `$`

// createMessage: there are no partial indexes here, so qmessage_due holds all rows,
// most of them at 0, where they come and go in order of id. message_id has a default
// because a column that an INSERT leaves out needs one before a trigger can fill it.
const createMessage = `
CREATE TABLE IF NOT EXISTS {qmessage} (
	id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
	message_id ` + id + ` NOT NULL DEFAULT '',
	destination VARCHAR(255) NOT NULL,
	dest_type SMALLINT NOT NULL DEFAULT 0,
	business_mark VARCHAR(255) NOT NULL DEFAULT '',
	sequence BIGINT NOT NULL DEFAULT 0,
	time_stamp BIGINT NOT NULL DEFAULT 0,
	headers MEDIUMTEXT,
	message_content LONGBLOB NOT NULL,
	status SMALLINT NOT NULL DEFAULT 0,
	retry INT NOT NULL DEFAULT 0,
	failures INT NOT NULL DEFAULT 0,
	not_before BIGINT NOT NULL DEFAULT 0,
	last_error TEXT,
	UNIQUE KEY qmessage_message_id (message_id),
	KEY qmessage_due (not_before),
	CONSTRAINT {.qmessage_message_id_is_uuidv7} CHECK (message_id REGEXP '` + uuidv7 + `'),
	CONSTRAINT {.qmessage_destination_is_free} CHECK (destination <> '' AND LOWER(LEFT(destination, 4)) <> 'ack.'),
	CONSTRAINT {.qmessage_dest_type_known} CHECK (dest_type IN (0, 1)),
	CONSTRAINT {.qmessage_status_known} CHECK (status IN (0, 2)),
	CONSTRAINT {.qmessage_is_stamped} CHECK (time_stamp > 0 AND (sequence > 0 OR business_mark = ''))
)` + options

const createMessageKey = `
CREATE TABLE IF NOT EXISTS {qmessage_key} (
	destination VARCHAR(255) NOT NULL,
	business_mark VARCHAR(255) NOT NULL,
	sequence BIGINT NOT NULL,
	time_stamp BIGINT NOT NULL,
	PRIMARY KEY (destination, business_mark)
)` + options

const createRelay = `
CREATE TABLE IF NOT EXISTS {qrelay} (
	name VARCHAR(255) NOT NULL PRIMARY KEY,
	holder VARCHAR(255) NOT NULL,
	expires_at BIGINT NOT NULL,
	scan_cursor BIGINT NOT NULL DEFAULT 0
)` + options

const dropFillTrigger = `DROP TRIGGER IF EXISTS {qmessage_fill}`

// createFillTrigger completes every row that comes without message_id, sequence or
// time_stamp: Send's rows bring their id, and a time stamp where it is the caller's own;
// those of other writers may bring none of them. The key's row stays locked to the end of the transaction, so sequence, time stamp and
// commit have one order per key. The id of a delayed row is minted for its time, so
// that it does not hold the producer's floor until then.
const createFillTrigger = `
CREATE TRIGGER {qmessage_fill} BEFORE INSERT ON {qmessage} FOR EACH ROW
BEGIN
	DECLARE clock_now, due, counted, stamped BIGINT DEFAULT ` + clock + `;
	IF NEW.message_id = '' THEN
		SET due = GREATEST(clock_now, NEW.not_before) DIV 1000;
		SET NEW.message_id = LOWER(CONCAT(
			LPAD(HEX(due >> 16), 8, '0'), '-', LPAD(HEX(due & 65535), 4, '0'),
			'-7', RIGHT(HEX(RANDOM_BYTES(2)), 3),
			'-', SUBSTR('89AB', 1 + FLOOR(RAND() * 4), 1), RIGHT(HEX(RANDOM_BYTES(2)), 3),
			'-', HEX(RANDOM_BYTES(6))));
	END IF;
	IF NEW.business_mark <> '' AND NEW.sequence = 0 THEN
		INSERT INTO {qmessage_key} (destination, business_mark, sequence, time_stamp)
		VALUES (NEW.destination, NEW.business_mark, 1, IF(NEW.time_stamp > 0, NEW.time_stamp, clock_now))
		ON DUPLICATE KEY UPDATE
			sequence = {qmessage_key}.sequence + 1,
			time_stamp = IF(NEW.time_stamp > 0, GREATEST({qmessage_key}.time_stamp, NEW.time_stamp),
				GREATEST(clock_now, {qmessage_key}.time_stamp + 1));
		SELECT k.sequence, k.time_stamp INTO counted, stamped
		FROM {qmessage_key} k
		WHERE k.destination = NEW.destination AND k.business_mark = NEW.business_mark;
		SET NEW.sequence = counted;
	END IF;
	IF NEW.time_stamp = 0 THEN
		SET NEW.time_stamp = stamped;
	END IF;
END`

// The column guard holds the random number of the guard that wrote a record last: what
// was written is read back by it, so that no count of affected rows, which depends on
// the client's flags, is ever trusted.

const createOnce = `
CREATE TABLE IF NOT EXISTS {n1_record} (
	consumer VARCHAR(255) NOT NULL,
	message_id ` + id + ` NOT NULL,
	time_stamp BIGINT NOT NULL,
	producer VARCHAR(255) NOT NULL,
	guard BIGINT NOT NULL,
	PRIMARY KEY (consumer, message_id)
)` + options

const createLatest = `
CREATE TABLE IF NOT EXISTS {n2_record} (
	consumer VARCHAR(255) NOT NULL,
	dest_name VARCHAR(255) NOT NULL,
	business_mark VARCHAR(255) NOT NULL,
	time_stamp BIGINT NOT NULL,
	message_id ` + id + ` NOT NULL,
	producer VARCHAR(255) NOT NULL,
	guard BIGINT NOT NULL,
	PRIMARY KEY (consumer, dest_name, business_mark)
)` + options

const createHorizon = `
CREATE TABLE IF NOT EXISTS {n_horizon} (
	consumer VARCHAR(255) NOT NULL,
	producer VARCHAR(255) NOT NULL,
	message_id ` + id + `,
	floor ` + id + `,
	PRIMARY KEY (consumer, producer)
)` + options

// What follows is version 2: a queue and a topic of one name have keys of their own.
// Nothing tells which of the two a row of version 1 was for, so both go on above it.
//
// Senders and guards wait while their tables change, since no transaction holds the steps
// together. Whoever waits for a table holds up all who come after, and so waits for a
// moment only. A statement that has waited meets what it was begun for: the trigger is
// another one as a whole.
//
// The steps that may fail for a reason of the server's, as copying without room does, come
// first. What they leave behind, programs of version 1 go on with, and a row that is found
// to have been copied then takes the greater numbers.

const (
	boundWait     = `SET @waybill_table_wait = @@SESSION.lock_wait_timeout, SESSION lock_wait_timeout = 1`
	unboundWait   = `SET SESSION lock_wait_timeout = COALESCE(@waybill_table_wait, @@GLOBAL.lock_wait_timeout)`
	holdMessages  = `LOCK TABLES {qmessage} WRITE, {qmessage_key} WRITE, {qmessage_key} AS k WRITE, {waybill_version} WRITE`
	holdRecords   = `LOCK TABLES {n2_record} WRITE, {n2_record} AS o WRITE, {waybill_version} WRITE`
	releaseTables = `UNLOCK TABLES`
)

// unlessTyped returns what changes a table that has no column dest_type yet.
func unlessTyped(n store.Names, table, change string) []string {
	return unlessThere(n, "columns", table, "column_name = 'dest_type'", change)
}

// unlessThere returns what changes a table unless a view of information_schema has
// something of it. There is no condition for that in MySQL's ALTER TABLE, so it is prepared
// from a text.
func unlessThere(n store.Names, view, table, what, change string) []string {
	schema := `DATABASE()`
	if n.Schema() != "" {
		schema = `'` + n.Schema() + `'`
	}
	return []string{
		`SET @waybill = IF((SELECT COUNT(*) FROM information_schema.` + view + ` WHERE table_schema = ` + schema + `
	AND table_name = '{.` + table + `}' AND ` + what + `) > 0, 'DO 0', '` + change + `')`,
		`PREPARE waybill FROM @waybill`, `EXECUTE waybill`, `DEALLOCATE PREPARE waybill`,
	}
}

// widenDueIndex has one index find the delayed rows in order of their time, the rejected ones,
// and the lowest pending id of the rest, whatever number of rejected rows lie below. An index
// for each would be written for every message.
const widenDueIndex = `ALTER TABLE {qmessage} DROP KEY qmessage_due, ADD KEY qmessage_due (status, not_before, message_id)`

// endForgotten stands behind what is forgotten of keys (see keys.go) and before all keys. The
// trigger's look for what is not there then locks a gap that no sender inserts into.
const endForgotten = `
INSERT INTO {qmessage_key} (destination, dest_type, business_mark, sequence, time_stamp)
VALUES ('', 9, '', 0, 0)
ON DUPLICATE KEY UPDATE sequence = 0`

const keyByType = `
ALTER TABLE {qmessage_key}
	ADD COLUMN dest_type SMALLINT NOT NULL DEFAULT 0 AFTER destination,
	DROP PRIMARY KEY, ADD PRIMARY KEY (destination, dest_type, business_mark)`

const copyKeys = `
INSERT INTO {qmessage_key} (destination, dest_type, business_mark, sequence, time_stamp)
SELECT k.destination, 1, k.business_mark, k.sequence, k.time_stamp FROM {qmessage_key} AS k WHERE k.dest_type = 0
ON DUPLICATE KEY UPDATE
	sequence = GREATEST({qmessage_key}.sequence, k.sequence),
	time_stamp = GREATEST({qmessage_key}.time_stamp, k.time_stamp)`

// createTypedFillTrigger is createFillTrigger for keys with a type. It refuses an id that
// was not minted within half a day of the clock, or of the row's own time where that is
// later: consumers judge by ids what they may have forgotten. A row that is complete, as one
// that is restored is, it leaves alone. A key that has no row goes on above what was forgotten
// of its destination's keys, if anything; the look for that locks, and so sees what was
// committed last, and comes when the key's own row is locked.
const createTypedFillTrigger = `
CREATE TRIGGER {qmessage_fill} BEFORE INSERT ON {qmessage} FOR EACH ROW
BEGIN
	DECLARE clock_now BIGINT DEFAULT ` + clock + `;
	DECLARE due, counted, stamped, forgotten, forgotten_stamp BIGINT DEFAULT clock_now;
	IF NEW.message_id <> '' AND (NEW.time_stamp = 0 OR NEW.sequence = 0 AND NEW.business_mark <> '') AND CAST(CONV(CONCAT(LEFT(NEW.message_id, 8), SUBSTR(NEW.message_id, 10, 4)), 16, 10) AS SIGNED) * 1000
			NOT BETWEEN clock_now - 43200000000 AND GREATEST(clock_now, LEAST(NEW.not_before, 280000000000000000)) + 43200000000 THEN
		SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT =
			'message_id is no UUIDv7 of the last or next 12 hours by the database''s clock, nor of not_before; leave it out';
	END IF;
	IF NEW.message_id = '' THEN
		SET due = GREATEST(clock_now, NEW.not_before) DIV 1000;
		SET NEW.message_id = LOWER(CONCAT(
			LPAD(HEX(due >> 16), 8, '0'), '-', LPAD(HEX(due & 65535), 4, '0'),
			'-7', RIGHT(HEX(RANDOM_BYTES(2)), 3),
			'-', SUBSTR('89AB', 1 + FLOOR(RAND() * 4), 1), RIGHT(HEX(RANDOM_BYTES(2)), 3),
			'-', HEX(RANDOM_BYTES(6))));
	END IF;
	IF NEW.business_mark <> '' AND NEW.sequence = 0 THEN
		INSERT INTO {qmessage_key} (destination, dest_type, business_mark, sequence, time_stamp)
		VALUES (NEW.destination, NEW.dest_type, NEW.business_mark, 1, IF(NEW.time_stamp > 0, NEW.time_stamp, clock_now))
		ON DUPLICATE KEY UPDATE
			sequence = {qmessage_key}.sequence + 1,
			time_stamp = IF(NEW.time_stamp > 0, GREATEST({qmessage_key}.time_stamp, NEW.time_stamp),
				GREATEST(clock_now, {qmessage_key}.time_stamp + 1));
		SELECT k.sequence, k.time_stamp INTO counted, stamped
		FROM {qmessage_key} k
		WHERE k.destination = NEW.destination AND k.dest_type = NEW.dest_type AND k.business_mark = NEW.business_mark;
		IF counted = 1 THEN
			SELECT MAX(f.sequence), MAX(f.time_stamp) INTO forgotten, forgotten_stamp
			FROM {qmessage_key} f
			WHERE f.destination = '' AND f.dest_type = NEW.dest_type AND f.business_mark = NEW.destination
			LOCK IN SHARE MODE;
			IF forgotten IS NOT NULL THEN
				SET counted = forgotten + 1, stamped = GREATEST(stamped, forgotten_stamp + IF(NEW.time_stamp > 0, 0, 1));
				UPDATE {qmessage_key} k SET k.sequence = counted, k.time_stamp = stamped
				WHERE k.destination = NEW.destination AND k.dest_type = NEW.dest_type AND k.business_mark = NEW.business_mark;
			END IF;
		END IF;
		SET NEW.sequence = counted;
	END IF;
	IF NEW.time_stamp = 0 THEN
		SET NEW.time_stamp = stamped;
	END IF;
END`

// createOutbox has one row: the outbox's own name among all others, and the relay that was
// heard to have the same one.
const createOutbox = `
CREATE TABLE IF NOT EXISTS {qoutbox} (
	id SMALLINT NOT NULL PRIMARY KEY,
	identity VARCHAR(64) NOT NULL,
	made_at BIGINT NOT NULL,
	twin VARCHAR(255) NOT NULL DEFAULT '',
	twin_at BIGINT NOT NULL DEFAULT 0,
	CONSTRAINT {.qoutbox_has_one_row} CHECK (id = 1),
	CONSTRAINT {.qoutbox_identity_is_a_word} CHECK (identity REGEXP '^[a-z0-9]*$' AND CHAR_LENGTH(identity) >= 16)
)` + options

// fillOutbox draws 96 random bits.
const fillOutbox = `
INSERT INTO {qoutbox} (id, identity, made_at) VALUES (1, LOWER(HEX(RANDOM_BYTES(12))), ` + clock + `)
ON DUPLICATE KEY UPDATE id = {qoutbox}.id`

// createConfirmed holds what some of a message's named consumers have said while others
// have not.
const createConfirmed = `
CREATE TABLE IF NOT EXISTS {qconfirmed} (
	message_id ` + id + ` NOT NULL,
	consumer VARCHAR(255) NOT NULL,
	outcome SMALLINT NOT NULL,
	last_error TEXT,
	time_stamp BIGINT NOT NULL,
	PRIMARY KEY (message_id, consumer),
	CONSTRAINT {.qconfirmed_outcome_known} CHECK (outcome IN (0, 2))
)` + options

const latestByType = `
ALTER TABLE {n2_record}
	ADD COLUMN dest_type SMALLINT NOT NULL DEFAULT 0 AFTER dest_name,
	ADD CONSTRAINT {.n2_record_dest_type_known} CHECK (dest_type IN (0, 1)),
	DROP PRIMARY KEY, ADD PRIMARY KEY (consumer, dest_name, dest_type, business_mark)`

// refuseUntyped: a program of version 1 names no type, and here nothing else would refuse
// its records, which say nothing of topics; so the default is one that no row may have.
const refuseUntyped = `ALTER TABLE {n2_record} ALTER COLUMN dest_type SET DEFAULT -1`

const copyLatest = `
INSERT INTO {n2_record} (consumer, dest_name, dest_type, business_mark, time_stamp, message_id, producer, guard)
SELECT o.consumer, o.dest_name, 1, o.business_mark, o.time_stamp, o.message_id, o.producer, o.guard
FROM {n2_record} AS o WHERE o.dest_type = 0
ON DUPLICATE KEY UPDATE
	guard = IF(` + newerUntyped + `, o.guard, {n2_record}.guard),
	producer = IF(` + newerUntyped + `, o.producer, {n2_record}.producer),
	message_id = IF(` + newerUntyped + `, o.message_id, {n2_record}.message_id),
	time_stamp = GREATEST({n2_record}.time_stamp, o.time_stamp)`

// newerUntyped: the assignments are made one after the other, the time stamp's last.
const newerUntyped = `(o.time_stamp > {n2_record}.time_stamp OR o.time_stamp = {n2_record}.time_stamp AND o.message_id > {n2_record}.message_id)`

// createRejected holds whole messages that nobody else keeps. Headers and body are as large
// as the broker let them be, and max_allowed_packet lets them be.
const createRejected = `
CREATE TABLE IF NOT EXISTS {n_rejected} (
	id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
	consumer VARCHAR(255) NOT NULL,
	message_id ` + id + ` NOT NULL,
	dest_name VARCHAR(255) NOT NULL,
	dest_type SMALLINT NOT NULL,
	business_mark VARCHAR(255) NOT NULL,
	delivery VARCHAR(255) NOT NULL,
	headers LONGTEXT NOT NULL,
	message_content LONGBLOB NOT NULL,
	status SMALLINT NOT NULL,
	tries INT NOT NULL,
	failures INT NOT NULL,
	not_before BIGINT NOT NULL,
	kept_at BIGINT NOT NULL,
	tried_at BIGINT NOT NULL,
	reason TEXT NOT NULL,
	UNIQUE KEY n_rejected_once (consumer, dest_name, dest_type, delivery),
	KEY n_rejected_waiting (consumer, status, id),
	KEY n_rejected_message_id (message_id),
	CONSTRAINT {.n_rejected_dest_type_known} CHECK (dest_type IN (0, 1)),
	CONSTRAINT {.n_rejected_status_known} CHECK (status IN (0, 2))
)` + options
