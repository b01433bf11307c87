"""Who teaches whom: the locks in the order of the whole system, then one decision for the batch.

Everything costly happens before the trainers are locked; after it, what the decision needs is read
and decided at once. Only when a booking turns out to be taken after all is it decided again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from time import gmtime, strftime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.occupied import block, occupied
from actors.offering import explained
from actors.request import Request
from domain.directory import Candidate
from domain.matching import Weights, choose
from domain.occupancy import Occupancy
from domain.schedule import Series, session_starts
from errors import NoTrainerAvailable, Parked
from storage import allocations, bookings, releases
from storage.allocations import Allocation, Decision, Order
from storage.trainers import TrainerDirectory

_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Assigned:
    """The allocations that are stored now, and the orders for which there is no trainer, with the reason."""

    approved: list[Allocation]
    refused: list[tuple[Order, Parked]]


async def assign(
    db: AsyncConnection,
    directory: TrainerDirectory,
    requests: Sequence[Request],
    weights: Weights,
    *,
    since: datetime | None = None,
) -> Assigned:
    """Choose, book and store a trainer for each request whose purchase and student are locked by the caller.

    What was decided before gives its time back first: all of it, or the sessions that begin at `since` or later.
    """
    await directory.refresh(db)
    candidates = {r.wish.key: _candidates(directory, r) for r in requests}
    before = [r.order for r in requests if r.order.allocated]
    locked = sorted({c.trainer.no for found in candidates.values() for c in found} | set(_trainers(before)))
    await bookings.lock_trainers(db, locked)
    if await directory.refresh(db):
        held = set(locked)
        candidates = {r.wish.key: [c for c in _candidates(directory, r) if c.trainer.no in held] for r in requests}
    if before:
        await releases.free(db, [order.allocation_id for order in before], since)
    series = [r.wish.series for r in requests]
    trainers, students = await occupied(db, series, locked, sorted({r.wish.student_no for r in requests}))
    for request in requests:
        _keep(request, candidates, trainers)
    result = Assigned([], [])
    refused: list[tuple[Request, type[Parked]]] = []
    waiting = list(requests)
    for _ in range(_ROUNDS):
        chosen = choose([(r.wish, candidates[r.wish.key]) for r in waiting], trainers, students, weights)
        decisions = {r.wish.key: _decision(r, c) for r in waiting if isinstance(c := chosen[r.wish.key], Candidate)}
        refused += [(r, why) for r in waiting if not isinstance(why := chosen[r.wish.key], Candidate)]
        stored = await allocations.approve(db, list(decisions.values()))
        result.approved.extend(stored)
        for allocation in stored:
            del decisions[allocation.payment_id]
        if not decisions:
            break
        # Their time was taken after all: give it back, look at what is really booked, choose again.
        for decision in decisions.values():
            trainers.release(decision.trainer_no, decision.series)
            students.release(decision.student_no, decision.series)
        waiting = [r for r in waiting if r.wish.key in decisions]
        await _look_closer(db, trainers, students, locked, [r.wish.student_no for r in waiting])
    else:
        result.refused.extend((r.order, NoTrainerAvailable(contended=True)) for r in waiting)
    if refused:
        result.refused.extend(await explained(db, directory, refused))
    return result


def _candidates(directory: TrainerDirectory, request: Request) -> list[Candidate]:
    """Who could take it when free: everybody who fits, or the one trainer that was asked for."""
    if request.trainer_id is None:
        found = directory.trainers.candidates(request.wish)
        if request.keep is not None and request.force and all(c.trainer.no != request.keep for c in found):
            found = [*found, *_in_spite(directory, request, request.keep)]
        return found
    trainer = directory.trainers.named(request.trainer_id)
    return [] if trainer is None else _in_spite(directory, request, trainer.no)


def _in_spite(directory: TrainerDirectory, request: Request, trainer_no: int) -> list[Candidate]:
    """This very trainer, unless more stands against him than what is set aside."""
    trainer = directory.trainers.get(trainer_no)
    if trainer is None:
        return []
    causes, km = directory.trainers.misfit(request.wish, trainer_no)
    return [] if set(causes) - set(request.force) else [Candidate(trainer, km or 0.0)]


def _keep(request: Request, candidates: dict[str, list[Candidate]], trainers: Occupancy) -> None:
    """Leave only the trainer of before to choose from, where he still fits and is free."""
    if request.keep is None or not trainers.is_free(request.keep, request.wish.series):
        return
    same = [c for c in candidates[request.wish.key] if c.trainer.no == request.keep]
    candidates[request.wish.key] = same or candidates[request.wish.key]


def _trainers(orders: Sequence[Order]) -> list[int]:
    return [order.trainer_no for order in orders if order.trainer_no is not None]


async def _look_closer(
    db: AsyncConnection,
    trainers: Occupancy,
    students: Occupancy,
    trainer_nos: Sequence[int],
    student_nos: Sequence[int],
) -> None:
    """A recipe no longer gives the times it was booked with: take the booked times themselves."""
    by_trainer, by_student = await bookings.taken(db, trainer_nos, student_nos)
    block(trainers, by_trainer)
    block(students, by_student)


def _decision(request: Request, candidate: Candidate) -> Decision:
    order = request.order
    return Decision(
        allocation_id=order.allocation_id,
        order=order,
        student_no=request.wish.student_no,
        trainer_no=candidate.trainer.no,
        trainer_id=candidate.trainer.id,
        series=request.wish.series,
        provisional=request.provisional,
        metadata=_metadata(request, candidate),
        booked=_multirange(request.wish.series),
        first_number=request.first_number,
    )


def _metadata(request: Request, candidate: Candidate) -> dict[str, Any]:
    """What becomes the allocation's metadata: rules set aside for one trainer are not so for another."""
    repaired = request.metadata.get("repaired", {})
    his = request.trainer_id is not None or candidate.trainer.no == request.keep
    if "force" not in repaired or (his and request.force):
        return request.metadata
    rest = {name: value for name, value in repaired.items() if name != "force"}
    others = {name: value for name, value in request.metadata.items() if name != "repaired"}
    return others | ({"repaired": rest} if rest else {})


def _multirange(series: Series) -> str:
    """The series in PostgreSQL's notation of a tstzmultirange."""
    ranges = [f'["{_minute(start)}","{_minute(start + series.minutes)}")' for start in session_starts(series)]
    return "{" + ",".join(ranges) + "}"


@lru_cache(maxsize=65536)
def _minute(epoch_minute: int) -> str:
    return strftime("%Y-%m-%d %H:%M:00+00", gmtime(epoch_minute * 60))
