"""The actors as FastStream subscribers: settings that lose nothing, joining, draining, stopping.

FastStream's defaults acknowledge before the work is done, decode a whole batch at once and start
one subscriber after the other; each argument below undoes one of those.
"""

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError
from faststream.exceptions import NackMessage
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaAckableMessage
from faststream.kafka.subscriber.usecase import BatchSubscriber
from faststream.middlewares import AckPolicy

import metrics
from actors.batch import Actor
from actors.lenient import read_leniently
from actors.runtime import Delivery, Redo
from contracts.record import Record, written_at
from settings import Settings

_log = structlog.get_logger("firstbell.consumers")


# Seconds that an unhurried actor leaves to what comes, and how many records it takes then.
_LEISURE = 1.0
_UNHURRIED_RECORDS = 10_000


class Consumers:
    """The consumers of one process: one subscriber, and one consumer group, for each actor."""

    def __init__(self, broker: KafkaBroker, deliveries: Sequence[Delivery], settings: Settings) -> None:
        self._members = [_Member(broker, delivery, settings) for delivery in deliveries]
        self._broker = broker
        self._bound = settings.graceful_timeout + 5

    async def start(self) -> None:
        """Join every group, all at once: one after the other each waits for its own join.

        Raises: what kept one of them from joining. Called again, it starts those that do not run.
        """
        waiting = [member for member in self._members if not member.subscriber.running]
        results = await asyncio.gather(*(member.subscriber.start() for member in waiting), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            await asyncio.gather(*(m.subscriber.stop() for m in waiting if not m.subscriber.running))
            raise failures[0]

    async def wait_until_joined(self) -> None:
        """Return when every actor has an assignment."""
        for member in self._members:
            await member.joined.wait()

    async def stop(self) -> None:
        """Stop fetching, finish the batches at hand, commit. A broker that is away is not waited for."""
        for member in self._members:
            member.delivery.hurry()
        stopping = asyncio.ensure_future(self._broker.stop())
        _, pending = await asyncio.wait({stopping}, timeout=self._bound)
        if pending:
            _log.warning("broker does not answer, leaving it behind", seconds=self._bound)
        elif error := stopping.exception():
            _log.warning("stopping failed", exc_info=error)

    @property
    def not_joined(self) -> list[str]:
        """The actors without an assignment (an empty one counts as one)."""
        return [member.delivery.actor.name for member in self._members if not member.joined.is_set()]

    @property
    def blocked(self) -> dict[str, str]:
        """The actors whose last batch could not be done, and why."""
        return {m.delivery.actor.name: m.delivery.blocked for m in self._members if m.delivery.blocked}

    @property
    def dead(self) -> list[str]:
        """The actors whose loop has ended although nobody stopped it: only a new process helps."""
        return [member.delivery.actor.name for member in self._members if member.dead]


class _Member(ConsumerRebalanceListener):  # type: ignore[misc]
    """One actor in its group."""

    def __init__(self, broker: KafkaBroker, delivery: Delivery, settings: Settings) -> None:
        self.delivery = delivery
        self.joined = asyncio.Event()
        self._prefix = settings.topic_prefix
        self._idle = asyncio.Event()
        self._idle.set()
        self._bound = settings.rebalance_timeout_ms / 1000
        self.subscriber: BatchSubscriber = broker.subscriber(
            *(settings.topic_prefix + topic for topic in delivery.actor.topics),
            group_id=group_of(delivery.actor.name, settings),
            batch=True,
            max_records=_most(delivery.actor, settings),
            batch_timeout_ms=settings.poll_ms,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            ack_policy=AckPolicy.NACK_ON_ERROR,
            no_reply=True,
            parser=self._parse,
            decoder=_as_it_is,
            listener=self,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.session_timeout_ms // 4,
            rebalance_timeout_ms=settings.rebalance_timeout_ms,
            max_poll_interval_ms=5 * settings.rebalance_timeout_ms,
        )
        self.subscriber.__class__ = _UnhurriedSubscriber if delivery.actor.unhurried else _PromptSubscriber
        self.subscriber(self._consume)

    @property
    def dead(self) -> bool:
        return self.subscriber.running and all(task.done() for task in self.subscriber.tasks)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Let the batch at hand end before its partitions go to somebody else."""
        self.joined.clear()
        self.delivery.hurry()
        try:
            async with asyncio.timeout(self._bound):
                await self._idle.wait()
        except TimeoutError:
            _log.error("a batch outlives the rebalance", actor=self.delivery.actor.name, partitions=len(revoked))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.delivery.settle_down()
        self.joined.set()
        _log.info("joined", actor=self.delivery.actor.name, partitions=len(assigned))

    async def _consume(self, records: Sequence[ConsumerRecord]) -> None:
        self._idle.clear()
        try:
            await self.delivery.deliver([self._record(record) for record in records])
        except Redo as redo:
            raise NackMessage from redo

    async def _parse(self, records: tuple[ConsumerRecord, ...]) -> KafkaAckableMessage:
        """The default one decodes headers: one that is null or not UTF-8 loses the whole batch."""
        return _Message(
            body=b"",
            headers={},
            raw_message=records,
            consumer=self.subscriber.consumer,
            actor=self.delivery.actor.name,
            idle=self._idle,
        )

    def _record(self, raw: ConsumerRecord) -> Record:
        return Record(
            topic=raw.topic.removeprefix(self._prefix),
            partition=raw.partition,
            offset=raw.offset,
            at=written_at(raw.timestamp),
            key=raw.key,
            value=raw.value,
            headers=raw.headers,
        )


def _most(actor: Actor, settings: Settings) -> int:
    """How many records make a batch of this actor at most."""
    if actor.unhurried:
        return max(_UNHURRIED_RECORDS, settings.max_records)
    return min(settings.max_records, actor.most or settings.max_records)


class _PromptSubscriber(BatchSubscriber):
    """Asks again at once after an empty poll; FastStream sleeps as long as the poll took, at every hop."""

    __slots__ = ()

    async def get_msg(self, consumer: AIOKafkaConsumer) -> tuple[ConsumerRecord, ...]:
        found: dict[TopicPartition, list[ConsumerRecord]] = {}
        while self.running and not found:
            try:
                found = await consumer.getmany(timeout_ms=self.batch_timeout_ms, max_records=self.max_records)
            except ConsumerStoppedError:
                raise
            except Exception as error:
                await self._rewind(consumer)
                if not isinstance(error, UnicodeDecodeError):
                    raise
                _log.warning("a header's name is not UTF-8: reading the slower way from now on", cause=repr(error))
                read_leniently()
        return tuple(chain(*found.values()))

    async def _rewind(self, consumer: AIOKafkaConsumer) -> None:
        """Go back to what is committed, on every partition.

        A poll that fails on one partition has taken records of the others, and they are gone with it:
        the next commit would pass over them. Until this has succeeded nothing may be read.
        """
        while self.running:
            try:
                for partition in consumer.assignment():
                    committed = await consumer.committed(partition)
                    if committed is None:
                        await consumer.seek_to_beginning(partition)
                    else:
                        consumer.seek(partition, committed)
            except (KafkaError, IllegalStateError) as error:
                _log.warning("rewinding failed", cause=repr(error))
                await asyncio.sleep(1)
            else:
                return


class _UnhurriedSubscriber(_PromptSubscriber):
    """Lets records come together first: a purchase's steps then meet in one batch, and are looked up once."""

    __slots__ = ()

    async def get_msg(self, consumer: AIOKafkaConsumer) -> tuple[ConsumerRecord, ...]:
        await asyncio.sleep(_LEISURE)
        return await super().get_msg(consumer)


class _Message(KafkaAckableMessage):
    """A batch that tells when it is over, its offsets committed or rewound."""

    def __init__(self, *args: Any, actor: str, idle: asyncio.Event, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._actor = actor
        self._idle = idle

    async def ack(self) -> None:
        try:
            await super().ack()
        except Exception:
            # FastStream logs it and goes on; the next commit makes up for it, unless somebody else has the partition.
            metrics.COMMIT_FAILURES.labels(self._actor).inc()
            raise
        finally:
            self._idle.set()

    async def nack(self) -> None:
        try:
            await super().nack()
        finally:
            self._idle.set()


async def _as_it_is(message: KafkaAckableMessage) -> object:
    return message.raw_message


def group_of(actor: str, settings: Settings) -> str:
    """The consumer group of an actor."""
    return f"{settings.topic_prefix}firstbell.{actor}"
