"""nats-py against NATS JetStream: nats://user:password@host:port"""

import asyncio

import nats
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StreamConfig

from program import main, now, receipt, said, took, uuid7


async def connect(at):
    return await nats.connect(f"nats://{at.hostname}:{at.port}", user=at.username, password=at.password)


def stream_of(queue):
    """The stream in which Waybill looks for a queue's messages."""
    return "waybill-queue-" + queue.replace(".", "=2E")


async def declare(js, queue):
    """The stream, as Waybill makes it, where it does not exist."""
    try:
        await js.add_stream(StreamConfig(name=stream_of(queue), subjects=[queue], retention=RetentionPolicy.WORK_QUEUE))
    except nats.js.errors.BadRequestError:
        await js.stream_info(stream_of(queue))  # Waybill has made it, with settings of its own


async def produce_all(at, queues):
    connection = await connect(at)
    js = connection.jetstream()
    for queue in queues:
        async def send(kind, body, headers, queue=queue):
            await declare(js, f"{queue}.{kind}")
            await js.publish(f"{queue}.{kind}", body, headers=headers)

        own = {"businessMark": "order 7", "timeStamp": str(now())}
        await send("text", "hällo 😀 <&>\n2".encode(), {"messageId": uuid7(), **own, "Content-Type": "text/plain"})
        await send("bytes", b"\x00\x01\xff\xfex", {"messageId": uuid7(), **own, "content-type": "application/octet-stream"})
        await send("empty", b"", {"messageId": uuid7(), **own})
        await send("id-lower", b"a header in small letters", {"messageid": uuid7(), **own})
        await send("id-canonical", b"a header as Go writes it", {"Messageid": uuid7(), **own})
        await send("deduplicated", b"with an id of JetStream's own", {"messageId": uuid7(), **own, "Nats-Msg-Id": uuid7()})
        await send("no-id", b"without an id", own)
        await send("no-headers", b"without headers", None)
    await connection.close()


async def consume_all(at, queue):
    connection = await connect(at)
    js = connection.jetstream()
    await declare(js, queue)
    config = ConsumerConfig(durable_name="waybill", ack_policy=AckPolicy.EXPLICIT)
    subscription = await js.pull_subscribe(queue, durable="waybill", stream=stream_of(queue), config=config)
    said(queue, "ready")
    while True:
        try:
            messages = await subscription.fetch(10, timeout=5)
        except (nats.errors.TimeoutError, asyncio.TimeoutError):
            continue
        for message in messages:
            took(queue, "bytes", message.headers, message.data)
            await message.ack()
            await js.publish(message.headers["receiptTo"], receipt("nats-py", message.headers).encode(),
                             headers={"waybill": "receipt.v1"})


main(lambda at, queues: asyncio.run(produce_all(at, queues)), lambda at, queue: asyncio.run(consume_all(at, queue)))
