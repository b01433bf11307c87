"""What was once counted holds: under concurrency, after late repairs, with clocks that differ, when events are lost."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from actors import inspection
from storage import figures
from storage.engine import transaction
from tests.builders import a_credit, a_payment, a_refund, a_student, a_trainer
from tests.repairs.asking import a_command, repaired
from tests.storage.test_figures import a_day, assert_exact, read, send
from tests.world import World

STATES = text("""
    UPDATE purchases SET state = CASE state WHEN 'allocated' THEN 'enrolled' ELSE 'allocated' END
     WHERE payment_id = :id AND state IN ('allocated', 'enrolled')
""")


def but(world: World, *names: str) -> list[str]:
    return [actor.name for actor in world.actors if actor.name not in names]


async def nothing_unread() -> dict[str, datetime]:
    return {}


async def ready_for(world: World, payment: dict[str, Any]) -> None:
    """Whatever the sessions of this payment need is there; the payment itself is not."""
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("trainers.changed", a_trainer(f"trn_{payment['paymentId']}"))
    await world.settle(names=["directory"])


async def test_two_workers_that_count_the_same_purchase_at_once_count_it_once(world: World) -> None:
    payment = a_payment()
    world.send("payments.succeeded", payment)
    await world.settle()  # both find its row
    await ready_for(world, payment)
    await world.settle(names=but(world, "metrics"))

    async def count() -> None:
        async with transaction(world.engine) as db:
            await figures.count(db, [payment["paymentId"]])

    # Whoever waits for the totals has looked by then at what was counted before.
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    async with transaction(world.engine) as db, asyncio.TaskGroup() as workers:
        await db.execute(text("SELECT FROM figures FOR UPDATE"))
        for _ in range(2):
            workers.create_task(count())
        while (await db.execute(waiting)).scalar_one() < 2:
            await asyncio.sleep(0)
        await db.rollback()

    assert (await assert_exact(world))["scheduled", ""] == 1


async def test_workers_whose_batches_overlap_in_any_order_lose_nothing_while_purchases_change(world: World) -> None:
    send(world, a_day(5))
    await world.settle(names=but(world, "metrics"))
    ids = [row["payment_id"] for row in await world.rows("SELECT payment_id FROM purchases")]

    async def work(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(40):
            async with transaction(world.engine) as db:
                await figures.count(db, draw.sample(ids, 3))

    async def change() -> None:
        for n in range(30):
            async with transaction(world.engine) as db:
                for payment_id in sorted(ids, reverse=True)[n % 5 :: 5]:
                    await db.execute(STATES, {"id": payment_id})

    async with asyncio.TaskGroup() as workers:
        for seed in range(6):
            workers.create_task(work(seed))
        workers.create_task(change())
    async with transaction(world.engine) as db:
        await figures.count(db, ids)

    await assert_exact(world)


async def test_rows_are_locked_and_totals_changed_in_one_order_whatever_order_a_batch_has(world: World) -> None:
    send(world, a_day(6))
    await world.settle(names=but(world, "metrics"))
    ids = [row["payment_id"] for row in await world.rows("SELECT payment_id FROM purchases ORDER BY 1")]
    sent: list[tuple[str, Any]] = []

    def statement(_c: Any, _k: Any, sql: str, parameters: Any, _x: Any, _m: Any) -> None:
        sent.append((sql, parameters))

    event.listen(world.engine.sync_engine, "before_cursor_execute", statement)
    try:
        async with transaction(world.engine) as db:
            await figures.count(db, reversed(ids))
    finally:
        event.remove(world.engine.sync_engine, "before_cursor_execute", statement)

    (opened, _), (locked, _), (counted, _) = sent
    assert all("ORDER BY payment_id" in sql for sql in (opened, locked))
    assert "ORDER BY fact.name, fact.label" in counted


async def test_what_was_said_of_the_sessions_stands_whatever_becomes_of_them(world: World) -> None:
    payment = a_payment()
    await ready_for(world, payment)
    world.send("payments.succeeded", payment, at=datetime.now(UTC) - timedelta(seconds=40))
    await world.settle()
    before = await read(world)
    await world.rows("UPDATE purchases SET published_at = published_at - interval '1 day' RETURNING 1 AS n")
    await world.rows("UPDATE allocations SET scheduled_at = scheduled_at + interval '1 hour' RETURNING 1 AS n")
    (row,) = await world.rows("SELECT allocation_id FROM allocations")
    move = a_command("rescheduleSessions", allocationId=str(row["allocation_id"]), timeSlot="10:00")

    answer = await repaired(world, move)

    assert answer.outcome == "applied"
    assert await read(world) == before


async def test_the_number_paid_never_falls_though_the_clock_goes_back(world: World) -> None:
    payment = a_payment()
    world.send("payments.succeeded", payment)
    await world.settle()
    before = (await read(world))["paid", ""]
    world.send("payments.refunded", a_refund(payment))
    await world.settle(names=["enrollment"])
    await world.rows("UPDATE refunds SET received_at = received_at - interval '1 hour' RETURNING 1 AS n")
    await world.settle()

    assert (await read(world)).get(("paid", ""), 0) == before == 1


async def test_a_purchase_of_before_this_column_is_counted_from_when_it_was_received(world: World) -> None:
    payment = a_payment()
    await ready_for(world, payment)
    world.send("payments.succeeded", payment)
    await world.settle(names=but(world, "metrics"))
    await world.rows(
        "UPDATE purchases SET published_at = NULL, received_at = received_at - interval '70 s' RETURNING 1 AS n"
    )
    await world.settle()

    found = await read(world)
    assert (found["seconds", "90"], found["scheduled", ""], ("in_time", "") in found) == (1, 1, False)


@pytest.mark.parametrize("last", ["allocation", "sessions", "cart", "coins"])
async def test_a_counted_purchase_whose_last_events_are_lost_is_counted_by_the_inspection(
    world: World, last: str
) -> None:
    payment = a_payment(coinsRedeemed=5)
    world.send("coins.credited", a_credit(payment["studentId"], 10))
    await ready_for(world, payment)
    world.send("payments.succeeded", payment)
    before_it = ["cart", "coins", "allocation"] if last == "sessions" else []
    await world.settle(names=["enrollment", *before_it, "metrics"])
    await world.settle(names=[last])
    for topic in next(actor for actor in world.actors if actor.name == "metrics").topics:
        world._read["metrics", topic] = len(world.log[topic])
    await world.rows("UPDATE purchases SET received_at = received_at - interval '1 day' RETURNING 1 AS n")
    before = await read(world)

    await inspection.inspect(world.engine, nothing_unread, timedelta(0), 0)

    assert await assert_exact(world) != before


async def test_the_inspection_counts_on_until_nothing_is_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "_MOST", 2)
    world.send("payments.succeeded", *(a_payment() for _ in range(5)))
    await world.settle(names=["enrollment"])
    await world.rows("UPDATE purchases SET received_at = received_at - interval '1 day' RETURNING 1 AS n")

    await inspection.inspect(world.engine, nothing_unread, timedelta(0), 0)

    assert (await read(world))["purchases", "enrolled"] == 5


async def _parked_allocation(world: World) -> dict[str, Any]:
    payment = a_payment(purchaseTier="many")
    await ready_for(world, payment)
    world.send("payments.succeeded", payment)
    await world.settle()
    (row,) = await world.rows("SELECT enrollment_id FROM enrollments")
    return a_command("assignTrainer", enrollmentId=str(row["enrollment_id"]), sessionCount=20)


async def test_help_is_seen_though_the_brokers_clock_is_ahead_of_the_databases(world: World) -> None:
    assign = await _parked_allocation(world)
    world.send("repairs.requested", assign, at=datetime.now(UTC) + timedelta(seconds=2))
    await world.settle()

    found = await read(world)
    assert (found["scheduled", ""], found["with_help", ""], ("in_time", "") in found) == (1, 1, False)


async def test_a_payment_that_a_person_had_to_correct_is_not_in_time(world: World) -> None:
    payment = a_payment()
    await ready_for(world, payment)
    world.send("payments.succeeded", payment | {"amountMinor": "a lot"})
    await world.settle()
    (row,) = await world.rows("SELECT id FROM parked WHERE status = 'open'")

    answer = await repaired(world, a_command("editAndRetry", parkedId=str(row["id"]), payload=payment))
    await world.settle()

    assert (answer.outcome, answer.payment_id) == ("republished", payment["paymentId"])
    found = await read(world)
    assert (found["scheduled", ""], found["with_help", ""], ("in_time", "") in found) == (1, 1, False)


async def test_a_command_that_was_refused_is_no_help(world: World) -> None:
    payment = a_payment()
    world.send("payments.succeeded", payment)
    await world.settle()
    (row,) = await world.rows("SELECT id FROM parked WHERE actor = 'allocation'")
    answer = await repaired(world, a_command("retry", parkedId=str(row["id"])))
    await ready_for(world, payment)
    await world.settle()

    assert answer.outcome == "refused"
    assert (await read(world))["in_time", ""] == 1


async def test_dismissing_a_step_beside_the_way_is_no_help_with_sessions(world: World) -> None:
    payment = a_payment(coinsRedeemed=50)
    world.send("payments.succeeded", payment)
    await world.settle(names=["enrollment", "coins"])
    (row,) = await world.rows("SELECT id FROM parked WHERE actor = 'coins' AND status = 'open'")
    world.send("repairs.requested", a_command("dismiss", parkedId=str(row["id"])))
    await world.settle(names=["repair"])
    await ready_for(world, payment)
    await world.settle()

    assert (await read(world))["in_time", ""] == 1


@pytest.mark.parametrize("counted_first", [True, False])
async def test_a_command_done_after_the_sessions_is_no_help_whenever_it_is_counted(
    world: World, *, counted_first: bool
) -> None:
    payment = a_payment()
    await ready_for(world, payment)
    world.send("payments.succeeded", payment)
    asked = datetime.now(UTC)
    await world.settle(names=["enrollment", "allocation", "sessions", *(["metrics"] if counted_first else [])])
    (row,) = await world.rows("SELECT allocation_id FROM allocations")
    move = a_command("rescheduleSessions", allocationId=str(row["allocation_id"]), timeSlot="10:00")
    world.send("repairs.requested", move, at=asked)
    await world.settle()

    assert [r["outcome"] for r in await world.rows("SELECT outcome FROM repairs")] == ["applied"]
    assert (await read(world))["in_time", ""] == 1


async def test_a_key_that_no_database_can_hold_parks_nothing(world: World) -> None:
    world.send("carts.cleared", b"{}", key=b"pay_\x00\xff")

    await world.settle()

    assert await world.parked() == []
