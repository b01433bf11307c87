"""What would help sessions that lost their trainer: another one, another time, another date, each as a command."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.occupied import occupied
from actors.offering import offered
from domain.directory import Wish
from domain.occupancy import Occupancy
from domain.offers import alternatives, offers
from domain.unavailable import rest_of
from storage.trainers import TrainerDirectory
from storage.unavailable import Booked

# As for refusals: where hundreds lose their trainer at once, the first ones show what would help.
_MOST_OFFERED = 100


async def moving_offers(db: AsyncConnection, hit: Sequence[Booked], now: int) -> dict[str, list[dict[str, Any]]]:
    """At most three offers for each allocation, by its id, to move what has not begun at `now` (epoch seconds)."""
    wishes = [(one, wish) for one in hit[:_MOST_OFFERED] if (wish := _wish(one, now))]
    if not wishes:
        return {}
    # Read anew: this is rare, and a copy that is kept may be one worker's only.
    directory = TrainerDirectory()
    await directory.refresh(db)
    series = [other for _, wish in wishes for other in (wish.series, *alternatives(wish.series))]
    first = {wish.course: wish for _, wish in wishes}
    teaching = {trainer.no for wish in first.values() for trainer, _, _ in directory.trainers.judged(wish)}
    students = sorted({wish.student_no for _, wish in wishes})
    busy = await occupied(db, series, sorted(teaching | {one.trainer_no for one, _ in wishes}), students)
    return {str(one.allocation_id): _offers(directory, one, wish, busy, now) for one, wish in wishes}


def _wish(one: Booked, now: int) -> Wish | None:
    rest = rest_of(one.stretch.series, now)
    if rest is None:
        return None
    at_home = not one.online and one.place is not None
    return Wish(str(one.allocation_id), one.stretch.course, rest, one.student_no, one.place, at_home)


def _offers(
    directory: TrainerDirectory, one: Booked, wish: Wish, busy: tuple[Occupancy, Occupancy], now: int
) -> list[dict[str, Any]]:
    """The student's own booking is in nobody's way; the trainer keeps his, since he cannot give those sessions."""
    trainers, students = busy
    students.release(one.student_no, wish.series)
    found = offers(directory.trainers, wish, trainers, students, -(-now // 60))
    students.book(one.student_no, wish.series)
    # A move sets no rule aside.
    return [offered(offer, wish.series, _target(one)) for offer in found if not offer.force or not one.scheduled]


def _target(one: Booked) -> dict[str, Any]:
    if one.scheduled:
        return {"command": "rescheduleSessions", "allocationId": str(one.allocation_id)}
    return {"command": "assignTrainer", "enrollmentId": str(one.enrollment_id)}
