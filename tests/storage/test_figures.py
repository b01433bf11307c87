"""Figures for people are what the tables say, to the row, whatever was repeated, lost or out of order."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.objective import BOUNDS
from storage import figures
from storage.engine import transaction
from tests.builders import a_cart_change, a_credit, a_payment, a_refund, a_student, a_trainer
from tests.repairs.asking import a_command, repaired
from tests.world import World

Figures = dict[tuple[str, str], float]

# The same totals as `figures`, from the tables alone and by other means.
TOTALS = """
    SELECT 'purchases', state, count(*) FROM purchases WHERE payload IS NOT NULL GROUP BY state
    UNION ALL SELECT 'scheduled', '', count(*) FROM allocations WHERE scheduled_at IS NOT NULL
    UNION ALL SELECT 'sessions_created', tier, count(*)
                FROM (SELECT CASE WHEN count(*) IN (10, 20, 30) THEN count(*)::text ELSE 'other' END AS tier,
                             allocation_no
                        FROM series_sessions GROUP BY allocation_no) AS series
                JOIN series_sessions USING (allocation_no)
               GROUP BY tier
    UNION ALL SELECT 'sessions_cancelled', '', count(*) FROM series_sessions WHERE cancelled
    UNION ALL SELECT 'carts_cleared', '', count(*) FROM cart_clearances
    UNION ALL SELECT 'coins_redeemed', '', -sum(coins) FROM coin_ledger WHERE kind = 'redemption'
    UNION ALL SELECT 'coins_returned', '', sum(coins) FROM coin_ledger WHERE kind = 'return'
