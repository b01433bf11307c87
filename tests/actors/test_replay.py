"""Any duplication, reordering and re-batching of one input: the same rows where purchases do not compete.

Where they do, who gets what may differ, and every invariant and total holds.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from actors.batch import Actor
from actors.runtime import Delivery, Redo
from contracts.record import Record
from errors import Transient
from tests.builders import HOME, a_cart_change, a_credit, a_payment, a_student, a_trainer, an_absence, soon
from tests.world import World

NOW = datetime.now(UTC).replace(microsecond=0)
SEEDS = range(4)
Message = tuple[str, dict[str, Any] | bytes | None, bytes | None, datetime]

_ROWS = {
    "purchases": """SELECT payment_id, student_id, course_id, amount_minor, currency, succeeded_at, coins_redeemed,
                           payload, fingerprint, state, refunded_at FROM purchases""",
    "enrollments": "SELECT enrollment_id, payment_id, student_id, course_id, status, version FROM enrollments",
    "allocations": """SELECT allocation_id, enrollment_id, payment_id, student_id, course_id, trainer_id, status,
                             provisional, version, metadata, latitude, longitude FROM allocations""",
    "bookings": """SELECT b.allocation_id, t.trainer_id, s.student_id, b.booked::text, b.active, b.first_day,
                          b.days_of_week, b.session_count, b.start_minute, b.slot_minutes, b.timezone
                     FROM bookings b JOIN trainers t USING (trainer_no) JOIN students s USING (student_no)""",
    "sessions": "SELECT * FROM sessions",
    "session_history": "SELECT count(*) FROM session_history",
    "cart_items": "SELECT * FROM cart_items",
    "students": "SELECT student_id, timezone, latitude, longitude, coins, changed_at, removed, payload FROM students",
    "trainers": "SELECT trainer_id, active, courses, removed, changed_at, payload FROM trainers",
    "coin_ledger": "SELECT kind, reference, student_id, payment_id, coins, at FROM coin_ledger",
    "parked": "SELECT id, kind, actor, subject, episode, reason, payment_id, waits_for, facts, status FROM parked",
}
_EMPTY = """
    TRUNCATE students, trainers, trainer_absences, cart_changes, cart_clearances, coin_ledger, purchases, enrollments,
             allocations, bookings, series_sessions, former_sessions, parked RESTART IDENTITY CASCADE
