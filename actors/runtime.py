"""Delivery and failure policy, for all actors alike: this module alone knows them.

A batch is decoded record by record, handled in one transaction, published, and only then is its
offset committed. Whatever fails is done again in place or parked durably before the offset moves.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

import metrics
from actors.batch import Actor, Outcome
from actors.fuse import Fuse
from actors.tracing import correlation_id, correlation_ids, traced
from contracts.base import Event
from contracts.cloudevents import trace_of
from contracts.decode import decode
from contracts.parking import FulfilmentParked
from contracts.record import Record
from contracts.topics import TOPICS
from errors import BadValue, Conflict, Contended, Parked, RefusedByDatabase, Transient, UnexpectedError, Unreadable
from storage import parking
from storage.engine import transaction
from storage.parking import ParkedItem, Parking

_log = structlog.get_logger("firstbell.actors")


class Redo(Exception):
    """The batch is not done: its offset must not move, and it comes again."""


class Publish(Protocol):
    """Publishes events with their traceparents; returns when every one is acknowledged, else raises."""

    async def __call__(self, events: Sequence[tuple[Event, str]]) -> None: ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long delivery tries in place: seconds and tries; in sum less than Kafka allows a batch."""

    transient_tries: int = 4
    fault_tries: int = 10
    first_pause: float = 0.1
    longest_pause: float = 2.0
    publish_deadline: float = 10.0


