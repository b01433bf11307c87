"""No wake-up is lost: whoever parks and whoever brings the news meet in every order, and one sees the other."""

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from actors.batch import Actor
from contracts.record import Record
from roster import actors_of
from settings import Settings
from tests.builders import a_credit, a_payment, a_student, a_trainer, an_absence
from tests.interleaving import Side, every_order, meet, two_engines
from tests.world import World

NOW = datetime.now(UTC)


class Meeting(NamedTuple):
    """A step that would park, and the news that it would wait for."""

    payment_id: str
    course: str
    step: Record
    news: Record


class Kind(NamedTuple):
    """How a kind of wait comes about: who does the step, who brings the news, and what has happened before."""

    step: str
    bringer: str
    arrange: Callable[[World, int], Awaitable[list[Meeting]]]


async def profile(world: World, count: int) -> list[Meeting]:
    payments = await _allocated(world, count)
    return [_meeting(world, "allocations.approved", p, _profile(world, p)) for p in payments]


async def location(world: World, count: int) -> list[Meeting]:
    earlier = (NOW - timedelta(hours=1)).isoformat()
    payments = await _allocated(world, count, latitude=None, longitude=None, changedAt=earlier)
    return [_meeting(world, "allocations.approved", p, _profile(world, p)) for p in payments]


async def coins(world: World, count: int) -> list[Meeting]:
    payments = await _enrolled(world, [a_payment(courseId=f"crs_{n}", coinsRedeemed=100) for n in range(count)])
    return [
        _meeting(world, "enrollments.created", p, *world.send("coins.credited", a_credit(p["studentId"], 100)))
        for p in payments
    ]


async def trainer(world: World, count: int) -> list[Meeting]:
    payments = await _enrolled(world, [a_payment(courseId=f"crs_{n}") for n in range(count)])
    return [
        _meeting(world, "enrollments.created", p, *world.send("trainers.changed", _trainer_of(p))) for p in payments
    ]


async def absence(world: World, count: int) -> list[Meeting]:
    return await _absent(world, count, lambda away: world.send("trainers.busy", away | {"action": "removed"}))


async def deleted_absence(world: World, count: int) -> list[Meeting]:
    return await _absent(world, count, lambda away: world.send("trainers.busy", None, key=away["busyId"].encode()))


async def trainer_time(world: World, count: int) -> list[Meeting]:
    first = [a_payment(courseId=f"crs_{n}") for n in range(count)]
    return await _freed(world, first, [a_payment(courseId=p["metadata"]["courseId"]) for p in first])


async def student_time(world: World, count: int) -> list[Meeting]:
    first = [a_payment(courseId=f"crs_{n}") for n in range(count)]
    second = [a_payment(courseId=f"crs_other_{n}", studentId=p["studentId"]) for n, p in enumerate(first)]
    world.send("trainers.changed", *map(_trainer_of, second))
    return await _freed(world, first, second)


