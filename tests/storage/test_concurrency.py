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
from tests.builders import a_credit, a_payment, a_refund, a_student, a_trainer
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


async def test_a_refund_beside_its_payment_at_another_worker_is_never_lost(workers: tuple[World, World]) -> None:
    first, second = workers
    for round_ in range(ROUNDS):
        payments = [a_payment(coinsRedeemed=5) for _ in range(10)]
        refunds = [a_refund(payment) for payment in random.Random(round_).sample(payments, len(payments))]

        await _deliver(workers, "enrollment", ("payments.succeeded", payments), ("payments.refunded", refunds))

    rows = await first.rows(
        "SELECT p.state, e.status, e.version FROM purchases p JOIN enrollments e USING (payment_id)"
    )
    assert [tuple(row.values()) for row in rows] == [("refunded", "revoked", 2)] * (ROUNDS * 10)
    revoked = payloads(first, "enrollments.revoked") | payloads(second, "enrollments.revoked")
    assert len(revoked) == len(payloads(first, "enrollments.created")) == ROUNDS * 10
    assert await first.offenders() == {}


@pytest.mark.parametrize("leader", ["payments.succeeded", "payments.refunded"])
async def test_whoever_comes_second_waits_for_the_first_and_sees_what_it_did(
    workers: tuple[World, World], leader: str
) -> None:
    first, second = workers
    payment = a_payment()
    messages = {"payments.succeeded": payment, "payments.refunded": a_refund(payment)}
    follower = next(topic for topic in messages if topic != leader)
    handled, go_on = asyncio.Event(), asyncio.Event()

    async def hold(point: str) -> None:
        if point == "handled":
            handled.set()
            await go_on.wait()

    first.deliveries["enrollment"]._reached = hold
    first.send(leader, messages[leader])
    second.send(follower, messages[follower])
    leading = asyncio.create_task(first.turn("enrollment"))
    await handled.wait()
    following = asyncio.create_task(second.turn("enrollment"))
    await _somebody_waits(second)
    go_on.set()
    await asyncio.gather(leading, following)

    assert (await first.rows("SELECT state FROM purchases")) == [{"state": "refunded"}]
    assert (await first.rows("SELECT status, version FROM enrollments")) == [{"status": "revoked", "version": 2}]
    assert len(first.log["enrollments.revoked"]) + len(second.log["enrollments.revoked"]) == 1
    assert first.log["enrollments.created"] + second.log["enrollments.created"] != []


async def test_batches_of_payments_and_refunds_of_the_same_purchases_do_not_deadlock(
    workers: tuple[World, World],
) -> None:
    """Some purchases known, some new; each worker has the payments of one half, and the refunds of the other."""
    first, _ = workers
    for round_ in range(ROUNDS):
        payments = [a_payment() for _ in range(40)]
        await _enrolled(first, payments[::3])
        random.Random(round_).shuffle(payments)
        halves = payments[:20], payments[20:]
        refunds = [[a_refund(payment) for payment in half] for half in halves]
        batches = [
            [("payments.succeeded", halves[mine]), ("payments.refunded", refunds[1 - mine])] for mine in range(2)
        ]

        await _deliver_all(workers, "enrollment", *batches)

    assert await first.rows("SELECT DISTINCT state FROM purchases") == [{"state": "refunded"}]
    assert await first.count("enrollments") == ROUNDS * 40


async def test_the_same_refunds_at_two_workers_release_cancel_and_return_once(workers: tuple[World, World]) -> None:
    first, second = workers
    await _announce(first, *(a_trainer(f"trn_{n}") for n in range(10)))
    first.send("coins.credited", *(a_credit(f"stu_of_round_{r}_{n}", 5) for r in range(4) for n in range(10)))
    for round_ in range(4):
        payments = [
            a_payment(studentId=f"stu_of_round_{round_}_{n}", coinsRedeemed=5, **_hour(round_)) for n in range(10)
        ]
        first.send("students.changed", *(a_student(p["studentId"]) for p in payments))
        await first.settle(names=["directory"])
        first.send("payments.succeeded", *payments)
        await first.settle()

        refunds = [a_refund(payment) for payment in payments]
        draw = random.Random(round_)
        await at_once(workers, "enrollment", "payments.refunded", refunds, draw)
        for actor, topic in (("coins", "revoked"), ("allocation", "revoked"), ("sessions", "released")):
            name = f"{'allocations' if topic == 'released' else 'enrollments'}.{topic}"
            seen = list({record.key: record for record in first.log[name]}.values())[-10:]
            await at_once(workers, actor, name, seen, draw)

    for topic in ("enrollments.revoked", "coins.returned", "allocations.released", "sessions.cancelled"):
        assert payloads(first, topic) == payloads(second, topic), topic
        assert len(payloads(first, topic)) == 40, topic
    assert await first.count("former_sessions") == 400
    assert await first.rows("SELECT DISTINCT version FROM allocations") == [{"version": 2}]
    assert await first.rows("SELECT DISTINCT coins FROM students") == [{"coins": 5}]
    assert await first.offenders() == {}


