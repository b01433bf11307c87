"""Sessions booked with a trainer who is not there for them any more: parked, once an allocation, until they move.

The sessions stay as they are. When the trainer is there after all, the row closes by itself.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import Outcome
from actors.moving_offers import moving_offers
from contracts.feeds import TrainerChanged
from contracts.record import Record
from domain.unavailable import Missed, missed
from errors import TrainerUnavailable
from storage import bookings, unavailable
from storage.parking import Parking
from storage.unavailable import Booked, Present

_MOST_NUMBERS = 10


async def judge_changed(db: AsyncConnection, busy_ids: Collection[str], carriers: Mapping[str, Record]) -> Outcome:
    """Judge the bookings of the trainers whom this transaction has changed; `carriers`: who told of whom, by trainer.

    Their locks come after the change and before the reading: a booking made meanwhile is either seen
    here, or is decided with the change in sight.
    """
    nos = await unavailable.concerned(db, carriers.keys(), busy_ids)
    if not nos:
        return Outcome()
    await bookings.lock_trainers(db, nos)
    return await _judge(db, await unavailable.allocations_of(db, nos), carriers)


async def recheck(db: AsyncConnection, allocation_ids: Sequence[UUID]) -> Outcome:
    """Judge these allocations by what stands in the tables; the caller holds their purchases' locks.

    What is parked and done is the directory's.
    """
    await bookings.lock_trainers(db, await unavailable.trainers_of(db, allocation_ids))
    return await _judge(db, allocation_ids, {})


async def _judge(db: AsyncConnection, allocation_ids: Sequence[UUID], carriers: Mapping[str, Record]) -> Outcome:
    booked = await unavailable.booked(db, allocation_ids) if allocation_ids else []
    there = await unavailable.present(db, (one.trainer_no for one in booked)) if booked else {}
    hit: list[tuple[list[tuple[Booked, Missed]], Present]] = []
    for number, (_, stretches) in enumerate(groupby(booked, key=lambda one: one.allocation_id)):
        if number % 100 == 0:
            await asyncio.sleep(0)  # heartbeats must not wait for a trainer of a thousand bookings
        found = [(one, miss) for one in stretches for miss in _missed(one, there[one.trainer_no])]
        if found:
            hit.append((found, there[found[0][0].trainer_no]))
    if not hit:
        return Outcome(done=[str(one) for one in allocation_ids])
    now = int(hit[0][1].now.timestamp())
    made = await moving_offers(db, [found[0][0] for found, _ in hit], now)
    parked = [
        _parking(found, who, carriers.get(who.trainer.id) or _record(who), made.get(str(found[0][0].allocation_id), []))
        for found, who in hit
    ]
    lost = {item.allocation_id for item in parked}
    return Outcome(parked=parked, done=[str(one) for one in allocation_ids if one not in lost])


def _missed(one: Booked, present: Present) -> list[Missed]:
    return missed(one.stretch, present.trainer, present.away, int(present.now.timestamp()))


def _parking(
    found: Sequence[tuple[Booked, Missed]], who: Present, record: Record, made: list[dict[str, Any]]
) -> Parking:
    (one, first), (_, last) = found[0], found[-1]
    reason = TrainerUnavailable(
        trainerId=who.trainer.id,
        cause=first.cause,
        sessions=[miss.number for _, miss in found[:_MOST_NUMBERS]],
        count=len(found),
        offers=made,
        **{"from": _instant(first.starts_at), "until": _instant(last.ends_at)},
    )
    return Parking(
        reason,
        record,
        subject=str(one.allocation_id),
        payment_id=one.payment_id,
        enrollment_id=one.enrollment_id,
        allocation_id=one.allocation_id,
        student_id=one.student_id,
        seen=who.seen,
    )


def _record(who: Present) -> Record:
    """What upstream said of the trainer last, as a record that stands nowhere."""
    return Record(TrainerChanged.TOPIC, -1, -1, who.now, who.trainer.id.encode(), who.payload, ())


def _instant(epoch_seconds: int) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).isoformat().replace("+00:00", "Z")
