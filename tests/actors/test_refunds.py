"""A refund takes back what its payment led to, once, whichever of the two comes first."""

import random
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import text

from contracts.allocations import AllocationReleased
from contracts.coins import CoinsRedeemed, CoinsReturned
from contracts.enrollments import EnrollmentCreated, EnrollmentRevoked
from contracts.parking import FulfilmentParked
from contracts.sessions import SessionsCancelled, SessionsScheduled
from tests.builders import a_cart_change, a_credit, a_payment, a_refund, a_student, a_trainer, soon
from tests.world import World

DERIVED = (
    "enrollments.created", "enrollments.revoked", "carts.cleared", "coins.redeemed", "coins.returned",
    "allocations.released", "sessions.cancelled",
)  # fmt: skip
# By business columns: no clocks, no numbers of our own.
ROWS = {
    "purchases": "SELECT payment_id, student_id, coins_redeemed, payload, state, refunded_at FROM purchases",
    "refunds": "SELECT refund_id, payment_id, coins_returned, refunded_at, payload FROM refunds",
    "enrollments": "SELECT enrollment_id, payment_id, student_id, course_id, status, version FROM enrollments",
    "coin_ledger": "SELECT kind, reference, student_id, payment_id, coins, at FROM coin_ledger",
    "students": "SELECT student_id, coins FROM students",
    "cart_items": "SELECT * FROM cart_items",
    "cart_clearances": "SELECT payment_id, student_id, course_id, item_id, added_until FROM cart_clearances",
}
ALLOCATED_ROWS = ROWS | {
    "allocations": "SELECT allocation_id, payment_id, trainer_id, status, version, effective_at FROM allocations",
    "bookings": "SELECT allocation_id, booked::text, active, session_count FROM bookings",
    "sessions": "SELECT * FROM sessions",
    "session_history": "SELECT allocation_id, number, starts_at, ends_at, status, version FROM session_history",
    "parked": "SELECT id, reason, status, closed_by FROM parked",
}


async def test_a_refund_takes_back_the_whole_purchase(world: World) -> None:
    payment = a_payment(coinsRedeemed=120, cartItemId="itm_1")
    await _known(world, payment, coins=500)
    world.send("carts.changed", a_cart_change(payment["studentId"], "itm_1"))
    world.send("payments.succeeded", payment)
    await world.settle()
    before = await world.rows("SELECT number, trainer_id, starts_at, ends_at FROM sessions ORDER BY number")

    refund = a_refund(payment)
    world.send("payments.refunded", refund)
    await world.settle()

    at = datetime.fromisoformat(refund["refundedAt"])
    journey = await world.journey(payment["paymentId"])
    assert (journey["state"], journey["sessions"], journey["parked_reason"]) == ("refunded", 0, None)
    (enrolment,) = await world.rows("SELECT status, version, revoked_at FROM enrollments")
    assert (enrolment["status"], enrolment["version"]) == ("revoked", 2)
    (allocation,) = await world.rows("SELECT status, version, effective_at, cancelled_at FROM allocations")
    assert (allocation["status"], allocation["version"], allocation["effective_at"]) == ("released", 2, at)
    assert await world.rows("SELECT active, freed IS NOT NULL AS freed FROM bookings") == [
        {"active": False, "freed": True}
    ]
    after = await world.rows("SELECT * FROM sessions ORDER BY number")
    assert {(row["status"], row["version"]) for row in after} == {("cancelled", 2)}
    history = await world.rows("SELECT * FROM session_history ORDER BY number")
    assert {(row["status"], row["version"]) for row in history} == {("scheduled", 1)}
    for rows in (after, history):
        assert [{name: row[name] for name in before[0]} for row in rows] == before
    assert await world.rows("SELECT coins FROM students") == [{"coins": 500}]
    assert await world.count("cart_items") == 0
    assert await world.parked() == []
    assert await world.offenders() == {}


