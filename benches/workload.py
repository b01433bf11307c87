"""The workload: purchases that can all be placed, made from their number alone.

Purchases fall into pools of 160 (one course in one city, or one online course), each with 40 trainers
who serve no other pool. A pool asks for every hour at most 20 times, so whoever chooses greedily finds
somebody free; each trainer ends with four series on average.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

SESSIONS = 30
ZONE = "Asia/Kolkata"
COINS = 20
COINS_EVERY = 4

_POOL = 160
_TRAINERS = 40
_HOURS = (7, 9, 11, 13, 15, 17, 19, 20)
_DAYS: tuple[list[str] | None, ...] = (None, ["mon", "wed", "fri"], None, ["tue"], ["mon", "tue", "wed", "thu", "fri"])
_FIRST_DAYS = 28


@dataclass(frozen=True, slots=True)
class Trainer:
    """A trainer of one pool; `place` is latitude and longitude."""

    id: str
    course: str
    place: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Workload:
    """`purchases` purchases; the first sessions lie in the 28 days from `first_day` on."""

    purchases: int
    first_day: date

    @property
    def pools(self) -> int:
        """How many pools they fall into."""
        return -(-self.purchases // _POOL)

    def trainers(self) -> Iterator[Trainer]:
        """Every trainer, in the order of their ids."""
        for pool in range(self.pools):
            for seat in range(_TRAINERS):
                yield Trainer(_trainer(pool, seat), _course(pool), _near(pool, seat))

    def students(self) -> Iterator[tuple[str, tuple[float, float]]]:
        """The student of each purchase, and where he lives."""
        for number in range(self.purchases):
            yield f"stu_{number:06}", _near(number % self.pools, number)

    def payment_id(self, number: int) -> str:
        """The id of a purchase's payment."""
        return f"pay_{number:06}"

    def payment(self, number: int) -> bytes:
        """The value of a purchase's `payments.succeeded`."""
        pool, place = number % self.pools, number // self.pools
        hour = _HOURS[place % len(_HOURS)]
        metadata: dict[str, Any] = {
            "courseId": _course(pool),
            "purchaseTier": SESSIONS,
            "groupSize": 1,
            "learningMode": "online" if _online(pool) else "home",
            "timeSlot": f"{hour:02}:00-{hour + 1:02}:00",
            "date": (self.first_day + timedelta(days=number % _FIRST_DAYS)).isoformat(),
            "timezone": ZONE,
            "cartItemId": f"itm_{number:06}",
        }
        if days := _DAYS[number % len(_DAYS)]:
            metadata["daysOfWeek"] = days
        payment = {
            "paymentId": self.payment_id(number),
            "studentId": f"stu_{number:06}",
            "amountMinor": 1_499_900,
            "currency": "INR",
            "succeededAt": "2026-11-22T08:02:55Z",
            "coinsRedeemed": COINS if number % COINS_EVERY == 0 else 0,
            "metadata": metadata,
        }
        return json.dumps(payment, separators=(",", ":")).encode()

    def assigned(self, payment_id: str) -> str:
        """A trainer for a payment, such that no two series of his overlap: what the peer uses instead of matching."""
        number = int(payment_id.removeprefix("pay_"))
        pool, place = number % self.pools, number // self.pools
        turn, hour = divmod(place, len(_HOURS))
        half = _TRAINERS // 2
        return _trainer(pool, turn + half * (hour % 2))


def workload_of(purchases: int) -> Workload:
    """The workload of a run: its first day is 60 days away, so that no session lies in the past."""
    return Workload(purchases, (datetime.now(UTC) + timedelta(days=60)).date())


def _online(pool: int) -> bool:
    return pool % 3 == 2  # noqa: PLR2004  a third of the pools


def _course(pool: int) -> str:
    return f"crs_online_{pool}" if _online(pool) else f"crs_{pool % 24}"


def _trainer(pool: int, seat: int) -> str:
    return f"trn_{pool:04}_{seat:02}"


def _near(pool: int, number: int) -> tuple[float, float]:
    """A place within some 3 km of the middle of the pool's city; cities are some 100 km apart."""
    city = pool // 24
    latitude, longitude = 10.0 + city % 20, 72.0 + city // 20
    return latitude + (number * 7 % 41 - 20) / 1000, longitude + (number * 11 % 37 - 18) / 1000
