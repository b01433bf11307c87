"""From a payment to its sessions, and nothing twice."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from contracts.sessions import SessionsScheduled
from tests.builders import a_cart_change, a_credit, a_payment, a_student, a_trainer, soon
from tests.world import World


async def test_a_payment_becomes_sessions_with_nobody_touching_it(world: World) -> None:
    payment = a_payment(purchaseTier=30, coinsRedeemed=120, cartItemId="itm_1")
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("trainers.changed", a_trainer())
    world.send("carts.changed", a_cart_change(payment["studentId"], "itm_1"))
    world.send("coins.credited", a_credit(payment["studentId"], 500))
    await world.settle(names=["directory"])

    world.send("payments.succeeded", payment)
    await world.settle()

    journey = await world.journey(payment["paymentId"])
    assert (journey["state"], journey["sessions"]) == ("scheduled", 30)
    assert await world.count("cart_items") == 0
    assert (await world.rows("SELECT coins FROM students"))[0]["coins"] == 380
    assert await world.offenders() == {}


async def test_every_session_is_at_the_wall_time_of_the_student(world: World) -> None:
    payment = a_payment(purchaseTier=10, timeSlot="4:00 PM - 5:30 PM")
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("trainers.changed", a_trainer())
    await world.settle(names=["directory"])

    world.send("payments.succeeded", payment)
    await world.settle()

    (series,) = world.published(SessionsScheduled)
    first = datetime.combine(soon(), datetime.min.time(), ZoneInfo("Asia/Kolkata")).replace(hour=16)
    assert series.sessions[0].starts_at == first.astimezone(UTC)
    assert [s.number for s in series.sessions] == list(range(1, 11))
    assert {(s.ends_at - s.starts_at).total_seconds() for s in series.sessions} == {5400}


async def test_a_replay_of_the_whole_log_changes_nothing_and_tells_the_same(world: World) -> None:
    payments = [a_payment() for _ in range(20)]
    world.send("students.changed", *(a_student(p["studentId"]) for p in payments))
    world.send("trainers.changed", *(a_trainer(f"trn_{n}") for n in range(20)))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", *payments)
    await world.settle()
    before = await world.rows("SELECT * FROM sessions ORDER BY allocation_id, number")
    told = world.published(SessionsScheduled)

    world.rewind()
    await world.settle()

    assert await world.rows("SELECT * FROM sessions ORDER BY allocation_id, number") == before
    assert world.published(SessionsScheduled) == told
    assert len(before) == 200