async def test_a_refund_beside_the_allocation_of_its_purchase_leaves_no_time_booked(
    workers: tuple[World, World],
) -> None:
    first, second = workers
    await _announce(first, *(a_trainer(f"trn_{n}") for n in range(10)))
    for round_ in range(ROUNDS):
        payments = [a_payment(**_hour(round_)) for _ in range(10)]
        enrolled = await _enrolled(first, payments)
        refunds = [a_refund(payment) for payment in payments]
        met = asyncio.Barrier(2)

        await asyncio.gather(
            _delivered(first, "allocation", met, [("enrollments.created", [r.value for r in enrolled])]),
            _delivered(second, "enrollment", met, [("payments.refunded", refunds)]),
        )
    first.log["enrollments.revoked"] += second.log["enrollments.revoked"]
    await first.settle()

    assert await first.rows("SELECT count(*) AS n FROM bookings WHERE active") == [{"n": 0}]
    assert await first.parked() == []
    assert await first.offenders() == {}


async def at_once(
    workers: tuple[World, World], actor: str, topic: str, messages: list[Any], order: random.Random
) -> None:
    """Both workers get all of it at the same time, each in an order of its own."""
    await _deliver(workers, actor, *((topic, order.sample(messages, len(messages))) for _ in workers))


async def apart(workers: tuple[World, World], actor: str, topic: str, messages: list[Any]) -> None:
    """Each worker gets a half of it at the same time."""
    middle = len(messages) // 2
    await _deliver(workers, actor, (topic, messages[:middle]), (topic, messages[middle:]))


async def test_batches_that_allocate_and_release_cross_wise_take_turns(workers: tuple[World, World]) -> None:
    first, _ = workers
    await _announce(first, *(a_trainer(f"trn_{c}_{n}", courses=[f"crs_{c}"]) for c in "ab" for n in range(4)))
    for round_ in range(ROUNDS):
        old = {c: [a_payment(courseId=f"crs_{c}", **_hour(round_)) for _ in range(2)] for c in "ab"}
        first.send("payments.succeeded", *old["a"], *old["b"])
        await first.settle(names=["enrollment", "allocation"])
        revoked, new = {}, {}
        for c in "ab":
            seen = len(first.log["enrollments.revoked"])
            first.send("payments.refunded", *(a_refund(p) for p in old[c]))
            await first.settle(names=["enrollment"])
            revoked[c] = [record.value for record in first.log["enrollments.revoked"][seen:]]
            enrolled = await _enrolled(first, [a_payment(courseId=f"crs_{c}", **_hour(round_)) for _ in range(2)])
            new[c] = [record.value for record in enrolled]
        await _deliver_all(
            workers,
            "allocation",
            [("enrollments.created", new["a"]), ("enrollments.revoked", revoked["b"])],
            [("enrollments.created", new["b"]), ("enrollments.revoked", revoked["a"])],
        )
        for topic in ("enrollments.created", "enrollments.revoked"):
            first._read["allocation", topic] = len(first.log[topic])

    assert await first.rows("SELECT count(*) AS n FROM bookings WHERE active") == [{"n": 4 * ROUNDS}]


async def _deliver(workers: tuple[World, World], actor: str, *batches: tuple[str, list[Any]]) -> None:
    """One batch for each, whose transactions begin together."""
    await _deliver_all(workers, actor, *([batch] for batch in batches))


async def _deliver_all(workers: tuple[World, World], actor: str, *batches: list[tuple[str, list[Any]]]) -> None:
    """One batch for each, of several topics, whose transactions begin together."""
    met = asyncio.Barrier(2)
    pairs = zip(workers, batches, strict=True)
    await asyncio.gather(*(_delivered(worker, actor, met, batch) for worker, batch in pairs))


async def _delivered(worker: World, actor: str, met: asyncio.Barrier, parts: list[tuple[str, list[Any]]]) -> None:
    """One batch of one actor, whose transaction begins when the other one's does."""
    delivery = worker.deliveries[actor]
    delivery._reached = _once_at("begun", met)
    unlogged = World(worker.engine, worker.actors)
    await delivery.deliver(
        [
            record
            for topic, messages in parts
            for record in unlogged.send(topic, *(m.value if isinstance(m, Record) else m for m in messages))
        ]
    )


def _once_at(point: str, met: asyncio.Barrier) -> Callable[[str], Awaitable[None]]:
    """Wait for the other at this point, the first time."""
    waiting = True

    async def reached(here: str) -> None:
        nonlocal waiting
        if waiting and here == point:
            waiting = False
            await met.wait()

    return reached


async def _somebody_waits(world: World) -> None:
    """Return when a transaction waits for another one's lock."""
    while not await world.rows(_WAITING):
        pass


_WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


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