"""


async def read(world: World) -> Figures:
    async with transaction(world.engine) as db:
        return {(f.name, f.label): f.value for f in await figures.read(db) if f.value}


async def totals(world: World) -> Figures:
    rows = await world.rows(f"SELECT * FROM ({TOTALS}) AS t (name, label, value)")  # noqa: S608
    return {(row["name"], row["label"]): float(row["value"]) for row in rows if row["value"]}


async def assert_exact(world: World) -> Figures:
    found, wanted = await read(world), await totals(world)
    assert {key: found.get(key) for key in wanted} == wanted
    assert {key for key in found if key[0] in {name for name, _ in wanted}} == wanted.keys()
    assert sum(value for (name, _), value in found.items() if name == "seconds") == found.get(("scheduled", ""), 0)
    return found


def a_day(seed: int) -> list[tuple[str, dict[str, Any]]]:
    """Purchases of every tier: some parked, some without a profile, some refunded before or after."""
    draw = random.Random(seed)
    sent: list[tuple[str, dict[str, Any]]] = []
    for n in range(24):
        payment = a_payment(coinsRedeemed=n % 3, cartItemId=f"itm_{n}", purchaseTier=(10, 20, 30, 7, "many")[n % 5])
        student = payment["studentId"]
        sent.append(("payments.succeeded", payment))
        sent.append(("carts.changed", a_cart_change(student, f"itm_{n}")))
        sent.append(("trainers.changed", a_trainer(f"trn_{n}")))
        if n % 4:
            sent.append(("students.changed", a_student(student)))
        if n % 6:
            sent.append(("coins.credited", a_credit(student, 10)))
        if not n % 5:
            sent.append(("payments.refunded", a_refund(payment)))
    return draw.sample(sent, len(sent))


def send(world: World, messages: Sequence[tuple[str, dict[str, Any]]]) -> None:
    for topic, message in messages:
        world.send(topic, message)


@pytest.mark.parametrize("seed", range(6))
async def test_every_total_agrees_with_the_tables_to_the_row_in_any_order_and_batching(world: World, seed: int) -> None:
    send(world, a_day(seed))

    await world.settle(batch=7, shuffle=random.Random(seed))

    found = await assert_exact(world)
    assert found["purchases", "scheduled"] > 0
    assert found["purchases", "parked"] > 0
    assert found["purchases", "refunded"] > 0


async def test_a_replay_of_everything_counts_nothing_twice(world: World) -> None:
    send(world, a_day(1))
    await world.settle()
    before = await read(world)

    world.rewind()
    await world.settle(batch=3, shuffle=random.Random(2))

    assert await read(world) == before


@pytest.mark.parametrize("point", ["begun", "handled", "committed", "published"])
async def test_a_crash_at_any_point_leaves_the_totals_exact(world: World, point: str) -> None:
    send(world, a_day(3))
    await world.settle(names=[actor.name for actor in world.actors if actor.name != "metrics"])

    with world.crash_at(point):
        await world.turn("metrics")
    await world.settle()

    await assert_exact(world)


async def test_a_purchase_counts_where_it_stands_however_late_its_events_are_read(world: World) -> None:
    payment = a_payment()
    world.send("payments.succeeded", payment)
    await world.settle()
    parked = await read(world)
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("trainers.changed", a_trainer())
    await world.settle()

    assert (parked["purchases", "parked"], parked["paid", ""]) == (1, 1)
    found = await read(world)
    assert {label: value for (name, label), value in found.items() if name == "purchases"} == {"scheduled": 1}
    assert found["sessions_created", "10"] == 10


async def _scheduled(world: World, ago: timedelta, **payment: Any) -> dict[str, Any]:
    paid = a_payment(**payment)
    world.send("students.changed", a_student(paid["studentId"]))
    world.send("trainers.changed", a_trainer(f"trn_{paid['paymentId']}"))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", paid, at=datetime.now(UTC) - ago)
    await world.settle()
    return paid


async def test_who_waited_longer_than_the_objective_is_scheduled_and_not_in_time(world: World) -> None:
    await _scheduled(world, timedelta(seconds=50))
    await _scheduled(world, timedelta(seconds=70))
    await _scheduled(world, timedelta(days=3))

    found = await read(world)
    assert (found["paid", ""], found["scheduled", ""], found["in_time", ""]) == (3, 3, 1)
    assert {label: n for (name, label), n in found.items() if name == "seconds"} == {"60": 1, "90": 1, "Infinity": 1}
    assert 3 * 86_400 + 120 < found["seconds_sum", ""] < 3 * 86_400 + 180


async def test_seconds_fall_into_the_classes_of_the_histogram(world: World) -> None:
    await _scheduled(world, timedelta(seconds=40))

    assert "45" in {label for name, label in await read(world) if name == "seconds"}
    assert 45.0 in BOUNDS
    assert tuple(sorted(BOUNDS)) == BOUNDS


async def test_a_clock_that_runs_ahead_makes_no_negative_wait(world: World) -> None:
    await _scheduled(world, timedelta(hours=-1))

    found = await read(world)
    assert found["in_time", ""] == 1
    assert ("seconds_sum", "") not in found


async def test_who_was_helped_by_a_person_is_not_in_time_however_fast_it_was(world: World) -> None:
    payment = a_payment(purchaseTier="many")
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("trainers.changed", a_trainer())
    await world.settle(names=["directory"])
    world.send("payments.succeeded", payment)
    await world.settle()
    (enrollment,) = await world.rows("SELECT enrollment_id FROM enrollments")
    assign = a_command("assignTrainer", enrollmentId=str(enrollment["enrollment_id"]), sessionCount=20)
    answer = await repaired(world, assign)

    assert answer.outcome == "applied"
    found = await read(world)
    assert (found["scheduled", ""], found["with_help", ""], ("in_time", "") in found) == (1, 1, False)


async def test_what_healed_itself_was_helped_by_nobody(world: World) -> None:
    payment = a_payment()
    world.send("payments.succeeded", payment)
    await world.settle()
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("trainers.changed", a_trainer())
    await world.settle()

    found = await read(world)
    assert found["in_time", ""] == found["scheduled", ""] == 1
    assert await world.rows("SELECT 1 AS n FROM repairs WHERE outcome = 'applied' LIMIT 1")


async def test_a_purchase_refunded_before_it_was_enrolled_was_nobodys_to_schedule(world: World) -> None:
    payment = a_payment()
    world.send("payments.refunded", a_refund(payment))
    await world.settle()
    unpaid = await read(world)
    world.send("payments.succeeded", payment)
    await world.settle()

    assert unpaid == {}
    assert await read(world) == {("purchases", "refunded"): 1, ("carts_cleared", ""): 1}


async def test_what_no_event_leads_to_is_found_and_counted(world: World) -> None:
    send(world, a_day(4))
    await world.settle(names=[actor.name for actor in world.actors if actor.name != "metrics"])
    await world.rows("UPDATE purchases SET received_at = received_at - interval '1 hour' RETURNING 1 AS n")

    async with transaction(world.engine) as db:
        await figures.count(db, await figures.uncounted(db, 1000))

    await assert_exact(world)
    async with transaction(world.engine) as db:
        assert await figures.uncounted(db, 1000) == []
