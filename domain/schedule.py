"""From a first day, days of the week and a slot to the start of every session.

The wall clock of the zone decides: 16:00 stays 16:00 across a change of clocks.
"""

from bisect import bisect_right
from datetime import date, timedelta
from functools import lru_cache
from typing import NamedTuple

from domain.clocks import DAY, EARLIEST, EPOCH_ORDINAL, LATEST, to_utc
from domain.slots import Slot
from errors import ScheduleInvalid


class Series(NamedTuple):  # a key of many caches: a tuple is hashed and compared in C
    """Every session of an allocation: `count` sessions from `first_day` on, on the days of the mask (Monday = 1).

    `start_minute` is the wall clock of `zone` (IANA name), `minutes` the length of a session. Make it with
    `series_of`, which sees to it that the first day is one of the days and the last one exists.
    """

    first_day: date
    days: int
    count: int  # type: ignore[assignment]  # a tuple's own count is nobody's need
    start_minute: int
    minutes: int
    zone: str


def series_of(first_day: date, days: int, count: int, slot: Slot, zone: str) -> Series:
    """Plan `count` sessions from the first matching day on or after `first_day`.

    Raises ScheduleInvalid where the calendar (years 1 to 9999) ends before the series.
    """
    try:
        first = first_day + timedelta(days=_wait(first_day, days))
        series = Series(first, days, count, slot.start_minute, slot.minutes, zone)
        fits = first >= EARLIEST and last_day(series) <= LATEST
    except OverflowError:
        fits = False
    if not fits:
        expected = "a series between the years 1 and 9999"
        raise ScheduleInvalid(field="date", value=first_day.isoformat(), expected=expected)
    return series


@lru_cache(maxsize=8192)
def session_starts(series: Series) -> tuple[int, ...]:
    """Epoch minutes (UTC) of the starts, one a session, in order.

    A wall time that does not exist moves forward by the length of the gap; of two equal ones it is the first.
    """
    waits = _waits(series.days, series.first_day.weekday(), series.count)
    first = (series.first_day.toordinal() - EPOCH_ORDINAL) * DAY + series.start_minute
    changes, shifts = to_utc(series.zone, series.first_day.year, last_day(series).year)
    regime = bisect_right(changes, first) - 1
    if regime + 1 == len(changes) or first + waits[-1] < changes[regime + 1]:
        base = first + shifts[regime]
        return tuple([base + wait for wait in waits])
    walls = [first + wait for wait in waits]
    return tuple([wall + shifts[bisect_right(changes, wall) - 1] for wall in walls])


def first_start(series: Series) -> int:
    """Return the epoch minute (UTC) at which the first session begins."""
    return session_starts(series)[0]


def last_day(series: Series) -> date:
    """Return the day, in the series' zone, on which the last session begins. Raises OverflowError past year 9999."""
    waits = _waits(series.days, series.first_day.weekday(), series.count)
    return series.first_day + timedelta(minutes=waits[-1])


@lru_cache(maxsize=4096)
def _waits(days: int, weekday: int, count: int) -> tuple[int, ...]:
    # Minutes from the first day's midnight, as the wall shows it, to that of each session's day.
    week = [ahead * DAY for ahead in range(7) if days >> (weekday + ahead) % 7 & 1]
    if count < 1 or not week:
        message = f"no series of {count} sessions on the days {days:#b}"
        raise ValueError(message)
    return tuple([index // len(week) * 7 * DAY + week[index % len(week)] for index in range(count)])


def _wait(first_day: date, days: int) -> int:
    return _waits(days, first_day.weekday(), 1)[0] // DAY
