"""The ways in which producers write one slot, one date, one count."""

from datetime import UTC, date, datetime, time
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from traffic.messages import javascript_time

_HOUR = 60
_NOON = 12
_DAY = 24 * _HOUR


def slot_spellings(start_minute: int, minutes: int) -> list[str]:
    """Every form of a slot; those without an end only where it lasts the hour that this means."""
    end_minute = (start_minute + minutes) % _DAY
    start, end = _clock(start_minute), _clock(end_minute)
    start_half, end_half = _half_day(start_minute), _half_day(end_minute)
    ranges = [
        f"{start}-{end}",
        f"{start} \N{EN DASH} {end}",
        f"{start_half} - {end_half}",
        f"{start_half}-{end_half}".replace(" ", "").lower(),
        f"{start_half} \N{EN DASH} {end_half}".lower(),
    ]
    return [start, start_half, start_half.lower(), *ranges] if minutes == _HOUR else ranges


def date_spellings(day: date, zone: str) -> list[str]:
    """Every form of a date; the last is what a browser in `zone` makes of its local midnight."""
    midnight = datetime.combine(day, time(), ZoneInfo(zone))
    return [
        day.isoformat(),
        f"{day}T00:00:00",
        f"{day}T00:00:00.000Z",
        midnight.isoformat(),
        javascript_time(midnight.astimezone(UTC)),
    ]


def count_spelling(rng: Random, count: int) -> dict[str, Any]:
    """The fields that say how many sessions were bought; 30 needs none."""
    spellings: list[dict[str, Any]] = [
        {"purchaseTier": count},
        {"purchaseTier": count},
        {"purchaseTier": str(count)},
        {"purchaseTier": f"{count} sessions"},
        {"purchaseTier": count, "sessionCount": count},
        {"purchaseTier": None, "sessionCount": count},
    ]
    return rng.choice([*spellings, {}] if count == 30 else spellings)  # noqa: PLR2004  the default of the business


def _clock(minute: int) -> str:
    return f"{minute // _HOUR:02}:{minute % _HOUR:02}"


def _half_day(minute: int) -> str:
    hour = minute // _HOUR
    return f"{hour % _NOON or _NOON}:{minute % _HOUR:02} {'AM' if hour < _NOON else 'PM'}"
