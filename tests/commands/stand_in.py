"""In place of the repair actor: reads every command from the real broker, and answers as a test tells it to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from actors.connection import admin_client
from actors.publishing import Publisher
from actors.topics import create_topics
from contracts.repairs import RepairCommand, RepairCompleted, repair_requested
from settings import Settings

Judge = Callable[[Any], Awaitable[list[RepairCompleted]]]


class StandIn:
    """The commands that it has read, with their records."""

    def __init__(self) -> None:
        self.records: list[ConsumerRecord] = []
        self.commands: list[RepairCommand] = []


def an_answer(command: RepairCommand, outcome: str = "applied", **said: Any) -> RepairCompleted:
    """The answer to a command."""
    return RepairCompleted.model_validate(
        {
            "command_id": command.command_id,
            "command": command.command,
            "outcome": outcome,
            "completed_at": datetime.now(UTC),
            **said,
        }
    )


@asynccontextmanager
async def answering(kafka: str, settings: Settings, judge: Judge) -> AsyncIterator[StandIn]:
    """Every topic is there, and whatever command comes is answered by what `judge` returns."""
    async with admin_client(settings, kafka) as admin:
        await create_topics(admin, settings)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await consumer.start()
    await producer.start()
    topic = settings.topic_prefix + RepairCommand.TOPIC
    consumer.assign([TopicPartition(topic, number) for number in range(settings.partitions)])
    await consumer.seek_to_beginning()
    it = StandIn()
    task = asyncio.create_task(_answer(consumer, Publisher(producer, settings.topic_prefix), judge, it))
    try:
        yield it
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await consumer.stop()
        await producer.stop()


async def _answer(consumer: AIOKafkaConsumer, publish: Publisher, judge: Judge, it: StandIn) -> None:
    async for record in consumer:
        command = repair_requested.validate_json(record.value)
        it.records.append(record)
        it.commands.append(command)
        answers = await judge(command)
        await publish([(answer, "00-" + "1" * 32 + "-" + "2" * 16 + "-01") for answer in answers])
