"""What is booked with trainers who changed: read after their locks, so that no booking slips in between."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.directory import Trainer
from domain.hours import parse_hours
from domain.places import Place, is_place
from domain.schedule import Series
from domain.unavailable import Stretch
from domain.values import is_online


class Booked(NamedTuple):
    """A stretch of an allocation, the number of the trainer who gives it, and for whom and where he does."""

    allocation_id: UUID
    payment_id: str
    enrollment_id: UUID
    student_id: str
    trainer_no: int
    student_no: int
    place: Place | None
    online: bool
    scheduled: bool
    stretch: Stretch


class Present(NamedTuple):
    """A trainer as he is now: when he is away (epoch seconds, outwards), and what upstream said of him last.

    `seen` is a snapshot (pg_snapshot as text) that shows what this was read from.
    """

    trainer: Trainer
    away: list[tuple[int, int]]
    payload: bytes | None
    now: datetime
    seen: str


# Whom this transaction changed, and of those told who are what they were: whose sessions wait for somebody else.
_CONCERNED = text("""
    SELECT trainer_no FROM trainers WHERE xact = pg_current_xact_id_if_assigned()
     UNION
    SELECT t.trainer_no
      FROM trainer_absences b
      JOIN trainers t USING (trainer_id)
     WHERE b.busy_id = ANY(CAST(:busy_ids AS text[])) AND b.xact = pg_current_xact_id_if_assigned()
     UNION
    SELECT t.trainer_no
      FROM parked k
      JOIN trainers t ON t.trainer_id = k.facts ->> 'trainerId'
     WHERE k.status = 'open' AND k.reason = 'trainer_unavailable' AND k.kind = 'step' AND k.actor = 'directory'
       AND t.trainer_id = ANY(CAST(:trainer_ids AS text[]))
""")

_ALLOCATIONS = text("""
    SELECT allocation_id
      FROM bookings
     WHERE active AND trainer_no = ANY(CAST(:trainer_nos AS bigint[])) AND ends_at > clock_timestamp()
     UNION
    SELECT k.allocation_id
      FROM parked k
      JOIN trainers t ON t.trainer_id = k.facts ->> 'trainerId'
     WHERE k.status = 'open' AND k.reason = 'trainer_unavailable' AND k.kind = 'step' AND k.actor = 'directory'
       AND t.trainer_no = ANY(CAST(:trainer_nos AS bigint[]))
""")

_TRAINERS_OF = text("""
    SELECT trainer_no FROM bookings
     WHERE active AND ends_at > clock_timestamp() AND allocation_id = ANY(CAST(:allocation_ids AS uuid[]))
