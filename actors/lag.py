"""How far the consumer groups are behind: what tells a purchase that waits in line from one that is stuck."""

from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition

from actors.batch import Actor
from actors.connection import admin_client, client_security
from actors.consumers import group_of
from contracts.record import written_at
from settings import Settings


async def oldest_unread(settings: Settings, bootstrap_servers: str, actors: list[Actor]) -> datetime | None:
    """When the oldest record was written that one of these actors has not done yet; None without any lag.

    Raises: KafkaError when the broker does not answer.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, enable_auto_commit=False, **client_security(settings)
    )
    await consumer.start()
    try:
        async with admin_client(settings, bootstrap_servers) as admin:
            unread: dict[TopicPartition, int] = {}
            for actor in actors:
                committed = await admin.list_consumer_group_offsets(group_of(actor.name, settings))
                for partition, offset in (await _ends(consumer, actor, settings)).items():
                    done = committed[partition].offset if partition in committed else 0
                    if done < offset:
                        unread[partition] = min(done, unread.get(partition, done))
        return await _oldest(consumer, unread)
    finally:
        await consumer.stop()


async def _ends(consumer: AIOKafkaConsumer, actor: Actor, settings: Settings) -> dict[TopicPartition, int]:
    topics = [settings.topic_prefix + topic for topic in actor.topics]
    await consumer._client.set_topics(topics)  # noqa: SLF001  a consumer without subscription knows no topics
    partitions = [
        TopicPartition(topic, partition) for topic in topics for partition in consumer.partitions_for_topic(topic) or ()
    ]
    return dict(await consumer.end_offsets(partitions)) if partitions else {}


async def _oldest(consumer: AIOKafkaConsumer, unread: dict[TopicPartition, int]) -> datetime | None:
    """The time of the first unread record of any partition; one that is deleted already counts as none."""
    if not unread:
        return None
    consumer.assign(list(unread))
    starts = await consumer.beginning_offsets(list(unread))
    for partition, offset in unread.items():
        consumer.seek(partition, max(offset, starts[partition]))
    times: list[int] = []
    for partition in unread:
        found = await consumer.getmany(partition, timeout_ms=2000, max_records=1)
        times += [record.timestamp for records in found.values() for record in records]
    return written_at(min(times)) if times else None
