"""What is stuck: steps that the database shows as missing, and what passed its time unseen.

`storage/invariants.py` knows the steps that are missing; here stands whatever else nobody would come
back to by himself, and how often the reconciler tried already.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class Stuck(NamedTuple):
    """A step of a purchase that nothing will do by itself."""

    payment_id: str
    step: str


class Tried(NamedTuple):
    """How often a step was resumed, and when last."""

    times: int
    last: datetime


# One sweep at a time, whichever process is first. It may take longer than a handler's statement.
_TURN = text("SELECT pg_try_advisory_xact_lock(7016996765293437282)")
_PATIENCE = text("SET LOCAL statement_timeout = '120s'")

# A provisional booking is freed at its first start: nobody can settle it any more.
_BEGUN = text("""
    SELECT a.payment_id
      FROM allocations a
      JOIN bookings b USING (allocation_id)
     WHERE a.provisional AND a.status = 'approved' AND b.active AND lower(b.booked) < clock_timestamp()
     ORDER BY a.payment_id
""")

# Sessions that lost their trainer and have passed since: there is nothing to move any more.
_PASSED = text("""
    SELECT k.id, k.attempts
      FROM parked k
     WHERE k.kind = 'step' AND k.actor = 'directory' AND k.status = 'open'
       AND CAST(k.facts ->> 'until' AS timestamptz) < clock_timestamp()
     ORDER BY k.id
""")

_TRIED = text("""
    SELECT payment_id, step, count(*), max(completed_at)
      FROM repairs
     WHERE payment_id = ANY(CAST(:payment_ids AS text[])) AND requested_by = :by AND command = 'resume' AND accepted
     GROUP BY payment_id, step
""")


async def take_turn(db: AsyncConnection) -> bool:
    """Whether this process may sweep now; nobody else does until the transaction ends."""
    await db.execute(_PATIENCE)
    return bool((await db.execute(_TURN)).scalar_one())


async def begun(db: AsyncConnection) -> list[str]:
    """The payments of provisional allocations whose first session would have begun."""
    return list((await db.execute(_BEGUN)).scalars())


async def passed(db: AsyncConnection) -> list[tuple[UUID, int]]:
    """The parked rows about sessions without a trainer that are over, with their attempts."""
    return [(row.id, row.attempts) for row in await db.execute(_PASSED)]


async def tried(db: AsyncConnection, payment_ids: Collection[str], by: str) -> dict[Stuck, Tried]:
    """How often this requester has resumed each step of these purchases."""
    rows: Sequence[tuple[str, str, int, datetime]] = [
        tuple(row) for row in await db.execute(_TRIED, {"payment_ids": sorted(payment_ids), "by": by})
    ]
    return {Stuck(payment_id, step): Tried(times, last) for payment_id, step, times, last in rows}
