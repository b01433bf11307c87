"""A trainer who falls ill, leaves or cuts his hours after the booking: parked until it is good again or moved."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from actors import directory
from actors.batch import Outcome
from actors.unavailable import recheck
from contracts.parking import FulfilmentParked
from roster import actors_of
from settings import Settings
from storage import parking
from storage.engine import transaction
from tests.builders import EVERY_DAY, a_payment, a_student, a_trainer, an_absence, soon
from tests.interleaving import Side, every_order, meet, two_engines
from tests.storage.test_statements import counted
from tests.world import World

KOLKATA = ZoneInfo("Asia/Kolkata")
FIRST = datetime.combine(soon(), time(16), KOLKATA)
"""The first session of a purchase, unless a test says otherwise: ten, an hour each, day by day."""
DAY = timedelta(days=1)


async def test_an_absence_after_the_booking_parks_the_allocation_and_leaves_its_sessions(world: World) -> None:
    payment = await a_booking(world)
    before = await world.rows("SELECT * FROM sessions ORDER BY number")

    world.send("trainers.busy", an_absence("trn_1", FIRST + DAY, FIRST + 3 * DAY))
    await world.settle()

    (row,) = await open_rows(world)
    (allocation,) = await world.rows("SELECT allocation_id, enrollment_id FROM allocations")
    assert (row["actor"], row["subject"]) == ("directory", str(allocation["allocation_id"]))
    assert (row["payment_id"], row["student_id"]) == (payment["paymentId"], payment["studentId"])
    assert row["enrollment_id"] == allocation["enrollment_id"]
    assert row["waits_for"] == "trainer"
    assert len(row["facts"].pop("offers")) == 3
    assert row["facts"] == {
        "trainerId": "trn_1",
        "cause": "absent",
        "sessions": [2, 3],
        "count": 2,
        "from": instant(FIRST + DAY),
        "until": instant(FIRST + 2 * DAY + timedelta(hours=1)),
    }
    assert await world.rows("SELECT * FROM sessions ORDER BY number") == before
    assert (await world.journey(payment["paymentId"]))["state"] == "scheduled"
    assert world.log["repairs.requested"] == []


@pytest.mark.parametrize(
    ("change", "cause", "count"),
    [
        ({"active": False}, "left", 10),
        (None, "left", 10),
        ({"courses": ["crs_chess"]}, "course", 10),
        ({"workingHours": [{"days": EVERY_DAY, "from": "06:00", "to": "16:30"}]}, "hours", 10),
        ({"workingHours": [{"days": EVERY_DAY[:5], "from": "06:00", "to": "21:00"}]}, "hours", None),
    ],
    ids=["inactive", "deleted", "course", "hours", "days"],
)
async def test_a_trainer_who_changes_is_parked_with_the_cause(
    world: World, change: dict[str, Any] | None, cause: str, count: int | None
) -> None:
    await a_booking(world)

    value = None if change is None else a_trainer("trn_1", **change)
    world.send("trainers.changed", value, key=b"trn_1")
    await world.settle()

    (row,) = await open_rows(world)
    weekends = [n + 1 for n in range(10) if (FIRST + n * DAY).weekday() > 4]
    assert row["facts"]["cause"] == cause
    assert row["facts"]["count"] == (count or len(weekends))
    assert row["facts"]["sessions"] == (list(range(1, 11)) if count else weekends)
    # His own change is no news for it.
    assert world.log["repairs.requested"] == []


async def test_a_change_that_leaves_every_session_possible_parks_nothing(world: World) -> None:
    await a_booking(world)

    hours = [{"days": EVERY_DAY, "from": "16:00", "to": "17:00"}]
    world.send("trainers.changed", a_trainer("trn_1", workingHours=hours, courses=["crs_yoga", "crs_chess"]))
    world.send("trainers.busy", an_absence("trn_1", FIRST - DAY, FIRST))
    world.send("trainers.busy", an_absence("trn_2", FIRST, FIRST + 30 * DAY))
    await world.settle()

    assert await world.parked() == []


async def test_a_second_cause_restates_the_one_row(world: World) -> None:
    await a_booking(world)
    world.send("trainers.busy", an_absence("trn_1", FIRST, FIRST + DAY))
    await world.settle()
    world.send("trainers.busy", an_absence("trn_1", FIRST + 5 * DAY, FIRST + 6 * DAY))
    await world.settle()

    (row,) = await open_rows(world)
    assert row["facts"]["sessions"] == [1, 6]
    assert await world.count("parked") == 1


async def test_ten_numbers_are_told_and_how_many_there_are(world: World) -> None:
    await a_booking(world, purchaseTier=30)

    world.send("trainers.changed", a_trainer("trn_1", active=False))
    await world.settle()

    (row,) = await open_rows(world)
    assert (row["facts"]["sessions"], row["facts"]["count"]) == (list(range(1, 11)), 30)


@pytest.mark.parametrize("end", ["removed", "deleted", "shortened", "handed on"])
async def test_an_absence_that_ends_closes_the_row_by_itself(world: World, end: str) -> None:
    await a_booking(world)
    away = an_absence("trn_1", FIRST, FIRST + DAY)
    world.send("trainers.busy", away)
    await world.settle()
    later = away | {"changedAt": (datetime.now(UTC) + timedelta(seconds=1)).isoformat()}

    changed = {
        "removed": later | {"action": "removed"},
        "deleted": None,
        "shortened": later | {"endsAt": (FIRST).isoformat(), "startsAt": (FIRST - DAY).isoformat()},
        "handed on": later | {"trainerId": "trn_2"},
    }
    world.send("trainers.busy", changed[end], key=away["busyId"].encode(), at=datetime.now(UTC) + timedelta(seconds=1))
    await world.settle()

    assert await open_rows(world) == []
    assert [row["status"] for row in await world.rows("SELECT status FROM parked")] == ["resolved"]


async def test_hours_that_are_restored_close_the_row_and_later_ones_open_another(world: World) -> None:
    await a_booking(world)
    short, long = ([{"days": EVERY_DAY, "from": "06:00", "to": until}] for until in ("10:00", "21:00"))
    for hours in (short, long, short):
        world.send("trainers.changed", a_trainer("trn_1", workingHours=hours))
        await world.settle()

    rows = await world.rows("SELECT episode, status FROM parked ORDER BY episode")
    assert rows == [{"episode": 1, "status": "resolved"}, {"episode": 2, "status": "open"}]


async def test_a_refunded_purchase_is_left_out(world: World) -> None:
    payment = await a_booking(world)
    refund = {"refundId": "ref_1", "paymentId": payment["paymentId"], "refundedAt": datetime.now(UTC).isoformat()}
    world.send("payments.refunded", refund)
    await world.settle(names=["enrollment"])

    world.send("trainers.changed", a_trainer("trn_1", active=False))
    await world.settle(names=["directory"])

    assert await open_rows(world) == []


async def test_a_provisional_allocation_is_left_out(world: World) -> None:
    await a_booking(world, profile=False)

    world.send("trainers.changed", a_trainer("trn_1", active=False))
    await world.settle()

    assert await world.parked() == ["student_profile_missing"]


async def test_rules_that_an_admin_set_aside_do_not_count(world: World) -> None:
    await a_booking(world)
    repaired = json.dumps({"repaired": {"force": ["hours"]}})
    async with transaction(world.engine) as db:
        await db.exec_driver_sql(f"UPDATE allocations SET metadata = metadata || '{repaired}'")  # noqa: S608

    world.send("trainers.changed", a_trainer("trn_1", workingHours=[]))
    await world.settle()

    assert await open_rows(world) == []


async def test_trainers_who_are_sent_again_cost_no_look_at_their_bookings(world: World) -> None:
    await a_booking(world)
    trainers = [a_trainer(f"trn_{n}", changedAt=datetime.now(UTC).isoformat()) for n in range(1, 200)]
    world.send("trainers.changed", *trainers)
    await world.settle()
    world.send("trainers.changed", *trainers)

    with counted(world.engine) as sent:
        await world.turn("directory")

    assert not any("pg_advisory_xact_lock" in sql or "start_minute" in sql for sql in sent)


async def test_a_crash_before_the_row_was_told_lets_the_replay_tell_it(world: World) -> None:
    await a_booking(world)
    world.send("trainers.busy", an_absence("trn_1", FIRST, FIRST + DAY))
    with world.crash_at("committed"):
        await world.turn("directory")
    assert world.published(FulfilmentParked) == []

    await world.settle()

    (told,) = world.published(FulfilmentParked)
    (row,) = await open_rows(world)
    assert told.parked_id == row["id"]
    assert await world.count("parked") == 1


async def test_a_recheck_closes_what_is_good_again_and_restates_what_is_not(world: World) -> None:
    await a_booking(world)
    world.send("trainers.busy", an_absence("trn_1", FIRST, FIRST + 2 * DAY))
    await world.settle()
    (row,) = await open_rows(world)

    still = await rechecked(world, [row["allocation_id"]])
    assert [parked.reason.facts for parked in still.parked] == [row["facts"]]
    assert list(still.done) == []
    async with transaction(world.engine) as db:
        await db.exec_driver_sql("UPDATE trainer_absences SET removed = true")
    good = await rechecked(world, [row["allocation_id"]])

    assert (list(good.parked), list(good.done)) == ([], [row["subject"]])
    assert await open_rows(world) == []


async def test_a_recheck_of_what_was_given_up_closes_it(world: World) -> None:
    await a_booking(world)
    world.send("trainers.changed", a_trainer("trn_1", active=False))
    await world.settle()
    (row,) = await open_rows(world)
    async with transaction(world.engine) as db:
        await db.exec_driver_sql("UPDATE bookings SET active = false")

    await rechecked(world, [row["allocation_id"]])

    assert await open_rows(world) == []


@pytest.mark.timeout(120)
async def test_in_every_order_an_allocation_beside_an_absence_is_refused_or_parked(
    world: World, engine: AsyncEngine, database_url: str
) -> None:
    orders = every_order()
    payments = [a_payment(courseId=f"crs_{n}") for n in range(len(orders))]
    world.send("students.changed", *(a_student(p["studentId"]) for p in payments))
    world.send("trainers.changed", *(a_trainer(f"trn_{n}", courses=[f"crs_{n}"]) for n in range(len(orders))))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", *payments)
    await world.settle(names=["enrollment"])
    enrolled = {json.loads(r.value or b"")["paymentId"]: r for r in world.log["enrollments.created"]}

    async with two_engines(database_url) as (one, other):
        a = Side("a", one, actors_of(Settings(), ["allocation"])[0], world._publish)
        b = Side("b", other, directory.ACTOR, world._publish)
        for n, (order, payment) in enumerate(zip(orders, payments, strict=True)):
            a.start([enrolled[payment["paymentId"]]])
            b.start(world.send("trainers.busy", an_absence(f"trn_{n}", FIRST, FIRST + DAY)))
            await meet(a, b, order, engine)

    rows = await world.rows("SELECT payment_id, actor, reason FROM parked WHERE status = 'open'")
    assert len({row["payment_id"] for row in rows}) == len(rows) == len(orders)
    assert {(row["actor"], row["reason"]) for row in rows} == {
        ("allocation", "no_trainer_available"),
        ("directory", "trainer_unavailable"),
    }


async def test_it_takes_as_many_statements_for_many_bookings_as_for_one(world: World) -> None:
    found = []
    for round_, count in enumerate((1, 60)):
        trainers = [f"trn_{round_}_{n}" for n in range(count)]
        world.send("trainers.changed", *(a_trainer(t, courses=[f"crs_{t}"]) for t in trainers))
        payments = [a_payment(courseId=f"crs_{t}") for t in trainers]
        world.send("students.changed", *(a_student(p["studentId"]) for p in payments))
        await world.settle()
        world.send("payments.succeeded", *payments)
        await world.settle()
        world.send("trainers.changed", *(a_trainer(t, active=False) for t in trainers))
        with counted(world.engine) as sent:
            await world.turn("directory")
        found.append(len(sent))

    assert await world.parked() == ["trainer_unavailable"] * 61
    assert found[0] == found[1] < 30


async def a_booking(world: World, *, profile: bool = True, **payment: Any) -> dict[str, Any]:
    """A purchase whose sessions trn_1 gives, ten in ten days unless `payment` says otherwise."""
    bought = a_payment(**payment)
    world.send("trainers.changed", a_trainer("trn_1"))
    if profile:
        world.send("students.changed", a_student(bought["studentId"]))
    await world.settle()
    world.send("payments.succeeded", bought)
    await world.settle()
    return bought


async def open_rows(world: World) -> list[dict[str, Any]]:
    return await world.rows("SELECT * FROM parked WHERE status = 'open' AND reason = 'trainer_unavailable'")


async def rechecked(world: World, allocation_ids: Sequence[UUID]) -> Outcome:
    """Judge again, and store what comes out, as whoever repairs does."""
    async with transaction(world.engine) as db:
        outcome = await recheck(db, allocation_ids)
        await parking.park(db, "directory", outcome.parked)
        await parking.resolve(db, "directory", outcome.done)
    return outcome


def instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


async def test_a_lost_trainer_comes_with_offers_that_work(world: World) -> None:
    payment = a_payment(purchaseTier=5)
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("trainers.changed", a_trainer("trn_1"), a_trainer("trn_2", latitude=13.0))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", payment)
    await world.settle()

    world.send("trainers.changed", a_trainer("trn_1", active=False))
    await world.settle()
    (row,) = await world.rows("SELECT facts FROM parked WHERE status = 'open'")
    commands = [offer["command"] for offer in row["facts"]["offers"]]
    taken = {**commands[0], "commandId": "cmd_1", "requestedBy": "asha", "reason": "the first offer"}
    world.send("repairs.requested", taken)
    await world.settle()

    assert [command["command"] for command in commands] == ["rescheduleSessions"] * 3
    assert [command["trainerId"] for command in commands] == ["trn_2"] * 3
    assert ["timeSlot" in command for command in commands] == [False, True, False]
    assert ["date" in command for command in commands] == [False, False, True]
    assert await world.parked() == []
    sessions = await world.rows("SELECT DISTINCT trainer_id, version FROM sessions")
    assert sessions == [{"trainer_id": "trn_2", "version": 2}]
    assert await world.offenders() == {}
