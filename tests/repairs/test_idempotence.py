"""A command has one effect and one answer, however often it comes, whoever dies, and whoever else is at it."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.base import derived_id
from contracts.repairs import RepairCompleted
from roster import actors_of
from settings import Settings
from storage.engine import open_engine
from tests.builders import a_payment, a_refund, a_student, a_trainer, soon
from tests.repairs.asking import a_command, answer_to
from tests.world import World

POINTS = ("received", "begun", "handled", "committed", "looked", "publishing", "published")


@pytest.fixture
async def payment(world: World) -> dict[str, Any]:
    """A purchase that parks for its count, with a trainer and a student who have everything."""
    payment = a_payment(purchaseTier="many")
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("trainers.changed", a_trainer("trn_1"), a_trainer("trn_2"))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", payment)
    await world.settle()
    return payment


@pytest.fixture
async def workers(world: World, database_url: str) -> AsyncIterator[tuple[World, World]]:
    """Two processes on one database."""
    engine = open_engine(database_url, pool_size=4)
    yield world, World(engine)
    await engine.dispose()


def assignment(payment: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return a_command(
        "assignTrainer", enrollmentId=str(derived_id("enrollment", payment["paymentId"])), sessionCount=5, **fields
    )


def answers(world: World) -> set[bytes]:
    return {record.value or b"" for record in world.log["repairs.completed"]}


async def scheduled_once(world: World) -> None:
    assert await world.rows("SELECT count(*) AS n FROM repairs WHERE accepted") == [{"n": 1}]
    assert await world.count("sessions") == 5
    assert await world.count("bookings") == 1
    assert await world.parked() == []
    assert await world.offenders() == {}


@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_at_any_point_leaves_one_effect_one_answer_and_the_same_events(
    world: World, payment: dict[str, Any], point: str
) -> None:
    world.send("repairs.requested", assignment(payment))

    with world.crash_at(point):
        await world.turn("repair")
    await world.settle()
    world.rewind()
    await world.settle()

    assert len(answers(world)) == 1
    assert len({record.value for record in world.log["allocations.approved"]}) == 1
    await scheduled_once(world)


@pytest.mark.parametrize("point", ["committed", "looked", "publishing"])
async def test_a_crash_after_time_was_given_back_still_wakes_whoever_waits_for_it(world: World, point: str) -> None:
    first, waiting = (a_payment(purchaseTier=5) for _ in range(2))
    world.send("students.changed", *(a_student(p["studentId"]) for p in (first, waiting)))
    world.send("trainers.changed", a_trainer())
    await world.settle(names=["directory"])
    world.send("payments.succeeded", first)
    await world.settle()
    world.send("payments.succeeded", waiting)
    await world.settle()
    allocation = derived_id("allocation", derived_id("enrollment", first["paymentId"]))
    world.send("repairs.requested", a_command("rescheduleSessions", allocationId=str(allocation), timeSlot="10:00"))

    with world.crash_at(point):
        await world.turn("repair")
    await world.settle()

    assert await world.parked() == []
    assert await world.count("sessions") == 10
    assert await world.offenders() == {}


async def test_a_command_sent_five_times_in_one_batch_is_done_once(world: World, payment: dict[str, Any]) -> None:
    command = assignment(payment)

    world.send("repairs.requested", *[command] * 5)
    await world.settle()

    assert len(world.log["repairs.completed"]) == 5
    assert len(answers(world)) == 1
    await scheduled_once(world)


async def test_two_workers_that_have_the_same_command_do_it_once(
    workers: tuple[World, World], payment: dict[str, Any]
) -> None:
    one, other = workers
    command = assignment(payment)
    for world in workers:
        world.send("repairs.requested", command)

    await asyncio.gather(one.turn("repair"), other.turn("repair"))
    await one.settle()

    assert len(answers(one) | answers(other)) == 1
    await scheduled_once(one)


async def test_of_two_admins_who_repair_one_item_at_once_the_first_wins_and_the_second_is_told(
    workers: tuple[World, World], payment: dict[str, Any]
) -> None:
    for number, world in enumerate(workers):
        world.send("repairs.requested", assignment(payment, timeSlot=f"{10 + number}:00"))

    await asyncio.gather(*(world.turn("repair") for world in workers))
    one, other = workers
    outcomes = [a for world in workers for a in world.published(RepairCompleted)]
    one.send("allocations.approved", *(record.value for record in other.log["allocations.approved"]))
    await one.settle()

    # Nothing is scheduled yet when the second comes: he decides anew, as if he had come later.
    assert {answer.outcome for answer in outcomes} == {"applied"}
    (row,) = await one.rows("SELECT version, metadata ->> 'timeSlot' AS slot FROM allocations")
    assert row["version"] == 2
    assert await one.rows("SELECT count(*) AS n FROM bookings WHERE active") == [{"n": 1}]
    starts = await one.rows(
        "SELECT DISTINCT to_char(starts_at AT TIME ZONE 'Asia/Kolkata', 'HH24:MI') AS s FROM sessions"
    )
    assert row["slot"].startswith(starts[0]["s"])
    assert await one.count("sessions") == 5
    assert await one.offenders() == {}


@pytest.mark.parametrize("what", ["live event", "refund"])
@pytest.mark.parametrize("rounds", [6])
async def test_a_command_beside_the_live_event_of_its_purchase_ends_well(
    workers: tuple[World, World], what: str, rounds: int
) -> None:
    one, other = workers
    payments = [a_payment(purchaseTier=5, courseId=f"crs_{n}") for n in range(rounds)]
    one.send("students.changed", *(a_student(p["studentId"]) for p in payments))
    one.send("trainers.changed", *(a_trainer(f"trn_{n}", courses=[f"crs_{n}"]) for n in range(rounds)))
    await one.settle(names=["directory"])
    one.send("payments.succeeded", *payments)
    await one.settle(names=["enrollment"])
    for payment in payments:
        other.send("repairs.requested", assignment(payment, date=soon(9).isoformat()))
    live = ["allocation", "sessions"]
    if what == "refund":
        one.send("payments.refunded", *(a_refund(payment) for payment in payments))
        live = ["enrollment", "allocation", "sessions"]

    await asyncio.gather(
        other.settle(names=["repair"], batch=1), *(one.settle(names=[name], batch=1) for name in live[:2])
    )
    for topic, records in other.log.items():
        if topic not in ("repairs.requested", "repairs.completed"):
            one.send(topic, *(record.value for record in records))
    await one.settle()

    assert await one.offenders() == {}
    assert await one.parked() == []
    scheduled = await one.rows("SELECT count(*) AS n FROM sessions WHERE status = 'scheduled'")
    assert scheduled == [{"n": 0 if what == "refund" else 5 * rounds}]
    active = await one.rows("SELECT count(*) AS n FROM bookings WHERE active")
    assert active == [{"n": 0 if what == "refund" else rounds}]


async def test_a_bulk_expands_to_one_command_an_item_and_stops_when_it_is_cancelled(world: World) -> None:
    world.send("payments.succeeded", *(a_payment(purchaseTier="many") for _ in range(4)))
    await world.settle()
    ids = [str(row["id"]) for row in await world.rows("SELECT id FROM parked ORDER BY id")]
    bulk = a_command("bulk", apply="dismiss", parkedIds=[*ids, ids[0]])

    world.send("repairs.requested", bulk)
    await world.turn("repair")
    await world.turn("repair", batch=2)
    world.send("repairs.requested", a_command("cancelBulk", bulkId=bulk["commandId"]))
    await _last_first(world)
    await world.settle()

    assert answer_to(world, bulk["commandId"]).items == 4
    statuses = await world.rows("SELECT status, count(*) AS n FROM parked GROUP BY status ORDER BY status")
    assert statuses == [{"status": "dismissed", "n": 2}, {"status": "open", "n": 2}]
    refused = await world.rows("SELECT refusal_code FROM repairs WHERE outcome = 'refused'")
    assert refused == [{"refusal_code": "bulk_cancelled"}] * 2


async def _last_first(world: World) -> None:
    """What was sent last comes next, as it may from another partition."""
    await world.deliveries["repair"].deliver(world.log["repairs.requested"][-1:])


async def test_a_command_whose_subject_may_still_come_waits_for_the_other_actors(engine: AsyncEngine) -> None:
    lagging = {"allocation"}

    async def behind(_: object) -> bool:
        return bool(lagging)

    late = World(engine, actors_of(Settings(), behind=behind))
    payment = a_payment(purchaseTier="many")
    late.send("repairs.requested", assignment(payment))

    causes = [await late.try_turn("repair") for _ in range(2)]
    unanswered = list(late.log["repairs.completed"])
    late.send("payments.succeeded", payment)
    await late.settle(names=["enrollment", "allocation"])
    lagging.clear()
    await late.settle()

    assert (causes, unanswered) == (["Transient"] * 2, [])
    (answer,) = [json.loads(record.value or b"") for record in late.log["repairs.completed"]]
    assert answer["outcome"] == "refused"
    assert answer["refusal"]["code"] == "no_trainer_available"


async def test_time_that_another_decision_gives_back_wakes_whoever_waits_also_in_a_process_that_is_new(
    world: World,
) -> None:
    first, waiting = a_payment(purchaseTier=5), a_payment(purchaseTier=5, courseId="crs_other")
    world.send("students.changed", *(a_student(p["studentId"]) for p in (first, waiting)))
    world.send("trainers.changed", a_trainer(courses=["crs_yoga", "crs_other"]))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", first)
    await world.settle(names=["enrollment", "allocation"])
    world.send("payments.succeeded", waiting)
    await world.settle(names=["enrollment", "allocation"])
    parked = await world.parked()
    world.restart()

    world.send("repairs.requested", assignment(first, timeSlot="10:00"))
    await world.turn("repair")  # before its sessions are there
    await world.settle()

    assert parked == ["no_trainer_available"]
    assert await world.parked() == []
    assert await world.count("sessions") == 10
    assert await world.offenders() == {}


async def test_a_parked_command_is_not_edited_and_so_never_signed_by_us(world: World) -> None:
    world.send("repairs.requested", b"no command")
    await world.settle()
    (row,) = await world.rows("SELECT id FROM parked")
    forged = a_command("dismiss", parkedId=str(row["id"])) | {"requestedBy": "ceo@example.org"}
    edit = a_command("editAndRetry", parkedId=str(row["id"]), payload=forged)

    world.send("repairs.requested", edit, edit)
    await world.settle()

    answer = answer_to(world, edit["commandId"])
    assert (answer.outcome, answer.refusal and answer.refusal.code) == ("refused", "not_editable")
    assert await world.rows("SELECT count(*) AS n FROM repairs") == [{"n": 1}]
    assert await world.parked() == ["unreadable"]


async def test_a_trainer_who_leaves_can_be_told_by_a_corrected_record(world: World) -> None:
    payment = a_payment(purchaseTier=5)
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("trainers.changed", a_trainer())
    await world.settle(names=["directory"])
    world.send("payments.succeeded", payment)
    await world.settle()
    world.send("trainers.changed", b"garbage", key=b"trn_1")
    await world.settle()
    (row,) = await world.rows("SELECT id FROM parked WHERE reason = 'unreadable'")

    edit = a_command("editAndRetry", parkedId=str(row["id"]), payload=a_trainer(active=False))
    world.send("repairs.requested", edit)
    await world.settle()

    assert answer_to(world, edit["commandId"]).outcome == "republished"
    assert await world.parked() == ["trainer_unavailable"]


async def test_a_retried_record_shows_what_it_writes_of_a_trainer(world: World) -> None:
    later = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    world.send("trainers.changed", a_trainer(changedAt=later), key=b"trn_1")
    await world.settle()
    (row,) = await world.rows("SELECT id FROM parked WHERE reason = 'changed_at_in_future'")

    retry = a_command("retry", parkedId=str(row["id"]))
    world.send("repairs.requested", retry, at=datetime.now(UTC) + timedelta(minutes=25))
    await world.settle()

    answer = answer_to(world, retry["commandId"])
    assert answer.outcome == "applied"
    assert {(e.table, e.operation) for e in answer.effects} == {("trainers", "insert"), ("parked", "update")}
