"""The publisher: CloudEvents to Kafka, each acknowledged, commands signed."""

import asyncio
from collections.abc import Mapping, Sequence
from time import time

from aiokafka import AIOKafkaProducer

from actors.tracing import correlation_id
from contracts.base import Event
from contracts.cloudevents import headers
from contracts.repairs import RepairCommand
from contracts.signing import sign

# Seconds that a signature of ours is good for: an unsent command may wait for a broker that is away.
_GOOD_FOR = 3600


class Publisher:
    """Publishes events, commands signed with the first of the `keys`; returns when the last one is acknowledged."""

    def __init__(self, producer: AIOKafkaProducer, prefix: str, keys: Mapping[str, bytes] | None = None) -> None:
        self._producer = producer
        self._prefix = prefix
        self._key = next(iter((keys or {}).items()), None)

    async def __call__(self, events: Sequence[tuple[Event, str]]) -> None:
        """Raises whatever aiokafka raises for the first event that is not acknowledged."""
        # Each send returns when the record is in its batch; waiting for them one by one took 30 times as long.
        futures = []
        for event, traceparent in events:
            value = event.to_wire()
            sent = await self._producer.send(
                self._prefix + event.TOPIC,
                value,
                key=event.message_key.encode(),
                headers=[
                    *headers(event, traceparent),
                    ("correlation_id", correlation_id(traceparent).encode()),
                    *self._signature(event.TOPIC, value),
                ],
            )
            futures.append(sent)
        await asyncio.gather(*futures)

    def _signature(self, topic: str, value: bytes) -> list[tuple[str, bytes]]:
        """Commands alone are signed."""
        if self._key is None or topic != RepairCommand.TOPIC:
            return []
        return sign(value, *self._key, expires=int(time()) + _GOOD_FOR)
