"""How far the consumer groups are behind: what tells a purchase that waits in line from one that is stuck."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError, LeaderNotAvailableError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_fixed

from actors.batch import Actor
from actors.connection import admin_client, client_security
from actors.consumers import group_of
from contracts.record import written_at
from settings import Settings

# For each actor that has anything to read, when the oldest of it was written.
ReadUnread = Callable[[], Awaitable[Mapping[str, datetime]]]

_EARLIEST, _LATEST = -2, -1
_PATIENCE = 5


@dataclass(frozen=True, slots=True)
class Offsets:
    """Where partitions begin and end, and up to where each actor is through with those it reads.

    A partition without a leader is in none of them.
    """

    oldest: Mapping[TopicPartition, int]
    newest: Mapping[TopicPartition, int]
    done: Mapping[tuple[str, TopicPartition], int]

    def lag(self, actor: str, partition: TopicPartition) -> int:
        """How many records of the partition the actor has still to do; what is deleted already counts as done."""
        return max(0, self.newest[partition] - self.next_of(actor, partition))

    def next_of(self, actor: str, partition: TopicPartition) -> int:
        """The offset of the record that the actor does next."""
        return max(self.done[actor, partition], self.oldest[partition])


async def read_offsets(
    settings: Settings, bootstrap_servers: str, actors: Iterable[Actor], *, whole: bool = True
) -> Offsets:
    """The offsets of everything that these actors read; topics that are not there yet are left out.

    Raises: KafkaError when the broker does not answer, or knows no coordinators after seconds; nor all
    leaders, if the answer has to be `whole`.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception(_passes), wait=wait_fixed(0.1), stop=stop_after_delay(_PATIENCE), reraise=True
    )
    return await retrying(_read_offsets, settings, bootstrap_servers, list(actors), whole)


async def _read_offsets(
    settings: Settings,
    bootstrap_servers: str,
    actors: Sequence[Actor],
    whole: bool,  # noqa: FBT001
) -> Offsets:
    read = {actor.name: [settings.topic_prefix + topic for topic in actor.topics] for actor in actors}
    async with admin_client(settings, bootstrap_servers) as admin:
        led = await _leaders(admin, sorted({topic for topics in read.values() for topic in topics}))
        leaders = {partition: leader for partition, leader in led.items() if leader >= 0}
        if whole and leaders.keys() != led.keys():
            raise LeaderNotAvailableError(*(led.keys() - leaders.keys()))
        # Committed before newest: between the two questions an actor can only get further.
        done = {
            (name, partition): offset
            for name, topics in read.items()
            for partition, offset in (await _committed(admin, group_of(name, settings))).items()
            if partition in leaders and partition.topic in topics
        }
        oldest, newest = [await _list_offsets(admin, leaders, moment) for moment in (_EARLIEST, _LATEST)]
    for name, topics in read.items():
        for partition in leaders:
            if partition.topic in topics:
                done.setdefault((name, partition), 0)
    return Offsets(oldest, newest, done)


async def oldest_unread(settings: Settings, bootstrap_servers: str, actors: Sequence[Actor]) -> datetime | None:
    """When the oldest record was written that one of these actors has not done yet; None without any lag.

    Raises: KafkaError when the broker does not answer.
    """
    return min((await unread_by_actor(settings, bootstrap_servers, actors)).values(), default=None)


async def unread_by_actor(settings: Settings, bootstrap_servers: str, actors: Sequence[Actor]) -> dict[str, datetime]:
    """The same for each actor that has anything to read.

    Raises: KafkaError when the broker does not answer.
    """
    offsets = await read_offsets(settings, bootstrap_servers, actors)
    return await oldest_unread_of(settings, bootstrap_servers, offsets)


def in_line_since(unread: Iterable[datetime], latest: datetime) -> datetime:
    """From when on a purchase merely waits in line: since the oldest unread record, or since `latest` if not before."""
    return min([latest, *unread])


async def oldest_unread_of(settings: Settings, bootstrap_servers: str, offsets: Offsets) -> dict[str, datetime]:
    """The same by offsets that were read already: the first unread record of each partition tells.

    Raises: KafkaError when the broker does not answer.
    """
    unread: dict[str, dict[TopicPartition, int]] = defaultdict(dict)
    for name, partition in offsets.done:
        if offsets.lag(name, partition):
            unread[name][partition] = offsets.next_of(name, partition)
    if not unread:
        return {}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, enable_auto_commit=False, **client_security(settings)
    )
    await consumer.start()
    try:
        return {name: at for name in unread if (at := await _oldest(consumer, unread[name]))}
    finally:
        await consumer.stop()


async def _oldest(consumer: AIOKafkaConsumer, unread: dict[TopicPartition, int]) -> datetime | None:
    """The time of the first unread record of any partition."""
    consumer.assign(list(unread))
    for partition, offset in unread.items():
        consumer.seek(partition, offset)
    # All at once: what lies behind a transaction's last record is its marker, which nobody is ever given.
    polls = await asyncio.gather(*(consumer.getmany(partition, timeout_ms=1000, max_records=1) for partition in unread))
    times = [record.timestamp for found in polls for records in found.values() for record in records]
    return written_at(min(times)) if times else None


def _passes(error: BaseException) -> bool:
    """Whether a broker that has just started, or topics that are new, are the reason; one that is away is none."""
    return isinstance(error, KafkaError) and bool(error.retriable) and not isinstance(error, KafkaConnectionError)


async def _leaders(admin: AIOKafkaAdminClient, topics: list[str]) -> dict[TopicPartition, int]:
    """The broker that leads each partition; `describe_topics` would make what is missing, as the broker likes it."""
    found = await admin._send_request(MetadataRequest(topics, allow_auto_topic_creation=False))  # noqa: SLF001
    return {
        TopicPartition(topic["topic"], partition["partition"]): partition["leader"]
        for topic in found.to_object()["topics"]
        for partition in topic["partitions"]
    }


async def _committed(admin: AIOKafkaAdminClient, group: str) -> dict[TopicPartition, int]:
    """What a group has committed; aiokafka's own call takes an error of the whole group for a group without offsets."""
    answer = await admin._send_request(OffsetFetchRequest(group, None), await admin.find_coordinator(group))  # noqa: SLF001
    if answer.error_code:
        raise for_code(answer.error_code)(group)
    found: dict[TopicPartition, int] = {}
    for topic, partitions in answer.topics:
        for number, offset, _, code in partitions:
            if code:
                raise for_code(code)(f"{group} {topic} {number}")
            found[TopicPartition(topic, number)] = offset
    return found


async def _list_offsets(
    admin: AIOKafkaAdminClient, leaders: Mapping[TopicPartition, int], moment: int
) -> dict[TopicPartition, int]:
    """The first offset of each partition that is not older than a moment; aiokafka's admin client has no such call."""
    asked: dict[int, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for partition, leader in leaders.items():
        asked[leader][partition.topic].append((partition.partition, moment))
    answers = await asyncio.gather(
        *(
            admin._send_request_to_node(leader, OffsetRequest(-1, 0, list(topics.items())))  # noqa: SLF001
            for leader, topics in asked.items()
        )
    )
    found: dict[TopicPartition, int] = {}
    for answer in answers:
        for topic, partitions in answer.topics:
            for number, code, *_, offset in partitions:
                if code:
                    raise for_code(code)(f"{topic} {number}")
                found[TopicPartition(topic, number)] = offset
    return found
