"""allocations.approved -> sessions.scheduled; allocations.released -> sessions.cancelled

Replay-safe: an allocation is scheduled once, under the purchase's lock; its series is read back.
Parks: a missing or deleted profile, coordinates that are no place, an allocation that is not
approved, provisional, or without a session count. The allocation stays approved.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import repeat

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import Actor, Outcome, joined
from actors.cancelling import cancel
from contracts.allocations import AllocationApproved, AllocationReleased
from contracts.record import Record
from contracts.sessions import SessionsScheduled, SessionTime
from domain.places import is_place
from domain.tiers import session_count
from domain.values import is_missing, is_online
from errors import (
    AllocationNotApproved,
    AllocationProvisional,
    Parked,
    SessionCountInvalid,
    SessionCountMissing,
    StudentLocationInvalid,
    StudentLocationMissing,
    StudentProfileMissing,
)
from storage import purchases, sessions
from storage.parking import Parking
from storage.sessions import Brief, Scheduled


async def keep(db: AsyncConnection, records: Sequence[Record]) -> Outcome:
    """Schedule what was approved, cancel what was released; all purchases are locked before either."""
    await sessions.lock(db, {record.event.allocation_id for record in records})
    approved = [record for record in records if isinstance(record.event, AllocationApproved)]
    released = [record for record in records if isinstance(record.event, AllocationReleased)]
    if not released:
        return await schedule(db, approved)
    scheduled = await schedule(db, approved) if approved else Outcome()
    return joined(scheduled, await cancel(db, released))


async def schedule(db: AsyncConnection, records: Sequence[Record]) -> Outcome:
    """Create every session of each approved allocation, once; the purchases are locked."""
    carriers = {r.event.allocation_id: r for r in sorted(records, key=lambda record: record.event.version)}
    briefs = await sessions.briefs(db, list(carriers))
    reasons = {
        allocation_id: _obstacle(record, briefs.get(allocation_id)) for allocation_id, record in carriers.items()
    }
    able = [b for i, b in briefs.items() if reasons[i] is None and _current(carriers[i], b) and not _dropped(b)]
    stored = await sessions.schedule(db, [(b, *_place(b)) for b in able if b.scheduled_at is None])
    stored |= await sessions.scheduled(db, [b.allocation_id for b in able if b.scheduled_at is not None])
    parked = [_parking(carriers[i], briefs.get(i), reason) for i, reason in reasons.items() if reason]
    await purchases.advance(
        db,
        [(brief.payment_id, "scheduled") for brief in able]
        + [(b.payment_id, "parked") for i, reason in reasons.items() if reason and (b := briefs.get(i))],
    )
    return Outcome(
        publish=[_scheduled(brief, stored[brief.allocation_id]) for brief in able],
        parked=parked,
        done=[str(brief.allocation_id) for brief in able],
    )


ACTOR = Actor(
    "sessions", (AllocationApproved.TOPIC, AllocationReleased.TOPIC), keep, subject="allocation_id", holds_up=True
)


def _obstacle(record: Record, brief: Brief | None) -> Parked | None:
    """Why the sessions cannot be created, None when they can (or are there already)."""
    if brief is not None and (not _current(record, brief) or _dropped(brief)):
        return None
    if brief is None or brief.status != "approved":
        return AllocationNotApproved(
            allocationId=str(record.event.allocation_id), status=brief.status if brief else "unknown"
        )
    if brief.scheduled_at is not None:
        return None
    if not brief.known and _repaired(brief) is None:
        return StudentProfileMissing(studentId=brief.student_id)
    return _location_obstacle(brief) or _count_obstacle(brief) or _provisional_obstacle(brief)


def _current(record: Record, brief: Brief) -> bool:
    """Not so once it was refunded, or when a later version of the allocation has an event of its own."""
    return not brief.refunded and record.event.version >= brief.version


def _dropped(brief: Brief) -> bool:
    """An admin dismissed the step before it was done: a replay neither parks it again nor does it."""
    return brief.dismissed and brief.scheduled_at is None


def _location_obstacle(brief: Brief) -> Parked | None:
    if _online(brief) or _repaired(brief) is not None:
        return None
    if brief.latitude is None or brief.longitude is None:
        return StudentLocationMissing(studentId=brief.student_id)
    if not is_place(brief.latitude, brief.longitude):
        return StudentLocationInvalid(studentId=brief.student_id)
    return None


def _count_obstacle(brief: Brief) -> Parked | None:
    promised = brief.metadata.get("sessionCount")
    if is_missing(promised):
        return SessionCountMissing(allocationId=str(brief.allocation_id))
    try:
        session_count(promised, None)
    except SessionCountInvalid as invalid:
        return invalid
    return None


def _provisional_obstacle(brief: Brief) -> Parked | None:
    return AllocationProvisional(allocationId=str(brief.allocation_id)) if brief.provisional else None


def _online(brief: Brief) -> bool:
    return is_online(brief.metadata.get("learningMode"))


def _place(brief: Brief) -> tuple[float | None, float | None]:
    return (None, None) if _online(brief) else _repaired(brief) or (brief.latitude, brief.longitude)


def _repaired(brief: Brief) -> tuple[float, float] | None:
    """Coordinates that an admin gave, in place of those of the profile; a decision has checked them."""
    repaired = brief.metadata.get("repaired") or {}
    return (repaired["latitude"], repaired["longitude"]) if "latitude" in repaired else None


def _parking(record: Record, brief: Brief | None, reason: Parked) -> Parking:
    event: AllocationApproved = record.event
    told = brief or event  # the stored row, where there is one: the event only says which
    return Parking(
        reason,
        record,
        subject=str(event.allocation_id),
        payment_id=told.payment_id,
        enrollment_id=told.enrollment_id,
        allocation_id=told.allocation_id,
        student_id=told.student_id,
    )


def _scheduled(brief: Brief, series: Scheduled) -> SessionsScheduled:
    return SessionsScheduled(
        allocation_id=brief.allocation_id,
        payment_id=brief.payment_id,
        student_id=brief.student_id,
        trainer_id=brief.trainer_id,
        course_id=brief.course_id,
        version=brief.version,
        sessions=tuple(map(_session, series.numbers, series.starts, series.ends, series.versions or repeat(1))),
        scheduled_at=series.scheduled_at,
    )


# Thirty for each purchase, and many purchases share a slot: made once, and without a second validation
# of what the database has checked.
@lru_cache(maxsize=131072)
def _session(number: int, start: int, end: int, version: int) -> SessionTime:
    moved = None if version == 1 else version
    return SessionTime.model_construct(number=number, starts_at=_instant(start), ends_at=_instant(end), version=moved)


@lru_cache(maxsize=65536)
def _instant(epoch_seconds: int) -> datetime:
    return datetime.fromtimestamp(epoch_seconds, UTC)
