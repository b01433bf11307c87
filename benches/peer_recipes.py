"""What the hand-written pipeline makes of a payment's wish: the metadata and the booking of an allocation."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def promise(wish: dict[str, Any]) -> dict[str, Any]:
    """What is stored as the allocation's metadata."""
    return {
        "sessionCount": wish["purchaseTier"],
        "sessionCountSource": "purchaseTier",
        "date": wish["date"],
        "timeSlot": wish["timeSlot"],
        "daysOfWeek": wish.get("daysOfWeek", _WEEKDAYS),
        "timezone": wish["timezone"],
        "learningMode": wish["learningMode"],
    }


def booking(wish: dict[str, Any]) -> tuple[str, date, int, int, int, int, str]:
    """The columns of a booking behind its ids: the multirange, and the recipe it was made from."""
    return _recipe(wish["date"], wish["timeSlot"], _days(wish), wish["purchaseTier"], wish["timezone"])


def _days(wish: dict[str, Any]) -> int:
    return sum(1 << _WEEKDAYS.index(day) for day in wish.get("daysOfWeek", _WEEKDAYS))


@lru_cache(maxsize=8192)
def _recipe(first: str, slot: str, days: int, count: int, zone: str) -> tuple[str, date, int, int, int, int, str]:
    start, end = (int(hour) * 60 + int(minute) for hour, minute in (time.split(":") for time in slot.split("-")))
    first_days = list(_matching(date.fromisoformat(first), days, count))
    begins = [
        datetime(day.year, day.month, day.day, *divmod(start, 60), tzinfo=ZoneInfo(zone)).astimezone(UTC)
        for day in first_days
    ]
    length = timedelta(minutes=end - start)
    booked = ",".join(f'["{begin.isoformat()}","{(begin + length).isoformat()}")' for begin in begins)
    return f"{{{booked}}}", first_days[0], days, count, start, end - start, zone


def _matching(day: date, days: int, count: int) -> Iterator[date]:
    while count:
        if days >> day.weekday() & 1:
            yield day
            count -= 1
        day += timedelta(days=1)
