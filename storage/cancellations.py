"""Sessions that will not take place: marked, never deleted, with their former rows beside them."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class Cancelled(NamedTuple):
    """The cancelled sessions of a released allocation: parallel lists, in the order of the numbers."""

    allocation_id: UUID
    payment_id: str
    student_id: str
    course_id: str
    trainer_id: str
    version: int
    cancelled_at: datetime
    numbers: list[int]
    starts: list[datetime]
    ends: list[datetime]
    versions: list[int]


_RELEASED = text("""
    SELECT allocation_id FROM allocations
     WHERE allocation_id = ANY(CAST(:allocation_ids AS uuid[])) AND status = 'released'
""")

# One statement, which reads the rows of before while it writes the new ones: no session is ever cancelled
# without its former row. What an admin dismissed is not done by a replay.
_CANCEL = text("""
    WITH due AS (
        SELECT s.*
          FROM allocations a
          JOIN series_sessions s USING (allocation_no)
         WHERE a.allocation_id = ANY(CAST(:allocation_ids AS uuid[])) AND a.status = 'released'
           AND NOT s.cancelled AND s.starts_at >= a.effective_at
           AND NOT EXISTS (SELECT FROM parked k WHERE k.kind = 'step' AND k.actor = 'sessions'
                              AND k.subject = CAST(a.allocation_id AS text) AND k.status = 'dismissed'
                              AND k.topic = 'allocations.released')),
    former AS (
        INSERT INTO former_sessions (allocation_no, trainer_no, starts_at, ends_at, number, version, cancelled)
        SELECT allocation_no, trainer_no, starts_at, ends_at, number, version, cancelled FROM due),
    cancelled AS (
        UPDATE series_sessions s SET cancelled = true, version = s.version + 1
          FROM due
         WHERE s.allocation_no = due.allocation_no AND s.number = due.number)
    UPDATE allocations SET cancelled_at = clock_timestamp() WHERE allocation_no IN (SELECT allocation_no FROM due)
""")

_CANCELLED = text("""
    SELECT a.allocation_id, a.payment_id, a.student_id, a.course_id, a.trainer_id, a.version, a.cancelled_at,
           array_agg(s.number ORDER BY s.number), array_agg(s.starts_at ORDER BY s.number),
           array_agg(s.ends_at ORDER BY s.number), array_agg(s.version ORDER BY s.number)
      FROM allocations a
      JOIN series_sessions s USING (allocation_no)
     WHERE a.allocation_id = ANY(CAST(:allocation_ids AS uuid[])) AND a.status = 'released' AND s.cancelled
     GROUP BY a.allocation_id
     ORDER BY a.payment_id
""")


async def cancel(db: AsyncConnection, allocation_ids: Sequence[UUID]) -> tuple[list[UUID], list[Cancelled]]:
    """Cancel what begins when these allocations are released, or later; the caller holds the purchases' lock.

    Returns which of them are released, and *every* cancelled session of these, replays too.
    """
    binds = {"allocation_ids": list(allocation_ids)}
    released = list((await db.execute(_RELEASED, binds)).scalars())
    await db.execute(_CANCEL, binds)
    return released, [Cancelled(*row) for row in await db.execute(_CANCELLED, binds)]