async def test_every_step_of_a_refund_tells_it_from_what_is_stored(world: World) -> None:
    payment = a_payment(coinsRedeemed=120)
    await _known(world, payment, coins=500)
    world.send("payments.succeeded", payment)
    await world.settle()
    (scheduled,) = world.published(SessionsScheduled)

    refund = a_refund(payment, coinsReturned=100)
    world.send("payments.refunded", refund)
    await world.settle()

    at = datetime.fromisoformat(refund["refundedAt"])
    (revoked,) = world.published(EnrollmentRevoked)
    (released,) = world.published(AllocationReleased)
    (cancelled,) = world.published(SessionsCancelled)
    (returned,) = world.published(CoinsReturned)
    (enrolment,) = await world.rows("SELECT revoked_at FROM enrollments")
    (allocation,) = await world.rows("SELECT released_at, cancelled_at FROM allocations")
    assert (revoked.refund_id, revoked.coins_returned, revoked.version) == (refund["refundId"], 100, 2)
    assert (revoked.refunded_at, revoked.revoked_at) == (at, enrolment["revoked_at"])
    assert (released.version, released.reason, released.effective_at) == (2, "refunded", at)
    assert released.released_at == allocation["released_at"]
    assert (cancelled.version, cancelled.cancelled_at) == (2, allocation["cancelled_at"])
    assert [(s.number, s.starts_at, s.ends_at) for s in cancelled.sessions] == [
        (s.number, s.starts_at, s.ends_at) for s in scheduled.sessions
    ]
    assert {s.version for s in cancelled.sessions} == {2}
    assert (returned.refund_id, returned.coins) == (refund["refundId"], 100)
    everybody = (revoked, released, cancelled, returned)
    assert {(e.payment_id, e.student_id) for e in everybody} == {(payment["paymentId"], payment["studentId"])}


@pytest.mark.parametrize("batch", [1, 1000])
@pytest.mark.parametrize("order", ["payment first", "refund first"])
async def test_payment_and_refund_end_alike_in_either_order(world: World, order: str, batch: int) -> None:
    payment, other = a_payment(coinsRedeemed=120, cartItemId="itm_1"), a_payment()
    refund = a_refund(payment)
    await _known(world, payment, other, coins=500)
    world.send("carts.changed", a_cart_change(payment["studentId"], "itm_1"))
    await world.settle(names=["directory"])

    world.send("payments.succeeded", other)
    if order == "payment first":
        world.send("payments.succeeded", payment)
        await world.settle(names=["enrollment"])
    world.send("payments.refunded", refund)
    if order == "refund first":
        await world.settle(names=["enrollment"])
        assert await world.rows("SELECT state, payload FROM purchases WHERE payment_id = :id", id=_id(payment)) == [
            {"state": "refunded", "payload": None}
        ]
        assert world.log["enrollments.revoked"] == []
        world.send("payments.succeeded", payment)
    await world.settle(batch=batch)

    await _assert_as_orderly(world, payment, refund)
    journey = await world.journey(other["paymentId"])
    assert (journey["state"], journey["sessions"]) == ("scheduled", 10)


async def test_payment_and_refund_may_come_in_one_batch(world: World) -> None:
    payment = a_payment(coinsRedeemed=120, cartItemId="itm_1")
    refund = a_refund(payment)
    await _known(world, payment, coins=500)
    world.send("carts.changed", a_cart_change(payment["studentId"], "itm_1"))

    world.send("payments.succeeded", payment)
    world.send("payments.refunded", refund, refund)
    await world.settle()

    await _assert_as_orderly(world, payment, refund)
    assert await world.count("allocations") == 0


