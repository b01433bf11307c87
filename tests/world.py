"""A world for tests of actors: the real deliveries on a real PostgreSQL, and a log in memory for Kafka.

The log keeps what Kafka promises and no more: records stay, groups read them in order and again
after a failure. `tests/e2e` proves the same on the broker itself.
"""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from actors.batch import Actor
from actors.fuse import Fuse
from actors.runtime import Delivery, Patience, Redo
from contracts.base import Event
from contracts.record import Record
from roster import actors_of
from settings import Settings
from storage import invariants
from storage.engine import transaction

E = TypeVar("E", bound=Event)

IMPATIENT = Patience(first_pause=0.0, longest_pause=0.0)


class Crash(BaseException):
    """The process is gone at this point: no handler of ours may catch it."""


class World:
    """All actors of a deployment on one database, with a log that lives as long as the test."""

    def __init__(self, engine: AsyncEngine, actors: Sequence[Actor] | None = None) -> None:
        self.engine = engine
        self.log: dict[str, list[Record]] = defaultdict(list)
        self.seconds = 0.0
        self.broker_is_away = False
        self._crash_point: str | None = None
        self._read: dict[tuple[str, str], int] = defaultdict(int)
        self.actors = list(actors or actors_of(Settings()))
        self.deliveries = {actor.name: self.delivery(actor) for actor in self.actors}

    def delivery(self, actor: Actor, patience: Patience = IMPATIENT) -> Delivery:
        """A delivery of this actor as a new process would have it."""
        fuse = Fuse(lambda: self.seconds)
        return Delivery(actor, self.engine, self._publish, fuse=fuse, patience=patience, reached=self._reached)

    def send(
        self, topic: str, *messages: Any, key: bytes | None = None, headers: Any = (), at: datetime | None = None
    ) -> list[Record]:
        """Append messages to a topic: dicts as JSON, bytes and None as they are."""
        sent = []
        for message in messages:
            value = json.dumps(message).encode() if isinstance(message, dict) else message
            offset = len(self.log[topic])
            sent.append(Record(topic, 0, offset, at or datetime.now(UTC), key, value, headers))
            self.log[topic].append(sent[-1])
        return sent

    async def settle(
        self, *, batch: int = 1000, shuffle: random.Random | None = None, names: Sequence[str] = ()
    ) -> None:
        """Let every actor read until nothing is unread; a shuffle picks whose turn it is, and how much he takes."""
        actors = [actor for actor in self.actors if not names or actor.name in names]
        while waiting := [actor for actor in actors if self._unread(actor, 1)]:
            actor = shuffle.choice(waiting) if shuffle else waiting[0]
            await self.turn(actor.name, batch=shuffle.randint(1, batch) if shuffle else batch)

    async def turn(self, name: str, *, batch: int = 1000) -> None:
        """One batch of one actor: its offset moves only when the delivery went through."""
        actor = next(actor for actor in self.actors if actor.name == name)
        records = self._unread(actor, batch)
        await self.deliveries[name].deliver(records)
        for record in records:
            self._read[actor.name, record.topic] = record.offset + 1

    async def try_turn(self, name: str, *, batch: int = 1000) -> str | None:
        """Like `turn`, but a Redo is returned as its cause: the offset has not moved."""
        try:
            await self.turn(name, batch=batch)
        except Redo as redo:
            return str(redo)
        return None

    def rewind(self) -> None:
        """Every group starts again from the beginning of the log."""
        self._read.clear()

    def restart(self) -> None:
        """New processes: what was in memory is gone."""
        self.actors = actors_of(Settings())
        self.deliveries = {actor.name: self.delivery(actor) for actor in self.actors}

    @contextmanager
    def crash_at(self, point: str) -> Iterator[None]:
        """Die at a named point: received, begun, handled, committed, publishing or published."""
        self._crash_point = point
        try:
            yield
        except Crash:
            self.restart()
        else:
            raise AssertionError(f"nothing came to {point!r}")
        finally:
            self._crash_point = None

    def published(self, contract: type[E]) -> list[E]:
        """The different events of a topic, in the order of their first publication."""
        events = [contract.model_validate_json(record.value or b"") for record in self.log[contract.TOPIC]]
        return list({event.event_id: event for event in events}.values())

    async def rows(self, query: str, **binds: Any) -> list[dict[str, Any]]:
        async with transaction(self.engine) as db:
            return [dict(row) for row in (await db.execute(text(query), binds)).mappings()]

    async def count(self, table: str) -> int:
        return int((await self.rows(f"SELECT count(*) AS n FROM {table}"))[0]["n"])  # noqa: S608

    async def parked(self) -> list[str]:
        """The reasons of what is parked and open, sorted."""
        return [row["reason"] for row in await self.rows("SELECT reason FROM parked WHERE status = 'open' ORDER BY 1")]

    async def journey(self, payment_id: str) -> dict[str, Any]:
        (row,) = await self.rows("SELECT * FROM purchase_journey WHERE payment_id = :id", id=payment_id)
        return row

    async def offenders(self) -> dict[str, list[str]]:
        async with transaction(self.engine) as db:
            return await invariants.offenders(db, datetime.now(UTC))

    def _unread(self, actor: Actor, most: int) -> list[Record]:
        unread = [
            record for topic in actor.topics for record in self.log[topic][self._read[actor.name, topic] :][:most]
        ]
        return unread[:most]

    async def _publish(self, events: Sequence[tuple[Event, str]]) -> None:
        await self._reached("publishing")
        if self.broker_is_away:
            raise ConnectionError("the broker is away")
        for event, traceparent in events:
            self.send(
                event.TOPIC,
                event.to_wire(),
                key=event.message_key.encode(),
                headers=(("traceparent", traceparent.encode()),),
            )

    async def _reached(self, point: str) -> None:
        await asyncio.sleep(0)
        if point == self._crash_point:
            raise Crash(point)
