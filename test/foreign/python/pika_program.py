"""pika against RabbitMQ: amqp://user:password@host:port"""

import datetime
import decimal

import pika

from program import main, now, receipt, said, took, uuid7


def connect(at):
    channel = pika.BlockingConnection(pika.URLParameters(at.geturl())).channel()
    channel.confirm_delivery()
    return channel


def produce(at, queues):
    channel = connect(at)
    for queue in queues:
        def send(kind, body, headers, queue=queue, **properties):
            channel.queue_declare(f"{queue}.{kind}", durable=True)
            properties = pika.BasicProperties(headers=headers, delivery_mode=2, **properties)
            channel.basic_publish("", f"{queue}.{kind}", body, properties, mandatory=True)

        own = {"businessMark": "order 7", "timeStamp": now()}
        send("text", "hällo 😀 <&>\n2".encode(), {"messageId": uuid7(), **own}, content_type="text/plain")
        send("bytes", b"\x00\x01\xff\xfex", {"messageId": uuid7(), **own})
        send("empty", b"", {"messageId": uuid7(), **own})
        send("typed-headers", b"headers of all types", {
            "messageId": uuid7(), **own, "sequence": 7, "insured": True, "parcels": -2, "big": 2**62, "nothing": None,
            "list": [1, "a", {"b": 2}], "table": {"a": b"\xff", "b": None}, "when": datetime.datetime(2026, 1, 1),
            "price": decimal.Decimal("1.50"), "raw": b"\x00\xff",
        }, content_type="application/json", correlation_id="correlation-1", reply_to="replies", type="order",
            app_id="shop", message_id="m-1", timestamp=1700000000)
        send("id-upper", b"an id in capitals", {"messageId": uuid7().upper(), **own})
        send("id-bytes", b"an id as bytes", {"messageId": uuid7().encode(), **own})
        send("id-property", b"an id as a property", own, message_id=uuid7())
        send("no-id", b"without an id", own)
        send("no-headers", b"without headers", None)
    channel.connection.close()


def consume(at, queue):
    channel = connect(at)
    channel.queue_declare(queue, durable=True)

    def take(channel, method, properties, body):
        took(queue, "bytes", properties.headers, body)
        channel.basic_ack(method.delivery_tag)
        answer = pika.BasicProperties(headers={"waybill": "receipt.v1"}, delivery_mode=2)
        channel.basic_publish("", properties.headers["receiptTo"], receipt("pika", properties.headers), answer, mandatory=True)

    channel.basic_consume(queue, take)
    said(queue, "ready")
    channel.start_consuming()


main(produce, consume)
