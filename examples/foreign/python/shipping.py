"""A shipping service in Python: it takes what a Waybill relay sends over RabbitMQ, and
answers with receipts.

    python shipping.py amqp://user:password@localhost shipping.db

It keeps the latest state of each order (the queue "orders", level Latest) and the sum of
what was paid for it (the queue "payments", level Once). Messages may come twice, late and
out of order. Each takes effect once, and an older state never overwrites a newer one,
because the record of the message and its effect commit in one transaction. Waybill's
docs/protocol.md has the tables, the headers and the receipts.
"""

import json
import logging
import re
import sqlite3
import sys
import time

import pika
import pika.exceptions

CONSUMER = "shipping"  # the consumer group: in the records and in the receipts
MAX_TRIES = 20  # failures of a message after which it is rejected

log = logging.getLogger("shipping")


class Rejected(Exception):
    """No further try can help. The message stays with its producer, for a person."""


# ----- the guards: call one in the transaction of the effect, before the effect


def first_time(db, m):
    """Level Once: records the message. False: it is a copy, and the effect is there."""
    written = db.execute(
        """INSERT INTO n1_record (consumer, message_id, time_stamp, producer)
           VALUES (:consumer, :id, :time_stamp, :producer)
           ON CONFLICT (consumer, message_id) DO NOTHING""", m).rowcount
    forgotten = db.execute(
        """SELECT 1 FROM n_horizon
           WHERE consumer = :consumer AND producer IN (:producer, :name) AND :id < message_id""", m)
    return refuse_forgotten(written, forgotten)


def newer(db, m):
    """Level Latest: records the message as its key's newest state. False: it is a copy, or
    older than a state that was recorded before."""
    written = db.execute(
        """INSERT INTO n2_record AS r
             (consumer, dest_name, dest_type, business_mark, time_stamp, message_id, producer)
           VALUES (:consumer, :destination, 0, :key, :time_stamp, :id, :producer)
           ON CONFLICT (consumer, dest_name, dest_type, business_mark) DO UPDATE
           SET time_stamp = excluded.time_stamp, message_id = excluded.message_id, producer = excluded.producer
           WHERE (excluded.time_stamp, excluded.message_id) > (r.time_stamp, r.message_id)""", m).rowcount
    forgotten = db.execute(
        """SELECT 1 FROM n2_record
           WHERE consumer = :consumer AND dest_name = '' AND dest_type = 0
             AND business_mark = :destination AND :time_stamp <= time_stamp""", m)
    return refuse_forgotten(written, forgotten)


def refuse_forgotten(written, forgotten):
    """Only a message without a record can be one whose record is gone."""
    if written and forgotten.fetchone():
        raise Rejected("waybill:forgotten: it is older than what is remembered here")
    return written > 0


# ----- the business


def take_order(db, m):
    state = json.loads(m["body"])["state"]
    db.execute("""INSERT INTO shipments (order_id, state) VALUES (?, ?)
                  ON CONFLICT (order_id) DO UPDATE SET state = excluded.state""", (m["key"], state))


def take_payment(db, m):
    cents = json.loads(m["body"])["cents"]
    if cents <= 0:
        raise Rejected(f"{cents} cents are no payment")
    db.execute("""INSERT INTO paid (order_id, cents) VALUES (?, ?)
                  ON CONFLICT (order_id) DO UPDATE SET cents = cents + excluded.cents""", (m["key"], cents))


QUEUES = {"orders": (newer, take_order), "payments": (first_time, take_payment)}


# ----- between the two


def read(queue, headers, body):
    """The message, as the guards and the business need it."""
    # The receipt queue is ack.<producer>.<identity>. What follows "ack." is whose records
    # these are; of a producer that wants no receipts it is the header producer and a dot.
    outbox = re.fullmatch(r"ack\.(.+\.[a-z0-9]{16,64})", headers.get("receiptTo", ""))
    producer = outbox[1] if outbox else headers.get("producer", "") + "."
    return {
        "consumer": CONSUMER,
        "destination": queue,
        "id": headers["messageId"],
        "key": headers.get("businessMark", ""),
        "time_stamp": int(headers.get("timeStamp", 0)),
        "failures": int(headers.get("failures", 0)),
        "producer": producer,
        "name": producer.rpartition(".")[0],
        "body": body,
    }


