"""Time zones as steps: between two changes of its clocks a zone is one constant shift.

zoneinfo tells the offset of one moment only, at a microsecond or more each; a zone's year is
probed once, kept, and then serves every session of every series in it.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

DAY: Final = 24 * 60
WEEK: Final = 7 * DAY
EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
# Two days inside what a datetime can hold: in every zone, start and end of a session then fit.
EARLIEST: Final = date(1, 1, 3)
LATEST: Final = date(9999, 12, 29)

# Names that mean another zone on every machine, or none.
_NO_PLACES: Final = frozenset({"localtime", "Factory", "posixrules"})
_ORIGIN: Final = datetime(1970, 1, 1)  # noqa: DTZ001  a wall clock, the zone is given later
_ORIGIN_UTC: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MARGIN: Final = timedelta(days=1)

# (starts, shifts): shifts[i] holds from minute starts[i] until starts[i + 1].
Steps = tuple[tuple[int, ...], tuple[int, ...]]


@cache
def zone_names() -> frozenset[str]:
    """Every IANA name that this machine's or the package's tzdata knows."""
    return frozenset(available_timezones()) - _NO_PLACES


@cache
def zone_info(zone: str) -> ZoneInfo:
    """Open a zone by its name; the name is one of `zone_names`."""
    return ZoneInfo(zone)


@lru_cache(maxsize=4096)
def to_utc(zone: str, first_year: int, last_year: int) -> Steps:
    """Minutes to add to a wall minute (since 1970 as written) to get the epoch minute, by wall minute.

    A wall time that does not exist takes the shift before the gap, which moves it forward by the
    gap; one that comes twice takes that of the first. Both are `fold=0` of zoneinfo.
    """
    return _joined([_wall_year(zone, year) for year in range(first_year, last_year + 1)])


@lru_cache(maxsize=4096)
def to_wall(zone: str, first_year: int, last_year: int) -> Steps:
    """Minutes to add to an epoch minute to get the wall minute, by epoch minute."""
    return _joined([_utc_year(zone, year) for year in range(first_year, last_year + 1)])


@lru_cache(maxsize=4096)
def _wall_year(zone: str, year: int) -> Steps:
    info = zone_info(zone)

    def shift(minute: int) -> int:
        offset = (_ORIGIN + timedelta(minutes=minute)).replace(tzinfo=info).utcoffset()
        return _whole_minutes(-(offset or timedelta()))

    return _probed(shift, year)


@lru_cache(maxsize=4096)
def _utc_year(zone: str, year: int) -> Steps:
    info = zone_info(zone)

    def shift(minute: int) -> int:
        offset = (_ORIGIN_UTC + timedelta(minutes=minute)).astimezone(info).utcoffset()
        return _whole_minutes(offset or timedelta())

    return _probed(shift, year)


def _whole_minutes(shift: timedelta) -> int:
    # Local mean times, before 1972 at the latest, have seconds.
    return shift // timedelta(minutes=1)


def _probed(shift: Callable[[int], int], year: int) -> Steps:
    # A day is short enough: no zone changes its clocks and back within one (tests/domain).
    at = _minute(max(date(year, 1, 1), EARLIEST - _MARGIN))
    end = _minute(min(date(year, 12, 31), LATEST + _MARGIN)) + DAY - 1
    starts, shifts = [at], [shift(at)]
    while at < end:
        ahead = min(at + DAY, end)
        if shift(ahead) != shifts[-1]:
            ahead = _first_change(shift, at, ahead)
            starts.append(ahead)
            shifts.append(shift(ahead))
        at = ahead
    return tuple(starts), tuple(shifts)


def _first_change(shift: Callable[[int], int], before: int, after: int) -> int:
    old = shift(before)
    while after - before > 1:
        middle = (before + after) // 2
        if shift(middle) == old:
            before = middle
        else:
            after = middle
    return after


def _minute(day: date) -> int:
    return (day.toordinal() - EPOCH_ORDINAL) * DAY


def _joined(years: list[Steps]) -> Steps:
    starts: list[int] = []
    shifts: list[int] = []
    for year_starts, year_shifts in years:
        for start, shift in zip(year_starts, year_shifts, strict=True):
            if not shifts or shifts[-1] != shift:
                starts.append(start)
                shifts.append(shift)
    return tuple(starts), tuple(shifts)
