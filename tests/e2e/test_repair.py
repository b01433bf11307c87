"""What goes wrong in production is put right from outside, by messages of a client that is not ours, or by itself."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from contracts.base import derived_text
from contracts.repairs import Retry
from errors import Parked, RecordRefused
from tests.builders import HOME, a_credit, a_payment, a_student, a_trainer, an_absence, now, soon
from tests.e2e.admin import Admin
from tests.e2e.deployment import Deployment

HOLDING_BACK = "directory,enrollment,cart,coins,allocation"
"""The sessions and repair actors come later: what they meet is prepared first."""

STRANGER = {
    "enrollmentId": "0b5cc1f2-9d3a-5c1e-8f60-6f7a2f4b9f11",
    "paymentId": "pay_nobody",
    "studentId": "stu_nobody",
    "courseId": "crs_yoga",
    "version": 1,
    "enrolledAt": now(),
}


CODES = {kind.code for kind in (*Parked.__subclasses__(), *RecordRefused.__subclasses__()) if hasattr(kind, "code")}
"""Every reason for which something parks."""


@pytest.fixture
def admin(deployment: Deployment) -> Iterator[Admin]:
    admin = Admin(deployment)
    yield admin
    admin.close()


@pytest.mark.timeout(240)
async def test_every_reason_code_is_provoked_seen_and_repaired_by_a_message_from_outside(
    deployment: Deployment, admin: Admin
) -> None:
    await deployment.create_topics()
    await deployment.start("--actors", HOLDING_BACK)
    paid = await _provoke(deployment, admin)
    await _break_rows(deployment, paid)
    await deployment.start("--actors", "sessions")
    await deployment.until("SELECT count(DISTINCT reason) FROM parked WHERE status = 'open'", lambda n: n == len(CODES))
    code, printed = await deployment.run("parked", "--json", "--limit", "100")
    assert code == 0
    items = json.loads(printed)
    await deployment.start("--actors", "repair")

    (far,) = [item for item in items if item["reason"] == "no_trainer_available"]
    (shown,) = json.loads((await deployment.run("parked", far["id"], "--json"))[1])
    await _repair(admin, items, paid, shown["facts"]["offers"][0]["command"])

    await deployment.until("SELECT count(*) FROM parked WHERE status = 'open'", lambda n: n == 0)
    await deployment.until("SELECT count(*) FROM purchases WHERE state <> 'scheduled'", lambda n: n == 0)
    assert await deployment.rows("SELECT count(*) FROM sessions") == [(10 * await _purchases(deployment),)]
    assert await deployment.rows("SELECT count(*) FROM repairs WHERE outcome = 'refused'") == [(0,)]
    code, printed = await deployment.run("check", "--json")
    assert (code, json.loads(printed)) == (0, {})


async def _purchases(deployment: Deployment) -> int:
    return int((await deployment.rows("SELECT count(*) FROM purchases"))[0][0])


async def _provoke(deployment: Deployment, admin: Admin) -> dict[str, dict[str, Any]]:
    """Publish what parks for each reason; return the purchases by the reason that they are about."""
    courses: dict[str, dict[str, Any]] = {
        "session_count_invalid": {"purchaseTier": "many"},
        "schedule_invalid": {"timeSlot": "whenever"},
        "schedule_in_the_past": {"date": soon(-3).isoformat()},
        "no_trainer_available": {"courseId": "crs_far"},
        "student_already_booked": {"studentId": "stu_busy"},
        "first of the same student": {"studentId": "stu_busy"},
        "student_profile_missing": {},
        "student_location_missing": {},
        "student_location_invalid": {},
        "allocation_provisional": {},
        "session_count_missing": {},
        "insufficient_coins": {"coinsRedeemed": 50},
        "trainer_unavailable": {"courseId": "crs_ill"},
        "unexpected_error": {},
        "conflicting_duplicate": {},
    }
    paid = {reason: a_payment(**changes) for reason, changes in courses.items()}
    without = {"student_profile_missing", "allocation_provisional"}
    odd: dict[str, dict[str, Any]] = {
        "student_location_missing": {"latitude": None, "longitude": None},
        "student_location_invalid": {"latitude": 0, "longitude": 0},
    }
    for reason, payment in paid.items():
        if reason not in without:
            await admin.send("students.changed", a_student(payment["studentId"], **odd.get(reason, {})))
    await admin.send("trainers.changed", *(a_trainer(f"trn_{n}") for n in range(len(paid))))
    await admin.send("trainers.changed", a_trainer("trn_far", courses=["crs_far"], latitude=HOME[0] + 0.2))
    await admin.send("trainers.changed", *(a_trainer(f"trn_ill_{n}", courses=["crs_ill"]) for n in range(2)))
    await deployment.until("SELECT count(*) FROM trainers", lambda n: n == len(paid) + 3)
    await deployment.until("SELECT count(*) FROM students", lambda n: n == len(paid) - 3)
    second = paid.pop("student_already_booked")
    await admin.send("payments.succeeded", *paid.values())
    await deployment.until("SELECT count(*) FROM allocations", lambda n: n == len(paid) - 4)
    await admin.send("payments.succeeded", second, {**paid["conflicting_duplicate"], "amountMinor": 1}, b"garbage")
    await admin.send("coins.credited", a_credit("stu_rich", 2**63 - 1), a_credit("stu_rich", 1, creditId="crd_one"))
    await admin.send("carts.changed", {**_cart_item(), "changedAt": soon(400).isoformat() + "T00:00:00Z"})
    await admin.send("enrollments.created", STRANGER)
    await admin.send("allocations.approved", _strange_approval())
    ill = (await deployment.rows("SELECT trainer_id FROM allocations WHERE course_id = 'crs_ill'"))[0][0]
    starts = (await deployment.rows("SELECT min(lower(booked)) FROM bookings"))[0][0]
    await admin.send("trainers.busy", an_absence(ill, starts, starts + timedelta(days=3)))
    await deployment.until(
        "SELECT count(DISTINCT reason) FROM parked", lambda n: n == 12
    )  # all but those that the sessions step tells
    return {**paid, "student_already_booked": second}


async def _break_rows(deployment: Deployment, paid: dict[str, dict[str, Any]]) -> None:
    """What cannot be caused from outside: a count that is lost, and one that is not what was booked."""
    count = "UPDATE allocations SET metadata = {} WHERE payment_id = $1"
    lost, wrong = paid["session_count_missing"]["paymentId"], paid["unexpected_error"]["paymentId"]
    await deployment.rows(count.format("metadata - 'sessionCount'"), lost)
    await deployment.rows(count.format("jsonb_set(metadata, '{sessionCount}', '11')"), wrong)
    await deployment.publish(
        [
            (
                "students.changed",
                "",
                json.dumps(a_student(paid["allocation_provisional"]["studentId"])).encode(),
            )
        ]
    )
    await deployment.until(
        f"SELECT count(*) FROM students WHERE student_id = '{paid['allocation_provisional']['studentId']}'"  # noqa: S608
        " AND latitude IS NOT NULL",
        lambda n: n == 1,
    )


async def _repair(
    admin: Admin, items: list[dict[str, Any]], paid: dict[str, dict[str, Any]], offer: dict[str, Any]
) -> None:
    """One message for each item, out of what the list of parked items shows."""
    place = {"latitude": HOME[0], "longitude": HOME[1]}
    repaired = set()
    for item in items:
        reason, enrollment, allocation = item["reason"], item["enrollment_id"], item["allocation_id"]
        assign = {"command": "assignTrainer", "enrollmentId": enrollment}
        create = {"command": "createSessions", "allocationId": allocation}
        parked = {"parkedId": item["id"]}
        known: dict[str, dict[str, Any] | None] = {
            "session_count_invalid": {**assign, "sessionCount": 10},
            "schedule_invalid": {**assign, "timeSlot": "4 pm"},
            "schedule_in_the_past": {**assign, "date": soon().isoformat()},
            "no_trainer_available": offer,
            "student_already_booked": {**assign, "timeSlot": "19:00"},
            "student_profile_missing": {**create, **place},
            "student_location_missing": {**create, **place},
            "student_location_invalid": {**create, **place},
            "allocation_provisional": {"command": "retry", **parked},
            "session_count_missing": {**create, "sessionCount": 10},
            "trainer_unavailable": {"command": "rescheduleSessions", "allocationId": allocation},
            "unexpected_error": {**create, "sessionCount": 10},
            "unreadable": {
                "command": "editAndRetry",
                **parked,
                "payload": a_payment(studentId="stu_busy", date=soon(60).isoformat()),
            },
            "changed_at_in_future": {"command": "editAndRetry", **parked, "payload": _cart_item()},
            "insufficient_coins": None,
        }
        fields = known.get(reason, {"command": "dismiss", **parked})
        if fields is None:
            payment = paid[reason]
            await admin.send("coins.credited", a_credit(payment["studentId"], payment["coinsRedeemed"]))
            repaired.add(reason)
            continue
        answer = await admin.command(**fields)
        # Its wake-up was on its way before repair began, so there may be nothing left to do.
        healed = {"unchanged"} if reason == "allocation_provisional" else set()
        assert answer["outcome"] in {"applied", "republished"} | healed, (reason, answer)
        repaired.add(reason)
    assert repaired == CODES


def _cart_item() -> dict[str, Any]:
    return {"studentId": "stu_cart", "itemId": "itm_1", "courseId": "crs_yoga", "action": "added", "changedAt": now()}


def _strange_approval() -> dict[str, Any]:
    return {
        **{name: STRANGER[name] for name in ("enrollmentId", "paymentId", "studentId", "courseId", "version")},
        "allocationId": "0b5cc1f2-9d3a-5c1e-8f60-6f7a2f4b9f12",
        "trainerId": "trn_0",
        "approvedAt": now(),
    }


async def test_whatever_was_missing_heals_a_purchase_when_it_comes_with_nobody_acting(deployment: Deployment) -> None:
    payments = {
        missing: a_payment(courseId=f"crs_{missing}", coinsRedeemed=5 if missing == "coins" else None)
        for missing in ("profile", "place", "trainer", "coins")
    }
    feeds = {
        "profile": ("students.changed", a_student(payments["profile"]["studentId"])),
        "place": ("students.changed", a_student(payments["place"]["studentId"])),
        "trainer": ("trainers.changed", a_trainer("trn_trainer", courses=["crs_trainer"])),
        "coins": ("coins.credited", a_credit(payments["coins"]["studentId"], 5)),
    }
    await deployment.start()
    at_once = [
        (
            "students.changed",
            a_student(payments["place"]["studentId"], latitude=None, longitude=None, changedAt="2026-01-01T00:00:00Z"),
        ),
        *(("students.changed", a_student(payments[name]["studentId"])) for name in ("trainer", "coins")),
        *(("trainers.changed", a_trainer(f"trn_{n}", courses=[f"crs_{n}"])) for n in ("profile", "place", "coins")),
    ]
    await deployment.publish((topic, str(n), json.dumps(body).encode()) for n, (topic, body) in enumerate(at_once))
    await deployment.until("SELECT count(*) FROM trainers", lambda n: n == 3)
    await deployment.until("SELECT count(*) FROM students", lambda n: n == 3)
    await deployment.publish(("payments.succeeded", p["paymentId"], json.dumps(p).encode()) for p in payments.values())
    await deployment.until("SELECT count(*) FROM parked WHERE status = 'open'", lambda n: n == 4)

    await deployment.publish((topic, name, json.dumps(body).encode()) for name, (topic, body) in feeds.items())

    await deployment.until("SELECT count(*) FROM purchases WHERE state = 'scheduled'", lambda n: n == 4)
    await deployment.until("SELECT count(*) FROM parked WHERE status = 'open'", lambda n: n == 0)
    assert await deployment.rows("SELECT count(*) FROM sessions") == [(40,)]
    assert await deployment.rows("SELECT DISTINCT requested_by FROM repairs") == [("system:auto-heal",)]
    assert (await deployment.run("check"))[0] == 0


@pytest.mark.timeout(600)
async def test_a_bulk_of_a_thousand_half_of_it_sent_twice_and_killed_in_the_middle_repairs_each_once(
    deployment: Deployment, admin: Admin
) -> None:
    count = 1000
    payments = [a_payment(courseId=f"crs_{n}") for n in range(count)]
    process = await deployment.start()
    await admin.send("students.changed", *(a_student(p["studentId"]) for p in payments))
    await admin.send("payments.succeeded", *payments)
    await deployment.until("SELECT count(*) FROM parked WHERE reason = 'no_trainer_available'", lambda n: n == count)
    await deployment.until("SELECT count(*) FROM students WHERE latitude IS NOT NULL", lambda n: n == count)
    await _hire_without_a_word(deployment)
    ids = [str(row[0]) for row in await deployment.rows("SELECT id FROM parked ORDER BY id")]
    bulk = {
        "commandId": "bulk_1", "command": "bulk", "requestedBy": "asha@example.org", "reason": "trainers were hired",
        "apply": "retry", "parkedIds": ids,
    }  # fmt: skip
    items = [
        Retry(
            command_id=derived_text("bulk_1", parked_id),
            requested_by="asha@example.org",
            reason="trainers were hired",
            parked_id=UUID(parked_id),
            bulk_id="bulk_1",
        ).to_wire()
        for parked_id in ids[::2]
    ]

    await admin.send("repairs.requested", bulk)
    await deployment.until("SELECT count(*) FROM repairs WHERE bulk_id = 'bulk_1'", lambda n: n > 100)
    await deployment.kill(process)
    ((repaired,),) = await deployment.rows("SELECT count(*) FROM repairs WHERE bulk_id = 'bulk_1'")
    assert 100 < repaired < count
    await admin.send("repairs.requested", *items, bulk)
    await deployment.start()

    await deployment.until("SELECT count(*) FROM purchases WHERE state = 'scheduled'", lambda n: n == count, 200)
    await deployment.all_read()
    assert await deployment.rows(
        "SELECT command, accepted, outcome, count(*) FROM repairs GROUP BY 1, 2, 3 ORDER BY 1"
    ) == [
        ("bulk", True, "applied", 1),
        ("retry", True, "applied", count),
    ]
    assert await deployment.rows("SELECT count(DISTINCT parked_id) FROM repairs") == [(count,)]
    assert await deployment.rows("SELECT DISTINCT attempts, status FROM parked") == [(1, "resolved")]
    assert await deployment.rows("SELECT count(*) FROM sessions") == [(10 * count,)]
    assert (await admin.answer("bulk_1"))["items"] == count
    assert (await deployment.run("check"))[0] == 0


async def _hire_without_a_word(deployment: Deployment) -> None:
    """A trainer for each course, behind the back of whoever would wake the purchases."""
    await deployment.rows(
        """
        INSERT INTO trainers (trainer_id, active, courses, timezone, latitude, longitude, radius_km, working_hours,
                              changed_at, payload_hash)
        SELECT 'trn_' || course_id, true, ARRAY[course_id], 'Asia/Kolkata', $1::float8, $2::float8, 12,
               '[{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": "06:00", "to": "21:00"}]',
               now(), ''
          FROM purchases
        """,
        *HOME,
    )
