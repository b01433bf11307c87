"""A crash at any point, of any actor: nothing is lost, nothing happens twice, and the same is told again."""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from contracts.base import Event
from contracts.record import Record
from contracts.topics import TOPICS
from tests.builders import a_cart_change, a_credit, a_payment, a_student, a_trainer, now
from tests.world import World

ACTORS = ("directory", "enrollment", "cart", "coins", "allocation", "sessions")
POINTS = ("received", "begun", "handled", "committed", "publishing", "published")

UNKNOWN = {
    "enrollmentId": "0b5cc1f2-9d3a-5c1e-8f60-6f7a2f4b9f11",
    "paymentId": "pay_unknown",
    "studentId": "stu_unknown",
    "courseId": "crs_yoga",
    "version": 1,
    "enrolledAt": now(),
}

TABLES = (
    "students", "trainers", "trainer_absences", "cart_changes", "cart_clearances", "coin_ledger", "purchases",
    "enrollments", "allocations", "bookings", "series_sessions", "parked",
)  # fmt: skip


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("actor", ACTORS)
async def test_after_a_crash_nothing_is_lost_and_nothing_is_done_twice(world: World, actor: str, point: str) -> None:
    a_day_of_messages(world)
    await settle_all_before(world, actor)
    before = await snapshot(world)

    with world.crash_at(point):
        await world.turn(actor)
    after_crash = await snapshot(world)
    await world.turn(actor)
    done = await snapshot(world)

    durable = point not in ("received", "begun", "handled")
    assert after_crash == (done if durable else before)
    assert done != before
    assert contradictions(world) == []

    await world.settle()
    await assert_everything_is_there_once(world)


@pytest.mark.parametrize("actor", ACTORS)
async def test_a_publish_that_fails_after_the_commit_is_done_again_with_the_same_events(
    world: World, actor: str
) -> None:
    a_day_of_messages(world)
    await settle_all_before(world, actor)

    world.broker_is_away = True
    causes = [await world.try_turn(actor) for _ in range(3)]
    stored = await snapshot(world)
    told = sum(map(len, world.log.values()))
    world.broker_is_away = False
    await world.turn(actor)

    assert causes == ["publish"] * 3
    assert await snapshot(world) == stored
    assert sum(map(len, world.log.values())) > told
    await world.settle()
    await assert_everything_is_there_once(world)


async def test_while_publishing_fails_the_offset_does_not_move_and_the_actor_says_why(world: World) -> None:
    world.send("payments.succeeded", a_payment())

    world.broker_is_away = True
    cause = await world.try_turn("enrollment")
    blocked = world.deliveries["enrollment"].blocked
    world.broker_is_away = False
    await world.turn("enrollment")

    assert cause == blocked == "publish"
    assert world.deliveries["enrollment"].blocked is None
    assert len(world.log["enrollments.created"]) == 1


@pytest.mark.parametrize("accepted", [1, 2, 4])
async def test_a_publish_cut_in_the_middle_is_published_whole_the_next_time(
    world: World, monkeypatch: pytest.MonkeyPatch, accepted: int
) -> None:
    payments = [a_payment() for _ in range(5)]
    world.send("payments.succeeded", *payments)
    whole = world._publish

    async def some(events: Sequence[tuple[Event, str]]) -> None:
        await whole(events[:accepted])
        raise ConnectionError("cut in the middle")

    with monkeypatch.context() as patched:
        patched.setattr(world.deliveries["enrollment"], "_publish", some)
        cause = await world.try_turn("enrollment")
    first_time = len(world.log["enrollments.created"])
    await world.turn("enrollment")

    assert cause == "publish"
    assert first_time == accepted
    assert len(world.log["enrollments.created"]) == accepted + 5
    assert contradictions(world) == []
    assert await world.count("enrollments") == 5


async def test_a_crash_at_every_point_one_after_the_other_still_ends_well(world: World) -> None:
    a_day_of_messages(world)

    for actor in ACTORS:
        for point in POINTS:
            with world.crash_at(point):
                await world.turn(actor)
        await world.turn(actor)
    await world.settle()

    assert contradictions(world) == []
    await assert_everything_is_there_once(world)


