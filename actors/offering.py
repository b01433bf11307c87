"""Why there is nobody, and what would help: facts and offers for what is refused, each offer a command.

An offer is true when it is made. Whoever takes it up later is refused if the time has gone meanwhile.
"""

import asyncio
from collections.abc import Sequence
from math import ceil
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.occupied import occupied
from actors.request import Request, clock_time
from domain.matching import explain
from domain.occupancy import Occupancy
from domain.offers import Offer, alternatives, offers
from domain.schedule import Series
from errors import Parked, StudentAlreadyBooked
from storage.allocations import Order
from storage.trainers import TrainerDirectory

# Both are found while trainers are locked, and cost milliseconds each; where a whole batch is refused, the first
# ones show what is wrong and what would help, and the next try of the others tells it of them.
_MOST_OFFERED = 100
_MOST_EXPLAINED = 300


async def explained(
    db: AsyncConnection, directory: TrainerDirectory, refused: Sequence[tuple[Request, type[Parked]]]
) -> list[tuple[Order, Parked]]:
    """The reason of each refusal with its facts: who fell out for which cause, and the nearest offers."""
    trainers, students = await _around(db, directory, [request for request, _ in refused])
    found: list[tuple[Order, Parked]] = []
    for number, (request, why) in enumerate(refused):
        # An explanation looks at every trainer of the course: heartbeats must not wait for a thousand.
        await asyncio.sleep(0)
        facts = _facts(directory, request, why, trainers, students) if number < _MOST_EXPLAINED else {}
        if number < _MOST_OFFERED:
            now = ceil(request.order.now.timestamp() / 60)
            made = offers(directory.trainers, request.wish, trainers, students, now)
            facts["offers"] = [offered(offer, request.wish.series, _target(request)) for offer in made]
        found.append((request.order, why(**facts)))
    return found


async def _around(
    db: AsyncConnection, directory: TrainerDirectory, requests: Sequence[Request]
) -> tuple[Occupancy, Occupancy]:
    """When everybody who teaches these courses is busy, and the students, also around the times asked for."""
    wishes = [request.wish for request in requests]
    series = {wish.series for wish in wishes}
    series.update(other for wish in wishes[:_MOST_OFFERED] for other in alternatives(wish.series))
    first = {wish.course: wish for wish in wishes}
    concerned = {trainer.no for wish in first.values() for trainer, _, _ in directory.trainers.judged(wish)}
    named = {directory.trainers.named(request.trainer_id) for request in requests if request.trainer_id}
    concerned.update(trainer.no for trainer in named if trainer is not None)
    return await occupied(db, series, sorted(concerned), sorted({wish.student_no for wish in wishes}))


def offered(offer: Offer, series: Series, target: dict[str, Any]) -> dict[str, Any]:
    """An offer in words, and as the command that takes it up (without id, name and reason of whoever does)."""
    command: dict[str, Any] = {"trainerId": offer.trainer_id}
    says = offer.trainer_id
    if offer.km is not None:
        says += f", {offer.km:.1f} km away"
    if (offer.start_minute, offer.minutes) != (series.start_minute, series.minutes):
        command["timeSlot"] = f"{clock_time(offer.start_minute)}-{clock_time(offer.start_minute + offer.minutes)}"
        says += f", at {clock_time(offer.start_minute)} instead of {clock_time(series.start_minute)}"
    if offer.first_day != series.first_day:
        command["date"] = offer.first_day.isoformat()
        says += f", from {offer.first_day} on instead of {series.first_day}"
    if offer.force:
        command["force"] = list(offer.force)
        says += ", beyond the usual radius"
    return {"says": says, "command": {**target, **command}}


def _target(request: Request) -> dict[str, Any]:
    if request.order.scheduled:
        return {"command": "rescheduleSessions", "allocationId": str(request.order.allocation_id)}
    return {"command": "assignTrainer", "enrollmentId": str(request.order.enrollment_id)}


def _facts(
    directory: TrainerDirectory, request: Request, why: type[Parked], trainers: Occupancy, students: Occupancy
) -> dict[str, Any]:
    wish = request.wish
    if why is StudentAlreadyBooked:
        return {"sessions": [index + 1 for index in students.clashes(wish.student_no, wish.series)]}
    if request.trainer_id is not None:
        return {"trainerId": request.trainer_id, "causes": _causes(directory, request, trainers)}
    return dict(explain(directory.trainers, wish, trainers))


def _causes(directory: TrainerDirectory, request: Request, trainers: Occupancy) -> list[str]:
    """What stands against the one trainer that was asked for."""
    trainer = directory.trainers.named(request.trainer_id or "")
    if trainer is None:
        return ["unknown"]
    causes, _ = directory.trainers.misfit(request.wish, trainer.no)
    left = [cause for cause in causes if cause not in request.force]
    return left + ([] if trainers.is_free(trainer.no, request.wish.series) else ["busy"])
