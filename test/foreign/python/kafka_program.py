"""kafka-python against Kafka: kafka://user:password@host:port"""

from kafka import KafkaConsumer, KafkaProducer

from program import main, now, receipt, said, took, uuid7


def options(at):
    return {
        "bootstrap_servers": f"{at.hostname}:{at.port}", "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN", "sasl_plain_username": at.username, "sasl_plain_password": at.password,
    }


def headers_of(headers):
    return [(name, value if isinstance(value, bytes) else str(value).encode()) for name, value in headers]


def produce(at, queues):
    producer = KafkaProducer(**options(at))
    sent = []
    for queue in queues:
        def send(kind, body, headers, key=b"order 7", queue=queue):
            sent.append(producer.send(f"{queue}.{kind}", body, key, headers_of(headers)))

        own = [("businessMark", "order 7"), ("timeStamp", now())]
        send("text", "hällo 😀 <&>\n2".encode(), [("messageId", uuid7()), *own])
        send("bytes", b"\x00\x01\xff\xfex", [("messageId", uuid7()), *own], b"\xff\xfe")
        send("tombstone", None, [("messageId", uuid7()), *own])
        send("raw-header", b"a header that is no text", [("messageId", uuid7()), *own, ("raw", b"\xff\x00")])
        send("two-ids", b"two headers of one name", [("messageId", uuid7()), ("messageId", uuid7()), *own])
        send("long-header", b"a number as Java writes it", [("messageId", uuid7()), ("timeStamp", now().to_bytes(8, "big"))])
        send("quoted-id", b"an id as JSON", [("messageId", f'"{uuid7()}"'), *own])
        send("no-id", b"without an id", own)
    for future in sent:
        future.get(120)
    producer.close()


def consume(at, queue):
    consumer = KafkaConsumer(queue, group_id="waybill:" + queue, enable_auto_commit=False,
                             auto_offset_reset="earliest", **options(at))
    producer = KafkaProducer(**options(at))
    said(queue, "ready")
    for message in consumer:
        headers = {name: value.decode() for name, value in message.headers}
        took(queue, "bytes", headers, message.value or b"")
        consumer.commit()
        producer.send(headers["receiptTo"], receipt("kafka-python", headers).encode(), headers=headers_of([("waybill", "receipt.v1")])).get(120)


main(produce, consume)
