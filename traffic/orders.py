"""One purchase after the other: course, days, slot and spelling, with its cart item and its coins."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from contracts.feeds import CartChanged, CoinsCredited, StudentChanged
from traffic.messages import Purchase
from traffic.places import COURSES, City
from traffic.spellings import count_spelling, date_spellings, slot_spellings

_TIERS = (10, 20, 30)
_PRICE_OF_A_SESSION = {"INR": 50_000, "GBP": 1_500}
_DAYS: tuple[list[str] | None, ...] = (
    None,
    None,
    ["mon", "wed", "fri"],
    ["tue", "thu"],
    ["Sat", "Sun"],
    ["mon", "tue", "wed", "thu", "fri"],
)
_HALF_HOUR = 30
# 23:30 to 00:30 crosses midnight; only those who work at night can teach it.
_LATE = (23 * 60 + 30, 60)


@dataclass(frozen=True, slots=True)
class Order:
    """A purchase with the cart item that it buys and the coins that its student got before, if any."""

    purchase: Purchase
    item: CartChanged | None
    credit: CoinsCredited | None


@dataclass(slots=True)
class Planner:
    """Plans purchases that can all be done together; remembers who is busy and which hours are sought after."""

    rng: Random
    now: datetime
    prefix: str
    _busy: dict[str, list[tuple[int, int]]] = field(default_factory=dict)  # by student: start, minutes
    _taken: dict[str, set[str]] = field(default_factory=dict)  # by student: courses
    _sought: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    def order(self, number: int, student: StudentChanged, city: City) -> Order:
        """Plan the purchase of this number for a student."""
        rng, student_id = self.rng, student.student_id
        online = not city.served or rng.random() < 0.25  # noqa: PLR2004  a quarter
        course = self._course(student_id)
        start, minutes = self._slot(student_id, city, course, online=online)
        count = rng.choice(_TIERS)
        metadata = {
            "courseId": course,
            **count_spelling(rng, count),
            **_mode(rng, online=online),
            **self._schedule(city, start, minutes),
            "groupSize": rng.choice((1, 1, 1, 2)),
            "timezone": city.zone,
        }
        item = self._item(number, student_id, course, metadata)
        credit = self._credit(number, student_id) if rng.random() < 0.3 else None  # noqa: PLR2004  three in ten
        if number % 5 == 0:
            metadata["utm"] = {"source": "newsletter", "campaign": None}  # unknown fields are kept
        purchase = Purchase(
            payment_id=f"pay_{self.prefix}{number:04}",
            student_id=student_id,
            amount_minor=count * _PRICE_OF_A_SESSION[city.currency] - 100,
            currency=city.currency,
            coins_redeemed=rng.randrange(20, credit.coins + 1, 20) if credit else 0,
            metadata=metadata,
            cloudevents=number % 2 == 0,
        )
        return Order(purchase, item, credit)

    def _course(self, student_id: str) -> str:
        taken = self._taken.setdefault(student_id, set())
        course = self.rng.choice([course for course in COURSES if course not in taken] or COURSES)
        taken.add(course)
        return course

    def _slot(self, student_id: str, city: City, course: str, *, online: bool) -> tuple[int, int]:
        busy = self._busy.setdefault(student_id, [])
        late = online and city.served and self.rng.random() < 0.04  # noqa: PLR2004  one in twenty-five
        if late and not _clashes(_LATE, busy):
            busy.append(_LATE)
            return _LATE
        minutes = self.rng.choices((60, 45, 90), (8, 1, 1))[0]
        free = [half for half in city.hours if not _clashes((half * _HALF_HOUR, minutes), busy)]
        if not free:
            raise ValueError(f"{student_id} buys more than a day holds: more students are needed")
        # Of three hours the least sought after: evenings fill up, and yet there is somebody for everyone.
        drawn = self.rng.choices(free, k=3)
        half = min(drawn, key=lambda half: self._sought[city.name, course, half // 2])
        self._sought[city.name, course, half // 2] += 1
        busy.append((half * _HALF_HOUR, minutes))
        return half * _HALF_HOUR, minutes

    def _schedule(self, city: City, start: int, minutes: int) -> dict[str, Any]:
        rng = self.rng
        today = self.now.astimezone(ZoneInfo(city.zone)).date()
        day = rng.choice(date_spellings(today + timedelta(days=rng.randint(2, 16)), city.zone))
        slot = rng.choice(slot_spellings(start, minutes))
        days = rng.choice(_DAYS)
        written: dict[str, Any] = {"daysOfWeek": days} if days else {}
        form = rng.random()
        if form < 0.15:  # noqa: PLR2004  some producers know the preferred fields only
            return written | {"preferredTimeSlot": slot, "preferredDate": day}
        if form < 0.3:  # noqa: PLR2004  and some leave the others empty
            return written | {"timeSlot": "", "date": None, "preferredTimeSlot": slot, "preferredDate": day}
        return written | {"timeSlot": slot, "date": day}

    def _item(self, number: int, student_id: str, course: str, metadata: dict[str, Any]) -> CartChanged | None:
        kind = self.rng.choices(("cartItemId", "processingItemId", "by course", "none"), (5, 2, 2, 1))[0]
        if kind == "none":
            return None
        item_id = f"itm_{self.prefix}{number:04}"
        if kind != "by course":
            metadata[kind] = item_id
        return CartChanged(
            student_id=student_id,
            item_id=item_id,
            course_id=course,
            action="added",
            changed_at=self.now - timedelta(minutes=self.rng.randint(5, 3_000)),
        )

    def _credit(self, number: int, student_id: str) -> CoinsCredited:
        return CoinsCredited(
            credit_id=f"crd_{self.prefix}{number:04}",
            student_id=student_id,
            coins=self.rng.choice((100, 200, 500)),
            credited_at=self.now - timedelta(hours=self.rng.randint(1, 500)),
        )


def _clashes(slot: tuple[int, int], busy: list[tuple[int, int]]) -> bool:
    """Whether two lessons of one day, or of two days in a row, could overlap."""
    start, minutes = slot
    return any((start - other) % 1440 < length or (other - start) % 1440 < minutes for other, length in busy)


def _mode(rng: Random, *, online: bool) -> dict[str, Any]:
    if online:
        return {"learningMode": rng.choice(("online", "Online", "ONLINE"))}
    return rng.choice(({"learningMode": "home"}, {"learningMode": None}, {}))
