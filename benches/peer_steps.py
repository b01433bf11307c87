"""The five steps of the hand-written pipeline: each is one transaction on a bare asyncpg connection.

The rows are those that Firstbell writes, by statements as set-based as its own; see `benches.peer`
for what is left out.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid5

import asyncpg

from benches import peer_events, peer_sql
from benches.peer_recipes import booking, promise

# What is published: topic, payment id, payload.
Events = list[tuple[str, str, dict[str, Any]]]

_NAMESPACE = UUID("5e1f2b11-0f1c-5b7e-9a41-f17d3be11a00")


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
        ("enrollments.created", payment_id, peer_events.enrolled(enrollment_id, payment_id, student, course, at))
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
                [json.dumps(promise(wish)) for wish in wishes],
                now,
            )
            bookings = [booking(wish) for wish in wishes]
            await db.execute(
                peer_sql.BOOK,
                ids,
                [self._nos[trainer] for trainer in trainers],
                [found[payment_id][1] for payment_id in payment_ids],
                *map(list, zip(*bookings, strict=True)),
            )
            await db.execute(peer_sql.ADVANCE, payment_ids, "allocated")
        at = now.isoformat()
        return [
            (
                "allocations.approved",
                payment_id,
                peer_events.approved(asked[payment_id], allocated, trainer, wish, at),
            )
            for payment_id, allocated, trainer, wish in zip(payment_ids, ids, trainers, wishes, strict=True)
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
        ("sessions.scheduled", approved[row[0]]["paymentId"], peer_events.scheduled(approved[row[0]], *row[1:]))
        for row in rows
    ]


def encoded(event: dict[str, Any]) -> bytes:
    """The value of an event."""
    return json.dumps(event, separators=(",", ":")).encode()


def _payment_ids(values: Sequence[bytes]) -> list[str]:
    return sorted({json.loads(value)["paymentId"] for value in values})
