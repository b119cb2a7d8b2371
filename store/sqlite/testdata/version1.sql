CREATE TABLE IF NOT EXISTS waybill_version (
	side TEXT PRIMARY KEY NOT NULL,
	version INTEGER NOT NULL
) STRICT;

-- producer, version 1

CREATE TABLE IF NOT EXISTS qmessage (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	message_id TEXT COLLATE NOCASE UNIQUE
		CONSTRAINT message_id_is_uuidv7 CHECK (message_id GLOB '[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F]-[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F]-7[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F]-[89abAB][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F]-[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F]'),
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
) STRICT;

CREATE INDEX IF NOT EXISTS qmessage_due ON qmessage (not_before, id) WHERE not_before > 0 AND status = 0;

CREATE INDEX IF NOT EXISTS qmessage_rejected ON qmessage (id) WHERE status = 2;

CREATE TABLE IF NOT EXISTS qmessage_key (
	destination TEXT NOT NULL,
	business_mark TEXT NOT NULL,
	sequence INTEGER NOT NULL,
	time_stamp INTEGER NOT NULL,
	PRIMARY KEY (destination, business_mark)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS qrelay (
	name TEXT PRIMARY KEY NOT NULL,
	holder TEXT NOT NULL,
	expires_at INTEGER NOT NULL,
	scan_cursor INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TRIGGER IF NOT EXISTS qmessage_fill AFTER INSERT ON qmessage FOR EACH ROW
WHEN NEW.message_id IS NULL OR NEW.time_stamp = 0 OR NEW.sequence = 0 AND NEW.business_mark <> ''
BEGIN
	INSERT INTO qmessage_key (destination, business_mark, sequence, time_stamp)
	SELECT NEW.destination, NEW.business_mark, 1, CASE WHEN NEW.time_stamp > 0 THEN NEW.time_stamp ELSE (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) END
	WHERE NEW.business_mark <> '' AND NEW.sequence = 0
	ON CONFLICT (destination, business_mark) DO UPDATE
	SET sequence = sequence + 1,
		time_stamp = CASE WHEN NEW.time_stamp > 0 THEN max(time_stamp, NEW.time_stamp)
			ELSE max((CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), time_stamp + 1) END;
	UPDATE qmessage
	SET message_id = coalesce(NEW.message_id, printf('%08x-%04x-7%03x-%04x-%012x', (max((CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), NEW.not_before) / 1000) >> 16, (max((CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), NEW.not_before) / 1000) & 65535,
			random() & 4095, 32768 | (random() & 16383), random() & 281474976710655)),
		time_stamp = CASE WHEN NEW.time_stamp > 0 THEN NEW.time_stamp
			WHEN NEW.business_mark <> '' AND NEW.sequence = 0 THEN (
				SELECT k.time_stamp FROM qmessage_key k
				WHERE k.destination = NEW.destination AND k.business_mark = NEW.business_mark)
			ELSE (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) END,
		sequence = CASE WHEN NEW.business_mark <> '' AND NEW.sequence = 0 THEN (
				SELECT k.sequence FROM qmessage_key k
				WHERE k.destination = NEW.destination AND k.business_mark = NEW.business_mark)
			ELSE NEW.sequence END
	WHERE id = NEW.id;
END;

INSERT INTO waybill_version (side, version) VALUES ('producer', 1)
ON CONFLICT (side) DO UPDATE SET version = excluded.version;

CREATE TABLE IF NOT EXISTS waybill_version (
	side TEXT PRIMARY KEY NOT NULL,
	version INTEGER NOT NULL
) STRICT;

-- consumer, version 1

CREATE TABLE IF NOT EXISTS n1_record (
	consumer TEXT NOT NULL,
	message_id TEXT NOT NULL,
	time_stamp INTEGER NOT NULL,
	producer TEXT NOT NULL,
	PRIMARY KEY (consumer, message_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS n2_record (
	consumer TEXT NOT NULL,
	dest_name TEXT NOT NULL,
	business_mark TEXT NOT NULL,
	time_stamp INTEGER NOT NULL,
	message_id TEXT NOT NULL,
	producer TEXT NOT NULL,
	PRIMARY KEY (consumer, dest_name, business_mark)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS n_horizon (
	consumer TEXT NOT NULL,
	producer TEXT NOT NULL,
	message_id TEXT,
	floor TEXT,
	PRIMARY KEY (consumer, producer)
) STRICT, WITHOUT ROWID;

INSERT INTO waybill_version (side, version) VALUES ('consumer', 1)
ON CONFLICT (side) DO UPDATE SET version = excluded.version;

-- rows

INSERT INTO qmessage (message_id, destination, dest_type, business_mark, sequence, time_stamp, headers, message_content, status, last_error) VALUES
	('019b0000-0000-7000-8000-000000000001', 'orders', 0, '', 0, 500, '{"a":"b"}', 'first', 0, NULL),
	('019b0000-0000-7000-8000-000000000002', 'orders', 0, 'k', 1, 1000, NULL, 'second', 0, NULL),
	('019b0000-0000-7000-8000-000000000003', 'prices', 1, 'k', 1, 2000, NULL, 'third', 0, NULL),
	('019b0000-0000-7000-8000-000000000004', 'orders', 0, 'k', 2, 9000000000000001, NULL, 'fourth', 2, 'no such order');

INSERT INTO qmessage_key (destination, business_mark, sequence, time_stamp) VALUES
	('orders', 'k', 2, 9000000000000001),
	('prices', 'k', 1, 2000);

INSERT INTO qrelay (name, holder, expires_at, scan_cursor) VALUES ('relay', '', 0, 2);

INSERT INTO n1_record (consumer, message_id, time_stamp, producer) VALUES ('shipping', '019b0000-0000-7000-8000-0000000000a1', 1000, 'shop');

INSERT INTO n2_record (consumer, dest_name, business_mark, time_stamp, message_id, producer) VALUES
	('shipping', 'orders', 'k', 1500, '019b0000-0000-7000-8000-0000000000a2', 'shop'),
	('shipping', 'prices', 'k', 1500, '019b0000-0000-7000-8000-0000000000a2', 'shop');

INSERT INTO n_horizon (consumer, producer, message_id, floor) VALUES ('shipping', 'shop', NULL, '019b0000-0000-7000-8000-000000000001');