def a_day_of_messages(world: World) -> None:
    """Purchases that go through, and one record for every actor that parks."""
    fine, odd, stranger, poor = (
        a_payment(paymentId="pay_fine", studentId="stu_fine", coinsRedeemed=50, cartItemId="itm_1"),
        a_payment(paymentId="pay_odd", studentId="stu_odd", purchaseTier="many"),
        a_payment(paymentId="pay_stranger", studentId="stu_stranger"),
        a_payment(paymentId="pay_poor", studentId="stu_poor", coinsRedeemed=50),
    )
    world.send("students.changed", *(a_student(p["studentId"]) for p in (fine, odd, poor)), b"no JSON")
    world.send("trainers.changed", *(a_trainer(f"trn_{n}") for n in range(4)))
    world.send("carts.changed", a_cart_change("stu_fine", "itm_1"))
    world.send("coins.credited", a_credit("stu_fine", 500))
    world.send("payments.succeeded", fine, odd, b"no JSON either", stranger, poor)
    world.send("enrollments.created", UNKNOWN)


async def settle_all_before(world: World, actor: str) -> None:
    for name in ACTORS[: ACTORS.index(actor)]:
        await world.settle(names=[name])


async def assert_everything_is_there_once(world: World) -> None:
    states = await world.rows("SELECT payment_id, state FROM purchases ORDER BY 1")
    assert {row["payment_id"]: row["state"] for row in states} == {
        "pay_fine": "scheduled",
        "pay_odd": "parked",
        "pay_poor": "scheduled",
        "pay_stranger": "parked",
    }
    parked = await world.rows("""
        SELECT actor, reason FROM parked
         WHERE status = 'open' AND NOT (actor = 'coins' AND reason = 'enrollment_unknown') ORDER BY 1, 2""")
    assert [(row["actor"], row["reason"]) for row in parked] == [
        ("allocation", "enrollment_unknown"),
        ("allocation", "session_count_invalid"),
        ("cart", "enrollment_unknown"),
        ("coins", "insufficient_coins"),
        ("directory", "unreadable"),
        ("enrollment", "unreadable"),
        ("sessions", "student_profile_missing"),
    ]
    assert await world.count("sessions") == 20
    assert await world.count("enrollments") == 4
    assert await world.rows("SELECT student_id, coins FROM students WHERE coins > 0") == [
        {"student_id": "stu_fine", "coins": 450}
    ]
    assert await world.count("cart_items") == 0
    told = distinct(world)
    assert {topic: len(events) for topic, events in told.items()} == {
        "enrollments.created": 4,
        "carts.cleared": 4,
        "coins.redeemed": 1,
        "allocations.approved": 3,
        "sessions.scheduled": 2,
        "fulfilment.parked": await world.count("parked"),
    }
    assert await world.offenders() == {}


def distinct(world: World) -> dict[str, set[str]]:
    """The ids of the derived events of each topic."""
    told: dict[str, set[str]] = defaultdict(set)
    for topic, spec in TOPICS.items():
        if spec.outside:
            continue
        told[topic] |= {
            event_of(record).event_id for record in world.log[topic] if body(record) != json.dumps(UNKNOWN).encode()
        }
    return {topic: ids for topic, ids in told.items() if ids}


def contradictions(world: World) -> list[str]:
    """The ids of events that were told with different payloads."""
    payloads: dict[str, set[bytes]] = defaultdict(set)
    for topic, spec in TOPICS.items():
        for record in [] if spec.outside else world.log[topic]:
            payloads[event_of(record).event_id].add(body(record))
    return [event_id for event_id, told in payloads.items() if len(told) > 1]


def event_of(record: Record) -> Event:
    contract: Any = TOPICS[record.topic].contract
    event: Event = contract.model_validate_json(body(record))
    return event


def body(record: Record) -> bytes:
    return record.value or b""


async def snapshot(world: World) -> dict[str, list[dict[str, Any]]]:
    """Every row there is; numbers that do not roll back are left out."""
    rows = {table: await world.rows(f"SELECT * FROM {table}") for table in TABLES}  # noqa: S608
    return {
        table: sorted(
            ({name: value for name, value in row.items() if not name.endswith("_no")} for row in found), key=repr
        )
        for table, found in rows.items()
    }
