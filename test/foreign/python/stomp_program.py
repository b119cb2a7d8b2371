"""stomp.py against ActiveMQ Classic and Artemis: stomp://user:password@host:port"""

import threading

import stomp

from program import main, now, receipt, said, took, uuid7


def connect(at):
    # Bodies as bytes: they are text or not, as their producers like.
    connection = stomp.Connection12([(at.hostname, at.port)], auto_decode=False)
    return connection


def produce(at, queues):
    connection = connect(at)
    connection.connect(at.username, at.password, wait=True)
    for queue in queues:
        def send(kind, body, content_type=None, queue=queue, **headers):
            done = Receipted(kind)
            connection.set_listener("receipts", done)
            connection.send(f"/queue/{queue}.{kind}", body, content_type, persistent="true", receipt=kind, kind=kind, **headers)
            done.wait()

        own = {"businessMark": "order 7", "timeStamp": str(now())}
        send("text", "hällo 😀 <&>\n2", messageId=uuid7(), **own)
        send("text-typed", '{"state":"shipped"}', "application/json", messageId=uuid7(), **own)
        send("empty", "", messageId=uuid7(), **own)
        send("bytes", b"\x00\x01\xff\xfex", "application/octet-stream", messageId=uuid7(), **own)
        send("no-id", "without an id", **own)
        send("bad-header", "with a time that is none", messageId=uuid7(), timeStamp="yesterday")
    connection.disconnect()


class Receipted(stomp.ConnectionListener):
    """Waits until the broker has said that it has a message."""

    def __init__(self, receipt_id):
        self.receipt_id, self.event = receipt_id, threading.Event()

    def on_receipt(self, frame):
        if frame.headers["receipt-id"] == self.receipt_id:
            self.event.set()

    def on_error(self, frame):
        said(self.receipt_id, "failed", frame.headers, frame.body)

    def wait(self):
        if not self.event.wait(120):
            raise TimeoutError(self.receipt_id)


def consume(at, queue):
    connection = connect(at)

    class Consumer(stomp.ConnectionListener):
        def on_message(self, frame):
            body = frame.body.encode() if isinstance(frame.body, str) else frame.body or b""
            h = frame.headers
            took(queue, "bytes" if "content-length" in h else "text", h, body)
            connection.ack(h["ack"])
            connection.send("/queue/" + h["receiptTo"], receipt("stomp.py", h), waybill="receipt.v1", persistent="true")

        def on_error(self, frame):
            said(queue, "failed", frame.headers, frame.body)

    connection.set_listener("consumer", Consumer())
    connection.connect(at.username, at.password, wait=True)
    connection.subscribe("/queue/" + queue, id="1", ack="client-individual")
    said(queue, "ready")
    threading.Event().wait()


main(produce, consume)
