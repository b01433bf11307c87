"""What an enrolment asks of a trainer: count, schedule and place, by the purchase, the profile and admins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from domain.dates import parse_date
from domain.directory import Wish
from domain.places import Place, is_place
from domain.schedule import Series, first_start, series_of
from domain.slots import EVERY_DAY, parse_days, parse_slot, parse_zone
from domain.tiers import SessionCount, session_count
from domain.values import is_missing, is_online
from errors import ScheduleInThePast, ScheduleInvalid, StudentLocationInvalid
from storage.allocations import Order
from storage.directory import Student

# A first day beyond this is a slip of the pen; without a bound one such date would cost every batch its speed.
_FURTHEST = timedelta(days=5 * 366)

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Request:
    """A wish that can be matched, with what becomes the allocation's metadata.

    `trainer_id`: this very trainer, `force` the rules set aside for him. `keep`: the number of the trainer
    who stays when he fits. `first_number`: that of the first session of the wish's series.
    """

    order: Order
    wish: Wish
    provisional: bool
    metadata: dict[str, Any]
    trainer_id: str | None = None
    force: Sequence[str] = ()
    keep: int | None = None
    first_number: int = 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an admin asks for: `given` by the names of `assignTrainer` overrides what is stored.

    `keep`: the trainer of before stays when he still fits.
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    trainer_id: str | None = None
    force: Sequence[str] = ()
    keep: bool = False


_AS_STORED = Wanted()


def request_of(order: Order, student: Student, default_zone: str, wanted: Wanted = _AS_STORED) -> Request:
    """Read one order.

    Raises: SessionCountInvalid, ScheduleInvalid, ScheduleInThePast, StudentLocationInvalid, each with the
    field that is wrong.
    """
    repaired = {**order.repaired, **wanted.given}
    if wanted.trainer_id is not None:
        repaired["force"] = list(wanted.force)
    asked = _asked(order.metadata, repaired)
    count = _count(asked, repaired)
    series = _series(order, asked, _zone(asked, repaired, student, default_zone), count)
    online = is_online(asked.get("learningMode"))
    place = _repaired_place(repaired) or place_of(student)
    usable = (student.known or place is not None) and (online or place is not None)
    wish = Wish(
        key=order.payment_id,
        course=order.course_id,
        series=series,
        student_no=student.student_no,
        place=place,
        at_home=usable and not online,
    )
    return Request(
        order,
        wish,
        not usable,
        _metadata(asked, count, series, online=online) | ({"repaired": repaired} if repaired else {}),
        trainer_id=wanted.trainer_id,
        force=repaired.get("force", ()),
        keep=order.trainer_no if wanted.keep else None,
    )


def place_of(student: Student) -> Place | None:
    """Where a student lives, as far as his profile tells a place on earth."""
    if not student.known or student.latitude is None or student.longitude is None:
        return None
    if not is_place(student.latitude, student.longitude):
        return None
    return Place(student.latitude, student.longitude)


def schedule_of(series: Series) -> dict[str, Any]:
    """A series as an allocation's metadata tells it."""
    return {
        "date": series.first_day.isoformat(),
        "timeSlot": f"{clock_time(series.start_minute)}-{clock_time(series.start_minute + series.minutes)}",
        "daysOfWeek": [name for bit, name in enumerate(_DAYS) if series.days >> bit & 1],
        "timezone": series.zone,
    }


def _asked(metadata: dict[str, Any], repaired: Mapping[str, Any]) -> dict[str, Any]:
    """The payment's metadata, with what admins said in its place."""
    if not repaired:
        return metadata
    said = {name: repaired[name] for name in ("date", "timeSlot", "daysOfWeek") if name in repaired}
    return {**metadata, **said}


def _count(asked: dict[str, Any], repaired: Mapping[str, Any]) -> SessionCount:
    if "sessionCount" in repaired:
        return SessionCount(session_count(None, repaired["sessionCount"]).count, "repair")
    return session_count(asked.get("purchaseTier"), asked.get("sessionCount"))


def _zone(asked: dict[str, Any], repaired: Mapping[str, Any], student: Student, default_zone: str) -> str:
    if "timezone" in repaired:
        return parse_zone(repaired["timezone"], "timezone")
    if student.known and student.timezone:
        return parse_zone(student.timezone, "student.timezone")
    if not is_missing(asked.get("timezone")):
        return parse_zone(asked["timezone"], "metadata.timezone")
    return default_zone


def _series(order: Order, asked: dict[str, Any], zone: str, count: SessionCount) -> Series:
    slot_field = _which(asked, "timeSlot", "preferredTimeSlot")
    date_field = _which(asked, "date", "preferredDate")
    slot = parse_slot(asked.get(slot_field), f"metadata.{slot_field}")
    day = parse_date(asked.get(date_field), zone, f"metadata.{date_field}")
    if day > order.now.date() + _FURTHEST:
        raise ScheduleInvalid(field=f"metadata.{date_field}", value=str(day), expected="a date within five years")
    series = series_of(day, parse_days(asked.get("daysOfWeek")), count.count, slot, zone)
    refuse_the_past(order, series, f"metadata.{date_field}")
    return series


def refuse_the_past(order: Order, series: Series, field_name: str) -> None:
    """Raise ScheduleInThePast when the first session has begun already."""
    if first_start(series) * 60 < order.now.timestamp():
        raise ScheduleInThePast(field=field_name, firstDay=str(series.first_day), timezone=series.zone)


def moved_series(order: Order, given: Mapping[str, Any], first_day: str, count: int) -> Series:
    """The rest of a series at another time: what is `given`, else as decided before, from `first_day` on.

    Raises: ScheduleInvalid, ScheduleInThePast.
    """
    decided = order.decided or {}
    zone = parse_zone(decided.get("timezone"))
    slot = parse_slot(given.get("timeSlot", decided.get("timeSlot")))
    days = parse_days(given.get("daysOfWeek", decided.get("daysOfWeek"))) or EVERY_DAY
    day = parse_date(given.get("date", first_day), zone)
    if day > order.now.date() + _FURTHEST:
        raise ScheduleInvalid(field="date", value=str(day), expected="a date within five years")
    series = series_of(day, days, count, slot, zone)
    refuse_the_past(order, series, "date")
    return series


def _repaired_place(repaired: Mapping[str, Any]) -> Place | None:
    if "latitude" not in repaired and "longitude" not in repaired:
        return None
    latitude, longitude = repaired.get("latitude"), repaired.get("longitude")
    if not is_place(latitude, longitude):
        raise StudentLocationInvalid(latitude=latitude, longitude=longitude)
    return Place(float(latitude), float(longitude))  # type: ignore[arg-type]


def _metadata(asked: dict[str, Any], count: SessionCount, series: Series, *, online: bool) -> dict[str, Any]:
    return {
        "sessionCount": count.count,
        "sessionCountSource": count.source,
        **schedule_of(series),
        "learningMode": "online" if online else (asked.get("learningMode") or "home"),
    }


def clock_time(minute: int) -> str:
    """A minute of the day, or of the next one, as 16:00."""
    return f"{minute // 60 % 24:02}:{minute % 60:02}"


def _which(asked: dict[str, Any], field: str, instead: str) -> str:
    """The other field only where this one is missing and that one is not."""
    return instead if is_missing(asked.get(field)) and not is_missing(asked.get(instead)) else field
