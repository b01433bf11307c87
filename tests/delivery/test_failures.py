"""What becomes of a batch when something fails: tried again in place, redone, halved, isolated or parked."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from actors import cart, directory, enrollment
from actors.batch import Actor, Outcome
from actors.runtime import Delivery, Patience, Redo
from contracts.base import Event
from contracts.enrollments import EnrollmentCreated
from contracts.parking import FulfilmentParked
from contracts.record import Record
from errors import Conflict, Contended, Transient
from storage.engine import open_engine
from tests.builders import a_credit, a_payment, a_student, now
from tests.delivery.proxy import before_database
from tests.world import IMPATIENT, World

MAX_BIGINT = 2**63 - 1
PATIENT = Patience(first_pause=1e6, longest_pause=1e6)

# Raised before the handler runs, for the records at hand.
Failure = Callable[[AsyncConnection, Sequence[Record]], Awaitable[None]]


class Faulty:
    """An actor whose handler fails as it is told, and remembers the batches that it was given."""

    def __init__(self, actor: Actor, failure: Failure) -> None:
        self.batches: list[list[Record]] = []
        self.failure: Failure | None = failure
        self._handle = actor.handle
        self.actor = replace(actor, handle=self._fail_or_handle)

    async def _fail_or_handle(self, db: AsyncConnection, records: Sequence[Record]) -> Outcome:
        self.batches.append(list(records))
        if self.failure:
            await self.failure(db, records)
        return await self._handle(db, records)

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.batches]


def raising(
    error: Exception, *, when: Callable[[Sequence[Record]], bool] = lambda _: True, times: int = 10**9
) -> Failure:
    """Fail with this error, so many times, for the batches that `when` picks."""
    left = times

    async def fail(_: AsyncConnection, records: Sequence[Record]) -> None:
        nonlocal left
        if left > 0 and when(records):
            left -= 1
            raise type(error)(*error.args)

    return fail


def holds(*payments: dict[str, Any]) -> Callable[[Sequence[Record]], bool]:
    ids = {payment["paymentId"] for payment in payments}
    return lambda records: any(record.event.payment_id in ids for record in records)


async def test_a_transient_failure_is_tried_again_in_place_and_nobody_notices(engine: AsyncEngine) -> None:
    faulty = Faulty(enrollment.ACTOR, raising(Transient("40001", "serialization"), times=2))
    world = World(engine, [faulty.actor])
    world.send("payments.succeeded", *(a_payment() for _ in range(5)))

    cause = await world.try_turn("enrollment")

    assert cause is None
    assert faulty.sizes == [5, 5, 5]
    assert await world.count("enrollments") == 5
    assert await world.parked() == []


async def test_a_transient_failure_that_lasts_is_redone_and_parks_nothing(engine: AsyncEngine) -> None:
    faulty = Faulty(enrollment.ACTOR, raising(Transient("57P01", "shutting down")))
    world = World(engine, [faulty.actor])
    world.send("payments.succeeded", *(a_payment() for _ in range(5)))

    causes = [await world.try_turn("enrollment") for _ in range(20)]
    rows_meanwhile = await world.count("purchases"), await world.count("parked"), world.published(EnrollmentCreated)
    blocked = world.deliveries["enrollment"].blocked
    faulty.failure = None
    await world.turn("enrollment")

    assert causes == ["Transient"] * 20
    assert set(faulty.sizes) == {5}
    assert rows_meanwhile == (0, 0, [])
    assert blocked == "Transient"
    assert world.deliveries["enrollment"].blocked is None
    assert len(world.published(EnrollmentCreated)) == 5


async def test_a_batch_that_runs_out_of_time_or_locks_is_halved(engine: AsyncEngine) -> None:
    faulty = Faulty(enrollment.ACTOR, raising(Contended("57014", "timeout"), when=lambda records: len(records) > 3))
    world = World(engine, [faulty.actor])
    world.send("payments.succeeded", *(a_payment() for _ in range(12)))

    cause = await world.try_turn("enrollment")

    assert cause is None
    assert [size for size in faulty.sizes if size <= 3] == [3, 3, 3, 3]
    assert await world.count("enrollments") == 12
    assert await world.parked() == []


async def test_a_single_record_that_runs_out_of_time_is_never_parked(engine: AsyncEngine) -> None:
    payments = [a_payment() for _ in range(4)]
    faulty = Faulty(enrollment.ACTOR, raising(Contended("55P03", "lock timeout"), when=holds(payments[2])))
    world = World(engine, [faulty.actor])
    world.send("payments.succeeded", *payments)

    causes = [await world.try_turn("enrollment") for _ in range(12)]

    assert causes == ["Contended"] * 12
    assert await world.parked() == []


async def test_a_conflict_is_read_again_before_anything_is_judged(engine: AsyncEngine) -> None:
    faulty = Faulty(enrollment.ACTOR, raising(Conflict("23505", "duplicate key"), times=3))
    world = World(engine, [faulty.actor])
    world.send("payments.succeeded", *(a_payment() for _ in range(5)))

    cause = await world.try_turn("enrollment")

    assert cause is None
    assert await world.count("enrollments") == 5
    assert await world.parked() == []


async def test_a_value_that_the_database_refuses_is_parked_and_its_neighbours_go_through(world: World) -> None:
    full, more = a_credit("stu_rich", MAX_BIGINT), a_credit("stu_rich", 1)
    others = [a_credit(f"stu_{n}", 7) for n in range(50)]
    world.send("coins.credited", *others[:25], full, more, *others[25:])

    await world.turn("directory")
    world.rewind()
    await world.turn("directory")

    (row,) = await world.rows("SELECT reason, payload, facts FROM parked")
    assert (row["reason"], json.loads(row["payload"])) == ("refused_by_database", more)
    assert row["facts"] == {"detail": "22003"}
    assert await world.rows("SELECT sum(coins) AS n FROM students WHERE coins = 7") == [{"n": 350}]
    assert len(world.published(FulfilmentParked)) == 1
    assert await world.offenders() == {}


@pytest.mark.parametrize("statement", ["SELECT 1 / 0", "SELECT CAST('2026-02-30' AS date)"])
async def test_a_record_that_breaks_a_statement_by_its_value_is_isolated(engine: AsyncEngine, statement: str) -> None:
    payments = [a_payment() for _ in range(9)]
    bad = holds(payments[4])

    async def fail(db: AsyncConnection, records: Sequence[Record]) -> None:
        if bad(records):
            await db.execute(text(statement))

    world = World(engine, [Faulty(enrollment.ACTOR, fail).actor])
    world.send("payments.succeeded", *payments)

    await world.turn("enrollment")

    (row,) = await world.rows("SELECT reason, payment_id, student_id, status FROM parked")
    assert row == {
        "reason": "refused_by_database",
        "payment_id": payments[4]["paymentId"],
        "student_id": payments[4]["studentId"],
        "status": "open",
    }
    assert await world.count("enrollments") == 8


async def test_one_record_among_500_that_fails_through_us_gets_ten_tries_and_is_parked(engine: AsyncEngine) -> None:
    payments = [a_payment() for _ in range(500)]
    faulty = Faulty(enrollment.ACTOR, raising(KeyError("bug"), when=holds(payments[123])))
    world = World(engine, [faulty.actor])
    world.send("payments.succeeded", *payments)

    await world.turn("enrollment")

    (row,) = await world.rows("SELECT reason, payment_id, payload, facts FROM parked")
    assert (row["reason"], row["payment_id"]) == ("unexpected_error", payments[123]["paymentId"])
    assert json.loads(row["payload"]) == payments[123]
    assert row["facts"] == {"error": "KeyError"}
    assert faulty.sizes.count(1) - _alone_but_fine(faulty, payments[123]) == 10
    assert len(faulty.batches) < 40
    assert await world.count("enrollments") == 499
    assert len(world.published(EnrollmentCreated)) == 499


async def test_a_record_that_fails_through_us_only_for_a_while_is_not_parked(engine: AsyncEngine) -> None:
    payments = [a_payment() for _ in range(8)]
    faulty = Faulty(enrollment.ACTOR, raising(KeyError("bug"), when=holds(payments[3]), times=8))
    world = World(engine, [faulty.actor])
    world.send("payments.succeeded", *payments)

    await world.turn("enrollment")

    assert await world.parked() == []
    assert len(world.published(EnrollmentCreated)) == 8


async def test_a_record_that_fails_through_us_is_parked_once_however_often_it_comes(engine: AsyncEngine) -> None:
    payments = [a_payment() for _ in range(3)]
    world = World(engine, [Faulty(enrollment.ACTOR, raising(KeyError("bug"), when=holds(payments[0]))).actor])
    world.send("payments.succeeded", *payments, payments[0])

    await world.turn("enrollment")
    world.rewind()
    await world.turn("enrollment")

    assert await world.parked() == ["unexpected_error"]
    assert len(world.published(FulfilmentParked)) == 1


async def test_when_every_record_fails_through_us_the_fuse_trips_and_nothing_is_parked(engine: AsyncEngine) -> None:
    faulty = Faulty(enrollment.ACTOR, raising(KeyError("broken deploy")))
    world = World(engine, [faulty.actor])
    world.send("payments.succeeded", *(a_payment() for _ in range(60)))

    causes = [await world.try_turn("enrollment") for _ in range(5)]

    assert causes == ["fuse"] * 5
    assert await world.count("parked") == 0
    assert await world.count("purchases") == 0
    assert world.published(FulfilmentParked) == []


async def test_while_the_fuse_is_tripped_the_handler_is_left_alone_until_the_next_probe(engine: AsyncEngine) -> None:
    faulty = Faulty(enrollment.ACTOR, raising(KeyError("broken deploy")))
    world = World(engine, [faulty.actor])
    world.send("payments.succeeded", *(a_payment() for _ in range(60)))
    await world.try_turn("enrollment")

    calls = len(faulty.batches)
    held = [await world.try_turn("enrollment") for _ in range(3)]
    calls_while_held = len(faulty.batches) - calls
    world.seconds += 31
    probed = await world.try_turn("enrollment")
    held_again = await world.try_turn("enrollment")

    assert held == ["fuse"] * 3
    assert calls_while_held == 0
    assert (probed, held_again) == ("fuse", "fuse")
    assert [len(batch) for batch in faulty.batches[calls:]] == [1] * 10
    assert await world.count("parked") == 0


async def test_the_fuse_closes_by_itself_when_the_fault_is_gone(engine: AsyncEngine) -> None:
    faulty = Faulty(enrollment.ACTOR, raising(KeyError("broken deploy")))
    world = World(engine, [faulty.actor])
    world.send("payments.succeeded", *(a_payment() for _ in range(60)))
    await world.try_turn("enrollment")

    faulty.failure = None
    world.seconds += 31
    cause = await world.try_turn("enrollment")

    assert cause is None
    assert await world.count("enrollments") == 60
    assert len(world.published(EnrollmentCreated)) == 60
    assert await world.count("parked") == 0


async def test_unreadable_records_on_a_topic_of_ours_trip_the_fuse_and_are_not_parked(world: World) -> None:
    world.send("enrollments.created", *(b"garbage %d" % n for n in range(25)))

    causes = [await world.try_turn("cart") for _ in range(3)]

    assert causes == ["fuse"] * 3
    assert await world.count("parked") == 0


async def test_a_few_unreadable_records_on_a_topic_of_ours_are_parked(world: World) -> None:
    world.send("payments.succeeded", *(a_payment() for _ in range(30)))
    await world.settle(names=["enrollment"])
    world.send("enrollments.created", *(b"garbage %d" % n for n in range(5)))

    cause = await world.try_turn("cart")

    assert cause is None
    assert await world.parked() == ["unreadable"] * 5
    assert await world.count("cart_clearances") == 30


async def test_unreadable_records_from_outside_never_hold_up_a_good_one(world: World) -> None:
    world.send("payments.succeeded", *(b"garbage %d" % n for n in range(300)), a_payment())

    await world.turn("enrollment")

    assert await world.parked() == ["unreadable"] * 300
    assert await world.count("enrollments") == 1


async def test_an_unreadable_record_of_ours_met_again_in_every_retry_counts_for_one(engine: AsyncEngine) -> None:
    payments = [a_payment() for _ in range(3)]
    world = World(engine)
    world.send("payments.succeeded", *payments)
    await world.settle(names=["enrollment"])
    world.send("enrollments.created", b"garbage")
    faulty = Faulty(cart.ACTOR, raising(Transient("57P03", "starting up")))
    world.deliveries["cart"] = world.delivery(faulty.actor)

    causes = [await world.try_turn("cart") for _ in range(40)]
    faulty.failure = None
    after = await world.try_turn("cart")

    assert causes == ["Transient"] * 40
    assert after is None
    assert await world.parked() == ["unreadable"]
    assert await world.count("cart_clearances") == 3


async def test_an_unreadable_record_does_not_keep_a_tripped_fuse_from_closing(engine: AsyncEngine) -> None:
    world = World(engine)
    world.send("payments.succeeded", *(a_payment() for _ in range(60)))
    await world.settle(names=["enrollment"])
    world.send("enrollments.created", b"garbage")
    world.log["enrollments.created"].insert(0, world.log["enrollments.created"].pop())
    faulty = Faulty(cart.ACTOR, raising(KeyError("broken deploy")))
    world.deliveries["cart"] = world.delivery(faulty.actor)
    tripped = await world.try_turn("cart")

    faulty.failure = None
    world.seconds += 31
    cause = await world.try_turn("cart")

    assert tripped == "fuse"
    assert cause is None
    assert await world.count("cart_clearances") == 60
    assert await world.parked() == ["unreadable"]


async def test_an_enrolment_that_this_database_does_not_hold_is_kept_by_every_actor_behind_the_door(
    world: World,
) -> None:
    world.send(
        "enrollments.created",
        {
            "enrollmentId": "0b5cc1f2-9d3a-5c1e-8f60-6f7a2f4b9f11",
            "paymentId": "pay_lost",
            "studentId": "stu_lost",
            "courseId": "crs_yoga",
            "version": 1,
            "enrolledAt": now(),
        },
    )

    await world.settle()

    parked = await world.rows("SELECT actor, reason FROM parked ORDER BY actor")
    assert {row["actor"] for row in parked} == {"allocation", "cart", "coins"}
    assert {row["reason"] for row in parked} == {"enrollment_unknown"}


@asynccontextmanager
async def cuttable(database_url: str) -> AsyncIterator[tuple[Any, World]]:
    async with before_database(database_url) as (proxy, url):
        engine = open_engine(url, pool_size=4)
        try:
            yield proxy, World(engine)
        finally:
            await engine.dispose()


async def test_while_the_database_is_away_a_batch_is_blocked_and_nothing_is_parked(database_url: str) -> None:
    async with cuttable(database_url) as (proxy, world):
        world.send("students.changed", a_student("stu_1"), b"no JSON")
        await world.turn("directory")
        world.send("payments.succeeded", *(a_payment() for _ in range(5)), b"no JSON")

        await proxy.cut()
        causes = [await world.try_turn("enrollment") for _ in range(3)]
        await proxy.mend()
        await world.turn("enrollment")

        assert causes == ["Transient"] * 3
        assert await world.count("enrollments") == 5
        assert await world.parked() == ["unreadable", "unreadable"]
        assert len(world.published(EnrollmentCreated)) == 5


async def test_a_line_that_breaks_in_the_middle_of_a_transaction_is_mended_in_place(database_url: str) -> None:
    async with cuttable(database_url) as (proxy, world):

        async def cut_once(_: AsyncConnection, __: Sequence[Record]) -> None:
            if proxy.cuts == 0:
                await proxy.cut()
                await proxy.mend()

        faulty = Faulty(enrollment.ACTOR, cut_once)
        world.deliveries["enrollment"] = world.delivery(faulty.actor)
        world.send("payments.succeeded", *(a_payment() for _ in range(5)))

        cause = await world.try_turn("enrollment")

        assert cause is None
        assert faulty.sizes == [5, 5]
        assert await world.count("enrollments") == 5


async def test_a_commit_whose_answer_is_lost_is_done_again_and_changes_nothing(
    database_url: str, engine: AsyncEngine
) -> None:
    onlooker = World(engine)
    async with cuttable(database_url) as (proxy, world):
        world.send("payments.succeeded", *(a_payment() for _ in range(5)))
        stored: list[Any] = []

        async def lose_the_line(point: str) -> None:
            if point == "committed" and proxy.cuts == 0:
                await proxy.cut()
                await proxy.mend()
                stored.extend(await onlooker.rows("SELECT * FROM enrollments ORDER BY payment_id"))
                raise Transient("connection", "the answer to COMMIT never came")

        delivery = Delivery(enrollment.ACTOR, world.engine, world._publish, patience=IMPATIENT, reached=lose_the_line)
        world.deliveries["enrollment"] = delivery

        await world.turn("enrollment")

        assert len(stored) == 5
        assert await onlooker.rows("SELECT * FROM enrollments ORDER BY payment_id") == stored
        assert len(world.log["enrollments.created"]) == 5


async def test_backends_that_are_terminated_cost_a_retry_and_no_record(world: World, engine: AsyncEngine) -> None:
    async def kill_once(db: AsyncConnection, _: Sequence[Record]) -> None:
        if len(faulty.batches) == 1:
            await db.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    faulty = Faulty(directory.ACTOR, kill_once)
    world.deliveries["directory"] = world.delivery(faulty.actor)
    world.send("students.changed", a_student("stu_1"))

    cause = await world.try_turn("directory")

    assert cause is None
    assert faulty.sizes == [1, 1]
    assert await world.count("students") == 1


async def test_hurry_leaves_no_pause_between_tries(world: World) -> None:
    faulty = Faulty(enrollment.ACTOR, raising(Transient("57P03", "starting up")))
    delivery = world.delivery(faulty.actor, PATIENT)
    records = world.send("payments.succeeded", a_payment())

    delivery.hurry()
    with pytest.raises(Redo):
        await delivery.deliver(records)

    assert faulty.sizes == [1]


@pytest.mark.parametrize("error", [Transient("57P03", "starting up"), KeyError("bug")], ids=["transient", "ours"])
async def test_hurry_cuts_a_pause_that_has_begun_and_nothing_is_parked(world: World, error: Exception) -> None:
    called = asyncio.Event()

    async def fail(_: AsyncConnection, __: Sequence[Record]) -> None:
        called.set()
        raise error

    delivery = world.delivery(Faulty(enrollment.ACTOR, fail).actor, PATIENT)
    records = world.send("payments.succeeded", a_payment())
    task = asyncio.create_task(delivery.deliver(records))
    await called.wait()

    delivery.hurry()
    with pytest.raises(Redo):
        await task

    assert await world.count("parked") == 0


async def test_a_publish_that_is_never_acknowledged_is_given_up_and_done_again(world: World) -> None:
    published: list[Sequence[tuple[Event, str]]] = []

    async def never(events: Sequence[tuple[Event, str]]) -> None:
        published.append(events)
        await asyncio.Event().wait()

    patience = replace(IMPATIENT, publish_deadline=0.05)
    world.deliveries["enrollment"] = Delivery(enrollment.ACTOR, world.engine, never, patience=patience)
    world.send("payments.succeeded", a_payment())

    causes = [await world.try_turn("enrollment") for _ in range(2)]

    assert causes == ["publish", "publish"]
    assert published[0] == published[1]
    assert await world.count("enrollments") == 1


async def test_what_went_through_before_the_rest_failed_is_announced_at_once(engine: AsyncEngine) -> None:
    payments = [a_payment() for _ in range(8)]
    broken = holds(payments[7])
    faulty = Faulty(enrollment.ACTOR, raising(Contended("57014", "timeout"), when=broken))
    world = World(engine, [faulty.actor])
    world.send("payments.succeeded", *payments)

    cause = await world.try_turn("enrollment")
    early = len(world.published(EnrollmentCreated))
    faulty.failure = None
    await world.turn("enrollment")

    assert cause == "Contended"
    assert early == await world.count("enrollments") - 1
    assert len(world.published(EnrollmentCreated)) == 8


def _alone_but_fine(faulty: Faulty, payment: dict[str, Any]) -> int:
    return sum(len(batch) == 1 and not holds(payment)(batch) for batch in faulty.batches)
