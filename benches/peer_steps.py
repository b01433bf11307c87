"""The five steps of the hand-written pipeline: each is one transaction on a bare asyncpg connection.

The rows are those that Firstbell writes, by statements as set-based as its own; see `benches.peer`
for what is left out.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

import asyncpg

from benches import peer_sql

# What is published: topic, payment id, payload.
Events = list[tuple[str, str, dict[str, Any]]]

_NAMESPACE = UUID("5e1f2b11-0f1c-5b7e-9a41-f17d3be11a00")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


async def enroll(db: asyncpg.Connection, values: Sequence[bytes]) -> Events:
    """payments.succeeded -> enrollments.created."""
    payments = {p["paymentId"]: (p, value) for value in values for p in (json.loads(value),)}
    order = sorted(payments)
    rows = [payments[payment_id][0] for payment_id in order]
    students = [p["studentId"] for p in rows]
    courses = [p["metadata"]["courseId"] for p in rows]
    ids = [uuid5(_NAMESPACE, f"enrollment:{payment_id}") for payment_id in order]
    now = datetime.now(UTC)
    async with db.transaction():
        await db.execute(
            peer_sql.KEEP,
            order,
            students,
            courses,
            [p["amountMinor"] for p in rows],
            [p["currency"] for p in rows],
            [datetime.fromisoformat(p["succeededAt"]) for p in rows],
            [p["coinsRedeemed"] for p in rows],
            [payments[payment_id][1].decode() for payment_id in order],
            [sha256(payments[payment_id][1]).digest() for payment_id in order],
        )
        await db.execute(peer_sql.NUMBER, sorted(set(students)))
        await db.execute(peer_sql.ENROLL, ids, order, students, courses, now)
    at = now.isoformat()
    return [
        (
            "enrollments.created",
            payment_id,
            {
                "enrollmentId": str(enrollment_id),
                "paymentId": payment_id,
                "studentId": student,
                "courseId": course,
                "version": 1,
                "enrolledAt": at,
            },
        )
        for enrollment_id, payment_id, student, course in zip(ids, order, students, courses, strict=True)
    ]


async def clear_cart(db: asyncpg.Connection, values: Sequence[bytes]) -> Events:
    """enrollments.created -> carts.cleared."""
    payment_ids = _payment_ids(values)
    async with db.transaction():
        await db.execute(peer_sql.CLEAR, payment_ids)
        rows = await db.fetch(peer_sql.CLEARED, payment_ids)
    return [
        (
            "carts.cleared",
            payment_id,
            {
                "paymentId": payment_id,
                "studentId": student,
                "courseId": course,
                "itemId": item,
                "version": 1,
                "clearedAt": cleared_at.isoformat(),
            },
        )
        for payment_id, student, course, item, cleared_at in rows
    ]


async def redeem(db: asyncpg.Connection, values: Sequence[bytes]) -> Events:
    """enrollments.created -> coins.redeemed."""
    payment_ids = _payment_ids(values)
    async with db.transaction():
        await db.execute(peer_sql.REDEEM, payment_ids)
        rows = await db.fetch(peer_sql.REDEEMED, payment_ids)
    return [
        (
            "coins.redeemed",
            payment_id,
            {
                "paymentId": payment_id,
                "studentId": student,
                "coins": coins,
                "version": 1,
                "redeemedAt": redeemed_at.isoformat(),
            },
        )
        for payment_id, student, coins, redeemed_at in rows
    ]


class Allocator:
    """enrollments.created -> allocations.approved, with a trainer who is known beforehand for each payment."""

    def __init__(self, assigned: Callable[[str], str], trainer_nos: dict[str, int]) -> None:
        self._assigned = assigned
        self._nos = trainer_nos

    async def __call__(self, db: asyncpg.Connection, values: Sequence[bytes]) -> Events:
        """Store the allocations and their bookings."""
        asked = {event["paymentId"]: event for event in map(json.loads, values)}
        payment_ids = sorted(asked)
        trainers = [self._assigned(payment_id) for payment_id in payment_ids]
        ids = [uuid5(_NAMESPACE, f"allocation:{payment_id}") for payment_id in payment_ids]
        now = datetime.now(UTC)
        async with db.transaction():
            found = {row[0]: row for row in await db.fetch(peer_sql.ORDERS, payment_ids)}
            wishes = [json.loads(found[payment_id][2]) for payment_id in payment_ids]
            await db.execute(
                peer_sql.ALLOCATE,
                ids,
                [UUID(asked[payment_id]["enrollmentId"]) for payment_id in payment_ids],
                payment_ids,
                [asked[payment_id]["studentId"] for payment_id in payment_ids],
                [asked[payment_id]["courseId"] for payment_id in payment_ids],
                trainers,
                [json.dumps(_promise(wish)) for wish in wishes],
                now,
            )
            recipes = [_recipe(w["date"], w["timeSlot"], _days(w), w["purchaseTier"], w["timezone"]) for w in wishes]
            await db.execute(
                peer_sql.BOOK,
                ids,
                [self._nos[trainer] for trainer in trainers],
                [found[payment_id][1] for payment_id in payment_ids],
                *map(list, zip(*recipes, strict=True)),
            )
            await db.execute(peer_sql.ADVANCE, payment_ids, "allocated")
        at = now.isoformat()
        return [
            ("allocations.approved", payment_id, _approved(asked[payment_id], allocation_id, trainer, wish, at))
            for payment_id, allocation_id, trainer, wish in zip(payment_ids, ids, trainers, wishes, strict=True)
        ]


async def schedule(db: asyncpg.Connection, values: Sequence[bytes]) -> Events:
    """allocations.approved -> sessions.scheduled."""
    approved = {UUID(event["allocationId"]): event for event in map(json.loads, values)}
    ids = sorted(approved)
    async with db.transaction():
        await db.execute(peer_sql.EXPAND, ids)
        await db.execute(peer_sql.MARK, ids)
        await db.execute(peer_sql.ADVANCE, sorted(event["paymentId"] for event in approved.values()), "scheduled")
        rows = await db.fetch(peer_sql.SERIES, ids)
    return [
        ("sessions.scheduled", approved[row[0]]["paymentId"], _scheduled(approved[row[0]], *row[1:])) for row in rows
    ]


def encoded(event: dict[str, Any]) -> bytes:
    """The value of an event."""
    return json.dumps(event, separators=(",", ":")).encode()


def _payment_ids(values: Sequence[bytes]) -> list[str]:
    return sorted({json.loads(value)["paymentId"] for value in values})


def _promise(wish: dict[str, Any]) -> dict[str, Any]:
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


def _days(wish: dict[str, Any]) -> int:
    return sum(1 << _WEEKDAYS.index(day) for day in wish.get("daysOfWeek", _WEEKDAYS))


@lru_cache(maxsize=8192)
def _recipe(first: str, slot: str, days: int, count: int, zone: str) -> tuple[str, date, int, int, int, int, str]:
    """The columns of a booking behind its ids: the multirange, and the recipe it was made from."""
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


def _approved(enrolled: dict[str, Any], allocation_id: UUID, trainer: str, wish: dict[str, Any], at: str) -> dict[str, Any]:
    return {
        "allocationId": str(allocation_id),
        "enrollmentId": enrolled["enrollmentId"],
        "paymentId": enrolled["paymentId"],
        "studentId": enrolled["studentId"],
        "courseId": enrolled["courseId"],
        "trainerId": trainer,
        "sessionCount": wish["purchaseTier"],
        "sessionCountSource": "purchaseTier",
        "provisional": False,
        "version": 1,
        "approvedAt": at,
    }


def _scheduled(
    approved: dict[str, Any], scheduled_at: datetime, starts: Sequence[int], ends: Sequence[int]
) -> dict[str, Any]:
    return {
        "allocationId": approved["allocationId"],
        "paymentId": approved["paymentId"],
        "studentId": approved["studentId"],
        "trainerId": approved["trainerId"],
        "courseId": approved["courseId"],
        "version": 1,
        "sessions": [
            {"number": number, "startsAt": _instant(start), "endsAt": _instant(end)}
            for number, (start, end) in enumerate(zip(starts, ends, strict=True), 1)
        ],
        "scheduledAt": scheduled_at.isoformat(),
    }


@lru_cache(maxsize=65536)
def _instant(epoch_seconds: int) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).isoformat()
