"""Delivery and failure policy, for all actors alike: this module alone knows them.

A batch is decoded record by record, handled in one transaction, looked after (who is to be woken?),
published, and only then is its offset committed. Whatever fails is done again in place or parked
durably before the offset moves.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

import metrics
from actors.announcing import Committed, Publish, announce
from actors.batch import Actor, Outcome
from actors.fuse import Fuse
from actors.healing import wakes
from actors.pauses import Pauses
from actors.performing import park_alone, perform
from actors.tracing import Trace, correlation_ids
from contracts.decode import decode
from contracts.record import Record
from contracts.topics import TOPICS
from errors import BadValue, Conflict, Contended, Parked, RefusedByDatabase, Transient, UnexpectedError, Unreadable
from storage.engine import transaction
from storage.parking import ParkedItem

_log = structlog.get_logger("firstbell.actors")


class Redo(Exception):
    """The batch is not done: its offset must not move, and it comes again."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long delivery tries in place, in seconds and tries, before the batch is handed back to come again."""

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
        trace: Trace | None = None,
    ) -> None:
        self.actor = actor
        self.blocked: str | None = None
        self._engine = engine
        self._publish = publish
        self._fuse = fuse or Fuse(time.monotonic)
        self._patience = patience or Patience()
        self._pauses = Pauses(self._patience.first_pause, self._patience.longest_pause)
        self._reached = reached or _nowhere
        self._trace = trace
        self._redone = 0
        self._blamed: set[tuple[str, int, int]] = set()

    def hurry(self) -> None:
        """Cut every pause short: the partitions are wanted by somebody else, or the service stops."""
        self._pauses.hurry()

    def settle_down(self) -> None:
        """Pauses may take their time again."""
        self._pauses.settle_down()

    async def deliver(self, records: Sequence[Record]) -> None:
        """Carry every record through: done and published, or parked.

        Raises: Redo when it cannot be done now; nothing is lost by doing all of it again.
        """
        started = time.monotonic()
        decoded = list(records)
        try:
            await self._reached("received")
            decoded = [record if record.topic in self.actor.by_key else _decoded(record) for record in records]
            committed = await self._carry(decoded)
        except Exception as error:
            self.blocked = str(error) if isinstance(error, Redo) else type(error).__name__
            self._redone += 1
            metrics.RECORDS.labels(self.actor.name, "redone").inc(len(records))
            if not isinstance(error, Redo):
                _log.exception("delivery failed", actor=self.actor.name)
            if self._redone == 1:  # a batch that fails again and again is told once
                self._tell(decoded, started, Committed(), failure=_cause(error))
            await self._pauses.growing(self._redone)
            raise Redo(self.blocked) from error
        finally:
            metrics.FUSE_TRIPPED.labels(self.actor.name).set(self._fuse.tripped)
        self.blocked, self._redone = None, 0
        self._blamed.clear()
        self._count(records, len(committed.parked), time.monotonic() - started)
        self._tell(decoded, started, committed)
        _log.info(
            "batch done",
            actor=self.actor.name,
            records=len(records),
            published=len(committed.events),
            parked=len(committed.parked),
            ms=round((time.monotonic() - started) * 1000, 1),
            correlation_ids=correlation_ids(decoded),
        )

    async def _carry(self, records: list[Record]) -> Committed:
        if self._fuse.tripped:
            await self._probe(records)
        suspicious: list[Record] = []
        others: list[Record] = []
        for record in records:
            (suspicious if _unreadable_of_ours(record) else others).append(record)
        committed = Committed()
        try:
            failed = await self._divide(others, committed)
            await self._insist(failed, committed)
            # After the others: how many of them went through tells a broken deploy from a stray record.
            self._blame(suspicious)
            await self._divide(suspicious, committed)
        finally:
            # What is committed is announced even when the rest has to come again.
            await self._announce(records, committed)
        return committed

    async def _divide(self, records: list[Record], committed: Committed) -> list[tuple[Record, Exception]]:
        """Do the batch in one transaction, or in halves, down to the records that fail by themselves.

        Returns those that failed for a cause of ours.
        """
        parts = [[record] for record in reversed(records)] if self.actor.one_by_one else [records] if records else []
        failed: list[tuple[Record, Exception]] = []
        while parts:
            part = parts.pop()
            try:
                await self._persist(part, committed)
                self._fuse.succeeded(sum(not _unreadable_of_ours(record) for record in part))
            except Exception as error:  # whatever it is, it must not take its neighbours along
                if _passes(error) and not (isinstance(error, Contended) and len(part) > 1):
                    raise Redo(type(error).__name__) from error
                if len(part) > 1:
                    parts.extend(_halves(part))
                elif isinstance(error, BadValue):
                    await self._park_alone(part[0], RefusedByDatabase(detail=str(error.args[0])), committed)
                else:
                    _log.error("record failed", actor=self.actor.name, topic=part[0].topic, exc_info=error)
                    failed.append((part[0], error))
                    # Where almost all fail, the rest need not be tried; where they stand must not matter otherwise.
                    if len(failed) >= self._fuse.window:
                        self._blame([record for record, _ in failed])
        self._blame([record for record, _ in failed])
        return failed

    async def _persist(self, records: list[Record], committed: Committed) -> None:
        """One transaction; what only needs another try gets it here, with growing pauses."""
        for tries in range(1, self._patience.transient_tries + 1):
            try:
                committed.take(*await self._transact(records))
            except Transient as error:
                metrics.RETRIES.labels(self.actor.name, type(error).__name__).inc()
                _log.warning("batch rolled back", actor=self.actor.name, cause=error.args, tries=tries)
                too_large = isinstance(error, Contended) and len(records) > 1 and tries > 1
                if tries == self._patience.transient_tries or too_large or self._pauses.hurried:
                    raise
                await self._pauses.growing(tries)
            else:
                return

    async def _transact(self, records: list[Record]) -> tuple[Outcome, list[tuple[Record, ParkedItem]]]:
        async with transaction(self._engine) as db:
            await self._reached("begun")
            outcome, parked = await perform(db, self.actor, records)
            await self._reached("handled")
        await self._reached("committed")
        return outcome, parked

    async def _insist(self, failed: list[tuple[Record, Exception]], committed: Committed) -> None:
        """Records that failed for a cause of ours: again with growing pauses, then parked, one by one."""
        for tries in range(2, self._patience.fault_tries + 1):
            if not failed:
                return
            if self._pauses.hurried:
                raise Redo("stopping")
            await self._pauses.growing(tries)
            waiting, failed = failed, []
            for record, _ in waiting:
                try:
                    await self._persist([record], committed)
                except Exception as error:  # parked after the last try
                    if _passes(error):
                        raise Redo(type(error).__name__) from error
                    failed.append((record, error))
        for record, cause in failed:
            await self._park_alone(record, UnexpectedError(error=type(cause).__name__), committed)

    def _blame(self, records: list[Record]) -> None:
        """Count failures of ours, each record once however often its batch comes again; hold still if it was too much.

        Raises: Redo once the fuse is tripped.
        """
        new = {(record.topic, record.partition, record.offset) for record in records} - self._blamed
        self._blamed |= new
        self._fuse.failed(len(new))
        if self._fuse.tripped:
            _log.error("fuse tripped", actor=self.actor.name)
            raise Redo("fuse")

    async def _park_alone(self, record: Record, reason: Parked, committed: Committed) -> None:
        try:
            async with transaction(self._engine) as db:
                committed.parked += await park_alone(db, self.actor, record, reason)
        except Transient as error:
            raise Redo(type(error).__name__) from error

    async def _announce(self, records: Sequence[Record], committed: Committed) -> None:
        """Look who is to be woken by what is committed, and tell all of it."""
        try:
            committed.events += await wakes(self._engine, (item for _, item in committed.parked), committed.news)
        except Transient as error:
            metrics.RETRIES.labels(self.actor.name, "look").inc()
            _log.warning("looking after the batch failed", actor=self.actor.name, cause=error.args)
            raise Redo("look") from error
        await self._reached("looked")
        try:
            await announce(self._publish, committed, records, self._patience.publish_deadline)
        except Exception as error:  # any failure to publish means: not acknowledged, so do it again
            metrics.RETRIES.labels(self.actor.name, "publish").inc()
            _log.warning("publishing failed", actor=self.actor.name, exc_info=error)
            raise Redo("publish") from error
        await self._reached("published")

    async def _probe(self, records: list[Record]) -> None:
        """While the fuse is tripped: wait for the next probe, then let a few records try, each by itself.

        The fuse closes when more than half of them go through; raises Redo while it does not.
        """
        if self._fuse.wait > 0:
            await self._pauses.sleep(min(self._fuse.wait, self._patience.longest_pause))
            raise Redo("fuse")
        few = records[:: max(1, len(records) // 10)][:10]
        through = 0
        for record in few:
            through += not _unreadable_of_ours(record) and await self._goes_through(record)
        if through * 2 <= len(few):
            self._fuse.hold()
            _log.warning("fuse stays tripped", actor=self.actor.name, tried=len(few), through=through)
            raise Redo("fuse")
        self._fuse.close()
        self._blamed.clear()
        _log.info("fuse closed", actor=self.actor.name)

    async def _goes_through(self, record: Record) -> bool:
        try:
            await self._transact([record])
        except BadValue:
            return True  # its own fault: it will be parked
        except Exception as error:  # noqa: BLE001  whatever it is, it is no reason to go on
            _log.warning("probe failed", actor=self.actor.name, cause=repr(error))
            return False
        return True

    def _tell(self, records: list[Record], started: float, committed: Committed, failure: str | None = None) -> None:
        """Make the spans of a batch, if anybody wants them; what fails there must not touch the batch."""
        if self._trace is None:
            return
        seconds = time.monotonic() - started
        try:
            self._trace(
                self.actor,
                records,
                seconds,
                published=len(committed.events),
                parked=committed.parked,
                failure=failure,
            )
        except Exception:  # noqa: BLE001  the batch is over: nothing that happens here may bring it back
            _log.exception("no spans", actor=self.actor.name)

    def _count(self, records: Sequence[Record], parked: int, seconds: float) -> None:
        name = self.actor.name
        metrics.RECORDS.labels(name, "done").inc(max(0, len(records) - parked))
        metrics.RECORDS.labels(name, "parked").inc(parked)
        metrics.BATCH_RECORDS.labels(name).observe(len(records))
        metrics.BATCH_SECONDS.labels(name).observe(seconds)


def _decoded(record: Record) -> Record:
    try:
        return record._replace(event=decode(record.topic, record.key, record.value))
    except Unreadable as unreadable:
        return record._replace(event=unreadable)


def _cause(error: Exception) -> str:
    """The class of what went wrong, without a word of what it says; the cause we gave where nothing was raised."""
    if isinstance(error, Redo) and error.__cause__ is None:
        return str(error)
    return type(error.__cause__ if isinstance(error, Redo) else error).__name__


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
