"""Sends a message from Python to a queue that a Waybill inbox takes messages from.

    python send.py amqp://user:password@localhost orders A-1 '{"state":"shipped"}'

The inbox handles it once, and at level Latest skips it where a newer state has arrived. But
between your transaction and this program the message can be lost: where it has to be sent if
and only if the transaction commits, insert a row into qmessage in that transaction instead,
and let "waybill relay" send it (Waybill's docs/protocol.md, "Sending without the library").
"""

import os
import sys
import time
import uuid

import pika


def uuid7():
    """A version 7 UUID: 48 bits of the time in ms, then random ones."""
    b = bytearray((time.time_ns() // 1_000_000).to_bytes(6, "big") + os.urandom(10))
    b[6] = b[6] & 0x0F | 0x70
    b[8] = b[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(b)))


def send(channel, queue, key, body):
    """Returns when the broker has the message. Where it fails, send it again with the same
    messageId and timeStamp: a copy does no harm, and another id would be another message."""
    channel.basic_publish("", queue, body, pika.BasicProperties(
        delivery_mode=pika.DeliveryMode.Persistent,
        content_type="application/json",
        headers={
            "messageId": uuid7(),  # the message's identity
            "businessMark": key,  # the key: what the message is about
            "timeStamp": str(time.time_ns() // 1000),  # µs; grows with every message of the key
            "producer": "python",  # a name of the sending service
        }), mandatory=True)


def main(broker, queue, key, body):
    with pika.BlockingConnection(pika.URLParameters(broker)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(queue, durable=True)
        send(channel, queue, key, body)
        print(f"sent to {queue}")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("usage: python send.py BROKER QUEUE KEY BODY")
    main(*sys.argv[1:])