"""


async def test_any_delivery_of_purchases_that_do_not_compete_gives_the_same_rows(world: World) -> None:
    directory, traffic = _independent(24)
    expected = await _outcome(world, [directory, traffic])
    assert len(expected["sessions"]) >= 90
    assert len({row["reason"] for row in expected["parked"]}) >= 6

    for seed in SEEDS:
        draw = random.Random(seed)
        shuffled = [_again(part, draw) for part in (directory, traffic)]
        outcome = await _outcome(world, shuffled, draw)

        for name, rows in expected.items():
            assert outcome[name] == rows, (seed, name)


async def test_a_replay_from_the_beginning_at_any_point_gives_the_same_rows(world: World) -> None:
    directory, traffic = _independent(12)
    expected = await _outcome(world, [directory, traffic])

    for seed in SEEDS:
        draw = random.Random(seed)
        await _empty(world)
        _send(world, directory)
        await world.settle(names=["directory"])
        _send(world, _again(traffic, draw))
        names = [actor.name for actor in world.actors]
        for _ in range(40):
            await world.turn(draw.choice(names), batch=draw.randint(1, 9))
            if draw.random() < 0.1:
                world.rewind()
                world.restart()
        await world.settle(shuffle=draw, batch=50)

        assert await _rows(world) == expected, seed


@pytest.mark.parametrize("point", ["received", "begun", "handled", "committed", "publishing", "published"])
async def test_a_crash_at_any_point_of_any_actor_loses_and_doubles_nothing(world: World, point: str) -> None:
    directory, traffic = _independent(8)
    expected = await _outcome(world, [directory, traffic])

    await _empty(world)
    _send(world, directory)
    await world.settle(names=["directory"])
    _send(world, traffic)
    for actor in list(world.actors):
        silent = actor.name in {"directory", "metrics"} and point in ("publishing", "published")
        if world._unread(actor, 1) and not silent:
            with world.crash_at(point):
                await world.turn(actor.name)
        await world.settle(names=[actor.name])
    await world.settle()

    assert await _rows(world) == expected


async def test_purchases_that_compete_never_share_and_every_total_holds(world: World) -> None:
    directory, payments, coins = _competing(60)

    totals = set()
    for seed in SEEDS:
        draw = random.Random(seed)
        await _outcome(world, [_again(directory, draw), _again(payments, draw)], draw)

        assert await world.offenders() == {}, seed
        assert await world.rows(_SHARED) == []
        (total,) = await world.rows(_TOTALS)
        totals.add((total["purchases"], total["enrollments"], total["settled"]))
        assert total["sessions"] == 5 * total["allocations"]
        assert total["coins"] + total["redeemed"] == coins
        assert total["allocations"] + total["stuck"] == total["purchases"]
        # Nobody waits for a time that is free: at the least each trainer has one series of either hour.
        assert total["allocations"] >= 6
    assert totals == {(60, 60, 60)}


async def test_two_workers_of_every_actor_with_the_same_records_agree(world: World) -> None:
    directory, traffic = _independent(12)
    expected = await _outcome(world, [directory, traffic])
    await _empty(world)
    _send(world, directory)
    await world.settle(names=["directory"])
    _send(world, traffic)
    first, second = world, World(world.engine)
    second.log = world.log

    for actor in [actor for actor in world.actors if actor.name != "directory"] + [_named(world, "directory")]:
        while first._unread(actor, 1) or second._unread(actor, 1):
            await _both(first, second, actor)

    assert await _rows(world) == expected


async def test_two_workers_that_share_purchases_that_compete_keep_every_invariant(world: World) -> None:
    directory, payments, coins = _competing(60)

    for seed in SEEDS:
        draw = random.Random(seed)
        await _empty(world)
        _send(world, directory)
        await world.settle(names=["directory"])
        first, second = world, World(world.engine)
        _send(first, payments)
        second.log = first.log
        await first.settle(names=["enrollment"])
        # Each has half of the enrolments, and a few that the other has too: a rebalance in between.
        created = list(first.log["enrollments.created"])
        draw.shuffle(created)
        halves = [created[:35], created[25:]]
        deliveries = [worker.deliveries["allocation"] for worker in (first, second)]
        await asyncio.gather(*(_persist(d, half) for d, half in zip(deliveries, halves, strict=True)))
        await first.settle()

        assert await world.offenders() == {}, seed
        assert await world.rows(_SHARED) == []
        (total,) = await world.rows(_TOTALS)
        assert total["sessions"] == 5 * total["allocations"]
        assert total["coins"] + total["redeemed"] == coins
        assert total["allocations"] + total["stuck"] == total["purchases"] == 60


def _independent(count: int) -> tuple[list[Message], list[Message]]:
    """What the directory must know first, and the traffic after it: every student has a course of his own."""
    directory: list[Message] = []
    traffic: list[Message] = [_at("payments.succeeded", b"poison %d" % n) for n in range(3)]
    faults: list[dict[str, Any]] = [
        {},
        {"purchaseTier": "none"},
        {"date": "soon"},
        {"date": "2020-01-01"},
        {"coinsRedeemed": 10_000},
        {"courseId": "crs_nobody"},
        {"learningMode": "online", "timezone": "Europe/Berlin"},
        {"daysOfWeek": ["mon", "thu"], "timeSlot": "23:30-00:30"},
    ]
    for number in range(count):
        student, course = f"stu_{number}", f"crs_{number}"
        fault = faults[number % len(faults)]
        if number % 11 != 7:
            directory += [_at("students.changed", a_student(student, changedAt=_minutes(-m))) for m in (90, 60, 30)]
        hours = [{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": "06:00", "to": "02:00"}]
        for near, name in enumerate("ab"):
            trainer = a_trainer(f"trn_{number}{name}", courses=[course], workingHours=hours, changedAt=_minutes(-50))
            directory.append(_at("trainers.changed", trainer | {"latitude": HOME[0] + 0.02 * near}))
        if number % 3 == 0:
            away = an_absence(f"trn_{number}a", NOW, NOW + timedelta(days=90), changedAt=_minutes(-40))
            directory.append(_at("trainers.busy", away))
            if number % 2:
                directory.append(_at("trainers.busy", away | {"action": "removed", "changedAt": _minutes(-20)}))
        if number % 5 == 0:
            directory.append(("trainers.changed", None, f"trn_{number}b".encode(), NOW - timedelta(minutes=40)))
        directory.append(_at("coins.credited", a_credit(student, 500)))
        known = {"studentId": student, "courseId": course, "coinsRedeemed": 20, "succeededAt": _minutes(-10)}
        payment = a_payment(**(known | {"cartItemId": f"itm_{number}" if number % 2 else None} | fault))
        again = dict(reversed(payment.items()))
        traffic += [_at("payments.succeeded", payment), _at("payments.succeeded", again)]
        for item in (f"itm_{number}", f"itm_{number}x"):
            added = a_cart_change(student, item, courseId=course, changedAt=_minutes(-15))
            traffic.append(_at("carts.changed", added))
            if number % 4 == 0:
                traffic.append(_at("carts.changed", added | {"action": "removed", "changedAt": _minutes(-12)}))
            if number % 8 == 0:
                traffic.append(_at("carts.changed", added | {"changedAt": _minutes(-3)}))
    return directory, traffic


def _competing(count: int) -> tuple[list[Message], list[Message], int]:
    """Many purchases, few trainers, few students, few coins; and how many coins there are in all."""
    students, trainers = [f"stu_{number}" for number in range(15)], [f"trn_{number}" for number in range(3)]
    directory = [_at("students.changed", a_student(student)) for student in students]
    directory += [_at("trainers.changed", a_trainer(trainer)) for trainer in trainers]
    directory += [_at("coins.credited", a_credit(student, 100)) for student in students]
    slots = ["16:00", "16:30-18:00", "10:00", "09:30-10:30"]
    payments = [
        a_payment(
            studentId=students[number % len(students)],
            timeSlot=slots[number % len(slots)],
            date=soon(7 + number % 7).isoformat(),
            coinsRedeemed=40,
            purchaseTier=5,
        )
        for number in range(count)
    ]
    return directory, [_at("payments.succeeded", payment) for payment in payments], 100 * len(students)


_SHARED = """
    SELECT x.allocation_id, y.allocation_id
      FROM sessions x JOIN sessions y ON (x.trainer_id = y.trainer_id OR x.student_id = y.student_id)
       AND x.starts_at < y.ends_at AND y.starts_at < x.ends_at
       AND (x.allocation_id, x.number) < (y.allocation_id, y.number)