KINDS = {
    "profile": Kind("sessions", "directory", profile),
    "location": Kind("sessions", "directory", location),
    "coins": Kind("coins", "directory", coins),
    "trainer": Kind("allocation", "directory", trainer),
    "absence": Kind("allocation", "directory", absence),
    "deleted absence": Kind("allocation", "directory", deleted_absence),
    "trainer's time": Kind("allocation", "allocation", trainer_time),
    "student's time": Kind("allocation", "allocation", student_time),
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", KINDS)
async def test_in_every_order_the_step_succeeds_or_is_woken(
    world: World, engine: AsyncEngine, database_url: str, name: str
) -> None:
    kind, orders = KINDS[name], every_order()
    meetings = await kind.arrange(world, len(orders))

    async with two_engines(database_url) as (one, other):
        a = Side("a", one, _actor(kind.step), world._publish)
        b = Side("b", other, _actor(kind.bringer), world._publish)
        for order, meeting in zip(orders, meetings, strict=True):
            a.start([meeting.step])
            b.start([meeting.news])
            await meet(a, b, order, engine)

    stuck = await _open_rows(world)
    woken = _woken(world)
    lost = [
        order
        for order, meeting in zip(orders, meetings, strict=True)
        if (row := stuck.get(meeting.payment_id)) and not {row, meeting.course} & woken
    ]
    assert lost == []
    assert stuck, "no order in which the step parks"


def _actor(name: str) -> Actor:
    """Each side has an actor of its own: what is in memory is not shared either."""
    return next(actor for actor in actors_of(Settings()) if actor.name == name)


async def _allocated(world: World, count: int, **student: Any) -> list[dict[str, Any]]:
    """Purchases that are allocated; with the fields of a profile their students have one."""
    payments = [a_payment(courseId=f"crs_{n}") for n in range(count)]
    world.send("trainers.changed", *map(_trainer_of, payments))
    if student:
        world.send("students.changed", *(a_student(p["studentId"], **student) for p in payments))
    await world.settle(names=["directory"])
    await _enrolled(world, payments)
    await world.settle(names=["allocation"])
    return payments


async def _enrolled(world: World, payments: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    world.send("payments.succeeded", *payments)
    await world.settle(names=["enrollment"])
    return payments


async def _absent(world: World, count: int, end: Callable[[dict[str, Any]], list[Record]]) -> list[Meeting]:
    payments = [a_payment(courseId=f"crs_{n}") for n in range(count)]
    world.send("trainers.changed", *map(_trainer_of, payments))
    said = {"changedAt": NOW.isoformat()}
    away = [an_absence(_trainer_id(p), NOW, NOW + timedelta(days=90), **said) for p in payments]
    world.send("trainers.busy", *away)
    await world.settle(names=["directory"])
    await _enrolled(world, payments)
    later = {"changedAt": (NOW + timedelta(minutes=1)).isoformat()}
    return [
        _meeting(world, "enrollments.created", p, *end(absence | later))
        for p, absence in zip(payments, away, strict=True)
    ]


async def _freed(world: World, first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]) -> list[Meeting]:
    """The first of each pair has the time that the second wants, and is refunded."""
    world.send("trainers.changed", *map(_trainer_of, first))
    await world.settle(names=["directory"])
    await _enrolled(world, first)
    await world.settle(names=["allocation"])
    world.send(
        "payments.refunded",
        *(
            {"refundId": f"ref_{p['paymentId']}", "paymentId": p["paymentId"], "refundedAt": NOW.isoformat()}
            for p in first
        ),
    )
    await _enrolled(world, second)
    told = _by_payment(world, "enrollments.revoked")
    return [
        _meeting(world, "enrollments.created", wants, told[gives["paymentId"]])
        for gives, wants in zip(first, second, strict=True)
    ]


def _meeting(world: World, topic: str, payment: dict[str, Any], news: Record) -> Meeting:
    step = _by_payment(world, topic)[payment["paymentId"]]
    return Meeting(payment["paymentId"], payment["metadata"]["courseId"], step, news)


def _by_payment(world: World, topic: str) -> dict[str, Record]:
    return {json.loads(record.value or b"")["paymentId"]: record for record in world.log[topic]}


def _profile(world: World, payment: dict[str, Any]) -> Record:
    (record,) = world.send("students.changed", a_student(payment["studentId"]))
    return record


def _trainer_of(payment: dict[str, Any]) -> dict[str, Any]:
    return a_trainer(_trainer_id(payment), courses=[payment["metadata"]["courseId"]])


def _trainer_id(payment: dict[str, Any]) -> str:
    return f"trn_{payment['metadata']['courseId']}"


async def _open_rows(world: World) -> dict[str, str]:
    """The open row of each purchase, by its payment id."""
    rows = await world.rows("SELECT payment_id, CAST(id AS text) AS id FROM parked WHERE status = 'open'")
    return {row["payment_id"]: row["id"] for row in rows}


def _woken(world: World) -> set[str]:
    """Which rows, and what waits for a trainer of which courses, somebody has woken."""
    found = defaultdict(set)
    for record in world.log["repairs.requested"]:
        command = json.loads(record.value or b"")
        found[command["command"]].add(command.get("parkedId") or command.get("courseId"))
    assert set(found) <= {"retry", "retryWaiting"}
    return {one for woken in found.values() for one in woken}
