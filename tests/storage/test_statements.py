"""An actor is a set operation: as many statements for 500 records as for one."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.engine import open_engine
from tests.builders import a_cart_change, a_credit, a_payment, a_refund, a_student, a_trainer
from tests.world import World

ACTORS = ("directory", "enrollment", "cart", "coins", "allocation", "sessions", "metrics")


@contextmanager
def counted(engine: AsyncEngine) -> Iterator[list[str]]:
    """Every statement sent to the database in the block, savepoints too."""
    sent: list[str] = []

    def statement(_c: Any, _k: Any, sql: str, _p: Any, _x: Any, _m: Any) -> None:
        sent.append(sql)

    def savepoint(_c: Any, name: Any, *_: Any) -> None:
        sent.append(f"savepoint {name}")

    listeners: list[tuple[str, Callable[..., None]]] = [
        ("before_cursor_execute", statement),
        ("savepoint", savepoint),
        ("release_savepoint", savepoint),
        ("rollback_savepoint", savepoint),
    ]
    for name, listener in listeners:
        event.listen(engine.sync_engine, name, listener)
    try:
        yield sent
    finally:
        for name, listener in listeners:
            event.remove(engine.sync_engine, name, listener)


async def statements_by_actor(world: World, purchases: int, *, replay: bool = False) -> dict[str, int]:
    """How many statements each actor's one batch takes for so many purchases of students with everything."""
    payments = [a_payment(coinsRedeemed=5, cartItemId=f"itm_{n}", purchaseTier=10) for n in range(purchases)]
    world.send("students.changed", *(a_student(p["studentId"]) for p in payments))
    world.send("trainers.changed", *(a_trainer(f"trn_{n}") for n in range(purchases)))
    world.send("carts.changed", *(a_cart_change(p["studentId"], f"itm_{n}") for n, p in enumerate(payments)))
    world.send("coins.credited", *(a_credit(p["studentId"], 10) for p in payments))
    world.send("payments.succeeded", *payments)
    if replay:
        for name in ACTORS:
            await world.settle(names=[name])
        world.rewind()
    found: dict[str, int] = {}
    for name in ACTORS:
        with counted(world.engine) as sent:
            await world.turn(name, batch=5 * purchases)
        found[name] = len(sent)
    assert [len(world.log[topic]) >= purchases for topic in ("sessions.scheduled", "coins.redeemed")] == [True, True]
    return found


@pytest.mark.parametrize("replay", [False, True], ids=["new", "replayed"])
async def test_every_actor_takes_as_many_statements_for_500_records_as_for_one(
    world: World, second_world: World, *, replay: bool
) -> None:
    for_one = await statements_by_actor(world, 1, replay=replay)
    for_many = await statements_by_actor(second_world, 500, replay=replay)

    assert for_many == for_one
    assert all(0 < count < 30 for count in for_one.values())


@pytest.mark.parametrize("case", ["new", "replayed", "before", "beside"])
async def test_refunds_take_as_many_statements_for_500_as_for_one(world: World, second_world: World, case: str) -> None:
    found: dict[int, dict[str, int]] = {}
    for count, place in ((1, world), (500, second_world)):
        payments = [a_payment(coinsRedeemed=5, purchaseTier=5) for _ in range(count)]
        refunds = [a_refund(payment) for payment in payments]
        place.send("students.changed", *(a_student(p["studentId"]) for p in payments))
        place.send("trainers.changed", *(a_trainer(f"trn_{n}") for n in range(count)))
        place.send("coins.credited", *(a_credit(p["studentId"], 10) for p in payments))
        await place.settle(names=["directory"])
        if case == "before":
            place.send("payments.refunded", *refunds)
            await place.settle()
        place.send("payments.succeeded", *payments)
        if case in {"new", "replayed"}:
            await place.settle()
        if case != "before":
            place.send("payments.refunded", *refunds)
        if case == "replayed":
            await place.settle()
            place.rewind()

        found[count] = {}
        for name in ACTORS[1:]:
            with counted(place.engine) as sent:
                await place.turn(name, batch=9 * count)
            found[count][name] = len(sent)

        assert len({record.key for record in place.log["coins.returned"]}) == count
        assert await place.offenders() == {}

    assert found[500] == found[1]
    assert all(statements < 30 for statements in found[1].values())


@pytest.mark.parametrize(
    ("changes", "actor", "reason"),
    [
        ({"purchaseTier": "many"}, "allocation", "session_count_invalid"),
        ({}, "allocation", "no_trainer_available"),
        ({"coinsRedeemed": 5}, "coins", "insufficient_coins"),
    ],
)
async def test_parking_takes_as_many_statements_for_500_records_as_for_one(
    world: World, second_world: World, changes: dict[str, Any], actor: str, reason: str
) -> None:
    found: dict[int, int] = {}
    for count, place in ((1, world), (500, second_world)):
        place.send("trainers.changed", a_trainer(courses=["crs_chess"]))
        place.send("payments.succeeded", *(a_payment(**changes) for _ in range(count)))
        await place.settle(names=["directory"])
        await place.settle(names=["enrollment"])

        with counted(place.engine) as sent:
            await place.turn(actor)

        found[count] = len(sent)
        assert await place.parked() == [reason] * count

    assert found[1] == found[500]


async def test_unreadable_records_take_as_many_statements_for_500_as_for_one(world: World) -> None:
    found: dict[int, int] = {}
    for count in (1, 500):
        world.send("payments.succeeded", *(b"garbage %d of %d" % (n, count) for n in range(count)))

        with counted(world.engine) as sent:
            await world.turn("enrollment")

        found[count] = len(sent)

    assert found[1] == found[500]
    assert await world.count("parked") == 501


@pytest.fixture
async def second_world(second_database_url: str) -> AsyncIterator[World]:
    engine = open_engine(second_database_url, pool_size=2)
    yield World(engine)
    await engine.dispose()
