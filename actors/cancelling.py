"""allocations.released -> sessions.cancelled

Replay-safe: a session is cancelled once, its former row in the same statement; what is cancelled is read back.
Parks: nothing. A release of an allocation that is unknown here, or approved again, cancels nothing.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import Outcome
from contracts.record import Record
from contracts.sessions import SessionsCancelled, SessionTime
from storage import cancellations
from storage.cancellations import Cancelled


async def cancel(db: AsyncConnection, records: Sequence[Record]) -> Outcome:
    """Cancel the sessions that begin when their allocation is released, or later; the purchases are locked."""
    released, cancelled = await cancellations.cancel(db, sorted({record.event.allocation_id for record in records}))
    return Outcome(publish=[_cancelled(c) for c in cancelled], done=[str(allocation_id) for allocation_id in released])


def _cancelled(cancelled: Cancelled) -> SessionsCancelled:
    times = zip(cancelled.numbers, cancelled.starts, cancelled.ends, cancelled.versions, strict=True)
    return SessionsCancelled(
        allocation_id=cancelled.allocation_id,
        payment_id=cancelled.payment_id,
        student_id=cancelled.student_id,
        trainer_id=cancelled.trainer_id,
        course_id=cancelled.course_id,
        version=cancelled.version,
        sessions=tuple(
            SessionTime(number=number, starts_at=start, ends_at=end, version=version)
            for number, start, end, version in times
        ),
        cancelled_at=cancelled.cancelled_at,
    )
