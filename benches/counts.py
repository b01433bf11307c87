"""What is counted exactly, and gates: statements per batch of each actor, rows per purchase of each table.

The actors run in this process on a database of their own, without Kafka, so nothing here depends on timing.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from actors.runtime import Delivery
from benches.baseline import BATCHES
from benches.workload import Workload
from contracts.base import Event
from contracts.record import Record
from roster import actors_of
from settings import Settings
from storage.engine import open_engine

_CHAIN = ("enrollment", "cart", "coins", "allocation", "sessions")
_ROWS = "SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables"
_OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


async def counted(database_url: str, workload: Workload) -> dict[str, Any]:
    """Statements by batch size and actor, and `[inserted, updated, deleted]` rows by table for all batches together.

    The database holds the workload's directory and nothing else, and nobody else is connected to it.
    """
    before = await _rows(database_url)
    statements = await _statements(database_url, workload)
    after = await _rows(database_url)
    written = {table: [new - old for new, old in zip(after[table], before[table], strict=True)] for table in after}
    return {"statements": statements, "rows": {table: rows for table, rows in sorted(written.items()) if any(rows)}}


async def _statements(url: str, workload: Workload) -> dict[int, dict[str, int]]:
    engine = open_engine(url, pool_size=1)
    try:
        found, first = {}, 0
        actors = [Delivery(actor, engine, _Capture()) for actor in actors_of(Settings(), _CHAIN)]
        for size in BATCHES:
            found[size] = await _chain(engine, actors, workload, range(first, first + size))
            first += size
        return found
    finally:
        await engine.dispose()


async def _chain(engine: AsyncEngine, actors: Sequence[Delivery], workload: Workload, numbers: range) -> dict[str, int]:
    """One batch through every actor; how many statements each took."""
    found: Counter[str] = Counter()
    waiting = {"payments.succeeded": [_record("payments.succeeded", n, workload.payment(n)) for n in numbers]}
    for actor in actors:
        topic = actor.actor.topics[0]

        def count(*_: object, name: str = actor.actor.name) -> None:
            found[name] += 1

        event.listen(engine.sync_engine, "before_cursor_execute", count)
        published = await _delivered(actor, waiting[topic])
        event.remove(engine.sync_engine, "before_cursor_execute", count)
        for sent in published:
            waiting.setdefault(sent.TOPIC, []).append(_record(sent.TOPIC, len(waiting), sent.to_wire()))
    return dict(found)


async def _delivered(actor: Delivery, records: list[Record]) -> list[Event]:
    capture = _Capture()
    actor._publish = capture  # noqa: SLF001  the one seam where no broker is needed
    await actor.deliver(records)
    return capture.events


class _Capture:
    def __init__(self) -> None:
        self.events: list[Event] = []

    async def __call__(self, events: Sequence[tuple[Event, str]]) -> None:
        self.events += [sent for sent, _ in events]


def _record(topic: str, offset: int, value: bytes) -> Record:
    return Record(topic, 0, offset, datetime.now(UTC), None, value, ())


async def _rows(url: str) -> dict[str, list[int]]:
    """Rows written so far, by table; exact, since whoever wrote has disconnected and so handed in its figures."""
    connection = await asyncpg.connect(url)
    try:
        while await connection.fetchval(_OTHERS):  # noqa: ASYNC110  other processes leave: there is no event to wait for
            await asyncio.sleep(0.01)
        return {row[0]: list(row[1:]) for row in await connection.fetch(_ROWS)}
    finally:
        await connection.close()
