"""enrollments.created -> carts.cleared

Replay-safe: a clearance is unique per payment, and the cart is computed from clearances.
Parks: an enrolment that this database does not hold.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import Actor, Outcome
from actors.unknown import park_unknown
from contracts.carts import CartCleared
from contracts.enrollments import EnrollmentCreated
from contracts.record import Record
from storage import carts
from storage.carts import Clearance


async def clear(db: AsyncConnection, records: Sequence[Record]) -> Outcome:
    """Take what each enrolment bought out of its student's cart, for good."""
    known, cleared = await carts.clear(db, sorted({record.event.payment_id for record in records}))
    done = {clearance.payment_id for clearance in cleared}
    return Outcome(
        publish=[_cleared(clearance) for clearance in cleared],
        parked=park_unknown(records, known),
        done=[str(record.event.enrollment_id) for record in records if record.event.payment_id in done],
    )


ACTOR = Actor("cart", (EnrollmentCreated.TOPIC,), clear, subject="enrollment_id")


def _cleared(clearance: Clearance) -> CartCleared:
    return CartCleared(
        payment_id=clearance.payment_id,
        student_id=clearance.student_id,
        course_id=clearance.course_id,
        item_id=clearance.item_id,
        added_until=None if clearance.item_id else clearance.added_until,
        version=1,
        cleared_at=clearance.cleared_at,
    )
