"""students.changed, trainers.changed, trainers.busy, carts.changed, coins.credited -> local copies

Replay-safe: the newest `changedAt` wins in whatever order changes arrive; a credit is unique by its id.
Parks: records that are no valid message of their feed; a change from the future; a credit that
contradicts an earlier one with its id; allocations whose trainer is not there for them any more.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import Actor, News, Outcome, joined
from actors.unavailable import judge_changed
from contracts.decode import Tombstone
from contracts.feeds import CartChanged, CoinsCredited, StudentChanged, TrainerBusy, TrainerChanged
from contracts.record import Record
from errors import ChangedAtInFuture, ConflictingDuplicate
from storage import availability, coins, directory
from storage.coins import Credit
from storage.directory import Change
from storage.parking import Parking

_AHEAD = timedelta(minutes=10)

_ID_OF = {
    StudentChanged.TOPIC: lambda event: event.student_id,
    TrainerChanged.TOPIC: lambda event: event.trainer_id,
    TrainerBusy.TOPIC: lambda event: event.busy_id,
    CartChanged.TOPIC: lambda event: event.item_id,
}

# After the students are locked, all of them at once: two batches that meet in a profile and in a credit
# would otherwise wait for each other.
_KEEP = (
    (StudentChanged.TOPIC, directory.keep_students),
    (TrainerChanged.TOPIC, availability.keep_trainers),
    (TrainerBusy.TOPIC, availability.keep_absences),
    (CartChanged.TOPIC, directory.keep_cart_changes),
)


Changes = Mapping[str, Sequence[tuple[Record, Change]]]


async def keep(db: AsyncConnection, records: Sequence[Record]) -> Outcome:
    """Take every change into the local copies; tell for whom that is news."""
    changes, parked = _changes(records)
    credits_ = [(record, _credit(record.event)) for record in records if record.topic == CoinsCredited.TOPIC]
    students = {c.id for _, c in changes[StudentChanged.TOPIC]} | {c.student_id for _, c in credits_}
    await directory.number_students(db, students)
    await directory.lock_students(db, students)
    for topic, keep_changes in _KEEP:
        await keep_changes(db, [change for _, change in changes[topic]])
    stored = await coins.credit(db, [credit for _, credit in credits_])
    parked += [_contradiction(record, c) for record, c in credits_ if stored[c.credit_id] != c]
    return joined(Outcome(parked=parked, news=News(frozenset(students))), await _about_trainers(db, changes))


ACTOR = Actor("directory", (*_ID_OF, CoinsCredited.TOPIC), keep)


async def _about_trainers(db: AsyncConnection, changes: Changes) -> Outcome:
    """What follows from trainers and absences that changed: news for courses, and sessions that have nobody now."""
    trainers = {change.id: record for record, change in changes[TrainerChanged.TOPIC]}
    absences = {change.id for _, change in changes[TrainerBusy.TOPIC]}
    if not trainers and not absences:
        return Outcome()
    away = {change.fields.trainer_id: record for record, change in changes[TrainerBusy.TOPIC] if change.fields}
    news = News(courses=await availability.news(db, trainers, absences))
    return joined(Outcome(news=news), await judge_changed(db, absences, away | trainers))


def _changes(records: Sequence[Record]) -> tuple[Changes, list[Parking]]:
    """The changes by topic, and what claims to come from the future."""
    changes: dict[str, list[tuple[Record, Change]]] = {topic: [] for topic in _ID_OF}
    parked: list[Parking] = []
    for record in records:
        if record.topic not in _ID_OF:
            continue
        change = _change(record)
        if change.changed_at > record.at + _AHEAD:
            parked.append(_from_the_future(record, change))
        else:
            changes[record.topic].append((record, change))
    return changes, parked


def _change(record: Record) -> Change:
    """A record as a change; a tombstone, or an `action` of removal, marks as removed."""
    event: Any = record.event
    payload_hash = hashlib.sha256(record.value or b"").digest()
    if isinstance(event, Tombstone):
        return Change(event.id, record.at, removed=True, payload_hash=payload_hash, payload=None, fields=None)
    return Change(
        id=_ID_OF[record.topic](event),
        changed_at=event.changed_at,
        removed=getattr(event, "action", "added") == "removed",
        payload_hash=payload_hash,
        payload=(record.value or b"").decode(),
        fields=event,
    )


def _credit(event: CoinsCredited) -> Credit:
    return Credit(event.credit_id, event.student_id, event.coins, event.credited_at)


def _from_the_future(record: Record, change: Change) -> Parking:
    reason = ChangedAtInFuture(
        field="changedAt", changedAt=change.changed_at.isoformat(), recordAt=record.at.isoformat(), id=change.id
    )
    return Parking(reason, record, student_id=getattr(change.fields, "student_id", None))


def _contradiction(record: Record, credit: Credit) -> Parking:
    return Parking(ConflictingDuplicate(creditId=credit.credit_id), record, student_id=credit.student_id)