async def _assert_as_orderly(world: World, payment: dict[str, Any], refund: dict[str, Any]) -> None:
    """The rows and events of a payment of 120 of 500 coins that was refunded, whenever that came."""
    mine = {"id": payment["paymentId"]}
    at = datetime.fromisoformat(refund["refundedAt"])
    purchases = await world.rows("SELECT payload, state, refunded_at FROM purchases WHERE payment_id = :id", **mine)
    assert purchases == [{"payload": payment, "state": "refunded", "refunded_at": at}]
    enrolments = await world.rows(
        "SELECT status, version, revoked_at >= enrolled_at AS later FROM enrollments WHERE payment_id = :id", **mine
    )
    assert enrolments == [{"status": "revoked", "version": 2, "later": True}]
    ledger = await world.rows(
        "SELECT kind, reference, coins, at FROM coin_ledger WHERE payment_id = :id ORDER BY kind", **mine
    )
    assert ledger == [
        {
            "kind": "redemption",
            "reference": payment["paymentId"],
            "coins": -120,
            "at": datetime.fromisoformat(payment["succeededAt"]),
        },
        {"kind": "return", "reference": refund["refundId"], "coins": 120, "at": at},
    ]
    assert await world.count("cart_items") == 0
    (created,) = (e for e in world.published(EnrollmentCreated) if e.payment_id == payment["paymentId"])
    (revoked,) = world.published(EnrollmentRevoked)
    assert (created.version, revoked.version, revoked.enrollment_id) == (1, 2, created.enrollment_id)
    assert [event.coins for event in world.published(CoinsRedeemed)] == [120]
    assert [event.coins for event in world.published(CoinsReturned)] == [120]
    assert (await world.journey(payment["paymentId"]))["sessions"] == 0
    assert await world.parked() == []
    assert await world.offenders() == {}


async def test_a_replay_of_everything_changes_nothing_and_publishes_the_same(world: World) -> None:
    payments = [a_payment(coinsRedeemed=5, cartItemId=f"itm_{number}") for number in range(6)]
    await _known(world, *payments, coins=10)
    world.send("payments.refunded", a_refund(payments[0]), a_refund(payments[0], coinsReturned=1))
    await world.settle()
    world.send("payments.succeeded", *payments)
    await world.settle()
    middle = soon(10).isoformat() + "T00:00:00Z"
    world.send("payments.refunded", a_refund(payments[1]), a_refund(payments[2], refundedAt=middle))
    world.send("payments.refunded", a_refund(payments[3], coinsReturned=3), a_refund(payments[3]))
    await world.settle()
    rows, told = await _rows(world, ALLOCATED_ROWS), _told(world)
    assert {len(told[topic]) for topic in DERIVED} >= {6, 3}

    for seed in range(3):
        world.rewind()
        world.restart()
        await world.settle(shuffle=random.Random(seed), batch=5)

        assert await _rows(world, ALLOCATED_ROWS) == rows
        assert _told(world) == told
    assert await world.offenders() == {}


async def test_any_order_repetition_and_batching_of_payments_and_refunds_gives_the_same_rows(world: World) -> None:
    """Each student buys once, so nobody competes; some refunds take effect in the middle of a series."""
    draw = random.Random(20261122)
    payments = [a_payment(coinsRedeemed=draw.choice([0, 10, 20]), purchaseTier=5) for _ in range(30)]
    refunds = [
        a_refund(payment, coinsReturned=draw.choice([None, 0, 4, 99]), refundedAt=_day(draw.randint(0, 12)))
        for payment in payments
        for _ in range(draw.choice([0, 1, 1, 2]))
    ]
    traffic = [("payments.succeeded", p) for p in payments] + [("payments.refunded", r) for r in refunds]
    expected: dict[str, list[dict[str, Any]]] | None = None
    for seed in range(6):
        order = random.Random(seed)
        await _empty(world)
        await _known(world, *payments, coins=20)
        again = [message for message in traffic for _ in range(order.choice([1, 1, 2]))]
        order.shuffle(again)

        for topic, message in again:
            world.send(topic, message)
        await world.settle(shuffle=order, batch=order.choice([2, 9, 100]))

        rows = await _rows(world, ROWS)
        rows["coin_ledger"] = await world.rows(_LEDGER_TOTALS)
        expected = expected or rows
        assert rows == expected, seed
        assert await world.rows(_TAKES_PLACE_AFTER_ITS_REFUND) == [], seed
        assert await world.offenders() == {}, seed


