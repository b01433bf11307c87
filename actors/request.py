"""What an enrolment asks of a trainer: count, schedule, place, all from the stored purchase and profile."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from domain.dates import parse_date
from domain.directory import Wish
from domain.places import Place, is_place
from domain.schedule import Series, first_start, series_of
from domain.slots import parse_days, parse_slot, parse_zone
from domain.tiers import SessionCount, session_count
from domain.values import is_missing, is_online
from errors import ScheduleInThePast, ScheduleInvalid
from storage.allocations import Order
from storage.directory import Student

# A first day beyond this is a slip of the pen; without a bound one such date would cost every batch its speed.
_FURTHEST = timedelta(days=5 * 366)

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Request:
    """A wish that can be matched, with what becomes the allocation's metadata."""

    order: Order
    wish: Wish
    provisional: bool
    metadata: dict[str, Any]


def request_of(order: Order, student: Student, default_zone: str) -> Request:
    """Read one order.

    Raises: SessionCountInvalid, ScheduleInvalid, ScheduleInThePast, each with the field that is wrong.
    """
    asked = order.metadata
    count = session_count(asked.get("purchaseTier"), asked.get("sessionCount"))
    series = _series(order, student, default_zone, count)
    online = is_online(asked.get("learningMode"))
    place = _place(student)
    usable = student.known and (online or place is not None)
    wish = Wish(
        key=order.payment_id,
        course=order.course_id,
        series=series,
        student_no=student.student_no,
        place=place,
        at_home=usable and not online,
    )
    return Request(order, wish, not usable, _metadata(asked, count, series, online=online))


def _series(order: Order, student: Student, default_zone: str, count: SessionCount) -> Series:
    asked = order.metadata
    if student.known and student.timezone:
        zone = parse_zone(student.timezone, "student.timezone")
    elif not is_missing(asked.get("timezone")):
        zone = parse_zone(asked["timezone"], "metadata.timezone")
    else:
        zone = default_zone
    slot_field = _which(asked, "timeSlot", "preferredTimeSlot")
    date_field = _which(asked, "date", "preferredDate")
    slot = parse_slot(asked.get(slot_field), f"metadata.{slot_field}")
    day = parse_date(asked.get(date_field), zone, f"metadata.{date_field}")
    if day > order.now.date() + _FURTHEST:
        raise ScheduleInvalid(field=f"metadata.{date_field}", value=str(day), expected="a date within five years")
    series = series_of(day, parse_days(asked.get("daysOfWeek")), count.count, slot, zone)
    if first_start(series) * 60 < order.now.timestamp():
        raise ScheduleInThePast(field=f"metadata.{date_field}", firstDay=str(series.first_day), timezone=zone)
    return series


def _place(student: Student) -> Place | None:
    if not student.known or student.latitude is None or student.longitude is None:
        return None
    if not is_place(student.latitude, student.longitude):
        return None
    return Place(student.latitude, student.longitude)


def _metadata(asked: dict[str, Any], count: SessionCount, series: Series, *, online: bool) -> dict[str, Any]:
    return {
        "sessionCount": count.count,
        "sessionCountSource": count.source,
        "date": series.first_day.isoformat(),
        "timeSlot": f"{_clock(series.start_minute)}-{_clock(series.start_minute + series.minutes)}",
        "daysOfWeek": [name for bit, name in enumerate(_DAYS) if series.days >> bit & 1],
        "timezone": series.zone,
        "learningMode": "online" if online else (asked.get("learningMode") or "home"),
    }


def _clock(minute: int) -> str:
    return f"{minute // 60 % 24:02}:{minute % 60:02}"


def _which(asked: dict[str, Any], field: str, instead: str) -> str:
    """The other field only where this one is missing and that one is not."""
    return instead if is_missing(asked.get(field)) and not is_missing(asked.get(instead)) else field
