"""Working hours: a trainer's week, and whether a series lies inside it.

A week is an int of one bit a minute, from Monday 00:00 on the trainer's wall. Adjacent windows,
and Sunday with Monday, join by themselves.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Final

from domain.clocks import DAY, EPOCH_ORDINAL, WEEK, to_wall
from domain.schedule import Series, session_starts
from domain.slots import minute_of_day, parse_days
from domain.values import shown
from errors import ScheduleInvalid

_ALWAYS: Final = (1 << WEEK) - 1
_EPOCH_WEEKDAY: Final = 3  # 1 January 1970 was a Thursday
_EPOCH: Final = date.fromordinal(EPOCH_ORDINAL)


@dataclass(frozen=True, slots=True)
class Window:
    """Working time on each day of the mask (Monday = 1); an end over 1440 runs into the next day."""

    days: int
    start_minute: int
    end_minute: int


def parse_hours(working_hours: Sequence[Mapping[str, object]] | None) -> tuple[Window, ...]:
    """Read `[{"days": ["mon"], "from": "06:00", "to": "21:00"}]`; without days it is every day.

    `to` may be 24:00, and before `from` it is on the next day. Raises ValueError naming the field.
    """
    return tuple([_window(window, f"workingHours[{number}]") for number, window in enumerate(working_hours or ())])


def _window(window: Mapping[str, object], field: str) -> Window:
    try:
        days = parse_days(window.get("days"))
    except ScheduleInvalid as invalid:
        message = f"{field}.days: expected {invalid.facts['expected']}, got {invalid.facts['value']!r}"
        raise ValueError(message) from None
    start, end = _time(window.get("from"), f"{field}.from"), _time(window.get("to"), f"{field}.to")
    if start == DAY:
        message = f"{field}.from: 24:00 is an end, a day starts at 00:00"
        raise ValueError(message)
    if start == end:
        message = f"{field}.to: the same as from; a whole day is 00:00 to 24:00"
        raise ValueError(message)
    return Window(days, start, end if end > start else end + DAY)


def _time(value: object, field: str) -> int:
    minute = minute_of_day(value) if isinstance(value, str) else None
    if minute is None:
        message = f"{field}: expected a time such as 06:00, got {shown(value)!r}"
        raise ValueError(message)
    return minute


@lru_cache(maxsize=16384)
def closed_week(hours: tuple[Window, ...]) -> int:
    """Return the minutes of the week at which a trainer does not work."""
    open_minutes = 0
    for window in hours:
        for weekday in range(7):
            if window.days >> weekday & 1:
                open_minutes |= _minutes(weekday * DAY + window.start_minute, window.end_minute - window.start_minute)
    return _ALWAYS & ~open_minutes


@lru_cache(maxsize=4096)
def needed_week(series: Series, zone: str) -> int:
    """Return the minutes of the week that the sessions take on the wall clock of `zone`."""
    starts = session_starts(series)
    changes, shifts = to_wall(zone, _year(starts[0]), _year(starts[-1] + series.minutes))
    regime = bisect_right(changes, starts[0]) - 1
    if regime + 1 == len(changes) or starts[-1] + series.minutes <= changes[regime + 1]:
        ahead = shifts[regime] + _EPOCH_WEEKDAY * DAY
        pieces = {((start + ahead) % WEEK, series.minutes) for start in starts}
    else:
        pieces = {piece for pieces in _on_wall(series, zone) for piece in pieces}
    needed = 0
    for minute, minutes in pieces:
        needed |= _minutes(minute, minutes)
    return needed


def outside_hours(series: Series, hours: tuple[Window, ...], zone: str) -> list[int]:
    """Indexes of the sessions that do not lie inside the working hours of a trainer in `zone`."""
    closed = closed_week(hours)
    return [
        index
        for index, pieces in enumerate(_on_wall(series, zone))
        if any(closed & _minutes(minute, minutes) for minute, minutes in pieces)
    ]


def _on_wall(series: Series, zone: str) -> Iterator[list[tuple[int, int]]]:
    # Each session as (minute of the week, length); two pieces where the clocks change during it.
    starts = session_starts(series)
    changes, shifts = to_wall(zone, _year(starts[0]), _year(starts[-1] + series.minutes))
    for start in starts:
        pieces, at, end = [], start, start + series.minutes
        while at < end:
            regime = bisect_right(changes, at) - 1
            until = min(end, changes[regime + 1]) if regime + 1 < len(changes) else end
            pieces.append(((at + shifts[regime] + _EPOCH_WEEKDAY * DAY) % WEEK, until - at))
            at = until
        yield pieces


def _minutes(minute: int, minutes: int) -> int:
    # What runs over the end of the week comes back at its start.
    taken = ((1 << minutes) - 1) << minute
    return (taken | taken >> WEEK) & _ALWAYS


def _year(minute: int) -> int:
    return (_EPOCH + timedelta(minutes=minute)).year
