"""Moving the rest of a series: its sessions keep their numbers, and their former times are kept."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class Rest(NamedTuple):
    """The sessions that have not begun: the number of the first, how many, and when the first begins."""

    first_number: int
    count: int  # type: ignore[assignment]  # a tuple's own count is nobody's need
    starts_at: datetime


_REST = text("""
    SELECT min(s.number), count(*), min(s.starts_at)
      FROM series_sessions s
      JOIN allocations a USING (allocation_no)
     WHERE a.allocation_id = :allocation_id AND NOT s.cancelled AND s.starts_at >= CAST(:now AS timestamptz)
""")

# One statement: it reads the times of before while it writes the new ones. What stays as it is keeps its version.
_MOVE = text("""
    WITH slots AS (
        SELECT a.allocation_no, b.trainer_no, lower(slot) AS starts_at, upper(slot) AS ends_at,
               b.first_number + nth - 1 AS number
          FROM allocations a
          JOIN bookings b USING (allocation_id)
         CROSS JOIN LATERAL unnest(b.booked) WITH ORDINALITY AS series (slot, nth)
         WHERE a.allocation_id = :allocation_id AND b.active AND b.first_number = :first_number),
    moved AS (
        SELECT s.*, n.trainer_no AS to_trainer, n.starts_at AS to_start, n.ends_at AS to_end
          FROM series_sessions s
          JOIN slots n USING (allocation_no, number)
         WHERE (s.trainer_no, s.starts_at, s.ends_at) IS DISTINCT FROM (n.trainer_no, n.starts_at, n.ends_at)),
    former AS (
        INSERT INTO former_sessions (allocation_no, trainer_no, starts_at, ends_at, number, version, cancelled)
        SELECT allocation_no, trainer_no, starts_at, ends_at, number, version, cancelled FROM moved)
    UPDATE series_sessions s
       SET trainer_no = m.to_trainer, starts_at = m.to_start, ends_at = m.to_end, version = s.version + 1
      FROM moved m
     WHERE s.allocation_no = m.allocation_no AND s.number = m.number
""")


async def rest(db: AsyncConnection, allocation_id: UUID, now: datetime) -> Rest | None:
    """What of a series has not begun; None when nothing is left."""
    row = (await db.execute(_REST, {"allocation_id": allocation_id, "now": now})).one()
    return Rest(*row) if row[1] else None


async def move(db: AsyncConnection, allocation_id: UUID, first_number: int) -> None:
    """Give the sessions from `first_number` on the times of the booking that begins with it."""
    await db.execute(_MOVE, {"allocation_id": allocation_id, "first_number": first_number})
