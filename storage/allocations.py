"""Allocations: what an enrolment asks for, and the one decision about it, stored with its booking."""

import json
from collections.abc import Sequence
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


_ORDERS = text("""
    SELECT p.payment_id, e.enrollment_id, p.student_id, p.course_id, p.payload -> 'metadata' AS metadata,
           p.refunded_at IS NOT NULL AS refunded, a.allocation_id IS NOT NULL AS allocated, clock_timestamp() AS now
      FROM purchases p
      JOIN enrollments e ON e.payment_id = p.payment_id
      LEFT JOIN allocations a ON a.enrollment_id = e.enrollment_id
     WHERE p.payment_id = ANY(CAST(:payment_ids AS text[]))
     ORDER BY p.payment_id
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
    RETURNING allocation_id, version, approved_at
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


async def approve(db: AsyncConnection, decisions: Sequence[Decision]) -> list[Allocation]:
    """Store the decisions with their bookings; return what is stored.

    A decision whose time was taken after all is not stored: its caller chooses again.
    """
    if not decisions:
        return []
    try:
        async with db.begin_nested():
            stored = await _insert(db, decisions)
            await db.execute(_BOOK_ALL, _bookings(decisions))
    except DBAPIError as error:
        # Purchases, students and trainers are locked: only a recipe that no longer gives its ranges gets here.
        if sqlstate(error) != "23P01":
            raise
        stored = await _insert(db, decisions)
        booked = set((await db.execute(_BOOK_WHAT_FITS, _bookings(decisions))).scalars())
        await db.execute(
            _WITHDRAW, {"allocation_ids": [a.allocation_id for a in stored if a.allocation_id not in booked]}
        )
        stored = [allocation for allocation in stored if allocation.allocation_id in booked]
    return stored


async def approved(db: AsyncConnection, payment_ids: Sequence[str]) -> list[Allocation]:
    """The allocations that were approved before."""
    if not payment_ids:
        return []
    rows = await db.execute(_READ, {"payment_ids": list(payment_ids)})
    return [Allocation(*row) for row in rows]


async def _insert(db: AsyncConnection, decisions: Sequence[Decision]) -> list[Allocation]:
    rows = await db.execute(
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
    told = {row.allocation_id: row for row in rows}
    return [_allocation(d, told[d.allocation_id].version, told[d.allocation_id].approved_at) for d in decisions]


def _allocation(decision: Decision, version: int, approved_at: datetime) -> Allocation:
    order = decision.order
    return Allocation(
        allocation_id=decision.allocation_id,
        enrollment_id=order.enrollment_id,
        payment_id=order.payment_id,
        student_id=order.student_id,
        course_id=order.course_id,
        trainer_id=decision.trainer_id,
        provisional=decision.provisional,
        version=version,
        metadata=decision.metadata,
        approved_at=approved_at,
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
