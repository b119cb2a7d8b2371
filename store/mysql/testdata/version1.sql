CREATE TABLE IF NOT EXISTS waybill_version (
	side VARCHAR(20) NOT NULL PRIMARY KEY,
	version INT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = /*!80017 utf8mb4_0900_bin */ /*M!100203 utf8mb4_nopad_bin */;

-- producer, version 1

CREATE TABLE IF NOT EXISTS qmessage (
	id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
	message_id CHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL DEFAULT '',
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
	CONSTRAINT qmessage_message_id_is_uuidv7 CHECK (message_id REGEXP '^[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]-[0-9a-f][0-9a-f][0-9a-f][0-9a-f]-7[0-9a-f][0-9a-f][0-9a-f]-[89ab][0-9a-f][0-9a-f][0-9a-f]-[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]$'),
	CONSTRAINT qmessage_destination_is_free CHECK (destination <> '' AND LOWER(LEFT(destination, 4)) <> 'ack.'),
	CONSTRAINT qmessage_dest_type_known CHECK (dest_type IN (0, 1)),
	CONSTRAINT qmessage_status_known CHECK (status IN (0, 2)),
	CONSTRAINT qmessage_is_stamped CHECK (time_stamp > 0 AND (sequence > 0 OR business_mark = ''))
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = /*!80017 utf8mb4_0900_bin */ /*M!100203 utf8mb4_nopad_bin */;

CREATE TABLE IF NOT EXISTS qmessage_key (
	destination VARCHAR(255) NOT NULL,
	business_mark VARCHAR(255) NOT NULL,
	sequence BIGINT NOT NULL,
	time_stamp BIGINT NOT NULL,
	PRIMARY KEY (destination, business_mark)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = /*!80017 utf8mb4_0900_bin */ /*M!100203 utf8mb4_nopad_bin */;

CREATE TABLE IF NOT EXISTS qrelay (
	name VARCHAR(255) NOT NULL PRIMARY KEY,
	holder VARCHAR(255) NOT NULL,
	expires_at BIGINT NOT NULL,
	scan_cursor BIGINT NOT NULL DEFAULT 0
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = /*!80017 utf8mb4_0900_bin */ /*M!100203 utf8mb4_nopad_bin */;

DROP TRIGGER IF EXISTS qmessage_fill;

DELIMITER $$
CREATE TRIGGER qmessage_fill BEFORE INSERT ON qmessage FOR EACH ROW
BEGIN
	DECLARE clock_now, due, counted, stamped BIGINT DEFAULT TIMESTAMPDIFF(MICROSECOND, DATE '1970-01-01', UTC_TIMESTAMP(6));
	IF NEW.message_id = '' THEN
		SET due = GREATEST(clock_now, NEW.not_before) DIV 1000;
		SET NEW.message_id = LOWER(CONCAT(
			LPAD(HEX(due >> 16), 8, '0'), '-', LPAD(HEX(due & 65535), 4, '0'),
			'-7', RIGHT(HEX(RANDOM_BYTES(2)), 3),
			'-', SUBSTR('89AB', 1 + FLOOR(RAND() * 4), 1), RIGHT(HEX(RANDOM_BYTES(2)), 3),
			'-', HEX(RANDOM_BYTES(6))));
	END IF;
	IF NEW.business_mark <> '' AND NEW.sequence = 0 THEN
		INSERT INTO qmessage_key (destination, business_mark, sequence, time_stamp)
		VALUES (NEW.destination, NEW.business_mark, 1, IF(NEW.time_stamp > 0, NEW.time_stamp, clock_now))
		ON DUPLICATE KEY UPDATE
			sequence = qmessage_key.sequence + 1,
			time_stamp = IF(NEW.time_stamp > 0, GREATEST(qmessage_key.time_stamp, NEW.time_stamp),
				GREATEST(clock_now, qmessage_key.time_stamp + 1));
		SELECT k.sequence, k.time_stamp INTO counted, stamped
		FROM qmessage_key k
		WHERE k.destination = NEW.destination AND k.business_mark = NEW.business_mark;
		SET NEW.sequence = counted;
	END IF;
	IF NEW.time_stamp = 0 THEN
		SET NEW.time_stamp = stamped;
	END IF;
END$$
DELIMITER ;

INSERT INTO waybill_version (side, version) VALUES ('producer', 1)
ON DUPLICATE KEY UPDATE version = 1;

CREATE TABLE IF NOT EXISTS waybill_version (
	side VARCHAR(20) NOT NULL PRIMARY KEY,
	version INT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = /*!80017 utf8mb4_0900_bin */ /*M!100203 utf8mb4_nopad_bin */;

-- consumer, version 1

CREATE TABLE IF NOT EXISTS n1_record (
	consumer VARCHAR(255) NOT NULL,
	message_id CHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL,
	time_stamp BIGINT NOT NULL,
	producer VARCHAR(255) NOT NULL,
	guard BIGINT NOT NULL,
	PRIMARY KEY (consumer, message_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = /*!80017 utf8mb4_0900_bin */ /*M!100203 utf8mb4_nopad_bin */;

CREATE TABLE IF NOT EXISTS n2_record (
	consumer VARCHAR(255) NOT NULL,
	dest_name VARCHAR(255) NOT NULL,
	business_mark VARCHAR(255) NOT NULL,
	time_stamp BIGINT NOT NULL,
	message_id CHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL,
	producer VARCHAR(255) NOT NULL,
	guard BIGINT NOT NULL,
	PRIMARY KEY (consumer, dest_name, business_mark)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = /*!80017 utf8mb4_0900_bin */ /*M!100203 utf8mb4_nopad_bin */;

CREATE TABLE IF NOT EXISTS n_horizon (
	consumer VARCHAR(255) NOT NULL,
	producer VARCHAR(255) NOT NULL,
	message_id CHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci,
	floor CHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci,
	PRIMARY KEY (consumer, producer)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = /*!80017 utf8mb4_0900_bin */ /*M!100203 utf8mb4_nopad_bin */;

INSERT INTO waybill_version (side, version) VALUES ('consumer', 1)
ON DUPLICATE KEY UPDATE version = 1;

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

INSERT INTO n1_record (consumer, message_id, time_stamp, producer, guard) VALUES ('shipping', '019b0000-0000-7000-8000-0000000000a1', 1000, 'shop', 7);

INSERT INTO n2_record (consumer, dest_name, business_mark, time_stamp, message_id, producer, guard) VALUES
	('shipping', 'orders', 'k', 1500, '019b0000-0000-7000-8000-0000000000a2', 'shop', 7),
	('shipping', 'prices', 'k', 1500, '019b0000-0000-7000-8000-0000000000a2', 'shop', 7);

INSERT INTO n_horizon (consumer, producer, message_id, floor) VALUES ('shipping', 'shop', NULL, '019b0000-0000-7000-8000-000000000001');
