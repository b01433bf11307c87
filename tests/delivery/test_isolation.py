"""One bad record, and all others: what fails by itself is told apart, whoever meets it and however often."""

from sqlalchemy.ext.asyncio import AsyncEngine

from actors import allocation, cart, enrollment
from actors.allocation import Allocator
from domain.matching import Weights
from tests.builders import a_payment, a_student, a_trainer
from tests.delivery.test_failures import Faulty, holds, raising
from tests.world import World


async def test_a_record_that_fails_in_two_actors_is_parked_by_each_as_its_own_step(engine: AsyncEngine) -> None:
    world = World(engine)
    bad, good = a_payment(), a_payment()
    world.send("students.changed", a_student(bad["studentId"]), a_student(good["studentId"]))
    world.send("trainers.changed", a_trainer())
    world.send("payments.succeeded", bad, good)
    await world.settle(names=["directory", "enrollment"])
    for actor in (cart.ACTOR, allocation.actor_of(Allocator(Weights(per_km=1, per_series=2), "Asia/Kolkata"))):
        world.deliveries[actor.name] = world.delivery(Faulty(actor, raising(KeyError("bug"), when=holds(bad))).actor)

    await world.settle()

    rows = await world.rows("SELECT actor, kind, reason, payment_id FROM parked ORDER BY actor")
    assert [(row["actor"], row["kind"], row["reason"]) for row in rows] == [
        ("allocation", "step", "unexpected_error"),
        ("cart", "step", "unexpected_error"),
    ]
    assert (await world.journey(bad["paymentId"]))["parked_reason"] == "unexpected_error"
    assert (await world.journey(bad["paymentId"]))["state"] == "parked"
    assert (await world.journey(good["paymentId"]))["state"] == "scheduled"
    assert await world.offenders() == {}


async def test_a_step_parked_for_a_fault_of_ours_closes_when_the_record_goes_through_later(engine: AsyncEngine) -> None:
    world = World(engine)
    payment = a_payment()
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("trainers.changed", a_trainer())
    world.send("payments.succeeded", payment)
    await world.settle(names=["directory", "enrollment"])
    healthy = world.deliveries["allocation"]
    world.deliveries["allocation"] = world.delivery(Faulty(healthy.actor, raising(KeyError("bug"))).actor)
    await world.settle()
    parked = await world.parked()

    world.deliveries["allocation"] = healthy
    world.rewind()
    await world.settle()

    assert parked == ["unexpected_error"]
    assert await world.parked() == []
    assert (await world.journey(payment["paymentId"]))["state"] == "scheduled"


async def test_the_fuse_closes_again_though_one_record_still_fails(engine: AsyncEngine) -> None:
    payments = [a_payment() for _ in range(60)]
    faulty = Faulty(enrollment.ACTOR, raising(KeyError("broken deploy")))
    world = World(engine, [faulty.actor])
    world.send("payments.succeeded", *payments)
    tripped = await world.try_turn("enrollment")

    faulty.failure = raising(KeyError("one bad record"), when=holds(payments[0]))
    world.seconds += 31
    closed = await world.try_turn("enrollment")

    assert (tripped, closed) == ("fuse", None)
    assert await world.count("enrollments") == 59
    assert await world.parked() == ["unexpected_error"]


async def test_one_record_that_comes_again_and_again_does_not_trip_the_fuse(engine: AsyncEngine) -> None:
    payment = a_payment()
    faulty = Faulty(enrollment.ACTOR, raising(KeyError("one bad record"), when=holds(payment)))
    world = World(engine, [faulty.actor])
    world.send("payments.succeeded", payment)
    world.broker_is_away = True
    redone = [await world.try_turn("enrollment") for _ in range(25)]

    world.broker_is_away = False
    done = await world.try_turn("enrollment")

    assert set(redone) == {"publish"}
    assert done is None
    assert await world.parked() == ["unexpected_error"]


async def test_where_the_bad_records_stand_does_not_decide_whether_the_fuse_trips(engine: AsyncEngine) -> None:
    payments = [a_payment() for _ in range(300)]
    faulty = Faulty(enrollment.ACTOR, raising(KeyError("bad records"), when=holds(*payments[:25])))
    world = World(engine, [faulty.actor])
    world.send("payments.succeeded", *payments)

    done = await world.try_turn("enrollment")

    assert done is None
    assert await world.count("enrollments") == 275
    assert await world.parked() == ["unexpected_error"] * 25
