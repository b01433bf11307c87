"""Giving back a trainer's and a student's time, and what is stored of it.

A booking shrinks to its sessions that begin before an instant; its recipe counts as many sessions
then, so that recipe and `booked` go on telling the same. One of which nothing is left is inactive.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class Held(NamedTuple):
    """An enrolment, and the allocation that it holds.

    `due` tells whether its purchase was refunded and its time is not given back from `refunded_at` on;
    `trainer_nos` are those who are booked for it.
    """

    payment_id: str
    enrollment_id: UUID
    refunded_at: datetime | None
    allocation_id: UUID | None
    due: bool
    trainer_nos: list[int]


class Released(NamedTuple):
    """An allocation released by a refund; `courses` are those of the trainers who have time again."""

    allocation_id: UUID
    enrollment_id: UUID
    payment_id: str
    student_id: str
    course_id: str
    trainer_id: str
    version: int
    effective_at: datetime
    released_at: datetime
    courses: list[str]


# What an admin dismissed is not done by a replay.
_HELD = text("""
    SELECT e.payment_id, e.enrollment_id, p.refunded_at, a.allocation_id,
           coalesce(p.refunded_at IS NOT NULL AND (a.status = 'approved' OR a.effective_at > p.refunded_at), false)
           AND NOT EXISTS (SELECT FROM parked k WHERE k.kind = 'step' AND k.actor = 'allocation'
                              AND k.subject = CAST(e.enrollment_id AS text) AND k.status = 'dismissed'
                              AND k.topic = 'enrollments.revoked') AS due,
           ARRAY(SELECT trainer_no FROM bookings b WHERE b.allocation_id = a.allocation_id AND b.active) AS trainer_nos
      FROM purchases p
      JOIN enrollments e USING (payment_id)
      LEFT JOIN allocations a USING (enrollment_id)
     WHERE p.payment_id = ANY(CAST(:payment_ids AS text[]))
     ORDER BY e.payment_id
""")

# Without an instant all of it is given back. `freed` tells whoever waits for time which transaction gave it back.
_FREE = text("""
    UPDATE bookings b
       SET booked = coalesce(kept.booked, b.booked), active = kept.booked IS NOT NULL,
           session_count = coalesce(nullif(kept.sessions, 0), b.session_count), freed = pg_current_xact_id()
      FROM (SELECT booking_no, range_agg(slot) FILTER (WHERE lower(slot) < incoming.effective_at) AS booked,
                   count(*) FILTER (WHERE lower(slot) < incoming.effective_at) AS sessions
              FROM unnest(CAST(:allocation_ids AS uuid[]), CAST(:effective AS timestamptz[]))
                   AS incoming (allocation_id, effective_at)
              JOIN bookings USING (allocation_id)
             CROSS JOIN LATERAL unnest(booked) AS slot
             WHERE active
             GROUP BY booking_no) AS kept
     WHERE b.booking_no = kept.booking_no AND kept.booked IS DISTINCT FROM b.booked
""")

_RELEASE = text("""
    UPDATE allocations a
       SET status = 'released', version = a.version + 1, released_at = clock_timestamp(),
           effective_at = incoming.effective_at
      FROM unnest(CAST(:allocation_ids AS uuid[]), CAST(:effective AS timestamptz[]))
           AS incoming (allocation_id, effective_at)
     WHERE a.allocation_id = incoming.allocation_id
""")

# A refund's release takes effect at the instant of the refund; one for another cause has an instant of its own.
_RELEASED = text("""
    SELECT a.allocation_id, a.enrollment_id, a.payment_id, a.student_id, a.course_id, a.trainer_id, a.version,
           a.effective_at, a.released_at,
           ARRAY(SELECT DISTINCT course
                   FROM bookings b
                   JOIN trainers t USING (trainer_no)
                  CROSS JOIN LATERAL unnest(t.courses) AS taught (course)
                  WHERE b.allocation_id = a.allocation_id AND b.freed IS NOT NULL
                  ORDER BY course) AS courses
      FROM allocations a
      JOIN purchases p USING (payment_id)
     WHERE a.payment_id = ANY(CAST(:payment_ids AS text[]))
       AND a.status = 'released' AND a.effective_at = p.refunded_at
     ORDER BY a.payment_id
""")


async def held(db: AsyncConnection, payment_ids: Sequence[str]) -> list[Held]:
    """What the enrolments of these payments hold; the caller holds the purchases' lock."""
    return [Held(*row) for row in await db.execute(_HELD, {"payment_ids": list(payment_ids)})]


async def free(db: AsyncConnection, allocation_ids: Sequence[UUID], effective_at: datetime | None) -> None:
    """Give back the time of these allocations: their sessions that begin at `effective_at` or later; None: all.

    The caller holds the locks of their purchases and trainers. The allocations themselves stay as they are.
    """
    ids = list(allocation_ids)
    await db.execute(_FREE, {"allocation_ids": ids, "effective": [effective_at] * len(ids)})


async def release(db: AsyncConnection, refunded: Sequence[tuple[UUID, datetime]]) -> None:
    """Release each allocation from its instant on: its time is given back, its version rises. Locked as for `free`."""
    binds = {"allocation_ids": [i for i, _ in refunded], "effective": [at for _, at in refunded]}
    await db.execute(_FREE, binds)
    await db.execute(_RELEASE, binds)


async def released(db: AsyncConnection, payment_ids: Sequence[str]) -> list[Released]:
    """What refunds of these payments have released, now or before."""
    return [Released(*row) for row in await db.execute(_RELEASED, {"payment_ids": list(payment_ids)})]
