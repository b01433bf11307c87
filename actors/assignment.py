"""Who teaches whom: the locks in the order of the whole system, then one decision for the batch.

Everything costly happens before the trainers are locked; after it, what the decision needs is read
and decided at once. Only when a booking turns out to be taken after all is it decided again.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from time import gmtime, strftime

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.request import Request
from contracts.base import derived_id
from domain.directory import Candidate
from domain.matching import Weights, choose, explain
from domain.occupancy import Occupancy
from domain.schedule import Series, session_starts
from errors import NoTrainerAvailable, Parked, StudentAlreadyBooked
from storage import allocations, bookings
from storage.allocations import Allocation, Decision, Order
from storage.bookings import Taken
from storage.trainers import TrainerDirectory

_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Assigned:
    """The allocations that are stored now, and the orders for which there is no trainer, with the reason."""

    approved: list[Allocation]
    refused: list[tuple[Order, Parked]]


async def assign(
    db: AsyncConnection, directory: TrainerDirectory, requests: Sequence[Request], weights: Weights
) -> Assigned:
    """Choose, book and store a trainer for each request whose purchase and student are locked by the caller."""
    await directory.refresh(db)
    candidates = {r.wish.key: directory.trainers.candidates(r.wish) for r in requests}
    locked = sorted({c.trainer.no for found in candidates.values() for c in found})
    await bookings.lock_trainers(db, locked)
    if await directory.refresh(db):
        held = set(locked)
        candidates = {
            r.wish.key: [c for c in directory.trainers.candidates(r.wish) if c.trainer.no in held] for r in requests
        }
    trainers, students = await _occupied(db, requests, locked)
    result = Assigned([], [])
    waiting = list(requests)
    for _ in range(_ROUNDS):
        chosen = choose([(r.wish, candidates[r.wish.key]) for r in waiting], trainers, students, weights)
        decisions = {r.wish.key: _decision(r, c) for r in waiting if isinstance(c := chosen[r.wish.key], Candidate)}
        for request in (r for r in waiting if r.wish.key not in decisions):
            # An explanation looks at every trainer of the course: heartbeats must not wait for a thousand.
            await asyncio.sleep(0)
            reason = _refusal(request, chosen[request.wish.key], directory, trainers, students)
            result.refused.append((request.order, reason))
        stored = await allocations.approve(db, list(decisions.values()))
        result.approved.extend(stored)
        for allocation in stored:
            del decisions[allocation.payment_id]
        if not decisions:
            return result
        # Their time was taken after all: give it back, look at what is really booked, choose again.
        for decision in decisions.values():
            trainers.release(decision.trainer_no, decision.series)
            students.release(decision.student_no, decision.series)
        waiting = [r for r in waiting if r.wish.key in decisions]
        await _look_closer(db, trainers, students, locked, [r.wish.student_no for r in waiting])
    result.refused.extend((r.order, NoTrainerAvailable(contended=True)) for r in waiting)
    return result


async def _occupied(
    db: AsyncConnection, requests: Sequence[Request], trainer_nos: Sequence[int]
) -> tuple[Occupancy, Occupancy]:
    """Who is busy when, read after the locks."""
    series = [r.wish.series for r in requests]
    trainers, students = Occupancy(series), Occupancy(series)
    found = await bookings.occupied(db, trainer_nos, sorted({r.wish.student_no for r in requests}))
    for no, booked in found.trainers:
        trainers.book(no, booked)
    for no, booked in found.students:
        students.book(no, booked)
    _block(trainers, found.absences)
    return trainers, students


async def _look_closer(
    db: AsyncConnection,
    trainers: Occupancy,
    students: Occupancy,
    trainer_nos: Sequence[int],
    student_nos: Sequence[int],
) -> None:
    """A recipe no longer gives the times it was booked with: take the booked times themselves."""
    by_trainer, by_student = await bookings.taken(db, trainer_nos, student_nos)
    _block(trainers, by_trainer)
    _block(students, by_student)


def _block(occupancy: Occupancy, taken: Sequence[Taken]) -> None:
    for time in taken:
        occupancy.block(time.who, time.starts_at, time.ends_at)


def _refusal(
    request: Request,
    reason: object,
    directory: TrainerDirectory,
    trainers: Occupancy,
    students: Occupancy,
) -> Parked:
    wish = request.wish
    if reason is StudentAlreadyBooked:
        clashes = students.clashes(wish.student_no, wish.series)
        return StudentAlreadyBooked(sessions=[index + 1 for index in clashes])
    return NoTrainerAvailable(**explain(directory.trainers, wish, trainers))


def _decision(request: Request, candidate: Candidate) -> Decision:
    order = request.order
    return Decision(
        allocation_id=derived_id("allocation", order.enrollment_id),
        order=order,
        student_no=request.wish.student_no,
        trainer_no=candidate.trainer.no,
        trainer_id=candidate.trainer.id,
        series=request.wish.series,
        provisional=request.provisional,
        metadata=request.metadata,
        booked=_multirange(request.wish.series),
    )


def _multirange(series: Series) -> str:
    """The series in PostgreSQL's notation of a tstzmultirange."""
    ranges = [f'["{_minute(start)}","{_minute(start + series.minutes)}")' for start in session_starts(series)]
    return "{" + ",".join(ranges) + "}"


@lru_cache(maxsize=65536)
def _minute(epoch_minute: int) -> str:
    return strftime("%Y-%m-%d %H:%M:00+00", gmtime(epoch_minute * 60))
