"""Allocations: what an enrolment asks for, and the one decision about it, stored with its booking."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.base import derived_id
from domain.schedule import Series
from storage.engine import sqlstate


# Made by the thousand, in every batch: as frozen dataclasses they took four times as long.
class Order(NamedTuple):
    """What an enrolment asks for, from the stored purchase, and what was decided about it before.

    `status` is that of its allocation, None without one; `repaired` what admins asked for otherwise than
    the purchase says. `seen` is a snapshot (pg_snapshot as text) from before anything was decided upon.
    """

    payment_id: str
    enrollment_id: UUID
    student_id: str
    course_id: str
    metadata: dict[str, Any]
    refunded: bool
    now: datetime
    status: str | None = None
    provisional: bool = False
    scheduled: bool = False
    trainer_no: int | None = None
    decided: dict[str, Any] | None = None
    dismissed: bool = False
    seen: str | None = None

    @property
    def allocation_id(self) -> UUID:
        """The id that its allocation has, or will have."""
        return derived_id("allocation", self.enrollment_id)

    @property
    def allocated(self) -> bool:
        """Whether it has a trainer."""
        return self.status == "approved"

    @property
    def repaired(self) -> dict[str, Any]:
        """What admins asked for, by the names of `assignTrainer`."""
        repaired: dict[str, Any] = (self.decided or {}).get("repaired") or {}
        return repaired


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
    first_number: int = 1


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


class GivenBack(NamedTuple):
    """An allocation that was released without a refund."""

    allocation_id: UUID
    trainer_id: str
    version: int
    released_at: datetime


_ORDERS = text("""
    SELECT p.payment_id, e.enrollment_id, p.student_id, p.course_id, p.payload -> 'metadata' AS metadata,
           p.refunded_at IS NOT NULL AS refunded, clock_timestamp() AS now,
           a.status, coalesce(a.provisional, false), a.scheduled_at IS NOT NULL AS scheduled, t.trainer_no,
           a.metadata AS decided,
           EXISTS (SELECT FROM parked k WHERE k.kind = 'step' AND k.actor = 'allocation'
                      AND k.subject = CAST(e.enrollment_id AS text) AND k.status = 'dismissed') AS dismissed,
           CAST(pg_current_snapshot() AS text) AS seen
      FROM purchases p
      JOIN enrollments e ON e.payment_id = p.payment_id
      LEFT JOIN allocations a ON a.enrollment_id = e.enrollment_id
      LEFT JOIN trainers t USING (trainer_id)
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

# A decision about what was decided before: the version rises, so that its event is another one.
_DECIDE_AGAIN = text("""
    UPDATE allocations a
       SET trainer_id = incoming.trainer_id, provisional = incoming.provisional, metadata = incoming.metadata::jsonb,
           status = 'approved', version = a.version + 1, approved_at = clock_timestamp(),
           released_at = NULL, effective_at = NULL
      FROM unnest(CAST(:allocation_ids AS uuid[]), CAST(:trainer_ids AS text[]), CAST(:provisional AS boolean[]),
                  CAST(:metadata AS text[])) AS incoming (allocation_id, trainer_id, provisional, metadata)
     WHERE a.allocation_id = incoming.allocation_id
    RETURNING a.allocation_id, a.version, a.approved_at
""")

# ORDER BY: the exclusions are checked in one order by everybody, or two batches would deadlock.
_BOOK = """
    INSERT INTO bookings (allocation_id, trainer_no, student_no, booked, first_day, days_of_week, session_count,
                          start_minute, slot_minutes, timezone, first_number)
    SELECT allocation_id, trainer_no, student_no, booked::tstzmultirange, first_day, days_of_week, session_count,
           start_minute, slot_minutes, timezone, first_number
      FROM unnest(CAST(:allocation_ids AS uuid[]), CAST(:trainer_nos AS bigint[]), CAST(:student_nos AS bigint[]),
                  CAST(:booked AS text[]), CAST(:first_days AS date[]), CAST(:days AS smallint[]),
                  CAST(:counts AS smallint[]), CAST(:start_minutes AS smallint[]), CAST(:slot_minutes AS smallint[]),
                  CAST(:timezones AS text[]), CAST(:first_numbers AS smallint[]))
           AS incoming (allocation_id, trainer_no, student_no, booked, first_day, days_of_week, session_count,
                        start_minute, slot_minutes, timezone, first_number)
     ORDER BY trainer_no, allocation_id
"""
_BOOK_ALL = text(_BOOK)
_BOOK_WHAT_FITS = text(_BOOK + " ON CONFLICT DO NOTHING RETURNING allocation_id")

_WITHDRAW = text("DELETE FROM allocations WHERE allocation_id = ANY(CAST(:allocation_ids AS uuid[]))")

_GIVE_BACK = text("""
    UPDATE allocations
       SET status = 'released', version = version + 1, released_at = clock_timestamp(), effective_at = clock_timestamp()
     WHERE allocation_id = ANY(CAST(:allocation_ids AS uuid[])) AND status = 'approved'
    RETURNING allocation_id, trainer_id, version, released_at
""")

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
    """Store the decisions with their bookings, what was decided before as its next version; return what is stored.

    A decision whose time was taken after all is not stored: its caller chooses again.
    """
    if not decisions:
        return []
    new = [d for d in decisions if d.order.status is None]
    again = [d for d in decisions if d.order.status is not None]
    try:
        async with db.begin_nested():
            stored = await _insert(db, new) if new else []
            await db.execute(_BOOK_ALL, _bookings(decisions))
    except DBAPIError as error:
        # Purchases, students and trainers are locked: only a recipe that no longer gives its ranges gets here.
        if sqlstate(error) != "23P01":
            raise
        stored = await _insert(db, new) if new else []
        booked = set((await db.execute(_BOOK_WHAT_FITS, _bookings(decisions))).scalars())
        await db.execute(
            _WITHDRAW, {"allocation_ids": [a.allocation_id for a in stored if a.allocation_id not in booked]}
        )
        stored = [allocation for allocation in stored if allocation.allocation_id in booked]
        again = [d for d in again if d.allocation_id in booked]
    return stored + (await _decide_again(db, again) if again else [])


async def approved(db: AsyncConnection, payment_ids: Sequence[str]) -> list[Allocation]:
    """The allocations that were approved before."""
    if not payment_ids:
        return []
    rows = await db.execute(_READ, {"payment_ids": list(payment_ids)})
    return [Allocation(*row) for row in rows]


async def give_back(db: AsyncConnection, allocation_ids: Sequence[UUID]) -> list[GivenBack]:
    """Release allocations that could not be settled; return those that were approved until now."""
    return [GivenBack(*row) for row in await db.execute(_GIVE_BACK, {"allocation_ids": list(allocation_ids)})]


async def _decide_again(db: AsyncConnection, decisions: Sequence[Decision]) -> list[Allocation]:
    rows = await db.execute(
        _DECIDE_AGAIN,
        {
            "allocation_ids": [d.allocation_id for d in decisions],
            "trainer_ids": [d.trainer_id for d in decisions],
            "provisional": [d.provisional for d in decisions],
            "metadata": [json.dumps(d.metadata) for d in decisions],
        },
    )
    told = {row.allocation_id: row for row in rows}
    return [_allocation(d, told[d.allocation_id].version, told[d.allocation_id].approved_at) for d in decisions]


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
        "first_numbers": [d.first_number for d in decisions],
    }
