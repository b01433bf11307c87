"""Enrolments: one per payment, decided once, read back for every replay."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.base import derived_id


@dataclass(frozen=True, slots=True)
class Enrollment:
    """A student enrolled in a course by a payment; `version` is 1 when created, 2 when revoked."""

    enrollment_id: UUID
    payment_id: str
    student_id: str
    course_id: str
    version: int
    enrolled_at: datetime
    revoked_at: datetime | None


# The facts are those of the stored purchase, whatever the message at hand says. A payment whose refund came
# first is enrolled and revoked at once: in the end the rows are those of the orderly order.
# ORDER BY: overlapping batches lock rows in one order.
_ENROLL = text("""
    INSERT INTO enrollments (enrollment_id, payment_id, student_id, course_id, status, version, enrolled_at, revoked_at)
    SELECT incoming.enrollment_id, p.payment_id, p.student_id, p.course_id,
           CASE WHEN p.refunded_at IS NULL THEN 'active' ELSE 'revoked' END,
           CASE WHEN p.refunded_at IS NULL THEN 1 ELSE 2 END,
           clock.now, CASE WHEN p.refunded_at IS NOT NULL THEN clock.now END
      FROM unnest(CAST(:enrollment_ids AS uuid[]), CAST(:payment_ids AS text[]))
           AS incoming (enrollment_id, payment_id)
      JOIN purchases p ON p.payment_id = incoming.payment_id
     CROSS JOIN (SELECT clock_timestamp() AS now) AS clock
     ORDER BY p.payment_id
    ON CONFLICT (payment_id) DO NOTHING
""")

_REVOKE = text("""
    UPDATE enrollments SET status = 'revoked', version = 2, revoked_at = clock_timestamp()
     WHERE payment_id = ANY(CAST(:payment_ids AS text[])) AND status = 'active'
""")

_READ = text("""
    SELECT enrollment_id, payment_id, student_id, course_id, version, enrolled_at, revoked_at
      FROM enrollments
     WHERE payment_id = ANY(CAST(:payment_ids AS text[]))
     ORDER BY payment_id
""")


async def enroll(db: AsyncConnection, payment_ids: Sequence[str]) -> None:
    """Enrol each payer once; the caller holds the purchases' lock."""
    ids = [derived_id("enrollment", payment_id) for payment_id in payment_ids]
    await db.execute(_ENROLL, {"enrollment_ids": ids, "payment_ids": list(payment_ids)})


async def revoke(db: AsyncConnection, payment_ids: Iterable[str]) -> None:
    """Revoke the enrolments of these payments, as far as there are any; the caller holds the purchases' lock."""
    await db.execute(_REVOKE, {"payment_ids": sorted(set(payment_ids))})


async def of_payments(db: AsyncConnection, payment_ids: Iterable[str]) -> list[Enrollment]:
    """The enrolment of every one of these payments that has one, in the order of their ids."""
    return [Enrollment(*row) for row in await db.execute(_READ, {"payment_ids": sorted(set(payment_ids))})]
