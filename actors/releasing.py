"""enrollments.revoked -> allocations.released

Replay-safe: an allocation is released once from the instant of its refund on, under the purchase's lock,
and read back.
Parks: an enrolment that this database does not hold.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import News, Outcome
from actors.unknown import park_unknown
from contracts.allocations import AllocationReleased
from contracts.record import Record
from storage import bookings, parking, purchases, releases
from storage.releases import Released


async def release(db: AsyncConnection, records: Sequence[Record]) -> Outcome:
    """Give back the time of each refunded purchase from the instant of its refund on, once."""
    payment_ids = sorted({record.event.payment_id for record in records})
    await purchases.lock(db, payment_ids)
    held = await releases.held(db, payment_ids)
    due = [h for h in held if h.due]
    if due:
        await bookings.lock_trainers(db, (no for h in due for no in h.trainer_nos))
        await releases.release(
            db, [(h.allocation_id, h.refunded_at) for h in due if h.allocation_id and h.refunded_at is not None]
        )
    released = await releases.released(db, payment_ids)
    # Whoever is not there does not matter to sessions that do not take place.
    if released:
        await parking.resolve(db, "directory", (str(r.allocation_id) for r in released))
    return Outcome(
        publish=[_released(r) for r in released],
        parked=park_unknown(records, {h.payment_id for h in held}),
        done=[str(h.enrollment_id) for h in held if h.refunded_at is not None],
        news=_news(released),
    )


def _news(released: Sequence[Released]) -> News:
    """Whose time became free; from stored rows, so that a replay brings the same news."""
    courses: dict[str, datetime] = {}
    for r in released:
        for course in r.courses:
            courses[course] = max(r.released_at, courses.get(course, r.released_at))
    return News(frozenset(r.student_id for r in released), courses)


def _released(released: Released) -> AllocationReleased:
    return AllocationReleased(
        allocation_id=released.allocation_id,
        enrollment_id=released.enrollment_id,
        payment_id=released.payment_id,
        student_id=released.student_id,
        course_id=released.course_id,
        trainer_id=released.trainer_id,
        reason="refunded",
        version=released.version,
        effective_at=released.effective_at,
        released_at=released.released_at,
    )
