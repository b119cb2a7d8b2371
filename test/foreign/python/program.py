"""What the programs here share. Each is called with a command, an address and queues:

    python pika_program.py produce ADDRESS QUEUE...   sends every type of message to QUEUE.TYPE
    python pika_program.py consume ADDRESS QUEUE      takes messages and sends receipts, until it is ended

A line of standard output is what happened at one queue: the queue, what, and more, between tabs.
"""

import json
import os
import sys
import time
import urllib.parse
import uuid


def uuid7():
    b = bytearray((time.time_ns() // 1_000_000).to_bytes(6, "big") + os.urandom(10))
    b[6] = b[6] & 0x0F | 0x70
    b[8] = b[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(b)))


def now():
    """µs since the Unix epoch."""
    return time.time_ns() // 1000


def said(queue, what, *more):
    print("\t".join([queue, what, *(str(m) for m in more)]).replace("\n", " "), flush=True)


def took(queue, kind, headers, body):
    """A message that was taken: its type in this library, what it says, and its body."""
    said(queue, "took", kind, headers["answer"], headers.get("businessMark"), headers.get("failures"), body.hex())


def receipt(consumer, headers):
    """The body of the receipt: what the header "answer" asks for at a message's first copy, and
    done at a later one."""
    outcome = headers["answer"] if "failures" not in headers else "done"
    of = {"id": headers["messageId"], "outcome": outcome}
    if outcome != "done":
        of["error"] = "no such order"
    return json.dumps({"consumer": consumer, "receipts": [of]})


def main(produce, consume):
    command, address, *queues = sys.argv[1:]
    at = urllib.parse.urlsplit(address)
    if command == "consume":
        consume(at, queues[0])
        return
    produce(at, queues)
    for queue in queues:
        said(queue, "sent")
