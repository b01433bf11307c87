"""Throughput: a flood of purchases into consumers that are up and idle, until every one is scheduled.

Measured from the first publish to the last allocation's `scheduled_at` (the database's clock, on the same
machine). The consumers are up before, so neither contender is measured on how fast it joins a group, and
the flood takes well under a tenth of the time, so batches are full from the start.
"""

import asyncio
from dataclasses import asdict, dataclass

import asyncpg

from benches.processes import child
from benches.stage import Stage
from benches.workload import COINS_EVERY, SESSIONS

_STALLED = 60.0
_LOOK = 0.2

_PROGRESS = """
    SELECT count(*) FILTER (WHERE state = 'scheduled'), count(*) FILTER (WHERE state = 'parked') FROM purchases
"""
_SIDE_STEPS = """
    SELECT (SELECT count(*) FROM cart_clearances), (SELECT count(*) FROM coin_ledger WHERE kind = 'redemption')
"""
_LAST = """
    SELECT extract(epoch FROM (SELECT max(scheduled_at) FROM allocations))::float8,
           extract(epoch FROM greatest((SELECT max(scheduled_at) FROM allocations),
                                       (SELECT max(cleared_at) FROM cart_clearances),
                                       (SELECT max(booked_at) FROM coin_ledger)))::float8
"""
_TOTALS = """
    SELECT (SELECT count(*) FROM purchases) AS purchases,
           (SELECT count(*) FROM purchases WHERE state = 'scheduled') AS scheduled,
           (SELECT count(*) FROM enrollments) AS enrollments,
           (SELECT count(*) FROM allocations WHERE scheduled_at IS NOT NULL AND status = 'approved') AS allocations,
           (SELECT count(*) FROM bookings WHERE active) AS bookings,
           (SELECT count(*) FROM series_sessions) AS sessions,
           (SELECT count(*) FROM cart_clearances) AS clearances,
           (SELECT count(*) FROM coin_ledger WHERE kind = 'redemption') AS redemptions,
           (SELECT sum(coins) FROM coin_ledger) - (SELECT sum(coins) FROM students) AS unbalanced_coins,
           (SELECT count(*) FROM parked) AS parked
"""
_WHY_PARKED = "SELECT actor, reason, count(*), min(facts::text) FROM parked GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 5"


class WrongOutcome(Exception):
    """A contender did not do the work: it stalled, parked, or ended with other totals."""


@dataclass(frozen=True, slots=True)
class Drain:
    """One drain: purchases per second until scheduled, and until carts and coins are done as well."""

    per_second: float
    settled_per_second: float
    published_seconds: float
    cpu_ms_per_purchase: float | None


async def drain(stage: Stage, first: int, last: int) -> Drain:
    """Publish the purchases numbered from `first` up to `last`, and measure until they are done."""
    before = stage.contender.cpu_seconds()
    publisher = child("benches.publisher", str(first), str(last), environment=stage.environment, log=stage.log)
    async with publisher as flood:
        await flood.tell("go")
        started, published = map(float, (await flood.hear()).split())
    await until_done(stage, last)
    scheduled, settled = await _row(stage.db, _LAST)
    after = stage.contender.cpu_seconds()
    purchases = last - first
    return Drain(
        per_second=purchases / (scheduled - started),
        settled_per_second=purchases / (settled - started),
        published_seconds=published - started,
        cpu_ms_per_purchase=None if before is None or after is None else (after - before) / purchases * 1000,
    )


async def until_done(stage: Stage, purchases: int) -> None:
    """Return when so many purchases are through with every step.

    Raises: WrongOutcome when one is parked or nothing moves for a minute; ChildFailed.
    """
    loop = asyncio.get_running_loop()
    seen, moved_at = None, loop.time()
    while True:
        scheduled, parked = await _row(stage.db, _PROGRESS)
        progress = (scheduled, *(await _row(stage.db, _SIDE_STEPS) if scheduled == purchases else ()))
        if progress == (purchases, purchases, redemptions(purchases)):
            return
        if parked or await stage.db.fetchval("SELECT EXISTS (SELECT FROM parked)"):
            raise WrongOutcome(f"{stage.name} parked: {[tuple(row) for row in await stage.db.fetch(_WHY_PARKED)]}")
        if progress != seen:
            seen, moved_at = progress, loop.time()
        elif loop.time() - moved_at > _STALLED:
            raise WrongOutcome(f"{stage.name} stands at {progress} of {purchases}\n{stage.contender.last_words()}")
        stage.contender.check()
        await asyncio.sleep(_LOOK)


async def totals(db: asyncpg.Connection) -> dict[str, int]:
    """What is in the database at the end, table by table."""
    return {name: int(value) for name, value in (await _row(db, _TOTALS)).items()}


def expected(purchases: int) -> dict[str, int]:
    """The totals that so many purchases must end with."""
    each = ("purchases", "scheduled", "enrollments", "allocations", "bookings", "clearances")
    return {
        **dict.fromkeys(each, purchases),
        "sessions": SESSIONS * purchases,
        "redemptions": redemptions(purchases),
        "unbalanced_coins": 0,
        "parked": 0,
    }


async def check_totals(stage: Stage) -> dict[str, int]:
    """The totals, when they are what the workload must end with; else raises WrongOutcome."""
    found, wanted = await totals(stage.db), expected(stage.arena.workload.purchases)
    if wrong := {name: (found[name], wanted[name]) for name in wanted if found[name] != wanted[name]}:
        raise WrongOutcome(f"{stage.name} ended with other totals (found, wanted): {wrong}")
    return found


def redemptions(purchases: int) -> int:
    """How many of the first so many payments redeem coins."""
    return -(-purchases // COINS_EVERY)


def as_json(result: Drain) -> dict[str, float | None]:
    """The figures by name."""
    return asdict(result)


async def _row(db: asyncpg.Connection, query: str) -> asyncpg.Record:
    """The one row of a query of aggregates."""
    return (await db.fetch(query))[0]
