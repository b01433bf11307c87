"""Which booked sessions a trainer cannot give any more."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable
from typing import NamedTuple

from domain.directory import Trainer
from domain.hours import closed_week, needed_week, outside_hours
from domain.schedule import Series, last_day, session_starts


class Missed(NamedTuple):
    """A session by its number, why the trainer cannot give it, and when it is (epoch seconds)."""

    number: int
    cause: str
    starts_at: int
    ends_at: int


class Stretch(NamedTuple):
    """A series booked with one trainer; `first_number` is that of its first session.

    `set_aside`: what did not count when he was booked, out of `hours` and `course`.
    """

    series: Series
    first_number: int
    course: str
    set_aside: Collection[str] = ()


def rest_of(series: Series, now: int) -> Series | None:
    """What of a series has not begun at `now` (epoch seconds), as a series; None when nothing is left."""
    starts = session_starts(series)
    begun = bisect_left(starts, now / 60)
    if begun == len(starts):
        return None
    whole = series._replace(count=begun + 1)
    return series._replace(first_day=last_day(whole), count=series.count - begun)


def missed(stretch: Stretch, trainer: Trainer, away: Iterable[tuple[int, int]], now: int) -> list[Missed]:
    """The sessions not begun at `now` for which the trainer is not there, in order; times in epoch seconds.

    The cause is `left` (he is not active), `course` (he no longer teaches it), `absent` or `hours`.
    """
    series = stretch.series
    starts = session_starts(series)
    ahead = range(bisect_left(starts, now / 60), len(starts))
    causes: dict[int, str] = {}
    if not trainer.active:
        causes = dict.fromkeys(ahead, "left")
    elif stretch.course not in trainer.courses and "course" not in stretch.set_aside:
        causes = dict.fromkeys(ahead, "course")
    else:
        if "hours" not in stretch.set_aside and closed_week(trainer.hours) & needed_week(series, trainer.zone):
            causes = dict.fromkeys(outside_hours(series, trainer.hours, trainer.zone), "hours")
        for begins, ends in away:
            first = bisect_right(starts, begins / 60 - series.minutes)
            causes |= dict.fromkeys(range(first, bisect_left(starts, ends / 60)), "absent")
    return [
        Missed(stretch.first_number + i, causes[i], starts[i] * 60, (starts[i] + series.minutes) * 60)
        for i in ahead
        if i in causes
    ]