# Several refunds of one payment share what there is to return in the order in which they come.
_LEDGER_TOTALS = "SELECT kind, payment_id, sum(coins)::bigint AS coins FROM coin_ledger GROUP BY 1, 2 ORDER BY 1, 2"
_TAKES_PLACE_AFTER_ITS_REFUND = """
    SELECT s.payment_id, s.number FROM sessions s JOIN purchases p USING (payment_id)
     WHERE s.status = 'scheduled' AND s.starts_at >= p.refunded_at
"""


async def test_sessions_that_have_begun_at_the_refund_stay_and_their_time_stays_booked(world: World) -> None:
    payment = a_payment(timeSlot="16:00-17:00")
    await _known(world, payment)
    world.send("payments.succeeded", payment)
    await world.settle()
    (scheduled,) = world.published(SessionsScheduled)
    fourth = scheduled.sessions[3].starts_at

    world.send("payments.refunded", a_refund(payment, refundedAt=fourth.isoformat()))
    await world.settle()

    rows = await world.rows("SELECT number, status, version FROM sessions ORDER BY number")
    assert [row["number"] for row in rows if row["status"] == "scheduled" and row["version"] == 1] == [1, 2, 3]
    assert [row["number"] for row in rows if row["status"] == "cancelled" and row["version"] == 2] == [*range(4, 11)]
    assert await world.count("session_history") == 7
    booked = await world.rows("SELECT active, session_count, upper(booked) AS until, freed FROM bookings")
    (booking,) = booked
    assert (booking["active"], booking["session_count"]) == (True, 3)
    assert booking["until"] == scheduled.sessions[2].ends_at
    (cancelled,) = world.published(SessionsCancelled)
    assert [session.number for session in cancelled.sessions] == [*range(4, 11)]
    assert (await world.journey(payment["paymentId"]))["sessions"] == 3
    assert await world.offenders() == {}


async def test_a_refund_after_the_last_session_cancels_nothing_and_frees_nothing(world: World) -> None:
    payment = a_payment(coinsRedeemed=5)
    await _known(world, payment, coins=5)
    world.send("payments.succeeded", payment)
    await world.settle()
    booked = await world.rows("SELECT booked::text, active, session_count, freed FROM bookings")

    world.send("payments.refunded", a_refund(payment, refundedAt=_day(100)))
    await world.settle()

    assert await world.rows("SELECT booked::text, active, session_count, freed FROM bookings") == booked
    assert world.log["sessions.cancelled"] == []
    assert [released.version for released in world.published(AllocationReleased)] == [2]
    assert await world.rows("SELECT cancelled_at FROM allocations") == [{"cancelled_at": None}]
    assert await world.rows("SELECT coins FROM students") == [{"coins": 5}]
    assert await world.offenders() == {}


async def test_the_freed_time_of_trainer_and_student_is_taken_by_another_purchase(world: World) -> None:
    payment = a_payment(timeSlot="16:00")
    same_time = a_payment(timeSlot="16:00")
    same_student = a_payment(studentId=payment["studentId"], timeSlot="16:00", date=soon(12).isoformat())
    await _known(world, payment, same_time, trainers=1)
    world.send("payments.succeeded", payment)
    await world.settle()

    world.send("payments.refunded", a_refund(payment, refundedAt=_day(12)))
    await world.settle()
    world.send("payments.succeeded", same_time, same_student)
    await world.settle()

    assert (await world.journey(payment["paymentId"]))["sessions"] == 5
    # The first five days of it are still the refunded purchase's.
    assert (await world.journey(same_time["paymentId"]))["parked_reason"] == "no_trainer_available"
    assert (await world.journey(same_student["paymentId"]))["sessions"] == 10
    assert {row["trainer_id"] for row in await world.rows("SELECT trainer_id FROM allocations")} == {"trn_0"}
    assert await world.offenders() == {}