""")

# A provisional allocation is decided again before it has sessions, with whoever is there then.
_BOOKED = text("""
    SELECT a.allocation_id, a.payment_id, a.enrollment_id, a.student_id, b.trainer_no, b.student_no,
           coalesce(a.latitude, s.latitude) AS latitude, coalesce(a.longitude, s.longitude) AS longitude,
           a.metadata ->> 'learningMode' AS learning_mode, a.scheduled_at IS NOT NULL AS scheduled,
           b.first_number, a.course_id, coalesce(a.metadata #> '{repaired,force}', '[]') AS set_aside,
           b.first_day, b.days_of_week, b.session_count, b.start_minute, b.slot_minutes, b.timezone
      FROM bookings b
      JOIN allocations a USING (allocation_id)
      JOIN purchases p ON p.payment_id = a.payment_id
      JOIN students s USING (student_no)
     WHERE a.allocation_id = ANY(CAST(:allocation_ids AS uuid[])) AND b.active AND b.ends_at > clock_timestamp()
       AND a.status = 'approved' AND NOT a.provisional AND p.refunded_at IS NULL
     ORDER BY a.allocation_id, b.first_number
""")

_PRESENT = text("""
    SELECT t.trainer_no, t.trainer_id, t.active, t.courses, t.timezone, t.working_hours, CAST(t.payload AS text),
           ARRAY(SELECT ARRAY[CAST(floor(extract(epoch FROM b.starts_at)) AS bigint),
                              CAST(ceil(extract(epoch FROM b.ends_at)) AS bigint)]
                   FROM trainer_absences b
                  WHERE b.trainer_id = t.trainer_id AND NOT b.removed AND b.ends_at > clock_timestamp()) AS away,
           clock_timestamp() AS now, CAST(pg_current_snapshot() AS text) AS seen,
           CAST(CAST(pg_current_xact_id() AS text) AS bigint) AS own
      FROM trainers t
     WHERE t.trainer_no = ANY(CAST(:trainer_nos AS bigint[]))
""")


async def concerned(db: AsyncConnection, trainer_ids: Collection[str], busy_ids: Collection[str]) -> list[int]:
    """The numbers of the trainers whose bookings have to be judged after these changes."""
    binds = {"trainer_ids": sorted(trainer_ids), "busy_ids": sorted(busy_ids)}
    return list((await db.execute(_CONCERNED, binds)).scalars())


async def allocations_of(db: AsyncConnection, trainer_nos: Sequence[int]) -> list[UUID]:
    """The allocations that are booked with these trainers, or are parked because of them."""
    return list((await db.execute(_ALLOCATIONS, {"trainer_nos": trainer_nos})).scalars())


async def trainers_of(db: AsyncConnection, allocation_ids: Sequence[UUID]) -> list[int]:
    """The trainers with whom these allocations are booked from now on."""
    return list((await db.execute(_TRAINERS_OF, {"allocation_ids": list(allocation_ids)})).scalars())


async def booked(db: AsyncConnection, allocation_ids: Sequence[UUID]) -> list[Booked]:
    """What of these allocations has not ended, in the order of their sessions; nothing of what was given up."""
    rows = await db.execute(_BOOKED, {"allocation_ids": list(allocation_ids)})
    return [_booked(row) for row in rows]


async def present(db: AsyncConnection, trainer_nos: Iterable[int]) -> dict[int, Present]:
    """These trainers as they are now, by their numbers."""
    rows = await db.execute(_PRESENT, {"trainer_nos": sorted(set(trainer_nos))})
    return {row.trainer_no: _present(row) for row in rows}


def _booked(row: Row[Any]) -> Booked:
    series = Series(
        row.first_day, row.days_of_week, row.session_count, row.start_minute, row.slot_minutes, row.timezone
    )
    return Booked(
        allocation_id=row.allocation_id,
        payment_id=row.payment_id,
        enrollment_id=row.enrollment_id,
        student_id=row.student_id,
        trainer_no=row.trainer_no,
        student_no=row.student_no,
        place=Place(row.latitude, row.longitude) if is_place(row.latitude, row.longitude) else None,
        online=is_online(row.learning_mode),
        scheduled=row.scheduled,
        stretch=Stretch(series, row.first_number, row.course_id, row.set_aside),
    )


def _present(row: Row[Any]) -> Present:
    trainer = Trainer(
        no=row.trainer_no,
        id=row.trainer_id,
        active=row.active,
        courses=frozenset(row.courses),
        zone=row.timezone or "UTC",
        hours=parse_hours(row.working_hours),
        place=None,
        radius_km=None,
    )
    payload = None if row.payload is None else row.payload.encode()
    return Present(trainer, [(a, b) for a, b in row.away], payload, row.now, _with_own(row.seen, row.own))


def _with_own(snapshot: str, own: int) -> str:
    """The snapshot, with the transaction itself among what it shows: what one has done oneself is no news."""
    xmin, xmax, running = snapshot.split(":")
    if own < int(xmax):
        return snapshot
    others = [*filter(None, running.split(",")), *map(str, range(int(xmax), own))]
    return f"{xmin}:{own + 1}:{','.join(others)}"
