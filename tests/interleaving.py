"""Two deliveries on one database, let on from point to point in any order, and how they can meet.

A side that waits for a lock of the other cannot go on before it: such an order does not exist, and the
other goes first.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import combinations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from actors.announcing import Publish
from actors.batch import Actor
from actors.runtime import Delivery
from contracts.record import Record
from storage.engine import open_engine
from tests.world import IMPATIENT

POINTS = ("begun", "handled", "committed", "looked", "published")

_WAITS = text("""
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = :side AND wait_event_type = 'Lock'
""")


def every_order() -> list[str]:
    """Every way in which two sides can pass their points, as one letter a step."""
    steps = range(2 * len(POINTS))
    return ["".join("a" if step in mine else "b" for step in steps) for mine in combinations(steps, len(POINTS))]


class Side:
    """One worker: it stops at every point until it is let on."""

    def __init__(self, name: str, engine: AsyncEngine, actor: Actor, publish: Publish) -> None:
        self.name = name
        self._delivery = Delivery(actor, engine, publish, patience=IMPATIENT, reached=self._reached)
        self._stopped = asyncio.Event()
        self._go = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, records: Sequence[Record]) -> None:
        """Take these records to hand; nothing is done before the side is let on."""
        self._go.clear()
        self._stopped.set()
        self._task = asyncio.create_task(self._deliver(records))

    @property
    def ended(self) -> bool:
        return self._task is not None and self._task.done()

    async def let_on(self, monitor: AsyncEngine) -> None:
        """Go on to the next point; return as well when the other side stands in the way."""
        if self.ended:
            return
        if self._stopped.is_set():
            self._stopped.clear()
            self._go.set()
        async with asyncio.timeout(20):
            while not (self._stopped.is_set() or self.ended or await self._waits(monitor)):
                pass

    async def finish(self) -> None:
        """Raises: whatever the delivery raised."""
        if self._task:
            await self._task

    async def _waits(self, monitor: AsyncEngine) -> bool:
        async with monitor.connect() as db:
            return bool((await db.execute(_WAITS, {"side": self.name})).scalar_one())

    async def _deliver(self, records: Sequence[Record]) -> None:
        await self._stop_here()
        await self._delivery.deliver(records)

    async def _reached(self, point: str) -> None:
        if point in POINTS:
            self._stopped.set()
            await self._stop_here()

    async def _stop_here(self) -> None:
        await self._go.wait()
        self._go.clear()


async def meet(a: Side, b: Side, order: str, monitor: AsyncEngine) -> None:
    """Let both sides pass their points in this order, as far as their locks allow it, and end."""
    sides = {"a": a, "b": b}
    for letter in order:
        await sides[letter].let_on(monitor)
    while not (a.ended and b.ended):
        await a.let_on(monitor)
        await b.let_on(monitor)
    await a.finish()
    await b.finish()


@asynccontextmanager
async def two_engines(database_url: str) -> AsyncIterator[tuple[AsyncEngine, AsyncEngine]]:
    """An engine for each side, told apart by its name on the server."""
    engines = [open_engine(database_url, pool_size=2, application_name=name) for name in ("a", "b")]
    yield engines[0], engines[1]
    for engine in engines:
        await engine.dispose()