async def test_a_refund_closes_what_was_parked_and_nothing_is_allocated_any_more(world: World) -> None:
    payment = a_payment(coinsRedeemed=120)
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("payments.succeeded", payment)
    await world.settle()
    assert await world.parked() == ["insufficient_coins", "no_trainer_available"]

    world.send("payments.refunded", a_refund(payment))
    await world.settle(names=["enrollment"])

    rows = await world.rows("SELECT status, closed_by, closed_at IS NOT NULL AS closed FROM parked")
    assert rows == [{"status": "resolved", "closed_by": "refund", "closed": True}] * 2
    world.send("trainers.changed", a_trainer())
    world.send("coins.credited", a_credit(payment["studentId"], 500))
    await world.settle()
    world.rewind()
    await world.settle()
    assert await world.count("parked") == 2
    assert await world.parked() == []
    assert await world.count("allocations") == 0
    assert (await world.journey(payment["paymentId"]))["state"] == "refunded"
    assert await world.offenders() == {}


async def test_a_record_that_nobody_can_read_is_not_closed_by_a_refund(world: World) -> None:
    payment = a_payment()
    world.send("payments.succeeded", payment, payment | {"amountMinor": 1})
    await world.settle()

    world.send("payments.refunded", a_refund(payment))
    await world.settle()

    assert await world.parked() == ["conflicting_duplicate"]


async def test_an_allocation_without_sessions_gives_its_time_back(world: World) -> None:
    payment = a_payment()
    world.send("trainers.changed", a_trainer())
    await world.settle(names=["directory"])
    world.send("payments.succeeded", payment)
    await world.settle()
    assert await world.parked() == ["student_profile_missing"]

    world.send("payments.refunded", a_refund(payment))
    await world.settle()

    assert await world.rows("SELECT status, closed_by FROM parked") == [{"status": "resolved", "closed_by": "refund"}]
    assert await world.rows("SELECT active FROM bookings") == [{"active": False}]
    assert world.log["sessions.cancelled"] == []
    world.send("students.changed", a_student(payment["studentId"]))
    world.rewind()
    await world.settle()
    assert await world.count("sessions") == 0
    assert await world.parked() == []
    assert await world.offenders() == {}


async def test_approval_and_release_in_one_batch_schedule_nothing(world: World) -> None:
    payment = a_payment()
    await _known(world, payment)
    world.send("payments.succeeded", payment)
    await world.settle(names=["enrollment", "allocation"])
    world.send("payments.refunded", a_refund(payment))
    await world.settle(names=["enrollment", "allocation"])

    await world.turn("sessions")

    assert await world.count("series_sessions") == 0
    assert world.log["sessions.scheduled"] == world.log["sessions.cancelled"] == []
    assert await world.offenders() == {}


async def test_the_earliest_of_several_refunds_counts_whatever_their_order(world: World) -> None:
    payment = a_payment(timeSlot="16:00")
    late, early, between = (a_refund(payment, refundedAt=_day(days)) for days in (14, 9, 12))
    await _known(world, payment)
    world.send("payments.succeeded", payment)
    await world.settle()

    for refund in (late, early, between, late):
        world.send("payments.refunded", refund)
        await world.settle()

    (purchase,) = await world.rows("SELECT refunded_at FROM purchases")
    assert purchase["refunded_at"] == datetime.fromisoformat(early["refundedAt"])
    assert (await world.journey(payment["paymentId"]))["sessions"] == 2
    assert await world.rows("SELECT status, version FROM allocations") == [{"status": "released", "version": 3}]
    assert await world.rows("SELECT session_count, active FROM bookings") == [{"session_count": 2, "active": True}]
    assert [(c.version, len(c.sessions)) for c in world.published(SessionsCancelled)] == [(2, 3), (3, 8)]
    revoked = world.published(EnrollmentRevoked)
    assert [event.refund_id for event in revoked] == [r["refundId"] for r in (late, early, between)]
    assert len({(event.version, event.revoked_at) for event in revoked}) == 1
    assert await world.offenders() == {}