"""
_TOTALS = """
    SELECT (SELECT count(*) FROM purchases) AS purchases,
           (SELECT count(*) FROM enrollments) AS enrollments,
           (SELECT count(*) FROM purchases WHERE state IN ('scheduled', 'parked')) AS settled,
           (SELECT count(*) FROM allocations) AS allocations,
           (SELECT count(*) FROM sessions) AS sessions,
           (SELECT count(*) FROM parked WHERE actor = 'allocation' AND status = 'open') AS stuck,
           (SELECT sum(coins)::bigint FROM students) AS coins,
           (SELECT -coalesce(sum(coins), 0)::bigint FROM coin_ledger WHERE kind = 'redemption') AS redeemed
"""


def _minutes(minutes: int) -> str:
    return (NOW + timedelta(minutes=minutes)).isoformat()


def _at(topic: str, value: dict[str, Any] | bytes) -> Message:
    return topic, value, None, NOW


def _again(messages: Sequence[Message], draw: random.Random) -> list[Message]:
    """The same messages, some of them several times, in another order."""
    again = [message for message in messages for _ in range(draw.choice((1, 1, 2, 3)))]
    draw.shuffle(again)
    # A contradiction is decided by who comes first, so nothing here contradicts; all else may move freely.
    return again


async def _outcome(
    world: World, parts: Sequence[Sequence[Message]], draw: random.Random | None = None
) -> dict[str, list[dict[str, Any]]]:
    """The rows of an empty database after these parts, each read to its end before the next begins."""
    await _empty(world)
    for part in parts:
        _send(world, part)
        await world.settle(shuffle=draw, batch=draw.choice((3, 20, 1000)) if draw else 1000)
    return await _rows(world)


async def _empty(world: World) -> None:
    world.log.clear()
    world.rewind()
    world.restart()
    async with world.engine.begin() as db:
        await db.execute(text(_EMPTY))


def _send(world: World, messages: Sequence[Message]) -> None:
    for topic, value, key, at in messages:
        world.send(topic, value, key=key, at=at)


async def _rows(world: World) -> dict[str, list[dict[str, Any]]]:
    """Every row by its business columns, in an order of its own: no clocks, no numbers that do not roll back."""
    return {name: sorted(await world.rows(query), key=str) for name, query in _ROWS.items()}


def _named(world: World, name: str) -> Actor:
    return next(actor for actor in world.actors if actor.name == name)


async def _persist(delivery: Delivery, records: Sequence[Record]) -> None:
    """In batches of ten, each again until it goes through."""
    for start in range(0, len(records), 10):
        for _ in range(20):
            try:
                await delivery.deliver(records[start : start + 10])
            except Redo:
                continue
            break
        else:
            raise AssertionError("twenty tries were not enough")


async def _both(first: World, second: World, actor: Actor) -> None:
    """Two workers have the same batch at the same time, as after a rebalance; one may have to wait and do it again."""
    results = await asyncio.gather(
        first.try_turn(actor.name, batch=25), second.try_turn(actor.name, batch=25), return_exceptions=True
    )
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Transient):
            raise result
