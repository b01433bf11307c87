"""Going back: rewinding the consumer groups to an instant, so that what was read since is read again.

Reading again is harmless, so a group goes back and never forward. Kafka itself takes no offsets for
a group that has members, whatever was seen before.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    CommitFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
    for_code,
)
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from actors.batch import Actor
from actors.connection import admin_client, client_security
from actors.consumers import group_of
from errors import FirstbellError
from settings import Settings

_LOADING = (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError)


class GroupsRun(FirstbellError):
    """Groups cannot be rewound while they have members."""

    def __init__(self, members: Mapping[str, Sequence[str]]) -> None:
        named = "; ".join(f"{group} ({', '.join(its)})" if its else group for group, its in sorted(members.items()))
        super().__init__(
            f"These groups have members: {named}. Stop the service first; a process that was killed leaves its group"
            " when its session has timed out."
        )


class Rewind(NamedTuple):
    """One partition of one group: where it has read to, and where it is to go on."""

    group: str
    topic: str
    partition: int
    committed: int
    offset: int

    @property
    def records(self) -> int:
        """How many offsets are read again; a compacted topic holds fewer records than that."""
        return self.committed - self.offset


async def planned(settings: Settings, kafka: str, actors: Sequence[Actor], since: datetime) -> list[Rewind]:
    """What rewinding these actors' groups to an instant means, for each partition that goes back.

    A partition without a committed offset is read from its beginning anyway. Raises: GroupsRun, KafkaError.
    """
    async with admin_client(settings, kafka) as admin:
        await _refuse_members(admin, [group_of(actor.name, settings) for actor in actors])
        existing = await _partitions(admin, settings, actors)
        committed: dict[tuple[str, TopicPartition], int] = {}
        for actor in actors:
            group = group_of(actor.name, settings)
            topics = {settings.topic_prefix + topic for topic in actor.topics}
            for partition, found in (await admin.list_consumer_group_offsets(group)).items():
                if partition.topic in topics and partition in existing and found.offset >= 0:
                    committed[group, partition] = found.offset
    first = await _first_since(settings, kafka, {partition for _, partition in committed}, since)
    plan = [
        Rewind(group, at.topic, at.partition, done, min(done, first[at])) for (group, at), done in committed.items()
    ]
    return sorted(rewind for rewind in plan if rewind.records)


async def rewind(settings: Settings, kafka: str, plan: Iterable[Rewind]) -> None:
    """Commit the offsets of a plan, group by group.

    Raises: GroupsRun when one has got members meanwhile, KafkaError.
    """
    offsets: dict[str, dict[TopicPartition, int]] = {}
    for group, topic, partition, _, offset in plan:
        offsets.setdefault(group, {})[TopicPartition(topic, partition)] = offset
    for group, its in offsets.items():
        consumer = AIOKafkaConsumer(
            bootstrap_servers=kafka, group_id=group, enable_auto_commit=False, **client_security(settings)
        )
        try:
            await consumer.start()
            consumer.assign(list(its))
            await consumer.commit(its)
        except CommitFailedError as error:
            raise GroupsRun({group: ()}) from error
        finally:
            await consumer.stop()


async def _refuse_members(admin: AIOKafkaAdminClient, groups: list[str]) -> None:
    # A broker that has just started loads its groups first, and says so.
    waiting = AsyncRetrying(
        retry=retry_if_exception_type(_LOADING),
        stop=stop_after_delay(30),
        wait=wait_fixed(0.2),
        reraise=True,
    )
    members: dict[str, list[str]] = {}
    for group in groups:
        async for attempt in waiting.copy():
            with attempt:
                if its := await _members(admin, group):
                    members[group] = its
    if members:
        raise GroupsRun(members)


async def _members(admin: AIOKafkaAdminClient, group: str) -> list[str]:
    """The clients of a group, with their hosts. One group at a time: aiokafka cannot read an answer about several."""
    (response,) = await admin.describe_consumer_groups([group])
    ((code, _, _, _, _, members, *_),) = response.groups
    if code:
        raise for_code(code)(group)
    return sorted({f"{client} at {host.removeprefix('/')}" for _, client, host, *_ in members})


async def _partitions(admin: AIOKafkaAdminClient, settings: Settings, actors: Sequence[Actor]) -> set[TopicPartition]:
    """The partitions that there are: a topic that was deleted cannot be asked about."""
    wanted = {settings.topic_prefix + topic for actor in actors for topic in actor.topics}
    topics = await admin.describe_topics(sorted(wanted & set(await admin.list_topics())))
    return {TopicPartition(topic["topic"], its["partition"]) for topic in topics for its in topic["partitions"]}


async def _first_since(
    settings: Settings, kafka: str, partitions: set[TopicPartition], since: datetime
) -> dict[TopicPartition, int]:
    """The first offset written at or after an instant, by partition; where there is none, the end."""
    if not partitions:
        return {}
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False, **client_security(settings))
    try:
        await consumer.start()
        since_ms = max(0, int(since.timestamp() * 1000))
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
        ends = await consumer.end_offsets(list(partitions))
    finally:
        await consumer.stop()
    return {partition: found[partition].offset if found[partition] else ends[partition] for partition in partitions}
