"""Two workers on one database at the same time: nothing twice, nobody refused without need, no deadlock."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

import metrics
from contracts.record import Record
from storage.engine import open_engine
from tests.builders import a_credit, a_payment, a_student, a_trainer
from tests.world import World

ROUNDS = 12


@pytest.fixture
async def workers(engine: AsyncEngine, database_url: str) -> AsyncIterator[tuple[World, World]]:
    """Two processes of one deployment: each with its own lines and its own memory."""
    second = open_engine(database_url, pool_size=4)
    undone: list[str] = []
    for each in (engine, second):
        event.listen(each.sync_engine, "rollback_savepoint", lambda *_: undone.append("savepoint"))
    before = _retries()
    yield World(engine), World(second)
    await second.dispose()
    # The locks let the two take turns: whoever had to do something again did not wait for the other.
    assert _retries() == before
    assert undone == []


async def test_the_same_payments_at_two_workers_are_enrolled_once(workers: tuple[World, World]) -> None:
    for round_ in range(ROUNDS):
        payments = [a_payment() for _ in range(20)]

        await at_once(workers, "enrollment", "payments.succeeded", payments, random.Random(round_))

    first, second = workers
    assert await first.count("enrollments") == ROUNDS * 20
    assert ids(first, "enrollments.created") == ids(second, "enrollments.created")
    assert await first.count("parked") == 0


async def test_the_same_enrolments_at_two_workers_are_allocated_once(workers: tuple[World, World]) -> None:
    first, second = workers
    await _announce(first, *(a_trainer(f"trn_{n}") for n in range(10)))
    for round_ in range(ROUNDS):
        enrolled = await _enrolled(first, [a_payment(**_hour(round_)) for _ in range(10)])

        await at_once(workers, "allocation", "enrollments.created", enrolled, random.Random(round_))

    assert await first.count("allocations") == await first.count("bookings") == ROUNDS * 10
    assert payloads(first, "allocations.approved") == payloads(second, "allocations.approved")
    assert await first.parked() == []


async def test_different_enrolments_at_two_workers_share_the_trainers_without_a_false_refusal(
    workers: tuple[World, World],
) -> None:
    first, _ = workers
    await _announce(first, *(a_trainer(f"trn_{n}") for n in range(8)))
    for round_ in range(ROUNDS):
        enrolled = await _enrolled(first, [a_payment(**_hour(round_)) for _ in range(8)])

        await apart(workers, "allocation", "enrollments.created", enrolled)

    booked = await first.rows("SELECT trainer_id, count(*) AS n FROM allocations GROUP BY 1")
    assert {row["n"] for row in booked} == {ROUNDS}
    assert await first.parked() == []
    assert await _booked_twice(first) == []


async def test_more_purchases_than_trainers_park_exactly_the_surplus(workers: tuple[World, World]) -> None:
    first, _ = workers
    await _announce(first, *(a_trainer(f"trn_{n}") for n in range(3)))
    for round_ in range(ROUNDS):
        enrolled = await _enrolled(first, [a_payment(**_hour(round_)) for _ in range(8)])

        await apart(workers, "allocation", "enrollments.created", enrolled)

    assert await first.count("allocations") == ROUNDS * 3
    assert await first.parked() == ["no_trainer_available"] * (ROUNDS * 5)
    assert await _booked_twice(first) == []


async def test_two_purchases_of_one_student_at_the_same_time_get_one_booking(workers: tuple[World, World]) -> None:
    first, _ = workers
    await _announce(first, *(a_trainer(f"trn_{n}") for n in range(6)))
    for round_ in range(ROUNDS):
        pairs = [[a_payment(studentId=f"stu_{n}", **_hour(round_)) for n in range(3)] for _ in range(2)]
        enrolled = await _enrolled(first, [*pairs[0], *pairs[1]])

        await apart(workers, "allocation", "enrollments.created", _first(pairs[0], enrolled))

    assert await first.count("allocations") == ROUNDS * 3
    assert await first.parked() == ["student_already_booked"] * (ROUNDS * 3)
    assert await _booked_twice(first) == []


async def test_coins_are_redeemed_once_at_two_workers(workers: tuple[World, World]) -> None:
    first, second = workers
    first.send("coins.credited", *(a_credit(f"stu_{n}", ROUNDS * 10) for n in range(10)))
    await first.settle(names=["directory"])
    for round_ in range(ROUNDS):
        payments = [a_payment(studentId=f"stu_{n}", coinsRedeemed=10) for n in range(10)]
        enrolled = await _enrolled(first, payments)

        await at_once(workers, "coins", "enrollments.created", enrolled, random.Random(round_))

    assert await first.rows("SELECT sum(coins) AS left, min(coins) AS least FROM students") == [{"left": 0, "least": 0}]
    assert await first.count("coin_ledger") == 10 + ROUNDS * 10
    assert payloads(first, "coins.redeemed") == payloads(second, "coins.redeemed")
    assert await first.parked() == []


async def test_two_workers_never_spend_the_same_coins(workers: tuple[World, World]) -> None:
    first, _ = workers
    first.send("coins.credited", *(a_credit(f"stu_{n}", 10) for n in range(10)))
    await first.settle(names=["directory"])
    pairs = [[a_payment(studentId=f"stu_{n}", coinsRedeemed=10) for n in range(10)] for _ in range(2)]
    enrolled = await _enrolled(first, [*pairs[0], *pairs[1]])

    await apart(workers, "coins", "enrollments.created", _first(pairs[0], enrolled))

    assert await first.rows("SELECT sum(coins) AS n FROM students") == [{"n": 0}]
    assert await first.parked() == ["insufficient_coins"] * 10


async def test_the_same_credits_at_two_workers_are_booked_once(workers: tuple[World, World]) -> None:
    first, _ = workers
    for round_ in range(ROUNDS):
        credits_ = [a_credit(f"stu_{n}", 1) for n in range(10)]

        await at_once(workers, "directory", "coins.credited", credits_, random.Random(round_))

    assert await first.rows("SELECT sum(coins) AS n FROM students") == [{"n": ROUNDS * 10}]
    assert await first.parked() == []


async def test_the_same_allocations_at_two_workers_are_scheduled_once(workers: tuple[World, World]) -> None:
    first, second = workers
    await _announce(first, *(a_trainer(f"trn_{n}") for n in range(10)))
    for round_ in range(ROUNDS):
        payments = [a_payment(**_hour(round_)) for _ in range(10)]
        first.send("students.changed", *(a_student(p["studentId"]) for p in payments))
        await first.settle(names=["directory"])
        await _enrolled(first, payments)
        seen = len(first.log["allocations.approved"])
        await first.settle(names=["allocation"])

        approved = first.log["allocations.approved"][seen:]
        await at_once(workers, "sessions", "allocations.approved", approved, random.Random(round_))

    assert await first.count("sessions") == ROUNDS * 100
    assert payloads(first, "sessions.scheduled") == payloads(second, "sessions.scheduled")
    assert await first.parked() == []


async def test_the_same_feeds_at_two_workers_in_opposite_order_end_in_one_state(workers: tuple[World, World]) -> None:
    first, _ = workers
    for round_ in range(ROUNDS):
        changes = [a_student(f"stu_{n}", latitude=10.0 + round_ / 100) for n in range(20)]

        await at_once(workers, "directory", "students.changed", changes, random.Random(round_))

    rows = await first.rows("SELECT DISTINCT latitude FROM students")
    assert rows == [{"latitude": 10.0 + (ROUNDS - 1) / 100}]


@pytest.mark.parametrize("make", [a_student, a_trainer], ids=["students", "trainers"])
async def test_news_of_the_same_many_in_opposite_orders_does_not_deadlock(
    workers: tuple[World, World], make: Callable[..., dict[str, Any]]
) -> None:
    topic = "students.changed" if make is a_student else "trainers.changed"
    start = datetime.now(UTC) - timedelta(days=1)
    for round_ in range(5):
        later = start + timedelta(hours=round_)
        rising = [make(f"id_{n}", changedAt=(later + timedelta(seconds=n)).isoformat()) for n in range(300)]
        falling = [make(f"id_{n}", changedAt=(later + timedelta(seconds=300 - n)).isoformat()) for n in range(300)]

        await apart(workers, "directory", topic, [*rising, *falling])

    assert await workers[0].parked() == []


async def test_the_same_unreadable_record_at_two_workers_is_parked_once(workers: tuple[World, World]) -> None:
    first, second = workers
    for round_ in range(ROUNDS):
        await at_once(workers, "enrollment", "payments.succeeded", [b"garbage %d" % round_] * 3, random.Random(round_))

    assert await first.count("parked") == ROUNDS
    assert ids(first, "fulfilment.parked") == ids(second, "fulfilment.parked")


async def test_what_parks_at_two_workers_at_once_is_one_row(workers: tuple[World, World]) -> None:
    first, second = workers
    for round_ in range(ROUNDS):
        enrolled = await _enrolled(first, [a_payment(purchaseTier="many", coinsRedeemed=5) for _ in range(5)])

        await at_once(workers, "allocation", "enrollments.created", enrolled, random.Random(round_))
        await at_once(workers, "coins", "enrollments.created", enrolled, random.Random(round_))

    assert await first.parked() == ["insufficient_coins"] * (5 * ROUNDS) + ["session_count_invalid"] * (5 * ROUNDS)
    assert ids(first, "fulfilment.parked") == ids(second, "fulfilment.parked")


async def at_once(
    workers: tuple[World, World], actor: str, topic: str, messages: list[Any], order: random.Random
) -> None:
    """Both workers get all of it at the same time, each in an order of its own."""
    await _deliver(workers, actor, topic, *(order.sample(messages, len(messages)) for _ in workers))


async def apart(workers: tuple[World, World], actor: str, topic: str, messages: list[Any]) -> None:
    """Each worker gets a half of it at the same time."""
    middle = len(messages) // 2
    await _deliver(workers, actor, topic, messages[:middle], messages[middle:])


async def _deliver(workers: tuple[World, World], actor: str, topic: str, *batches: list[Any]) -> None:
    """One batch for each, whose transactions begin together."""
    met = asyncio.Barrier(2)

    async def deliver(worker: World, batch: list[Any]) -> None:
        bodies = [message.value if isinstance(message, Record) else message for message in batch]
        delivery = worker.deliveries[actor]
        delivery._reached = _once_at("begun", met)
        await delivery.deliver(World(worker.engine, worker.actors).send(topic, *bodies))

    await asyncio.gather(*(deliver(worker, batch) for worker, batch in zip(workers, batches, strict=True)))


def _once_at(point: str, met: asyncio.Barrier) -> Callable[[str], Awaitable[None]]:
    """Wait for the other at this point, the first time."""
    waiting = True

    async def reached(here: str) -> None:
        nonlocal waiting
        if waiting and here == point:
            waiting = False
            await met.wait()

    return reached


async def _announce(world: World, *trainers: dict[str, Any]) -> None:
    world.send("trainers.changed", *trainers)
    await world.settle(names=["directory"])


async def _enrolled(world: World, payments: list[dict[str, Any]]) -> list[Record]:
    """The `enrollments.created` of these payments, which no actor behind the door has seen."""
    seen = len(world.log["enrollments.created"])
    world.send("payments.succeeded", *payments)
    await world.settle(names=["enrollment"])
    return world.log["enrollments.created"][seen:]


def _retries() -> float:
    return sum(sample.value for metric in metrics.RETRIES.collect() for sample in metric.samples)


def ids(world: World, topic: str) -> set[bytes | None]:
    return {record.key for record in world.log[topic]}


def payloads(world: World, topic: str) -> set[bytes | None]:
    return {record.value for record in world.log[topic]}


def _first(payments: list[dict[str, Any]], records: list[Record]) -> list[Record]:
    """The records, those of these payments first."""
    keys = {payment["paymentId"].encode() for payment in payments}
    return sorted(records, key=lambda record: record.key not in keys)


def _hour(round_: int) -> dict[str, Any]:
    """A slot of its own for each round, within working hours."""
    return {"timeSlot": f"{7 + round_:02}:00-{7 + round_:02}:45", "purchaseTier": 10}


async def _booked_twice(world: World) -> list[str]:
    found = await world.offenders()
    return found.get("trainer_booked_twice", []) + found.get("student_booked_twice", [])
