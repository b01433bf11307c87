"""Who is woken, when and by which command: only what has a chance, under an id that a replay gives again."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

import actors.runtime
from actors.runtime import Redo
from contracts.base import derived_text
from contracts.record import Record
from contracts.repairs import Retry, repair_requested
from errors import Transient
from roster import actors_of
from settings import Settings
from storage import waiting
from storage.engine import transaction
from tests.builders import HOME, a_credit, a_payment, a_student, a_trainer, an_absence
from tests.storage.test_statements import counted
from tests.world import World

NOW = datetime.now(UTC)
LATER = timedelta(minutes=1)
UNKNOWN = UUID("0b5cc1f2-9d3a-5c1e-8f60-6f7a2f4b9f11")


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    """A world in which nobody carries out the commands: what they are is the matter here."""
    return World(engine, [actor for actor in actors_of(Settings()) if actor.name != "repair"])


async def test_a_profile_that_comes_wakes_its_student_and_nobody_else(world: World) -> None:
    mine, other = a_payment(), a_payment(timeSlot="18:00")
    world.send("trainers.changed", a_trainer())
    await deliver(world, mine, other)

    world.send("students.changed", a_student(mine["studentId"]))
    await world.settle()

    (command,) = wakes(world)
    assert command == {
        "command": "retry",
        "commandId": derived_text("retry", await row_of(world, mine), 0),
        "requestedBy": "system:auto-heal",
        "reason": command["reason"],
        "parkedId": str(await row_of(world, mine)),
        "dryRun": False,
    }


@pytest.mark.parametrize(
    ("changes", "woken"),
    [
        ({}, True),
        ({"latitude": None, "longitude": None}, False),
        ({"latitude": 0, "longitude": 0}, False),
        ({"latitude": 91}, False),
        ({"longitude": -180.5}, False),
        ({"latitude": -90, "longitude": 180}, True),
        ({"latitude": 0, "longitude": HOME[1]}, True),
    ],
)
async def test_what_waits_for_a_place_is_woken_by_a_place_on_earth(
    world: World,
    changes: dict[str, Any],
    woken: bool,  # noqa: FBT001
) -> None:
    payment = a_payment()
    earlier = (NOW - timedelta(hours=1)).isoformat()
    world.send("trainers.changed", a_trainer())
    world.send("students.changed", a_student(payment["studentId"], latitude=None, longitude=None, changedAt=earlier))
    await world.settle()
    await deliver(world, payment)
    assert await world.parked() == ["student_location_missing"]

    world.send("students.changed", a_student(payment["studentId"], **changes))
    await world.settle()

    assert bool(wakes(world)) is woken


async def test_coins_wake_what_they_suffice_for(world: World) -> None:
    cheap = a_payment(coinsRedeemed=50)
    dear = a_payment(coinsRedeemed=500, studentId=cheap["studentId"])
    await deliver(world, cheap, dear)
    assert (await world.parked()).count("insufficient_coins") == 2

    world.send("coins.credited", a_credit(cheap["studentId"], 100))
    await world.settle()

    assert woken_rows(world) == [await row_of(world, cheap, "coins")]


async def test_a_deleted_profile_wakes_nobody(world: World) -> None:
    payment = a_payment()
    world.send("trainers.changed", a_trainer())
    await deliver(world, payment)

    world.send("students.changed", None, key=payment["studentId"].encode())
    await world.settle()

    assert wakes(world) == []


async def test_what_an_admin_dismissed_is_left_alone(world: World) -> None:
    placed, waiting_ = a_payment(), a_payment()
    world.send("trainers.changed", a_trainer("trn_1"))
    await deliver(world, placed, waiting_)
    assert await world.parked() == ["no_trainer_available", "student_profile_missing"]
    await execute(world, "UPDATE parked SET status = 'dismissed', closed_at = now(), closed_by = 'asha'")

    world.send("trainers.changed", a_trainer("trn_2"))
    world.send("students.changed", a_student(placed["studentId"]), a_student(waiting_["studentId"]))
    await world.settle()

    assert wakes(world) == []


async def test_trainers_of_a_course_wake_it_once_a_batch_with_the_newest_change(world: World) -> None:
    await deliver(world, a_payment(), a_payment(), a_payment(courseId="crs_chess"))
    newest = (NOW + timedelta(minutes=2)).isoformat()

    world.send("trainers.changed", *(a_trainer(f"trn_{n}") for n in range(5)), a_trainer("trn_5", changedAt=newest))
    await world.settle()

    (command,) = wakes(world)
    assert (command["command"], command["waitsFor"], command["courseId"]) == ("retryWaiting", "trainer", "crs_yoga")
    assert datetime.fromisoformat(command["changedAt"]) == datetime.fromisoformat(newest)


@pytest.mark.parametrize(
    "changes", [{"courses": ["crs_chess"]}, {"active": False}, {"courses": []}], ids=["course", "inactive", "none"]
)
async def test_a_trainer_who_does_not_teach_the_course_wakes_nobody(world: World, changes: dict[str, Any]) -> None:
    await deliver(world, a_payment())

    world.send("trainers.changed", a_trainer(**changes))
    await world.settle()

    assert wakes(world) == []


async def test_an_absence_wakes_nobody_until_it_gives_time_back(world: World) -> None:
    away = an_absence("trn_1", NOW, NOW + timedelta(days=90))
    world.send("trainers.changed", a_trainer())
    world.send("trainers.busy", away)
    await world.settle()
    await deliver(world, a_payment())
    world.send("trainers.busy", an_absence("trn_1", NOW, NOW + timedelta(days=60)))
    longer = (NOW + timedelta(days=120)).isoformat()
    world.send("trainers.busy", away | {"endsAt": longer, "changedAt": (NOW + LATER).isoformat()})
    await world.settle()
    assert wakes(world) == []

    shorter = (NOW + timedelta(days=1)).isoformat()
    world.send("trainers.busy", away | {"endsAt": shorter, "changedAt": (NOW + timedelta(minutes=2)).isoformat()})
    await world.settle()

    assert [command["courseId"] for command in wakes(world)] == ["crs_yoga"]


async def test_trainers_who_are_sent_again_wake_nobody_who_has_seen_them(world: World) -> None:
    trainer = a_trainer(latitude=50.0, longitude=8.0)
    payment = a_payment()
    world.send("trainers.changed", trainer)
    world.send("students.changed", a_student(payment["studentId"]))
    await world.settle()
    await deliver(world, payment)
    assert await world.parked() == ["no_trainer_available"]

    world.send("trainers.changed", trainer)
    await world.settle()

    assert wakes(world) == []


async def test_news_of_one_instant_in_two_batches_is_told_twice_once_something_was_tried_between(world: World) -> None:
    await deliver(world, a_payment())
    at = NOW.isoformat()
    world.send("trainers.changed", a_trainer("trn_1", changedAt=at))
    await world.settle()
    world.send("trainers.changed", a_trainer("trn_2", changedAt=at))
    await world.settle()
    assert len({command["commandId"] for command in wakes(world)}) == 1

    await execute(world, "UPDATE parked SET attempts = attempts + 1")
    world.send("trainers.changed", a_trainer("trn_3", changedAt=at))
    await world.settle()

    assert len({command["commandId"] for command in wakes(world)}) == 2


async def test_the_next_try_of_a_row_has_another_id(world: World) -> None:
    payment = a_payment()
    world.send("trainers.changed", a_trainer())
    await deliver(world, payment)
    for minute in (1, 2):
        at = (NOW + timedelta(minutes=minute)).isoformat()
        world.send("students.changed", a_student(payment["studentId"], changedAt=at))
        await world.settle()
        await execute(world, "UPDATE parked SET attempts = attempts + 1")

    row = await row_of(world, payment)
    assert [command["commandId"] for command in wakes(world)] == [derived_text("retry", row, n) for n in (0, 1)]


async def test_who_parks_beside_what_is_there_by_now_is_settled(world: World) -> None:
    payment = a_payment()
    world.send("trainers.changed", a_trainer())
    await world.settle()
    world.send("payments.succeeded", payment)
    await world.settle(names=["enrollment"])
    await world.settle(names=["allocation"])
    world.send("students.changed", a_student(payment["studentId"]))
    await world.settle(names=["directory"])

    await world.settle()

    assert await world.parked() == ["allocation_provisional"]
    assert woken_rows(world) == [await row_of(world, payment)]


async def test_an_event_of_an_enrolment_that_comes_later_is_woken_only_by_that_enrolment(world: World) -> None:
    payment = a_payment()
    enrolled = {
        "enrollmentId": str(UNKNOWN),
        "paymentId": payment["paymentId"],
        "studentId": payment["studentId"],
        "courseId": "crs_yoga",
        "version": 1,
        "enrolledAt": NOW.isoformat(),
    }
    world.send("enrollments.created", enrolled)
    await world.settle(names=["coins"])
    assert await world.parked() == ["enrollment_unknown"]
    row = await row_of(world, payment, "coins")

    before = await arrived(world, row)
    world.send("payments.succeeded", payment)
    await world.settle(names=["enrollment"])
    of_another = await arrived(world, row)
    await execute(world, "UPDATE parked SET subject = (SELECT CAST(enrollment_id AS text) FROM enrollments)")

    assert (before, of_another) == ([], [])
    assert await arrived(world, row) == [(row, 0)]


async def test_without_anything_parked_and_without_news_nothing_is_asked(world: World) -> None:
    payment = a_payment()
    world.send("trainers.changed", a_trainer())
    world.send("students.changed", a_student(payment["studentId"]))
    await world.settle()
    world.send("payments.succeeded", payment)

    with counted(world.engine) as sent:
        await world.settle()

    assert await world.parked() == []
    assert sent
    assert not any("waits_for" in sql and "INSERT" not in sql and "UPDATE" not in sql for sql in sent)


@pytest.mark.parametrize("point", ["committed", "looked", "publishing", "published"])
@pytest.mark.parametrize("who", ["parks", "tells"])
async def test_after_a_crash_the_same_commands_come_again(world: World, who: str, point: str) -> None:
    payment = a_payment()
    world.send("trainers.changed", a_trainer())
    await world.settle()
    world.send("payments.succeeded", payment)
    if who == "tells":
        await world.settle()
    for name in ("enrollment", "allocation"):
        await world.settle(names=[name])
    world.send("students.changed", a_student(payment["studentId"]))
    if who == "parks":
        await world.settle(names=["directory"])
    actor = "sessions" if who == "parks" else "directory"

    with world.crash_at(point):
        await world.turn(actor)
    await world.turn(actor)

    commands = wakes(world)
    assert len({command["commandId"] for command in commands}) == 1
    assert len({json.dumps(command) for command in commands}) == 1
    assert len(commands) == (2 if point == "published" else 1)


async def test_a_look_that_fails_lets_the_batch_come_again_and_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = a_payment()
    world.send("trainers.changed", a_trainer())
    await world.settle()
    world.send("payments.succeeded", payment)
    for name in ("enrollment", "allocation"):
        await world.settle(names=[name])
    world.send("students.changed", a_student(payment["studentId"]))
    await world.settle(names=["directory"])

    async def away(*_: object) -> None:
        raise Transient("connection")

    with monkeypatch.context() as patched:
        patched.setattr(actors.runtime, "wakes", away)
        with pytest.raises(Redo, match="look"):
            await world.turn("sessions")
        told_meanwhile = len(world.log["fulfilment.parked"])
    await world.turn("sessions")

    assert told_meanwhile == 0
    assert len(world.log["fulfilment.parked"]) == 1
    assert woken_rows(world) == [await row_of(world, payment)]


async def test_what_a_probe_of_the_fuse_has_committed_is_told_when_the_batch_is_done(world: World) -> None:
    payment = a_payment()
    world.send("trainers.changed", a_trainer())
    await deliver(world, payment)
    world.deliveries["directory"]._fuse.failed(20)
    world.send("students.changed", a_student(payment["studentId"]))
    held = await world.try_turn("directory")
    assert (held, wakes(world)) == ("fuse", [])

    world.seconds += 1000
    await world.turn("directory")

    assert woken_rows(world) == [await row_of(world, payment)]


async def test_a_database_restored_elsewhere_neither_forgets_who_waits_nor_wakes_him_for_ever(world: World) -> None:
    payment = a_payment()
    await deliver(world, payment)
    await execute(world, "UPDATE parked SET seen = '1000000000000:1000000000000:'")
    world.send("trainers.changed", a_trainer())
    await world.settle()
    assert [command["command"] for command in wakes(world)] == ["retryWaiting"]

    row = await row_of(world, payment, "allocation")
    await execute(world, "UPDATE parked SET seen = pg_current_snapshot()")
    await execute(world, "UPDATE trainers SET xact = '1000000000000'")

    assert await arrived(world, row, trainers=True) == []


async def test_who_waits_for_a_trainer_of_a_course_stands_in_line_by_age(world: World) -> None:
    first, second = a_payment(), a_payment()
    for payment in (second, first, a_payment(courseId="crs_chess"), a_payment(purchaseTier="many")):
        await deliver(world, payment)
        await execute(world, "UPDATE parked SET attempts = attempts + 1")

    async with transaction(world.engine) as db:
        of_yoga = await waiting.waiting_for(db, "trainer", "crs_yoga")
        of_all = await waiting.waiting_for(db, "trainer", None)

    assert of_yoga == [(await row_of(world, second, "allocation"), 4), (await row_of(world, first, "allocation"), 3)]
    assert len(of_all) == 3


async def test_looks_take_as_many_statements_for_many_as_for_one(world: World) -> None:
    found = []
    for round_, count in enumerate((1, 100)):
        payments = [a_payment(courseId=f"crs_{round_}_{n}", coinsRedeemed=10) for n in range(count)]
        courses = [p["metadata"]["courseId"] for p in payments]
        await deliver(world, *payments)
        world.send("students.changed", *(a_student(p["studentId"]) for p in payments))
        world.send("coins.credited", *(a_credit(p["studentId"], 10) for p in payments))
        world.send("trainers.changed", *(a_trainer(f"trn_{c}", courses=[c]) for c in courses))
        with counted(world.engine) as sent:
            await world.turn("directory")
        found.append(len(sent))

    assert found[0] == found[1]
    assert sorted(command["command"] for command in wakes(world)) == ["retry"] * 101 + ["retryWaiting"] * 101


async def test_whatever_was_waited_for_heals_the_purchase_with_nobody_acting(engine: AsyncEngine) -> None:
    world = World(engine)
    payment = a_payment(coinsRedeemed=50)
    away = an_absence("trn_1", NOW, NOW + timedelta(days=90))
    world.send("trainers.changed", a_trainer("trn_1"))
    world.send("trainers.busy", away)
    await deliver(world, payment)
    assert await world.parked() == ["insufficient_coins", "no_trainer_available"]

    world.send("coins.credited", a_credit(payment["studentId"], 50))
    world.send("trainers.busy", away | {"action": "removed", "changedAt": (NOW + LATER).isoformat()})
    await world.settle()
    assert await world.parked() == ["student_profile_missing"]
    nowhere = a_student(payment["studentId"], latitude=None, longitude=None)
    world.send("students.changed", nowhere)
    await world.settle()
    assert await world.parked() == ["student_location_missing"]
    world.send("students.changed", a_student(payment["studentId"]))
    await world.settle()

    assert await world.parked() == []
    assert (await world.journey(payment["paymentId"]))["sessions"] == 10


async def test_a_retry_that_parks_again_does_not_wake_itself(engine: AsyncEngine) -> None:
    world = World(engine)
    payment, late = a_payment(coinsRedeemed=50), a_payment()
    busy = a_payment(studentId=payment["studentId"], courseId="crs_chess")
    world.send("students.changed", a_student(payment["studentId"]), a_student(late["studentId"]))
    world.send("trainers.changed", a_trainer("trn_1"), a_trainer("trn_2", courses=["crs_chess"]))
    await deliver(world, payment)
    await deliver(world, busy, late)
    world.send("trainers.changed", a_trainer("trn_1", workingHours=[], changedAt=(NOW + LATER).isoformat()))
    await world.settle()
    stuck = ["insufficient_coins", "no_trainer_available", "student_already_booked", "trainer_unavailable"]
    assert await world.parked() == stuck

    world.send("coins.credited", a_credit(payment["studentId"], 10))
    world.send("trainers.changed", a_trainer("trn_3", latitude=50.0, changedAt=(NOW + LATER).isoformat()))
    world.send("students.changed", a_student(payment["studentId"], changedAt=(NOW + LATER).isoformat()))
    await world.settle()

    assert await world.parked() == stuck
    assert max(row["attempts"] for row in await world.rows("SELECT attempts FROM parked")) <= 2


async def deliver(world: World, *payments: dict[str, Any]) -> None:
    """Let these purchases go as far as they can, after what the directory has to read."""
    await world.settle(names=["directory"])
    world.send("payments.succeeded", *payments)
    await world.settle()


async def execute(world: World, statement: str) -> None:
    async with transaction(world.engine) as db:
        await db.exec_driver_sql(statement)


async def arrived(world: World, row: UUID, *, trainers: bool = False) -> list[tuple[UUID, int]]:
    async with transaction(world.engine) as db:
        return await waiting.arrived(db, [row], trainers=trainers)


async def row_of(world: World, payment: dict[str, Any], actor: str = "sessions") -> UUID:
    rows = await world.rows(
        "SELECT id FROM parked WHERE payment_id = :id AND actor = :actor", id=payment["paymentId"], actor=actor
    )
    found: UUID = rows[0]["id"]
    return found


def wakes(world: World) -> list[dict[str, Any]]:
    """The commands in the log, each of which can be read."""
    return [_read(record) for record in world.log["repairs.requested"]]


def woken_rows(world: World) -> list[UUID]:
    commands = [repair_requested.validate_json(record.value or b"") for record in world.log["repairs.requested"]]
    return [command.parked_id for command in commands if isinstance(command, Retry)]


def _read(record: Record) -> dict[str, Any]:
    repair_requested.validate_json(record.value or b"")
    command: dict[str, Any] = json.loads(record.value or b"")
    assert record.key == command["commandId"].encode()
    return command