async def test_an_approval_of_before_the_release_is_ignored(world: World) -> None:
    payment = a_payment()
    await _known(world, payment)
    world.send("payments.succeeded", payment)
    await world.settle()
    approved = world.log["allocations.approved"][0].value
    world.send("payments.refunded", a_refund(payment))
    await world.settle()

    world.send("allocations.approved", approved)
    await world.settle()

    assert (await world.journey(payment["paymentId"]))["sessions"] == 0
    assert await world.parked() == []
    assert len(world.log["sessions.scheduled"]) == 1


async def test_a_release_for_another_cause_is_not_told_as_that_of_a_refund(world: World) -> None:
    payment = a_payment()
    world.send("trainers.changed", a_trainer())
    await world.settle(names=["directory"])
    world.send("payments.succeeded", payment)
    await world.settle()
    await _execute(world, "UPDATE allocations SET status = 'released', released_at = now(), effective_at = now()")
    await _execute(world, "UPDATE bookings SET active = false")

    world.send("payments.refunded", a_refund(payment, refundedAt=_day(1)))
    await world.settle()

    assert world.log["allocations.released"] == []
    assert await world.rows("SELECT version FROM allocations") == [{"version": 1}]
    assert await world.offenders() == {}


@pytest.mark.parametrize("batch", [1, 1000])
@pytest.mark.parametrize(
    "changes",
    [
        {"paymentId": "pay_other"},
        {"coinsReturned": 6},
        {"coinsReturned": None},
        {"refundedAt": "2026-11-30T10:00:00.001Z"},
    ],
    ids=["payment", "coins", "no coins", "instant"],
)
async def test_a_refund_that_contradicts_its_first_parks_and_changes_nothing(
    world: World, changes: dict[str, Any], batch: int
) -> None:
    payment = a_payment(coinsRedeemed=10)
    await _known(world, payment, coins=10)
    first = a_refund(payment, coinsReturned=5, refundedAt="2026-11-30T10:00:00Z")
    second = first | changes
    world.send("payments.succeeded", payment)
    await world.settle()

    world.send("payments.refunded", first, second, second)
    await world.settle(batch=batch)
    world.rewind()
    await world.settle()

    (row,) = await world.rows("SELECT reason, actor, kind, payment_id, facts FROM parked")
    assert (row["reason"], row["actor"], row["kind"]) == ("conflicting_duplicate", "enrollment", "record")
    assert row["payment_id"] == second["paymentId"]
    assert row["facts"] == {"refundId": first["refundId"], "fields": [*changes]}
    assert await world.rows("SELECT payload FROM refunds") == [{"payload": first}]
    assert await world.rows("SELECT payment_id FROM purchases") == [{"payment_id": payment["paymentId"]}]
    assert await world.rows("SELECT coins FROM students") == [{"coins": 5}]
    assert len(world.published(EnrollmentRevoked)) == 1


async def test_a_contradiction_among_refunds_of_payments_to_come_marks_none_of_them(world: World) -> None:
    mine, yours = a_payment(), a_payment()
    first = a_refund(mine)

    world.send("payments.refunded", first, first | {"paymentId": yours["paymentId"]})
    await world.settle()
    world.send("payments.succeeded", yours, mine)
    await world.settle()

    states = await world.rows("SELECT payment_id, state FROM purchases")
    assert {row["payment_id"]: row["state"] for row in states} == {_id(mine): "refunded", _id(yours): "parked"}
    assert await world.parked() == ["conflicting_duplicate", "no_trainer_available"]
    assert await world.offenders() == {}


async def test_a_contradiction_beside_the_right_refund_in_another_batch_locks_and_refunds_the_right_one(
    world: World,
) -> None:
    mine, yours = a_payment(), a_payment()
    first = a_refund(mine)
    world.send("payments.succeeded", mine)
    world.send("payments.refunded", first)
    await world.settle()

    world.send("payments.refunded", first | {"paymentId": yours["paymentId"]}, first)
    await world.settle()

    assert await world.rows("SELECT payment_id, state FROM purchases") == [
        {"payment_id": _id(mine), "state": "refunded"}
    ]
    assert await world.parked() == ["conflicting_duplicate"]


