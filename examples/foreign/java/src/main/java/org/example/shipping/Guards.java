package org.example.shipping;

import org.springframework.jdbc.core.simple.JdbcClient;
import org.springframework.jdbc.core.simple.JdbcClient.StatementSpec;
import org.springframework.stereotype.Component;

/**
 * The guards. Call one in the transaction of the effect, before the effect; where it says no, do
 * nothing and commit: the message is a copy, or an older state than one that was recorded.
 * The SQL is PostgreSQL's, at READ COMMITTED.
 */
@Component
class Guards {
    /** The consumer group: in the records and in the receipts. */
    static final String CONSUMER = "shipping";

    private final JdbcClient db;

    Guards(JdbcClient db) {
        this.db = db;
    }

    /** Level Once: records the message, if it is no copy. */
    boolean isFirst(Incoming m) {
        boolean isFirst = with(m, """
                INSERT INTO n1_record (consumer, message_id, time_stamp, producer)
                VALUES (:consumer, :id, :timeStamp, :producer)
                ON CONFLICT (consumer, message_id) DO NOTHING""").update() > 0;
        if (isFirst) {
            refuse(with(m, """
                    SELECT 1 FROM n_horizon
                    WHERE consumer = :consumer AND producer IN (:producer, :name) AND :id < message_id"""));
        }
        return isFirst;
    }

    /** Level Latest: records the message as the newest state of its key, if it is newer. */
    boolean isNewer(Incoming m) {
        boolean isNewer = with(m, """
                INSERT INTO n2_record AS r
                  (consumer, dest_name, dest_type, business_mark, time_stamp, message_id, producer)
                VALUES (:consumer, :queue, 0, :key, :timeStamp, :id, :producer)
                ON CONFLICT (consumer, dest_name, dest_type, business_mark) DO UPDATE
                SET time_stamp = excluded.time_stamp, message_id = excluded.message_id, producer = excluded.producer
                WHERE (excluded.time_stamp, excluded.message_id) > (r.time_stamp, r.message_id)""").update() > 0;
        if (isNewer) {
            refuse(with(m, """
                    SELECT 1 FROM n2_record
                    WHERE consumer = :consumer AND dest_name = '' AND dest_type = 0
                      AND business_mark = :queue AND :timeStamp <= time_stamp"""));
        }
        return isNewer;
    }

    // A message without a record may be one whose record is gone.
    private static void refuse(StatementSpec forgotten) {
        if (!forgotten.query().listOfRows().isEmpty()) {
            throw new RejectedException("waybill:forgotten: it is older than what is remembered here");
        }
    }

    private StatementSpec with(Incoming m, String sql) {
        return db.sql(sql).param("consumer", CONSUMER).param("queue", m.queue()).param("id", m.id()).param("key", m.key())
                .param("timeStamp", m.timeStamp()).param("producer", m.producer()).param("name", m.producerName());
    }
}
