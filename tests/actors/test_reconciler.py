"""The backstop: whatever the database shows as stuck is asked for again, bounded, and never against an admin."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from actors import reconciler
from contracts.repairs import RepairCompleted
from domain.identity import fingerprint
from tests.builders import a_cart_change, a_credit, a_payment, a_student, a_trainer, soon
from tests.world import World

PURCHASES = 6


async def nothing_unread() -> dict[str, datetime]:
    return {}


async def sweep(world: World, unread: Any = nothing_unread, grace: timedelta = timedelta(0)) -> int:
    return await reconciler.sweep(world.engine, world._publish, unread, grace)


async def bought(world: World) -> list[dict[str, Any]]:
    """Students with everything they need have paid; nothing of their purchases is read yet."""
    payments = [a_payment(coinsRedeemed=5, cartItemId=f"itm_{n}") for n in range(PURCHASES)]
    for n, payment in enumerate(payments):
        world.send("students.changed", a_student(payment["studentId"]))
        world.send("carts.changed", a_cart_change(payment["studentId"], f"itm_{n}"))
        world.send("coins.credited", a_credit(payment["studentId"], 10))
        world.send("trainers.changed", a_trainer(f"trn_{n}"))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", *payments)
    return payments


def kafka_wiped(world: World) -> None:
    """The broker has lost every record and every group."""
    world.log.clear()
    world.rewind()


async def nothing_is_missing(world: World) -> None:
    states = await world.rows("SELECT DISTINCT state FROM purchases")
    assert [row["state"] for row in states] == ["scheduled"]
    assert await world.count("sessions") == 10 * PURCHASES
    assert await world.count("cart_items") == 0
    assert await world.rows("SELECT DISTINCT coins FROM students") == [{"coins": 5}]
    assert await world.offenders() == {}


@pytest.mark.parametrize("done", [(), ("allocation",), ("cart", "allocation"), ("coins",), ("allocation", "sessions")])
async def test_what_the_database_knows_of_is_completed_after_kafka_has_lost_everything(
    world: World, done: tuple[str, ...]
) -> None:
    await bought(world)
    await world.settle(names=["enrollment", *done])
    kafka_wiped(world)

    assert await sweep(world) > 0
    await world.settle()

    await nothing_is_missing(world)
    assert await sweep(world) == 0


async def test_while_repair_has_commands_to_read_nothing_is_asked_for_again(world: World) -> None:
    async def repair_lags() -> dict[str, datetime]:
        return {"repair": datetime.now(UTC)}

    await bought(world)
    await world.settle(names=["enrollment"])
    kafka_wiped(world)

    assert await sweep(world, repair_lags) == 0
    assert await sweep(world) > 0


async def test_what_upstream_sends_again_afterwards_changes_nothing(world: World) -> None:
    payments = await bought(world)
    await world.settle(names=["enrollment"])
    kafka_wiped(world)
    await sweep(world)
    await world.settle()
    before = await world.rows("SELECT * FROM series_sessions ORDER BY 1, 5")

    world.send("payments.succeeded", *payments, *payments)
    await world.settle()

    assert await world.rows("SELECT * FROM series_sessions ORDER BY 1, 5") == before
    await nothing_is_missing(world)


async def test_half_a_refund_is_completed(world: World) -> None:
    payments = await bought(world)
    await world.settle()
    refunds = [
        {"refundId": f"ref_{n}", "paymentId": p["paymentId"], "refundedAt": datetime.now(UTC).isoformat()}
        for n, p in enumerate(payments)
    ]
    world.send("payments.refunded", *refunds)
    await world.settle(names=["enrollment"])
    kafka_wiped(world)

    await sweep(world)
    await world.settle()
    await sweep(world)
    await world.settle()

    assert await world.rows("SELECT count(*) AS n FROM sessions WHERE status = 'scheduled'") == [{"n": 0}]
    assert await world.rows("SELECT count(*) AS n FROM bookings WHERE active") == [{"n": 0}]
    assert await world.rows("SELECT DISTINCT coins FROM students") == [{"coins": 10}]
    assert await world.offenders() == {}


async def test_what_waits_in_line_is_not_stuck(world: World) -> None:
    await bought(world)
    await world.settle(names=["enrollment"])
    long_ago = datetime.now(UTC) - timedelta(minutes=1)

    async def unread_for_a_minute() -> dict[str, datetime]:
        return {"allocation": long_ago}

    assert await sweep(world, unread_for_a_minute) == 0
    assert await sweep(world, grace=timedelta(minutes=1)) == 0


async def test_what_is_parked_or_dismissed_is_not_stuck(world: World) -> None:
    parked, dismissed = a_payment(purchaseTier="many"), a_payment(purchaseTier="many")
    world.send("payments.succeeded", parked, dismissed)
    await world.settle()
    await world.rows(
        "UPDATE parked SET status = 'dismissed', closed_at = now(), closed_by = 'asha'"
        " WHERE payment_id = :id RETURNING id",
        id=dismissed["paymentId"],
    )

    assert await sweep(world) == 0


async def test_a_step_is_asked_for_once_a_try_and_each_further_try_waits_longer(world: World) -> None:
    await bought(world)
    await world.settle(names=["enrollment"])
    world.log["enrollments.created"].clear()

    first, again = await sweep(world), await sweep(world)
    ids = [record.value for record in world.log["repairs.requested"]]
    world.log["enrollments.created"].clear()
    for topic in ("carts.cleared", "coins.redeemed", "allocations.approved"):
        world.log[topic].clear()
    await world.settle(names=["repair"])
    await world.rows("DELETE FROM cart_clearances RETURNING 1 AS n")
    at_once = await sweep(world)

    assert first == again == 3 * PURCHASES
    assert len(set(ids)) == first
    assert len({a.command_id for a in world.published(RepairCompleted)}) == first
    # The cart steps were tried a moment ago; what the database shows of the others is the sessions, never tried yet.
    assert at_once == PURCHASES


async def test_a_provisional_booking_is_freed_at_its_first_start(world: World) -> None:
    ghost = a_payment()
    world.send("trainers.changed", a_trainer("trn_1"))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", ghost)
    await world.settle()
    ghost["metadata"]["date"] = soon(-3).isoformat()
    await world.rows(
        "UPDATE purchases SET payload = CAST(CAST(:payload AS text) AS jsonb), fingerprint = :fingerprint"
        " RETURNING payment_id",
        payload=json.dumps(ghost),
        fingerprint=fingerprint(ghost),
    )
    await world.rows(
        "UPDATE bookings SET first_day = first_day - 10, booked = (SELECT range_agg("
        "tstzrange(lower(r) - interval '10 days', upper(r) - interval '10 days')) FROM unnest(booked) r)"
        " RETURNING booking_no"
    )
    assert await world.parked() == ["student_profile_missing"]

    assert await sweep(world) == 1
    await world.settle()

    assert await world.parked() == ["schedule_in_the_past"]
    assert await world.rows("SELECT count(*) AS n FROM bookings WHERE active") == [{"n": 0}]
    assert (await world.journey(ghost["paymentId"]))["state"] == "parked"
    assert await world.offenders() == {}
    assert await sweep(world) == 0


async def test_who_has_paid_and_lost_the_trainer_gets_one_again(world: World) -> None:
    world.send("trainers.changed", a_trainer())
    world.send("payments.succeeded", a_payment())
    await world.settle()
    await world.rows("DELETE FROM bookings RETURNING 1 AS n")
    await world.rows(
        "UPDATE allocations SET status = 'released', released_at = now(), effective_at = now() RETURNING 1 AS n"
    )
    before = await world.offenders()

    assert await sweep(world) == 1
    await world.settle()

    assert before.keys() == {"released_not_parked"}
    assert await world.rows("SELECT status FROM allocations") == [{"status": "approved"}]
    assert await world.offenders() == {}
