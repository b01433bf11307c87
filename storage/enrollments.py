"""Enrolments: one per payment, decided once, read back for every replay."""

from collections.abc import Sequence
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


# The facts are those of the stored purchase, whatever the message at hand says.
# ORDER BY: overlapping batches lock rows in one order.
_ENROLL = text("""
    INSERT INTO enrollments (enrollment_id, payment_id, student_id, course_id)
    SELECT incoming.enrollment_id, p.payment_id, p.student_id, p.course_id
      FROM unnest(CAST(:enrollment_ids AS uuid[]), CAST(:payment_ids AS text[]))
           AS incoming (enrollment_id, payment_id)
      JOIN purchases p ON p.payment_id = incoming.payment_id
     WHERE p.refunded_at IS NULL
     ORDER BY p.payment_id
    ON CONFLICT (payment_id) DO NOTHING
""")

_READ = text("""
    SELECT enrollment_id, payment_id, student_id, course_id, version, enrolled_at
      FROM enrollments
     WHERE payment_id = ANY(CAST(:payment_ids AS text[]))
     ORDER BY payment_id
""")


async def enroll(db: AsyncConnection, payment_ids: Sequence[str]) -> list[Enrollment]:
    """Enrol each payer once; return the enrolment of *every* payment, replays too."""
    ids = [derived_id("enrollment", payment_id) for payment_id in payment_ids]
    await db.execute(_ENROLL, {"enrollment_ids": ids, "payment_ids": list(payment_ids)})
    return [Enrollment(*row) for row in await db.execute(_READ, {"payment_ids": list(payment_ids)})]
