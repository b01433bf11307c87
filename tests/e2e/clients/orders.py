"""Orders of a shop: what is paid, what the directory must know, and the sessions that must come of it."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.builders import EVERY_DAY, a_payment, a_student, a_trainer, soon
from tests.e2e.deployment import Message, message

Json = dict[str, Any]
Session = tuple[int, str, datetime, datetime, str]
"""Number, trainer, start, end, status."""


@dataclass(frozen=True)
class Course:
    """A way to say when lessons are, and what is meant by it."""

    zone: str
    tier: Any
    slot: str
    count: int
    starts: time
    minutes: int
    days: tuple[str, ...] = tuple(EVERY_DAY)
    as_instant: bool = False


# Forty weeks always go through a change of clocks.
COURSES = (
    Course("Asia/Kolkata", 10, "16:00", 10, time(16), 60),
    Course("America/New_York", "40 sessions", "6:30 AM - 7:15 AM", 40, time(6, 30), 45, ("mon",)),
    Course("Asia/Kolkata", "20", "4:00 PM – 5:30 PM", 20, time(16), 90, as_instant=True),  # noqa: RUF001
    Course("Europe/Berlin", 30, "18:00-19:30", 30, time(18), 90, ("mon", "wed"), as_instant=True),
)

# What our contracts do not know, in every kind of JSON value that clients write in different ways.
EXTRAS: Json = {
    "orderNo": 9007199254740991,
    "discount": {"rate": 0.1, "tiny": 1e-7, "huge": 1e21, "none": 0, "back": -12.5},
    "buyer": {"name": "अनन्या राव", "nick": "Zoë 🎓", "tags": ["first", None, True, "中文"]},
    "remark": 'a "quoted" \\ back\\slash,\ttab,\nnew line, line separator \u2028, hé',
}


@dataclass(frozen=True)
class Order:
    """One purchase with a course and a trainer of its own, so that orders do not compete."""

    payment: Json
    course: Course
    first_day: date

    @property
    def payment_id(self) -> str:
        return str(self.payment["paymentId"])

    @property
    def trainer_id(self) -> str:
        return f"trn_of_{self.payment_id}"

    @property
    def line(self) -> bytes:
        """The payment as one line of JSON in UTF-8."""
        return json.dumps(self.payment, ensure_ascii=False).encode()

    def feeds(self) -> list[Message]:
        """What the directory must know before the payment comes."""
        student_id = self.payment["studentId"]
        course_id = self.payment["metadata"]["courseId"]
        zone = {"timezone": self.course.zone}
        return [
            message("students.changed", student_id, a_student(student_id, **zone)),
            message("trainers.changed", self.trainer_id, a_trainer(self.trainer_id, courses=[course_id], **zone)),
        ]

    def sessions(self) -> list[Session]:
        """Every session that must be there, by the wall clock of the student."""
        day = self.first_day
        sessions: list[Session] = []
        while len(sessions) < self.course.count:
            if EVERY_DAY[day.weekday()] in self.course.days:
                wall = datetime.combine(day, self.course.starts, ZoneInfo(self.course.zone))
                start = wall.astimezone(UTC)
                end = start + timedelta(minutes=self.course.minutes)
                sessions.append((len(sessions) + 1, self.trainer_id, start, end, "scheduled"))
            day += timedelta(days=1)
        return sessions


def an_order(number: int) -> Order:
    """The order of this number; neighbours are of different courses."""
    course = COURSES[number % len(COURSES)]
    first_day = soon()
    payment = a_payment(
        paymentId=f"pay_{number}",
        studentId=f"stu_{number}",
        courseId=f"crs_{number}",
        succeededAt=datetime.now(UTC).replace(microsecond=number * 1000).isoformat(),
        purchaseTier=course.tier,
        timeSlot=course.slot,
        date=_local_midnight(first_day, course.zone) if course.as_instant else first_day.isoformat(),
        daysOfWeek=list(course.days),
        giftWrap=EXTRAS,
    )
    return Order(payment | EXTRAS, course, first_day)


def as_javascript_writes(payment: Json) -> Json:
    """The payment after its instants were Dates: JSON.stringify writes them in UTC, with milliseconds."""
    metadata = payment["metadata"] | {"date": _as_a_date(payment["metadata"]["date"])}
    return payment | {"succeededAt": _as_a_date(payment["succeededAt"]), "metadata": metadata}


def _local_midnight(day: date, zone: str) -> str:
    return datetime.combine(day, time(), ZoneInfo(zone)).isoformat()


def _as_a_date(written: str) -> str:
    if "T" not in written:
        return written
    return datetime.fromisoformat(written).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
