"""What would help where nobody can take a wish: the nearest other trainers, times and first days.

Every offer works as the world is known: he teaches, works then and is free at every session, as is the
student. The one rule that an offer may set aside is the radius, and only that of another trainer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from itertools import islice, zip_longest
from math import inf
from typing import Final, NamedTuple

from domain.clocks import DAY
from domain.directory import Directory, Teacher, Wish
from domain.occupancy import Occupancy
from domain.schedule import Series, first_start, series_of
from domain.slots import Slot
from errors import ScheduleInvalid

_MOST: Final = 3
_SHIFTS: Final = (60, -60, 120, -120, 180, -180)  # minutes, the nearest first
_DAYS_LATER: Final = range(1, 15)
# Beyond his radius a trainer is asked to come from so many radii away at most, or from so many km if that is more.
_RADIUS_TIMES: Final = 4.0
_ANYWAY_KM: Final = 50.0


@dataclass(frozen=True, slots=True)
class Offer:
    """A way to have all sessions after all, by its kind.

    `trainer`: at the very times, by whoever is nearest, if need be beyond his radius; `time`: on the same days,
    up to three hours later or earlier; `date`: from another first day on, up to two weeks later.
    """

    kind: str
    trainer_id: str
    km: float | None  # None where distance does not count
    first_day: date
    start_minute: int
    minutes: int
    days: int  # the mask of a series
    force: tuple[str, ...]  # the rules set aside: distance, or none


class _Known(NamedTuple):
    directory: Directory
    trainers: Occupancy
    students: Occupancy
    student_no: int
    now_minute: int


def alternatives(series: Series) -> list[Series]:
    """Return every series that offers look at, the one asked for first; both occupancies must cover them all."""
    return [series, *_at_other_times(series), *_from_other_days(series)]


def offers(directory: Directory, wish: Wish, trainers: Occupancy, students: Occupancy, now_minute: int) -> list[Offer]:
    """Return at most three: the nearest of each kind, then the next nearest where a kind has too few.

    What comes nearest: of the trainers those within their radius, then the distance; of the times the smallest
    shift, the later of two; of the days the soonest, both with the nearest trainer. Ties go to the smallest id.
    No first session begins before `now_minute` (epoch minutes, UTC). What the wish itself has booked must be
    free in both occupancies. Raises ValueError where they do not cover the `alternatives`.
    """
    teachers = sorted(filter(_may_come, directory.teachers(wish)), key=_nearness)
    near = [one for one in teachers if one.near]
    fitting = partial(_fitting, _Known(directory, trainers, students, wish.student_no, now_minute))
    asked = wish.series
    kinds = (
        (_offer("trainer", asked, one) for one in fitting(asked, teachers)),
        (_offer("time", other, one) for other in _at_other_times(asked) for one in islice(fitting(other, near), 1)),
        (_offer("date", other, one) for other in _from_other_days(asked) for one in islice(fitting(other, near), 1)),
    )
    ranked = (offer for rank in zip_longest(*kinds) for offer in rank if offer is not None)
    return list(islice(ranked, _MOST))


def _at_other_times(series: Series) -> list[Series]:
    """The same days, the nearest times first; none reaches into a day that the series left alone."""
    found = []
    for shift in _SHIFTS:
        start = series.start_minute + shift
        if start >= 0 and (shift < 0 or start + series.minutes <= DAY):
            found.append(series._replace(start_minute=start))
    return found


def _from_other_days(series: Series) -> list[Series]:
    """The same time and days of the week from a later day on, the soonest first."""
    slot = Slot(series.start_minute, series.minutes)
    found: dict[Series, None] = {}
    for later in _DAYS_LATER:
        try:
            other = series_of(series.first_day + timedelta(days=later), series.days, series.count, slot, series.zone)
        except ScheduleInvalid:  # the end of the calendar
            break
        found[other] = None
    return list(found)


def _may_come(teacher: Teacher) -> bool:
    # Without a radius, or at an unknown place, he teaches online only: nobody sends him anywhere.
    radius, km = teacher.trainer.radius_km, teacher.km
    return teacher.near or (
        km is not None and radius is not None and radius >= 0 and km <= max(_RADIUS_TIMES * radius, _ANYWAY_KM)
    )


def _nearness(teacher: Teacher) -> tuple[bool, float, str]:
    return not teacher.near, inf if teacher.km is None else teacher.km, teacher.trainer.id


def _fitting(known: _Known, series: Series, teachers: Sequence[Teacher]) -> Iterator[Teacher]:
    # Lazy: most searches end at one of the first.
    if first_start(series) < known.now_minute or not known.students.is_free(known.student_no, series):
        return
    works, bits, busy = known.directory.works(series), known.trainers.wanted(series), known.trainers.busy.get
    for teacher in teachers:
        if not busy(teacher.trainer.no, 0) & bits and works[teacher.rota]:
            yield teacher


def _offer(kind: str, series: Series, teacher: Teacher) -> Offer:
    return Offer(
        kind,
        teacher.trainer.id,
        teacher.km,
        series.first_day,
        series.start_minute,
        series.minutes,
        series.days,
        () if teacher.near else ("distance",),
    )