class Delivery:
    """Carries batches of one actor through: the one place that retries, splits, parks and holds still."""

    def __init__(
        self,
        actor: Actor,
        engine: AsyncEngine,
        publish: Publish,
        *,
        fuse: Fuse | None = None,
        patience: Patience | None = None,
        reached: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self.actor = actor
        self.blocked: str | None = None
        self._engine = engine
        self._publish = publish
        self._fuse = fuse or Fuse(time.monotonic)
        self._patience = patience or Patience()
        self._reached = reached or _nowhere
        self._hurry = asyncio.Event()
        self._redone = 0

    def hurry(self) -> None:
        """Cut every pause short: the partitions are wanted by somebody else, or the service stops."""
        self._hurry.set()

    def settle_down(self) -> None:
        """Pauses may take their time again."""
        self._hurry.clear()

    async def deliver(self, records: Sequence[Record]) -> None:
        """Carry every record through: done and published, or parked.

        Raises: Redo when it cannot be done now; nothing is lost by doing all of it again.
        """
        started = time.monotonic()
        try:
            await self._reached("received")
            decoded = [_decoded(record) for record in records]
            events, parked = await self._carry(decoded)
        except Exception as error:
            self.blocked = str(error) if isinstance(error, Redo) else type(error).__name__
            self._redone += 1
            metrics.RECORDS.labels(self.actor.name, "redone").inc(len(records))
            if not isinstance(error, Redo):
                _log.exception("delivery failed", actor=self.actor.name)
            await self._pause(self._redone)
            raise Redo(self.blocked) from error
        finally:
            metrics.FUSE_TRIPPED.labels(self.actor.name).set(self._fuse.tripped)
        self.blocked, self._redone = None, 0
        self._count(records, len(parked), time.monotonic() - started)
        _log.info(
            "batch done",
            actor=self.actor.name,
            records=len(records),
            published=len(events),
            parked=len(parked),
            ms=round((time.monotonic() - started) * 1000, 1),
            correlation_ids=correlation_ids(decoded),
        )

    async def _carry(self, records: list[Record]) -> tuple[list[Event], list[tuple[Record, ParkedItem]]]:
        if self._fuse.tripped:
            await self._probe(records)
        suspicious = [record for record in records if _unreadable_of_ours(record)]
        run = _Run()
        try:
            await self._divide([record for record in records if not _unreadable_of_ours(record)], run)
            await self._insist(run)
            # After the others: how many of them went through tells a broken deploy from a stray record.
            self._fuse.failed(len(suspicious))
            self._hold_if_tripped()
            await self._divide(suspicious, run, counted=False)
        finally:
            # What is committed is announced even when the rest has to come again.
            await self._announce(records, run)
        return run.events, run.parked

    async def _divide(self, records: list[Record], run: "_Run", *, counted: bool = True) -> None:
        """Do the batch in one transaction, or in halves, down to the records that fail by themselves."""
        parts = [records] if records else []
        while parts:
            part = parts.pop()
            try:
                await self._persist(part, run)
                self._fuse.succeeded(len(part) if counted else 0)
            except Exception as error:  # whatever it is, it must not take its neighbours along
                if _passes(error) and not (isinstance(error, Contended) and len(part) > 1):
                    raise Redo(type(error).__name__) from error
                if len(part) > 1:
                    parts.extend(_halves(part))
                elif isinstance(error, BadValue):
                    await self._park_alone(part[0], RefusedByDatabase(detail=str(error.args[0])), run)
                else:
                    self._suspect(part[0], error, run)
            self._hold_if_tripped()

    async def _persist(self, records: list[Record], run: "_Run") -> None:
        """One transaction; what only needs another try gets it here, with growing pauses."""
        for tries in range(1, self._patience.transient_tries + 1):
            try:
                run.take(*await self._transact(records))
            except Transient as error:
                metrics.RETRIES.labels(self.actor.name, type(error).__name__).inc()
                _log.warning("batch rolled back", actor=self.actor.name, cause=error.args, tries=tries)
                if tries == self._patience.transient_tries or self._hurry.is_set():
                    raise
                await self._pause(tries)
            else:
                return

    async def _transact(self, records: list[Record]) -> tuple[Outcome, list[tuple[Record, ParkedItem]]]:
        rejects = [Parking(record.event, record) for record in records if isinstance(record.event, Unreadable)]
        good = [record for record in records if not isinstance(record.event, Unreadable)]
        async with transaction(self._engine) as db:
            await self._reached("begun")
            outcome = await self.actor.handle(db, good) if good else Outcome()
            await self._reached("handled")
            parked = await parking.park(db, self.actor.name, [*rejects, *outcome.parked])
            if outcome.done:
                await parking.resolve(db, self.actor.name, outcome.done)
        await self._reached("committed")
        return outcome, parked

    async def _insist(self, run: "_Run") -> None:
        """Records that failed for a cause of ours: again with growing pauses, then parked, one by one."""
        for tries in range(2, self._patience.fault_tries + 1):
            if not run.suspects:
                return
            if self._hurry.is_set():
                raise Redo("stopping")
            await self._pause(tries)
            waiting, run.suspects = run.suspects, []
            for record, _ in waiting:
                try:
                    await self._persist([record], run)
                except Exception as error:  # counted, and parked after the last try
                    if _passes(error):
                        raise Redo(type(error).__name__) from error
                    run.suspects.append((record, error))
        for record, cause in run.suspects:
            await self._park_alone(record, UnexpectedError(error=type(cause).__name__), run)

    def _suspect(self, record: Record, error: Exception, run: "_Run") -> None:
        _log.error("record failed", actor=self.actor.name, topic=record.topic, offset=record.offset, exc_info=error)
        self._fuse.failed()
        run.suspects.append((record, error))

    async def _park_alone(self, record: Record, reason: Parked, run: "_Run") -> None:
        event = record.event
        ids = {
            name: getattr(event, name, None) for name in ("payment_id", "enrollment_id", "allocation_id", "student_id")
        }
        try:
            async with transaction(self._engine) as db:
                run.parked += await parking.park(db, self.actor.name, [Parking(reason, record, None, **ids)])
        except Transient as error:
            raise Redo(type(error).__name__) from error

    async def _announce(self, records: Sequence[Record], run: "_Run") -> None:
        """Publish the events of everything committed, parked items too; then tell the log what was parked."""
        told = [(announcement(item), trace_of(record.headers, item.payment_id)) for record, item in run.parked]
        pairs = traced(run.events, records) + told
        if not pairs:
            return
        try:
            async with asyncio.timeout(self._patience.publish_deadline):
                await self._publish(pairs)
        except Exception as error:  # any failure to publish means: not acknowledged, so do it again
            metrics.RETRIES.labels(self.actor.name, "publish").inc()
            _log.warning("publishing failed", actor=self.actor.name, events=len(pairs), exc_info=error)
            raise Redo("publish") from error
        await self._reached("published")
        for (_, item), (_, traceparent) in zip(run.parked, told, strict=True):
            metrics.PARKED.labels(self.actor.name, item.reason).inc()
            _log.warning(
                "parked",
                actor=self.actor.name,
                reason=item.reason,
                parked_id=str(item.id),
                payment_id=item.payment_id,
                correlation_id=correlation_id(traceparent),
            )

    async def _probe(self, records: list[Record]) -> None:
        """While the fuse is tripped: wait for the next probe, then let a small batch try."""
        if self._fuse.wait > 0:
            await self._sleep(min(self._fuse.wait, self._patience.longest_pause))
            raise Redo("fuse")
        few = [record for record in records if not _unreadable_of_ours(record)][:10]
        try:
            await self._transact(few)
        except Exception as error:  # whatever it is, the fuse stays tripped
            self._fuse.hold()
            _log.warning("fuse stays tripped", actor=self.actor.name, cause=repr(error))
            raise Redo("fuse") from error
        if not few:
            self._fuse.hold()
            raise Redo("fuse")
        self._fuse.close()
        _log.info("fuse closed", actor=self.actor.name)

    def _hold_if_tripped(self) -> None:
        if self._fuse.tripped:
            _log.error("fuse tripped", actor=self.actor.name)
            raise Redo("fuse")

    async def _pause(self, tries: int) -> None:
        """A growing, capped pause with full jitter below its upper half."""
        longest = min(self._patience.first_pause * 2 ** (tries - 1), self._patience.longest_pause)
        await self._sleep(longest * random.uniform(0.5, 1))  # noqa: S311  spreads retries, guards nothing

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    def _count(self, records: Sequence[Record], parked: int, seconds: float) -> None:
        name = self.actor.name
        metrics.RECORDS.labels(name, "done").inc(max(0, len(records) - parked))
        metrics.RECORDS.labels(name, "parked").inc(parked)
        metrics.BATCH_RECORDS.labels(name).observe(len(records))
        metrics.BATCH_SECONDS.labels(name).observe(seconds)


class _Run:
    """What became of one batch so far."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.parked: list[tuple[Record, ParkedItem]] = []
        self.suspects: list[tuple[Record, Exception]] = []

    def take(self, outcome: Outcome, parked: list[tuple[Record, ParkedItem]]) -> None:
        self.events += outcome.publish
        self.parked += parked


def announcement(item: ParkedItem) -> FulfilmentParked:
    """The event that tells of a parked row."""
    return FulfilmentParked(
        parked_id=item.id,
        actor=item.actor,
        reason=item.reason,
        facts=item.facts,
        payment_id=item.payment_id,
        enrollment_id=item.enrollment_id,
        allocation_id=item.allocation_id,
        student_id=item.student_id,
        topic=item.topic,
        waits_for=item.waits_for,
        version=item.episode,
        parked_at=item.parked_at,
    )


def _decoded(record: Record) -> Record:
    try:
        return record._replace(event=decode(record.topic, record.key, record.value))
    except Unreadable as unreadable:
        return record._replace(event=unreadable)


def _passes(error: Exception) -> bool:
    """Whether it passes by itself; a conflict that four tries did not get past does not."""
    return isinstance(error, Transient) and not isinstance(error, Conflict)


def _unreadable_of_ours(record: Record) -> bool:
    """Nobody can read it, and it is we who write this topic: that looks like a broken deploy."""
    return isinstance(record.event, Unreadable) and not TOPICS[record.topic].outside


def _halves(records: list[Record]) -> list[list[Record]]:
    middle = len(records) // 2
    return [records[middle:], records[:middle]]


async def _nowhere(_: str) -> None:
    """The default of `reached`: nobody watches."""