async def test_a_contradiction_does_not_take_back_what_another_refund_of_its_payment_did(world: World) -> None:
    mine, yours = a_payment(), a_payment()
    first = a_refund(yours)
    world.send("payments.refunded", first, a_refund(mine))
    await world.settle()

    world.send("payments.refunded", first | {"paymentId": mine["paymentId"]})
    await world.settle()

    states = await world.rows("SELECT DISTINCT state FROM purchases")
    assert (states, await world.count("purchases")) == ([{"state": "refunded"}], 2)
    assert await world.parked() == ["conflicting_duplicate"]


async def test_the_same_refund_written_otherwise_is_no_contradiction(world: World) -> None:
    payment = a_payment()
    first = a_refund(payment, refundedAt="2026-11-30T10:00:00Z")
    same = [
        first | {"refundedAt": "2026-11-30T15:30:00.000+05:30"},
        first | {"coinsReturned": None},
        first | {"coinsReturned": ""},
        first | {"gateway": {"id": 7}},
        dict(reversed(first.items())),
    ]
    world.send("payments.succeeded", payment)

    world.send("payments.refunded", first, *same)
    await world.settle()
    world.send("payments.refunded", *same)
    await world.settle(batch=1)

    assert await world.count("parked") == 0
    assert await world.count("refunds") == 1
    assert len(world.published(EnrollmentRevoked)) == 1


async def test_a_refund_that_nobody_can_read_parks_beside_good_ones(world: World) -> None:
    payment = a_payment()
    good = a_refund(payment)
    poison = [
        b"refund", good | {"refundId": ""}, good | {"coinsReturned": -1}, good | {"coinsReturned": "5"},
        good | {"refundedAt": "2026-11-30T10:00:00"}, good | {"note": "a\0b"},
    ]  # fmt: skip
    world.send("payments.succeeded", payment)

    world.send("payments.refunded", *poison[:3], good, *poison[3:])
    await world.settle(names=["enrollment"])

    assert (await world.parked()).count("unreadable") + (await world.parked()).count("refused_by_database") == 6
    assert (await world.journey(payment["paymentId"]))["state"] == "refunded"
    told = [event for event in world.published(FulfilmentParked) if event.topic == "payments.refunded"]
    assert len(told) == 6


def _id(payment: dict[str, Any]) -> str:
    payment_id: str = payment["paymentId"]
    return payment_id


def _day(days: int) -> str:
    """Midnight (UTC) so many days from now; a series of these tests begins on the seventh."""
    return soon(days).isoformat() + "T00:00:00+00:00"


async def _known(world: World, *payments: dict[str, Any], coins: int = 0, trainers: int | None = None) -> None:
    """Every student has a profile and coins, and there is a trainer for each purchase."""
    world.send("students.changed", *(a_student(p["studentId"]) for p in payments))
    count = len(payments) if trainers is None else trainers
    world.send("trainers.changed", *(a_trainer(f"trn_{number}") for number in range(count)))
    if coins:
        world.send("coins.credited", *(a_credit(p["studentId"], coins) for p in payments))
    await world.settle(names=["directory"])


async def _rows(world: World, queries: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    return {name: sorted(await world.rows(query), key=str) for name, query in queries.items()}


def _told(world: World) -> dict[str, set[bytes | None]]:
    return {topic: {record.value for record in world.log[topic]} for topic in DERIVED}


async def _execute(world: World, statement: str) -> None:
    async with world.engine.begin() as db:
        await db.execute(text(statement))


async def _empty(world: World) -> None:
    world.log.clear()
    world.rewind()
    world.restart()
    await _execute(
        world,
        "TRUNCATE students, trainers, cart_changes, cart_clearances, coin_ledger, purchases, enrollments, allocations,"
        " bookings, series_sessions, former_sessions, parked RESTART IDENTITY CASCADE",
    )
