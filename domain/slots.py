"""Reading times, slots, days and zones as people and browsers write them (dates: dates.py)."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from domain.clocks import DAY, zone_names
from domain.values import is_missing, shown
from errors import ScheduleInvalid

EVERY_DAY: Final = 0b1111111
SHORTEST: Final = 15
LONGEST: Final = 12 * 60
_NOON: Final = 12
_LONGEST_TEXT: Final = 64

# Direction marks and zero-width characters that browsers put around times.
_INVISIBLE: Final = dict.fromkeys(map(ord, "\u200b\u200e\u200f\u2060\ufeff"))
_DASH: Final = re.compile(r"\s*[-\u2010-\u2015\u2212\ufe58\ufe63\uff0d]\s*")
# `4:00`, `4:00:00` or, with a half of the day, also `4`; the half is AM, pm or p. m.
_CLOCK_24: Final = re.compile(r"([0-9]{1,2}):([0-5][0-9])(?::00)?")
_CLOCK_12: Final = re.compile(r"([0-9]{1,2})(?::([0-5][0-9])(?::00)?)?\s*([ap])\.?\s?m\.?", re.IGNORECASE)
_NAMES: Final = (
    ("mon", "monday"),
    ("tue", "tues", "tuesday"),
    ("wed", "weds", "wednesday"),
    ("thu", "thur", "thurs", "thursday"),
    ("fri", "friday"),
    ("sat", "saturday"),
    ("sun", "sunday"),
)
_DAY_BITS: Final = {name: 1 << weekday for weekday, names in enumerate(_NAMES) for name in names}
_BETWEEN_DAYS: Final = re.compile(r"[\s,;|/]+")

_A_SLOT: Final = "a time or a range such as 16:00-17:00 or 4:00 PM - 5:00 PM, of 15 minutes to 12 hours"
_SOME_DAYS: Final = "names of days such as mon and wed"
_A_ZONE: Final = "an IANA time zone such as Asia/Kolkata"


@dataclass(frozen=True, slots=True)
class Slot:
    """A time of day: minutes since midnight (0 to 1439), and a length in minutes (15 to 720)."""

    start_minute: int
    minutes: int


class _Time(NamedTuple):
    minute: int  # since midnight; 24:00 is 1440
    by_halves: bool  # AM or PM was written


def parse_slot(value: object, field: str = "timeSlot") -> Slot:
    """Read `16:00`, `16:00-17:00`, `4 pm` or `4:00 PM - 5:00 PM`; without an end it lasts one hour.

    The end may lie on the next day. Raises ScheduleInvalid.
    """
    slot = _slot_of(value) if isinstance(value, str) and len(value) <= _LONGEST_TEXT else None
    if slot is None:
        raise ScheduleInvalid(field=field, value=shown(value), expected=_A_SLOT)
    return slot


def parse_days(value: object, field: str = "daysOfWeek") -> int:
    """Read `["mon", "Wednesday"]` or `"mon,wed"` as a mask with Monday = 1; nothing given is every day.

    Raises ScheduleInvalid.
    """
    names = _BETWEEN_DAYS.split(value.strip()) if isinstance(value, str) else value
    if names is not None and not isinstance(names, list | tuple | set | frozenset):
        raise ScheduleInvalid(field=field, value=shown(value), expected=_SOME_DAYS)
    mask = 0
    for name in names or ():
        if is_missing(name):
            continue
        bit = _DAY_BITS.get(name.strip().casefold()) if isinstance(name, str) else None
        if bit is None:
            raise ScheduleInvalid(field=field, value=shown(value), expected=_SOME_DAYS)
        mask |= bit
    return mask or EVERY_DAY


def parse_zone(value: object, field: str = "timezone") -> str:
    """Read the name of a time zone, exactly as IANA spells it. Raises ScheduleInvalid."""
    name = value.strip() if isinstance(value, str) else None
    if name is None or name not in zone_names():
        raise ScheduleInvalid(field=field, value=shown(value), expected=_A_ZONE)
    return name


def minute_of_day(text: str) -> int | None:
    """Minutes since midnight of `06:00` or `6 AM`; `24:00` is 1440; None where it is no time."""
    time = _time_of(text.translate(_INVISIBLE).strip()) if len(text) <= _LONGEST_TEXT else None
    return None if time is None else time.minute


@lru_cache(maxsize=4096)
def _slot_of(text: str) -> Slot | None:
    first, *rest = _DASH.split(text.translate(_INVISIBLE).strip())
    start = _time_of(first)
    if start is None or start.minute == DAY or len(rest) > 1:
        return None
    if not rest:
        return Slot(start.minute, 60)
    end = _time_of(rest[0])
    # "4:00 - 5:00 PM" can be read in two ways, and a wrong guess would be booked.
    if end is None or (start.by_halves != end.by_halves and end.minute != DAY):
        return None
    minutes = (end.minute - start.minute) % DAY
    return Slot(start.minute, minutes) if SHORTEST <= minutes <= LONGEST else None


def _time_of(text: str) -> _Time | None:
    if written := _CLOCK_12.fullmatch(text):
        hour, minute = int(written[1]), int(written[2] or 0)
        late = _NOON if written[3] in "pP" else 0
        return _Time((hour % _NOON + late) * 60 + minute, by_halves=True) if 1 <= hour <= _NOON else None
    if written := _CLOCK_24.fullmatch(text):
        since_midnight = int(written[1]) * 60 + int(written[2])
        return _Time(since_midnight, by_halves=False) if since_midnight <= DAY else None
    return None
