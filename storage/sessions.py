"""Sessions: expanded from what is booked, inside PostgreSQL, when they are first created."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from errors import Fault


class Brief(NamedTuple):
    """An allocation with what its sessions need.

    `known` tells whether the student's profile is there, `dismissed` whether an admin dismissed this step.
    """

    allocation_id: UUID
    allocation_no: int
    payment_id: str
    enrollment_id: UUID
    student_id: str
    course_id: str
    trainer_id: str
    status: str
    provisional: bool
    version: int
    metadata: dict[str, Any]
    scheduled_at: datetime | None
    refunded: bool
    known: bool
    latitude: float | None
    longitude: float | None
    dismissed: bool


class Scheduled(NamedTuple):
    """A whole series as stored: parallel tuples, in the order of the numbers; times are epoch seconds.

    `versions` are those of sessions that may have been moved; none: all are as they were created.
    """

    scheduled_at: datetime
    numbers: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    versions: tuple[int, ...] = ()


# The purchase that the stored allocation belongs to, whatever the event at hand says.
_LOCK = text("""
    SELECT p.payment_id
      FROM purchases p
      JOIN allocations a USING (payment_id)
     WHERE a.allocation_id = ANY(CAST(:allocation_ids AS uuid[]))
     ORDER BY p.payment_id
       FOR NO KEY UPDATE OF p
""")

# The profile is read without its lock: who changes it looks afterwards who waits for it.
_BRIEFS = text("""
    SELECT a.allocation_id, a.allocation_no, a.payment_id, a.enrollment_id, a.student_id, a.course_id, a.trainer_id,
           a.status, a.provisional, a.version, a.metadata, a.scheduled_at, p.refunded_at IS NOT NULL AS refunded,
           s.changed_at IS NOT NULL AND NOT s.removed AS known, s.latitude, s.longitude,
           EXISTS (SELECT FROM parked k WHERE k.kind = 'step' AND k.actor = 'sessions'
                      AND k.subject = CAST(a.allocation_id AS text) AND k.status = 'dismissed') AS dismissed
      FROM allocations a
      JOIN purchases p USING (payment_id)
      JOIN students s ON s.student_id = a.student_id
     WHERE a.allocation_id = ANY(CAST(:allocation_ids AS uuid[]))
     ORDER BY a.payment_id
""")

# One statement expands every series of the batch from its booking, in the order of its times, and
# tells what it made: reading thirty rows a purchase back again would cost a third of the step.
_EXPAND = text("""
    WITH created AS (
        INSERT INTO series_sessions (allocation_no, trainer_no, starts_at, ends_at, number)
        SELECT a.allocation_no, b.trainer_no, lower(slot), upper(slot), number
          FROM allocations a
          JOIN bookings b ON b.allocation_id = a.allocation_id AND b.active
         CROSS JOIN LATERAL unnest(b.booked) WITH ORDINALITY AS series (slot, number)
         WHERE a.allocation_id = ANY(CAST(:allocation_ids AS uuid[]))
         ORDER BY a.allocation_no, number
        RETURNING allocation_no, number, starts_at, ends_at)
    SELECT allocation_no,
           array_agg(number ORDER BY number),
           array_agg(CAST(extract(epoch FROM starts_at) AS bigint) ORDER BY number),
           array_agg(CAST(extract(epoch FROM ends_at) AS bigint) ORDER BY number)
      FROM created
     GROUP BY allocation_no
""")

_MARK = text("""
    UPDATE allocations a
       SET scheduled_at = clock_timestamp(), latitude = incoming.latitude, longitude = incoming.longitude
      FROM unnest(CAST(:allocation_ids AS uuid[]), CAST(:latitudes AS float8[]), CAST(:longitudes AS float8[]))
           AS incoming (allocation_id, latitude, longitude)
     WHERE a.allocation_id = incoming.allocation_id
    RETURNING a.allocation_no, a.scheduled_at
""")

_READ = text("""
    SELECT a.allocation_id, a.scheduled_at,
           array_agg(s.number ORDER BY s.number),
           array_agg(CAST(extract(epoch FROM s.starts_at) AS bigint) ORDER BY s.number),
           array_agg(CAST(extract(epoch FROM s.ends_at) AS bigint) ORDER BY s.number),
           CASE WHEN max(s.version) > 1 THEN array_agg(s.version ORDER BY s.number) ELSE '{}' END
      FROM allocations a
      JOIN series_sessions s USING (allocation_no)
     WHERE a.allocation_id = ANY(CAST(:allocation_ids AS uuid[])) AND NOT s.cancelled
     GROUP BY a.allocation_id
""")


async def lock(db: AsyncConnection, allocation_ids: Iterable[UUID]) -> None:
    """Lock the purchases of these allocations, in the order of their ids, until the transaction ends."""
    await db.execute(_LOCK, {"allocation_ids": list(allocation_ids)})


async def briefs(db: AsyncConnection, allocation_ids: Sequence[UUID]) -> dict[UUID, Brief]:
    """What the sessions of these allocations need, by allocation id; the caller holds the purchases' lock."""
    rows = await db.execute(_BRIEFS, {"allocation_ids": list(allocation_ids)})
    return {row.allocation_id: Brief(*row) for row in rows}


async def schedule(
    db: AsyncConnection, series: Sequence[tuple[Brief, float | None, float | None]]
) -> dict[UUID, Scheduled]:
    """Create every session of allocations that have none yet, at these coordinates (none: online).

    Raises: Fault when a booking does not hold as many sessions as its allocation promises.
    """
    if not series:
        return {}
    allocation_ids = [brief.allocation_id for brief, _, _ in series]
    created = {row[0]: row[1:] for row in await db.execute(_EXPAND, {"allocation_ids": allocation_ids})}
    for brief, _, _ in series:
        booked, promised = len(created.get(brief.allocation_no, ((),))[0]), brief.metadata["sessionCount"]
        if booked != int(promised):
            raise Fault("sessions", f"{booked} sessions are booked where {promised} were promised")
    marked = await db.execute(
        _MARK,
        {
            "allocation_ids": allocation_ids,
            "latitudes": [latitude for _, latitude, _ in series],
            "longitudes": [longitude for _, _, longitude in series],
        },
    )
    at = {row.allocation_no: row.scheduled_at for row in marked}
    return {
        brief.allocation_id: Scheduled(at[brief.allocation_no], *map(tuple, created[brief.allocation_no]))
        for brief, _, _ in series
    }


async def scheduled(db: AsyncConnection, allocation_ids: Sequence[UUID]) -> dict[UUID, Scheduled]:
    """The series of allocations that were scheduled before."""
    if not allocation_ids:
        return {}
    rows = await db.execute(_READ, {"allocation_ids": list(allocation_ids)})
    return {row[0]: Scheduled(row[1], *map(tuple, row[2:])) for row in rows}
