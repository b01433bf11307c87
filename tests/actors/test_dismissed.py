"""What an admin dismissed is neither opened again nor done by a replay."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from contracts.topics import TOPICS
from errors import UnexpectedError
from storage.engine import transaction
from storage.parking import Parking, park
from tests.builders import a_cart_change, a_credit, a_payment, a_refund, a_student, a_trainer
from tests.world import World


async def test_dismissed_coins_are_not_redeemed_by_a_replay_though_they_came(world: World) -> None:
    payment = a_payment(coinsRedeemed=100)
    world.send("payments.succeeded", payment)
    await world.settle()
    await _dismiss(world, "coins")

    world.send("coins.credited", a_credit(payment["studentId"], 500))
    await world.settle()
    world.send("payments.refunded", a_refund(payment))
    world.rewind()
    await world.settle()

    assert await world.rows("SELECT kind FROM coin_ledger") == [{"kind": "credit"}]
    assert await _statuses(world, "coins") == ["dismissed"]
    assert world.log["coins.redeemed"] == world.log["coins.returned"] == []


async def test_a_dismissed_cart_is_not_cleared_by_a_replay(world: World) -> None:
    payment = a_payment(cartItemId="itm_1")
    world.send("carts.changed", a_cart_change(payment["studentId"], "itm_1"))
    world.send("payments.succeeded", payment)
    await world.settle(names=["enrollment", "directory"])
    await _park(world, "cart", world.log["enrollments.created"][0])
    await _dismiss(world, "cart")
    told = len(world.log["fulfilment.parked"])

    await world.settle(names=["cart"])

    assert await world.count("cart_items") == 1
    assert await _statuses(world, "cart") == ["dismissed"]
    assert world.log["carts.cleared"] == []
    assert len(world.log["fulfilment.parked"]) == told


async def test_dismissed_sessions_are_not_created_by_a_replay(world: World) -> None:
    payment = a_payment()
    await _allocated_without_profile(world, payment)
    await _dismiss(world, "sessions")

    later = datetime.now(UTC) + timedelta(minutes=1)
    world.send("students.changed", a_student(payment["studentId"], changedAt=later.isoformat()), at=later)
    await world.settle(names=["directory"])
    world.rewind()
    await world.settle(names=["sessions"])

    assert await world.count("series_sessions") == 0
    assert await _statuses(world, "sessions") == ["dismissed"]
    assert (await world.journey(payment["paymentId"]))["state"] == "parked"
    assert [record.key for record in world.log["fulfilment.parked"]] == [payment["paymentId"].encode()]


@pytest.mark.parametrize(
    ("actor", "topic", "undone"),
    [
        ("coins", "enrollments.revoked", "coins.returned"),
        ("allocation", "enrollments.revoked", "allocations.released"),
        ("sessions", "allocations.released", "sessions.cancelled"),
    ],
)
async def test_a_dismissed_step_of_a_refund_is_not_done_by_a_replay(
    world: World, actor: str, topic: str, undone: str
) -> None:
    payment = await _scheduled(world)
    world.send("payments.refunded", a_refund(payment))
    await world.settle(names=["enrollment", "allocation"] if actor == "sessions" else ["enrollment"])
    await _park(world, actor, world.log[topic][0])
    await _dismiss(world, actor)

    await world.settle()

    assert world.log[undone] == []
    assert await _statuses(world, actor) == ["dismissed"]
    assert await world.offenders() == {}


@pytest.mark.parametrize("actor", ["coins", "sessions", "allocation"])
async def test_a_step_dismissed_after_it_was_done_does_not_keep_a_refund_from_undoing_it(
    world: World, actor: str
) -> None:
    payment = await _scheduled(world)
    topic = "allocations.approved" if actor == "sessions" else "enrollments.created"
    await _park(world, actor, world.log[topic][0])
    await _dismiss(world, actor)

    world.send("payments.refunded", a_refund(payment))
    await world.settle()

    assert (await world.journey(payment["paymentId"]))["sessions"] == 0
    assert await world.rows("SELECT coins FROM students") == [{"coins": 10}]
    assert await world.rows("SELECT active FROM bookings") == [{"active": False}]


async def _scheduled(world: World) -> dict[str, Any]:
    payment = a_payment(coinsRedeemed=10)
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("coins.credited", a_credit(payment["studentId"], 10))
    world.send("trainers.changed", a_trainer())
    await world.settle(names=["directory"])
    world.send("payments.succeeded", payment)
    await world.settle()
    return payment


async def _allocated_without_profile(world: World, payment: dict[str, Any]) -> None:
    world.send("trainers.changed", a_trainer())
    await world.settle(names=["directory"])
    world.send("payments.succeeded", payment)
    await world.settle()
    assert await world.parked() == ["student_profile_missing"]


async def _park(world: World, actor: str, record: Any) -> None:
    """As a fault of ours would park this record's step."""
    subject = "allocation_id" if actor == "sessions" else "enrollment_id"
    event = next(e for e in _events(world, record.topic) if e.payment_id.encode() == record.key)
    parking = Parking(UnexpectedError(error="Test"), record, str(getattr(event, subject)), payment_id=event.payment_id)
    async with transaction(world.engine) as db:
        await park(db, actor, [parking])


def _events(world: World, topic: str) -> list[Any]:
    contract: Any = TOPICS[topic].contract
    return [contract.model_validate_json(record.value) for record in world.log[topic]]


async def _dismiss(world: World, actor: str) -> None:
    async with transaction(world.engine) as db:
        await db.execute(
            text("UPDATE parked SET status = 'dismissed', closed_at = now(), closed_by = 'asha' WHERE actor = :actor"),
            {"actor": actor},
        )


async def _statuses(world: World, actor: str) -> list[str]:
    rows = await world.rows("SELECT status FROM parked WHERE actor = :actor", actor=actor)
    return [row["status"] for row in rows]
