"""What sessions need besides an allocation; what is missing parks them and leaves the allocation approved."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.allocations import AllocationApproved
from contracts.parking import FulfilmentParked
from contracts.sessions import SessionsScheduled
from tests.builders import HOME, a_payment, a_student, a_trainer
from tests.world import World

BEFORE_THE_SESSIONS = ("enrollment", "cart", "coins", "allocation")


async def test_a_profile_that_lost_what_sessions_need_parks_them_with_the_reason(world: World) -> None:
    cases: dict[str, tuple[dict[str, Any], str, str]] = {
        "no place": ({"latitude": None, "longitude": None}, "student_location_missing", "location"),
        "empty place": ({"latitude": "", "longitude": ""}, "student_location_missing", "location"),
        "no longitude": ({"longitude": None}, "student_location_missing", "location"),
        "no latitude": ({"latitude": None}, "student_location_missing", "location"),
        "null island": ({"latitude": 0, "longitude": 0}, "student_location_invalid", "location"),
        "null island again": ({"latitude": -0.0, "longitude": 0.0}, "student_location_invalid", "location"),
        "too far north": ({"latitude": 90.001}, "student_location_invalid", "location"),
        "too far south": ({"latitude": -91}, "student_location_invalid", "location"),
        "too far east": ({"longitude": 180.5}, "student_location_invalid", "location"),
        "too far west": ({"longitude": -1e300}, "student_location_invalid", "location"),
    }
    payments = {name: a_payment() for name in cases}
    gone = a_payment()
    await _allocated(world, *payments.values(), gone)

    later = datetime.now(UTC) + timedelta(minutes=2)
    for name, (changes, _, _) in cases.items():
        profile = a_student(payments[name]["studentId"], changedAt=later.isoformat(), **changes)
        world.send("students.changed", profile, at=later)
    world.send("students.changed", None, key=gone["studentId"].encode(), at=later)
    await world.settle(names=["directory"])
    await world.settle()

    expected = {payments[name]["paymentId"]: (reason, waits) for name, (_, reason, waits) in cases.items()}
    expected[gone["paymentId"]] = ("student_profile_missing", "profile")
    rows = await world.rows("SELECT p.*, a.status AS allocation FROM parked p JOIN allocations a USING (allocation_id)")
    assert {row["payment_id"]: (row["reason"], row["waits_for"]) for row in rows} == expected
    assert {(row["actor"], row["allocation"], row["status"]) for row in rows} == {("sessions", "approved", "open")}
    assert all(row["subject"] == str(row["allocation_id"]) and row["enrollment_id"] for row in rows)
    assert await world.count("sessions") == 0
    announced = {event.payment_id: event for event in world.published(FulfilmentParked)}
    assert {id_: announced[id_ or ""].reason for id_ in announced} == {id_: e[0] for id_, e in expected.items()}
    assert await world.offenders() == {}


async def test_places_at_the_very_edge_of_the_earth_are_places(world: World) -> None:
    places = [(90.0, 10.0), (-90.0, 10.0), (10.0, 180.0), (10.0, -180.0), (0.0, 77.5), (12.9, 0.0), (12, 77)]
    payments = [a_payment(courseId=f"crs_{number}") for number in range(len(places))]
    for number, (payment, (latitude, longitude)) in enumerate(zip(payments, places, strict=True)):
        place = {"latitude": latitude, "longitude": longitude}
        world.send("students.changed", a_student(payment["studentId"], **place))
        world.send("trainers.changed", a_trainer(f"trn_{number}", courses=[f"crs_{number}"], **place))
    await world.settle(names=["directory"])

    world.send("payments.succeeded", *payments)
    await world.settle()

    rows = await world.rows("SELECT DISTINCT payment_id, latitude, longitude FROM sessions")
    assert {row["payment_id"]: (row["latitude"], row["longitude"]) for row in rows} == {
        payment["paymentId"]: place for payment, place in zip(payments, places, strict=True)
    }


async def test_online_lessons_need_a_profile_and_no_place(world: World) -> None:
    spellings = ["online", "Online", "ONLINE", "oNLiNe"]
    payments = [a_payment(learningMode=spelling) for spelling in spellings]
    at_home = [a_payment(learningMode=mode) for mode in ("home", "onlineish", "", "hybrid", None)]
    invalid, ghost = a_payment(learningMode="online"), a_payment(learningMode="online")
    world.send("students.changed", a_student(invalid["studentId"], latitude=0, longitude=0))
    placeless = [a_student(p["studentId"], latitude=None, longitude=None) for p in (*payments, *at_home)]
    world.send("students.changed", *placeless)
    world.send("trainers.changed", *(a_trainer(f"trn_{n}") for n in range(len(payments) + len(at_home) + 2)))
    await world.settle(names=["directory"])

    world.send("payments.succeeded", *payments, *at_home, invalid, ghost)
    await world.settle()

    rows = await world.rows("SELECT payment_id, count(*) AS n FROM sessions GROUP BY 1")
    assert {row["payment_id"] for row in rows} == {p["paymentId"] for p in (*payments, invalid)}
    places = await world.rows("SELECT DISTINCT latitude, longitude FROM sessions")
    assert places == [{"latitude": None, "longitude": None}]
    rows = await world.rows("SELECT payment_id, reason FROM parked")
    assert {row["payment_id"]: row["reason"] for row in rows} == {
        p["paymentId"]: "student_location_missing" for p in at_home
    } | {ghost["paymentId"]: "student_profile_missing"}


async def test_an_approval_that_is_not_ours_parks(world: World) -> None:
    unknown, released, countless, stale, good = (a_payment() for _ in range(5))
    await _allocated(world, released, countless, stale, good)
    # What no event of ours does yet: the time was given back, or somebody edited the metadata.
    await _alter(world, "status = 'released', version = 2, released_at = now(), effective_at = now()", released)
    await _alter(world, "metadata = metadata - 'sessionCount'", countless)
    foreign = {
        "allocationId": str(uuid.uuid4()),
        "enrollmentId": str(uuid.uuid4()),
        "paymentId": unknown["paymentId"],
        "studentId": unknown["studentId"],
        "courseId": "crs_yoga",
        "trainerId": "trn_of_others",
        "sessionCount": 10,
        "version": 1,
        "approvedAt": "2026-11-22T08:02:55Z",
    }
    world.send("allocations.approved", foreign)
    world.send("allocations.approved", foreign | {"sessionCount": None, "comment": "once more"})
    await world.settle()

    rows = await world.rows("SELECT allocation_id, reason, actor, subject, payment_id FROM parked")
    assert {row["reason"]: row["payment_id"] for row in rows if row["payment_id"] != released["paymentId"]} == {
        "allocation_not_approved": unknown["paymentId"],
        "session_count_missing": countless["paymentId"],
    }
    assert {row["subject"] for row in rows} >= {foreign["allocationId"]}
    assert len(rows) == len({row["subject"] for row in rows})
    scheduled = await world.rows("SELECT DISTINCT payment_id FROM sessions")
    assert {row["payment_id"] for row in scheduled} == {stale["paymentId"], good["paymentId"]}


async def test_a_foreign_event_about_our_allocation_takes_its_facts_from_the_stored_rows(world: World) -> None:
    payment = a_payment(purchaseTier=10)
    await _allocated(world, payment)
    (event,) = world.published(AllocationApproved)
    lie = event.model_copy(update={"session_count": 200, "trainer_id": "trn_of_others", "student_id": "stu_of_others"})
    world.log["allocations.approved"].clear()

    world.send("allocations.approved", lie.to_wire(), key=b"whatever")
    await world.settle()

    assert await world.count("sessions") == 10
    (scheduled,) = world.published(SessionsScheduled)
    assert (scheduled.trainer_id, scheduled.student_id) == (event.trainer_id, payment["studentId"])
    assert await world.parked() == []


async def test_what_is_parked_of_a_foreign_event_has_the_ids_of_the_stored_purchase(world: World) -> None:
    payment = a_payment()
    await _allocated(world, payment)
    (event,) = world.published(AllocationApproved)
    later = datetime.now(UTC) + timedelta(minutes=2)
    world.send("students.changed", None, key=payment["studentId"].encode(), at=later)
    await world.settle(names=["directory"])
    world.log["allocations.approved"].clear()

    lie = event.model_copy(update={"payment_id": "pay_of_others", "student_id": "stu_of_others"})
    world.send("allocations.approved", lie.to_wire())
    await world.settle()

    rows = await world.rows("SELECT reason, payment_id, student_id FROM parked")
    assert rows == [
        {
            "reason": "student_profile_missing",
            "payment_id": payment["paymentId"],
            "student_id": payment["studentId"],
        }
    ]
    assert (await world.journey(payment["paymentId"]))["parked_reason"] == "student_profile_missing"


async def test_a_profile_that_comes_back_lets_a_replay_create_the_sessions_and_close_the_row(world: World) -> None:
    payment = a_payment()
    await _allocated(world, payment)
    later = datetime.now(UTC) + timedelta(minutes=2)
    world.send("students.changed", None, key=payment["studentId"].encode(), at=later)
    await world.settle(names=["directory"])
    await world.settle()
    assert await world.parked() == ["student_profile_missing"]
    assert (await world.journey(payment["paymentId"]))["state"] == "parked"

    back = later + timedelta(minutes=1)
    world.send("students.changed", a_student(payment["studentId"], changedAt=back.isoformat()), at=back)
    await world.settle()
    world.rewind()
    await world.settle()

    journey = await world.journey(payment["paymentId"])
    assert (journey["state"], journey["sessions"], journey["parked_reason"]) == ("scheduled", 10, None)
    assert await world.rows("SELECT status, closed_at IS NULL AS open FROM parked") == [
        {"status": "resolved", "open": False}
    ]
    (place,) = await world.rows("SELECT DISTINCT latitude, longitude FROM sessions")
    assert (place["latitude"], place["longitude"]) == HOME


async def _allocated(world: World, *payments: dict[str, Any]) -> None:
    """Bought and allocated, with a profile; the sessions actor has not read it yet."""
    world.send("students.changed", *(a_student(p["studentId"]) for p in payments))
    world.send("trainers.changed", *(a_trainer(f"trn_{number}") for number in range(len(payments))))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", *payments)
    await world.settle(names=BEFORE_THE_SESSIONS)


async def _alter(world: World, change: str, payment: dict[str, Any]) -> None:
    statement = f"UPDATE allocations SET {change} WHERE payment_id = :id RETURNING 1"  # noqa: S608
    assert await world.rows(statement, id=payment["paymentId"])
