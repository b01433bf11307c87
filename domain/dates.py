"""Reading a first day: a plain date, or the timestamp that a program made of one."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import lru_cache
from typing import Final

from domain.clocks import zone_info, zone_names
from domain.values import shown
from errors import ScheduleInvalid

_LONGEST_TEXT: Final = 64
_HOUR: Final = 60
_MOMENT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,12}))?)?"
    r" ?(?P<offset>Z|[+\-\u2212][0-9]{2}(?::?[0-9]{2})?)?)?",
    re.IGNORECASE,
)
_A_DATE: Final = "a date such as 2026-12-01, or a full ISO 8601 timestamp"


@dataclass(frozen=True, slots=True)
class WrittenDate:
    """A date as written, and the instant if it is one whose date depends on the zone."""

    day: date
    instant: datetime | None


def parse_date(value: object, zone: str, field: str = "date") -> date:
    """Read a date; an instant with an offset, other than midnight as written, is a date of that zone.

    `zone` is an IANA name. Raises ScheduleInvalid.
    """
    written = written_date(value)
    if written is None:
        raise ScheduleInvalid(field=field, value=shown(value), expected=_A_DATE)
    if written.instant is None:
        return written.day
    if zone not in zone_names():
        raise ScheduleInvalid(field="timezone", value=shown(zone), expected="an IANA time zone such as Asia/Kolkata")
    try:
        return written.instant.astimezone(zone_info(zone)).date()
    except OverflowError:
        raise ScheduleInvalid(field=field, value=shown(value), expected=_A_DATE) from None


def written_date(value: object) -> WrittenDate | None:
    """Read a date or a timestamp without regard to any zone; None where it is neither."""
    if isinstance(value, date):  # a datetime is one too
        return _written_date(value.isoformat())
    return _written_date(value) if isinstance(value, str) and len(value) <= _LONGEST_TEXT else None


def instant_of(value: object) -> datetime | None:
    """Read a timestamp with an offset as an instant of UTC, to the microsecond; None where it is none."""
    text = value.isoformat() if isinstance(value, datetime) else value
    written = _MOMENT.fullmatch(text.strip()) if isinstance(text, str) and len(text) <= _LONGEST_TEXT else None
    try:
        return None if written is None else _instant(written)
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=4096)
def _written_date(text: str) -> WrittenDate | None:
    written = _MOMENT.fullmatch(text.strip())
    try:
        if written is None:
            return None
        day = date.fromisoformat(written[1])
        instant = _instant(written)
    except (ValueError, OverflowError):
        return None
    at_midnight = not any(int(written[part] or 0) for part in ("hour", "minute", "second", "fraction"))
    return WrittenDate(day, None if at_midnight else instant)


def _instant(written: re.Match[str]) -> datetime | None:
    # None without an offset; ValueError for 25:00, 30 February or an offset of 99 hours.
    hour, minute, second = (int(written[part] or 0) for part in ("hour", "minute", "second"))
    micros = int((written["fraction"] or "0")[:6].ljust(6, "0"))
    local = datetime.combine(date.fromisoformat(written[1]), time(hour, minute, second, micros))
    offset = written["offset"]
    return None if offset is None else local.replace(tzinfo=_zone_of(offset)).astimezone(UTC)


def _zone_of(offset: str) -> timezone:
    if offset in "zZ":
        return timezone(timedelta())
    digits = offset[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if minutes >= _HOUR:  # timezone() would take 99 minutes
        raise ValueError(offset)
    ahead = timedelta(hours=hours, minutes=minutes)
    return timezone(-ahead if offset[0] in "-\u2212" else ahead)
