"""Publishing a command and waiting for its answer, as any Kafka client may do it.

Whoever asks begins to listen before he publishes: an answer cannot come between.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import ValidationError

from actors.connection import admin_client, client_security, producer_of
from actors.publishing import Publisher
from contracts.cloudevents import trace_of
from contracts.repairs import RepairCommand, RepairCompleted
from errors import FirstbellError
from settings import Settings


class TopicMissing(FirstbellError):
    """This Kafka does not know the topics of repair."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"Kafka has no topic {topic}; create what is missing with: app.py topics")


async def ask(settings: Settings, kafka: str, command: RepairCommand, seconds: float) -> RepairCompleted | None:
    """Publish a command, and return its answer; None when there was none within so many seconds.

    The command is kept in any case. Raises: TopicMissing, KafkaError.
    """
    async with _answers(settings, kafka) as answers:
        await _publish(settings, kafka, command)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await _answer_to(command.command_id, answers)
    return None


@asynccontextmanager
async def _answers(settings: Settings, kafka: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of repairs.completed, without a group, from now on."""
    partitions = await _partitions(settings, kafka)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False, **client_security(settings))
    try:
        await consumer.start()
        consumer.assign(partitions)
        for partition, end in (await consumer.end_offsets(partitions)).items():
            consumer.seek(partition, end)
        yield consumer
    finally:
        await consumer.stop()


async def _partitions(settings: Settings, kafka: str) -> list[TopicPartition]:
    """The partitions of the answers. A topic that is missing is not asked about: brokers may create it then."""
    names = [settings.topic_prefix + kind.TOPIC for kind in (RepairCommand, RepairCompleted)]
    async with admin_client(settings, kafka) as admin:
        existing = await admin.list_topics()
        if missing := [name for name in names if name not in existing]:
            raise TopicMissing(missing[0])
        (topic,) = await admin.describe_topics(names[1:])
    return [TopicPartition(names[1], partition["partition"]) for partition in topic["partitions"]]


async def _publish(settings: Settings, kafka: str, command: RepairCommand) -> None:
    producer = producer_of(settings, kafka)
    try:
        await producer.start()
        publish = Publisher(producer, settings.topic_prefix, settings.signing_keys)
        await publish([(command, trace_of((), command.command_id))])
    finally:
        await producer.stop()


async def _answer_to(command_id: str, answers: AIOKafkaConsumer) -> RepairCompleted:
    while True:
        record = await answers.getone()
        with suppress(ValidationError):
            answer = RepairCompleted.model_validate_json(record.value or b"")
            if answer.command_id == command_id:
                return answer
