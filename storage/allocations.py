"""Allocations and their bookings: decided once per enrolment, under the locks of all who compete.

The steps of a decision are statements of their own, in the order of the whole system: purchases,
students, then every candidate trainer, and only then what is booked is read.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.schedule import Series
from storage.engine import sqlstate


# Made by the thousand, in every batch: as frozen dataclasses they took four times as long.
class Order(NamedTuple):
    """What an enrolment asks for, from the stored purchase; `allocated` when it was decided before."""

    payment_id: str
    enrollment_id: UUID
    student_id: str
    course_id: str
    metadata: dict[str, Any]
    refunded: bool
    allocated: bool
    now: datetime


class Decision(NamedTuple):
    """A trainer chosen for an enrolment, with the series that it books."""

    allocation_id: UUID
    order: Order
    student_no: int
    trainer_no: int
    trainer_id: str
    series: Series
    provisional: bool
    metadata: dict[str, Any]
    booked: str


class Allocation(NamedTuple):
    """An allocation as stored, as far as `allocations.approved` tells it."""

    allocation_id: UUID
    enrollment_id: UUID
    payment_id: str
    student_id: str
    course_id: str
    trainer_id: str
    provisional: bool
    version: int
    metadata: dict[str, Any]
    approved_at: datetime


class Taken(NamedTuple):
    """Time that is taken: `who` is a trainer's or a student's number, from and to are epoch seconds."""

    who: int
    starts_at: int
    ends_at: int


_ORDERS = text("""
    SELECT p.payment_id, e.enrollment_id, p.student_id, p.course_id, p.payload -> 'metadata' AS metadata,
           p.refunded_at IS NOT NULL AS refunded, a.allocation_id IS NOT NULL AS allocated, clock_timestamp() AS now
      FROM purchases p
      JOIN enrollments e ON e.payment_id = p.payment_id
      LEFT JOIN allocations a ON a.enrollment_id = e.enrollment_id
     WHERE p.payment_id = ANY(CAST(:payment_ids AS text[]))
     ORDER BY p.payment_id
""")

# 256 buckets instead of a lock per trainer: 13,000 locks would not fit into PostgreSQL's table of them.
_LOCK_TRAINERS = text("""
    SELECT pg_advisory_xact_lock(1718185570, bucket)
      FROM unnest(CAST(:buckets AS integer[])) AS lock (bucket)
""")

# The recipe, not the multirange made from it: it is read in a fraction of the time.
_BOOKED_TRAINERS = text("""
    SELECT trainer_no, first_day, days_of_week, session_count, start_minute, slot_minutes, timezone
      FROM bookings
     WHERE active AND trainer_no = ANY(CAST(:nos AS bigint[])) AND ends_at > clock_timestamp()
""")

_BOOKED_STUDENTS = text("""
    SELECT student_no, first_day, days_of_week, session_count, start_minute, slot_minutes, timezone
      FROM bookings
     WHERE active AND student_no = ANY(CAST(:nos AS bigint[])) AND ends_at > clock_timestamp()
""")

# Outwards: who is away for a fraction of a second is away.
_ABSENT = text("""
    SELECT t.trainer_no, CAST(floor(extract(epoch FROM b.starts_at)) AS bigint),
           CAST(ceil(extract(epoch FROM b.ends_at)) AS bigint)
      FROM trainer_absences b
      JOIN trainers t USING (trainer_id)
     WHERE NOT b.removed AND t.trainer_no = ANY(CAST(:nos AS bigint[])) AND b.ends_at > clock_timestamp()
""")

# What is really booked, range by range: after an update of the time-zone data it may differ from the recipe.
_TAKEN_TRAINERS = text("""
    SELECT trainer_no, CAST(floor(extract(epoch FROM lower(r))) AS bigint),
           CAST(ceil(extract(epoch FROM upper(r))) AS bigint)
      FROM bookings, unnest(booked) AS r
     WHERE active AND trainer_no = ANY(CAST(:nos AS bigint[])) AND ends_at > clock_timestamp()
""")

_TAKEN_STUDENTS = text("""
    SELECT student_no, CAST(floor(extract(epoch FROM lower(r))) AS bigint),
           CAST(ceil(extract(epoch FROM upper(r))) AS bigint)
      FROM bookings, unnest(booked) AS r
     WHERE active AND student_no = ANY(CAST(:nos AS bigint[])) AND ends_at > clock_timestamp()
""")

_INSERT = text("""
    INSERT INTO allocations (allocation_id, enrollment_id, payment_id, student_id, course_id, trainer_id,
                             provisional, metadata)
    SELECT allocation_id, enrollment_id, payment_id, student_id, course_id, trainer_id, provisional, metadata::jsonb
      FROM unnest(CAST(:allocation_ids AS uuid[]), CAST(:enrollment_ids AS uuid[]), CAST(:payment_ids AS text[]),
                  CAST(:student_ids AS text[]), CAST(:course_ids AS text[]), CAST(:trainer_ids AS text[]),
                  CAST(:provisional AS boolean[]), CAST(:metadata AS text[]))
           AS incoming (allocation_id, enrollment_id, payment_id, student_id, course_id, trainer_id, provisional,
                        metadata)
     ORDER BY payment_id
