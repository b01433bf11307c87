"""Messages for tests, as upstream sends them: every builder defaults all that does not matter."""

import itertools
from datetime import UTC, date, datetime, timedelta
from typing import Any

_NUMBERS = itertools.count(1)

EVERY_DAY = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
HOME = (12.9716, 77.5946)
"""A place in Bengaluru: where students live, and trainers near by, unless a test says otherwise."""


def soon(days: int = 7) -> date:
    """A day far enough ahead that no session of it has begun."""
    return datetime.now(UTC).date() + timedelta(days=days)


def now() -> str:
    return datetime.now(UTC).isoformat()


def a_payment(**changes: Any) -> dict[str, Any]:
    """A `payments.succeeded`. Keys of `changes` are fields of the payment or of its metadata; None leaves one out."""
    number = next(_NUMBERS)
    top = {"paymentId", "studentId", "amountMinor", "currency", "succeededAt", "coinsRedeemed"}
    payment: dict[str, Any] = {
        "paymentId": f"pay_{number}",
        "studentId": f"stu_{number}",
        "amountMinor": 1499900,
        "currency": "INR",
        "succeededAt": now(),
        "metadata": {
            "courseId": "crs_yoga",
            "purchaseTier": 10,
            "timeSlot": "16:00",
            "date": soon().isoformat(),
        },
    }
    for name, value in changes.items():
        (payment if name in top else payment["metadata"])[name] = value
    payment["metadata"] = {name: value for name, value in payment["metadata"].items() if value is not None}
    return {name: value for name, value in payment.items() if value is not None}


def a_refund(payment: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A `payments.refunded` of this payment; without `coinsReturned` all its coins come back."""
    return _without_none(
        {
            "refundId": f"ref_{next(_NUMBERS)}",
            "paymentId": payment["paymentId"],
            "refundedAt": now(),
            **changes,
        }
    )


def a_student(student_id: str, **changes: Any) -> dict[str, Any]:
    return _without_none(
        {
            "studentId": student_id,
            "timezone": "Asia/Kolkata",
            "latitude": HOME[0],
            "longitude": HOME[1],
            "changedAt": now(),
            **changes,
        }
    )


def a_trainer(trainer_id: str = "trn_1", **changes: Any) -> dict[str, Any]:
    return _without_none(
        {
            "trainerId": trainer_id,
            "active": True,
            "courses": ["crs_yoga"],
            "timezone": "Asia/Kolkata",
            "latitude": HOME[0] + 0.01,
            "longitude": HOME[1],
            "radiusKm": 12,
            "workingHours": [{"days": EVERY_DAY, "from": "06:00", "to": "21:00"}],
            "changedAt": now(),
            **changes,
        }
    )


def an_absence(trainer_id: str, starts_at: datetime, ends_at: datetime, **changes: Any) -> dict[str, Any]:
    return {
        "busyId": f"busy_{next(_NUMBERS)}",
        "trainerId": trainer_id,
        "startsAt": starts_at.isoformat(),
        "endsAt": ends_at.isoformat(),
        "action": "added",
        "changedAt": now(),
        **changes,
    }


def a_cart_change(student_id: str, item_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "studentId": student_id,
        "itemId": item_id,
        "courseId": "crs_yoga",
        "action": "added",
        "changedAt": (datetime.now(UTC) - timedelta(minutes=5)).isoformat(),
        **changes,
    }


def a_credit(student_id: str, coins: int, **changes: Any) -> dict[str, Any]:
    return {
        "creditId": f"crd_{next(_NUMBERS)}",
        "studentId": student_id,
        "coins": coins,
        "creditedAt": now(),
        **changes,
    }


def _without_none(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if value is not None}
