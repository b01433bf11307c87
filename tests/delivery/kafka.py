"""A plain Kafka client for tests of delivery: what upstream and readers of our events would be."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from actors.connection import admin_client
from actors.consumers import group_of
from actors.topics import create_topics
from service import Service
from settings import Settings


@asynccontextmanager
async def upstream(kafka: str, settings: Settings, **options: Any) -> AsyncIterator["Upstream"]:
    """A producer, connected, with every topic of this deployment there."""
    async with admin_client(settings, kafka) as admin:
        await create_topics(admin, settings)
    producer = AIOKafkaProducer(bootstrap_servers=kafka, **options)
    await producer.start()
    try:
        yield Upstream(producer, settings)
    finally:
        await producer.stop()


class Upstream:
    """Whoever writes to our topics."""

    def __init__(self, producer: AIOKafkaProducer, settings: Settings) -> None:
        self._producer = producer
        self._prefix = settings.topic_prefix

    async def send(
        self,
        topic: str,
        *messages: Any,
        partition: int | None = 0,
        key: bytes | None = None,
        headers: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Append messages (dicts as JSON, bytes as they are) as one batch; to all partitions in turn for None."""
        futures = []
        for message in messages:
            value = json.dumps(message).encode() if isinstance(message, dict) else message
            futures.append(
                await self._producer.send(self._prefix + topic, value, key, partition=partition, headers=list(headers))
            )
        await asyncio.gather(*futures)


async def read(kafka: str, settings: Settings, topic: str, least: int) -> list[ConsumerRecord]:
    """The records of a topic from its beginning: returns when there are so many different ones by key and value."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(settings.topic_prefix + topic, number) for number in range(settings.partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        found: list[ConsumerRecord] = []
        while len({(record.key, record.value) for record in found}) < least:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                found += records
        return found
    finally:
        await consumer.stop()


async def ends(kafka: str, settings: Settings, topic: str) -> int:
    """How many records a topic holds, of all partitions together."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(settings.topic_prefix + topic, number) for number in range(settings.partitions)]
        return sum((await consumer.end_offsets(partitions)).values())
    finally:
        await consumer.stop()


async def committed(kafka: str, settings: Settings, actor: str) -> int:
    """What a group has acknowledged, of all partitions together."""
    async with admin_client(settings, kafka) as admin:
        offsets = await admin.list_consumer_group_offsets(group_of(actor, settings))
    return sum(max(0, found.offset) for found in offsets.values())


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return when the condition holds; the time limit of the test bounds it."""
    while not await condition():
        await asyncio.sleep(0.02)


async def answer(service: Service, path: str) -> tuple[int, dict[str, str]]:
    """Status and obstacles that the service answers with."""
    async with httpx.AsyncClient(timeout=30) as http:
        response = await http.get(f"http://127.0.0.1:{service.port}{path}")
    return response.status_code, response.json()["obstacles"]
