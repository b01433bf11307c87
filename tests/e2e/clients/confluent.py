"""confluent-kafka from PyPI, which is librdkafka: used as its readers use it."""

import asyncio
import json

from confluent_kafka import Consumer, KafkaError, Message, Producer

from tests.e2e.clients.sendings import STRANGE, Sending

# Headers may be any bytes, none at all, and come twice.
_BYTES: list[tuple[str, bytes | str | None]] = [("x-bytes", b"\xff\xfe\x00"), ("x-null", None), ("x-bytes", b"again")]


async def publish(kafka: str, topic: str, sending: Sending) -> None:
    """Send as a backend in Python would."""
    await asyncio.to_thread(_publish, kafka, topic, sending)


def _publish(kafka: str, topic: str, sending: Sending) -> None:
    producer = Producer({"bootstrap.servers": kafka, "compression.type": sending.codec, "linger.ms": 200})
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    headers = [*sending.headers.items(), *(_BYTES if sending.headers is STRANGE else ())]
    for order in sending.orders:
        producer.produce(
            topic,
            json.dumps(order.payment).encode(),
            order.payment_id.encode() if sending.keyed else None,
            headers=headers,
            on_delivery=delivered,
        )
        if not sending.batched:
            producer.flush()
    # A flush would cut the waiting for a batch short.
    while len(producer):
        producer.poll(0.1)
    assert not failures


async def read(kafka: str, topic: str, payments: int) -> list[Message]:
    """Read a topic of ours from its beginning until it has told of so many payments."""
    return await asyncio.to_thread(_read, kafka, topic, payments)


def _read(kafka: str, topic: str, payments: int) -> list[Message]:
    consumer = Consumer(
        {"bootstrap.servers": kafka, "group.id": f"calendar-of-{topic}", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    messages: list[Message] = []
    try:
        while len({message.key() for message in messages}) < payments:
            message = consumer.poll(30)
            assert message is not None, f"{len(messages)} messages of {payments} payments, and no more"
            assert message.error() is None, message.error()
            messages.append(message)
    finally:
        consumer.close()
    return messages