def apply(db, m):
    """Guard and effect in one transaction; returns the receipt."""
    guard, take = QUEUES[m["destination"]]
    try:
        db.execute("BEGIN IMMEDIATE")
        if guard(db, m):
            take(db, m)
        db.execute("COMMIT")
        return {"id": m["id"], "outcome": "done"}  # for a copy, too: its first receipt may be lost
    except sqlite3.OperationalError:
        raise  # the database's trouble is no failure of the message: it comes again
    except Exception as e:
        tries = m["failures"] + 1
        if isinstance(e, Rejected) or tries >= MAX_TRIES:
            return {"id": m["id"], "outcome": "rejected", "error": str(e)}
        return {"id": m["id"], "outcome": "retry", "tries": tries, "error": repr(e)}
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def handle(channel, db, queue, method, properties, body):
    """One message: commit, then acknowledge, then send the receipt. Whatever is lost after
    the commit, the next copy brings another receipt."""
    headers = properties.headers or {}
    try:
        receipt = apply(db, read(queue, headers, body))
    except (KeyError, TypeError, ValueError) as e:
        receipt = {"id": headers.get("messageId"), "outcome": "rejected", "error": f"headers: {e!r}"}
    receipt_to = str(headers.get("receiptTo", ""))
    is_answered = receipt["id"] and receipt_to.startswith("ack.")  # a forged address reaches no other queues
    if receipt["outcome"] != "done":
        log.warning("not taken from %s: %s", queue, receipt)
        if not is_answered:
            # Nobody else keeps it: its producer does not wait for receipts, or is no Waybill.
            send(channel, queue + ".rejected", body, {**headers, "error": receipt["error"]})
    channel.basic_ack(method.delivery_tag)
    if is_answered:
        content = json.dumps({"consumer": CONSUMER, "receipts": [receipt]})
        try:
            send(channel, receipt_to, content, {"waybill": "receipt.v1"})
        except pika.exceptions.UnroutableError:
            log.warning("nobody receives from %s", receipt_to)


def send(channel, queue, body, headers):
    """Returns when the broker has the message."""
    properties = pika.BasicProperties(headers=headers, delivery_mode=pika.DeliveryMode.Persistent)
    channel.basic_publish("", queue, body, properties, mandatory=True)


def serve(broker, db):
    """Takes messages until the connection ends."""
    with pika.BlockingConnection(pika.URLParameters(broker)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_qos(prefetch_count=100)
        for queue in QUEUES:
            channel.queue_declare(queue, durable=True)
            channel.queue_declare(queue + ".rejected", durable=True)
            channel.basic_consume(
                queue, lambda ch, method, properties, body, queue=queue:
                handle(ch, db, queue, method, properties, body))
        log.info("taking %s", " and ".join(QUEUES))
        channel.start_consuming()


def main(broker, database):
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("pika").setLevel(logging.ERROR)
    # Waybill's tables are made by: waybill init --side consumer --db sqlite:shipping.db
    db = sqlite3.connect(database, timeout=10, isolation_level=None)  # apply begins and commits
    db.execute("CREATE TABLE IF NOT EXISTS shipments (order_id text PRIMARY KEY, state text NOT NULL)")
    db.execute("CREATE TABLE IF NOT EXISTS paid (order_id text PRIMARY KEY, cents integer NOT NULL)")
    while True:  # until the process is ended, which loses nothing at any place
        try:
            serve(broker, db)
        except (pika.exceptions.AMQPError, sqlite3.OperationalError) as e:
            log.warning("trouble; trying again: %r", e)  # what is not acknowledged comes again
            time.sleep(1)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python shipping.py BROKER DATABASE, as amqp://user:password@localhost shipping.db")
    main(*sys.argv[1:])
