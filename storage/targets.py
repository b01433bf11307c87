"""What a command is about: a purchase, found by whichever of its ids the command names."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Target:
    """A purchase and how far it has come. `payload` and `refunds` are the messages of upstream, as stored."""

    payment_id: str
    student_id: str | None
    payload: dict[str, Any] | None
    refunded_at: datetime | None
    refunds: list[dict[str, Any]]
    enrollment_id: UUID | None
    allocation_id: UUID | None
    status: str | None
    provisional: bool
    scheduled_at: datetime | None


_FIND = text("""
    SELECT p.payment_id, p.student_id, p.payload, p.refunded_at,
           coalesce((SELECT jsonb_agg(r.payload ORDER BY r.refund_id) FROM refunds r WHERE r.payment_id = p.payment_id),
                    '[]') AS refunds,
           e.enrollment_id, a.allocation_id, a.status, coalesce(a.provisional, false), a.scheduled_at
      FROM purchases p
      LEFT JOIN enrollments e ON e.payment_id = p.payment_id
      LEFT JOIN allocations a ON a.enrollment_id = e.enrollment_id
     WHERE p.payment_id = coalesce(
           CAST(:payment_id AS text),
           (SELECT payment_id FROM enrollments WHERE enrollment_id = CAST(:enrollment_id AS uuid)),
           (SELECT payment_id FROM allocations WHERE allocation_id = CAST(:allocation_id AS uuid)))
""")


_FREED = text("""
    SELECT DISTINCT course
      FROM allocations a
      JOIN bookings b USING (allocation_id)
      JOIN trainers t USING (trainer_no)
     CROSS JOIN LATERAL unnest(t.courses) AS taught (course)
     WHERE a.payment_id = :payment_id AND b.freed IS NOT NULL
     ORDER BY course
""")


async def freed(db: AsyncConnection, payment_id: str) -> list[str]:
    """The courses of the trainers to whom this purchase has given time back."""
    return list((await db.execute(_FREED, {"payment_id": payment_id})).scalars())


async def find(
    db: AsyncConnection,
    *,
    payment_id: str | None = None,
    enrollment_id: UUID | None = None,
    allocation_id: UUID | None = None,
) -> Target | None:
    """The purchase of one of these ids, None where there is none."""
    ids = {"payment_id": payment_id, "enrollment_id": enrollment_id, "allocation_id": allocation_id}
    row = (await db.execute(_FIND, ids)).first()
    return None if row is None else Target(*row)