""")

# ORDER BY: the exclusions are checked in one order by everybody, or two batches would deadlock.
_BOOK = """
    INSERT INTO bookings (allocation_id, trainer_no, student_no, booked, first_day, days_of_week, session_count,
                          start_minute, slot_minutes, timezone)
    SELECT allocation_id, trainer_no, student_no, booked::tstzmultirange, first_day, days_of_week, session_count,
           start_minute, slot_minutes, timezone
      FROM unnest(CAST(:allocation_ids AS uuid[]), CAST(:trainer_nos AS bigint[]), CAST(:student_nos AS bigint[]),
                  CAST(:booked AS text[]), CAST(:first_days AS date[]), CAST(:days AS smallint[]),
                  CAST(:counts AS smallint[]), CAST(:start_minutes AS smallint[]), CAST(:slot_minutes AS smallint[]),
                  CAST(:timezones AS text[]))
           AS incoming (allocation_id, trainer_no, student_no, booked, first_day, days_of_week, session_count,
                        start_minute, slot_minutes, timezone)
     ORDER BY trainer_no, allocation_id
"""
_BOOK_ALL = text(_BOOK)
_BOOK_WHAT_FITS = text(_BOOK + " ON CONFLICT DO NOTHING RETURNING allocation_id")

_WITHDRAW = text("DELETE FROM allocations WHERE allocation_id = ANY(CAST(:allocation_ids AS uuid[]))")

_READ = text("""
    SELECT allocation_id, enrollment_id, payment_id, student_id, course_id, trainer_id, provisional, version,
           metadata, approved_at
      FROM allocations
     WHERE payment_id = ANY(CAST(:payment_ids AS text[])) AND status = 'approved'
     ORDER BY payment_id
""")


async def orders(db: AsyncConnection, payment_ids: Sequence[str]) -> list[Order]:
    """What these purchases ask for; the caller holds their lock."""
    rows = await db.execute(_ORDERS, {"payment_ids": list(payment_ids)})
    return [Order(*row) for row in rows]


async def lock_trainers(db: AsyncConnection, trainer_nos: Iterable[int]) -> None:
    """Keep every other booking of these trainers out until the transaction ends."""
    buckets = sorted({no % 256 for no in trainer_nos})
    await db.execute(_LOCK_TRAINERS, {"buckets": buckets})


async def booked_series(
    db: AsyncConnection, trainer_nos: Sequence[int], student_nos: Sequence[int]
) -> tuple[list[tuple[int, Series]], list[tuple[int, Series]]]:
    """The series booked with these trainers and by these students, as (number, series), from now on."""
    trainers = [(no, Series(*recipe)) for no, *recipe in await db.execute(_BOOKED_TRAINERS, {"nos": trainer_nos})]
    students = [(no, Series(*recipe)) for no, *recipe in await db.execute(_BOOKED_STUDENTS, {"nos": student_nos})]
    return trainers, students


async def absences(db: AsyncConnection, trainer_nos: Sequence[int]) -> list[Taken]:
    """When these trainers are away or teach what Firstbell did not book, from now on."""
    return [Taken(*row) for row in await db.execute(_ABSENT, {"nos": trainer_nos})]


async def taken(
    db: AsyncConnection, trainer_nos: Sequence[int], student_nos: Sequence[int]
) -> tuple[list[Taken], list[Taken]]:
    """The times that the exclusions guard for these trainers and students, to whole seconds outwards, from now on."""
    trainers = [Taken(*row) for row in await db.execute(_TAKEN_TRAINERS, {"nos": trainer_nos})]
    students = [Taken(*row) for row in await db.execute(_TAKEN_STUDENTS, {"nos": student_nos})]
    return trainers, students


async def approve(db: AsyncConnection, decisions: Sequence[Decision]) -> set[UUID]:
    """Store the decisions with their bookings; return the ids of those whose time was taken after all.

    What is returned is not stored: its caller chooses again.
    """
    if not decisions:
        return set()
    try:
        async with db.begin_nested():
            await _insert(db, decisions)
            await db.execute(_BOOK_ALL, _bookings(decisions))
    except DBAPIError as error:
        # Purchases, students and trainers are locked: only a recipe that no longer gives its ranges gets here.
        if sqlstate(error) != "23P01":
            raise
    else:
        return set()
    await _insert(db, decisions)
    stored = set((await db.execute(_BOOK_WHAT_FITS, _bookings(decisions))).scalars())
    lost = {d.allocation_id for d in decisions} - stored
    await db.execute(_WITHDRAW, {"allocation_ids": list(lost)})
    return lost


async def approved(db: AsyncConnection, payment_ids: Sequence[str]) -> list[Allocation]:
    """The approved allocation of every payment that has one, whenever it was decided."""
    rows = await db.execute(_READ, {"payment_ids": list(payment_ids)})
    return [Allocation(*row) for row in rows]


async def _insert(db: AsyncConnection, decisions: Sequence[Decision]) -> None:
    await db.execute(
        _INSERT,
        {
            "allocation_ids": [d.allocation_id for d in decisions],
            "enrollment_ids": [d.order.enrollment_id for d in decisions],
            "payment_ids": [d.order.payment_id for d in decisions],
            "student_ids": [d.order.student_id for d in decisions],
            "course_ids": [d.order.course_id for d in decisions],
            "trainer_ids": [d.trainer_id for d in decisions],
            "provisional": [d.provisional for d in decisions],
            "metadata": [json.dumps(d.metadata) for d in decisions],
        },
    )


def _bookings(decisions: Sequence[Decision]) -> dict[str, list[Any]]:
    return {
        "allocation_ids": [d.allocation_id for d in decisions],
        "trainer_nos": [d.trainer_no for d in decisions],
        "student_nos": [d.student_no for d in decisions],
        "booked": [d.booked for d in decisions],
        "first_days": [d.series.first_day for d in decisions],
        "days": [d.series.days for d in decisions],
        "counts": [d.series.count for d in decisions],
        "start_minutes": [d.series.start_minute for d in decisions],
        "slot_minutes": [d.series.minutes for d in decisions],
        "timezones": [d.series.zone for d in decisions],
    }
