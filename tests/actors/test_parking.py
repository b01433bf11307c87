"""What cannot be done is parked: once, with everything, under an id that any replay finds again."""

from typing import Any

from sqlalchemy import text

from contracts.enrollments import EnrollmentCreated
from contracts.parking import FulfilmentParked
from tests.builders import a_credit, a_payment, a_student, a_trainer
from tests.world import World

_TABLES = (
    "students, trainers, trainer_absences, cart_changes, cart_clearances, coin_ledger, purchases, enrollments, "
    "allocations, bookings, series_sessions, former_sessions, parked"
)


async def test_a_step_has_one_open_row_however_often_its_event_comes(world: World) -> None:
    payments = await _troubled(world)
    before = await _rows(world)

    for batch in (1, 3, 1000):
        world.rewind()
        await world.settle(batch=batch)
    world.send("payments.succeeded", *payments, *payments)
    await world.settle()
    world.restart()
    world.rewind()
    await world.settle()

    assert await _rows(world) == before
    assert len(before) == len({(row["kind"], row["actor"], row["subject"]) for row in before})
    assert {(row["status"], row["episode"], row["attempts"]) for row in before} == {("open", 1, 0)}


async def test_a_row_has_the_actor_the_reason_the_ids_and_what_it_waits_for(world: World) -> None:
    countless, dateless, lonely, ghost, poor = await _troubled(world)

    rows = {(row["actor"], row["payment_id"]): row for row in await _rows(world) if row["kind"] == "step"}

    expected = {
        ("allocation", countless["paymentId"]): ("session_count_invalid", None),
        ("allocation", dateless["paymentId"]): ("schedule_invalid", None),
        ("allocation", lonely["paymentId"]): ("no_trainer_available", "trainer"),
        ("sessions", ghost["paymentId"]): ("student_profile_missing", "profile"),
        ("coins", poor["paymentId"]): ("insufficient_coins", "coins"),
    }
    assert {key: (row["reason"], row["waits_for"]) for key, row in rows.items()} == expected
    students = {p["paymentId"]: p["studentId"] for p in (countless, dateless, lonely, ghost, poor)}
    assert all(row["student_id"] == students[row["payment_id"]] for row in rows.values())
    assert all(row["enrollment_id"] for row in rows.values())
    assert {row["actor"] for row in rows.values() if row["allocation_id"]} == {"sessions"}


async def test_the_bytes_and_the_key_are_the_original_ones(world: World) -> None:
    for number, key in enumerate([None, b"", b"\xff\x00", b"pay_1"]):
        world.send("payments.succeeded", b"poison \xff\x00 %d" % number, key=key)
    world.send("payments.succeeded", a_payment(courseId="crs_nobody"), key=b"its own")
    await world.settle()
    (event,) = world.log["enrollments.created"]

    rows = {row["payload"]: row for row in await world.rows("SELECT * FROM parked")}

    for record in (*world.log["payments.succeeded"][:4], event):
        row = rows[record.value]
        stood = (record.key, record.topic, record.partition, record.offset)
        assert (row["key"], row["topic"], row["partition"], row["offset"]) == stood


async def test_headers_that_differ_are_kept_apart_in_their_order_whatever_their_bytes(world: World) -> None:
    values = [b"plain", b"\xff\x00", b"\\xff\\x00", b"", None, "ü".encode(), b"\\x00", b"\x00"]
    for number, value in enumerate(values):
        world.send("payments.succeeded", b"poison %d" % number, headers=(("x", value),))
    world.send("payments.succeeded", b"many", headers=(("a", b"1"), ("a", b"2"), ("", b"")))

    await world.settle()

    rows = {row["payload"]: row["headers"] for row in await world.rows("SELECT payload, headers FROM parked")}
    assert [name for name, _ in rows.pop(b"many")] == ["a", "a", ""]
    assert len({str(headers) for headers in rows.values()}) == len(values), rows


async def test_the_id_is_a_uuid_v5_and_the_same_in_a_database_built_again(world: World) -> None:
    await _troubled(world)
    before = await _rows(world)

    await _empty(world)
    for topic in [topic for topic in world.log if topic not in _OUTSIDE]:
        del world.log[topic]
    world.restart()
    world.rewind()
    await world.settle(names=["directory"])
    await world.settle()

    assert {row["id"].version for row in before} == {5}
    again = await _rows(world)
    assert {row["id"]: (row["kind"], row["subject"], row["reason"]) for row in again} == {
        row["id"]: (row["kind"], row["subject"], row["reason"]) for row in before
    }


async def test_an_event_about_an_enrolment_nobody_made_waits_for_it(world: World) -> None:
    payment = a_payment(coinsRedeemed=5, purchaseTier=1)
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("trainers.changed", a_trainer())
    world.send("coins.credited", a_credit(payment["studentId"], 5))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", payment)
    await world.settle()
    (event,) = world.published(EnrollmentCreated)
    await _empty(world)
    world.log["payments.succeeded"].clear()
    world.log["allocations.approved"].clear()
    world.rewind()

    await world.settle()

    rows = await _rows(world)
    assert {row["reason"] for row in rows} == {"enrollment_unknown"}
    assert {row["subject"] for row in rows} == {str(event.enrollment_id)}
    assert {row["actor"] for row in rows} == {"allocation", "cart", "coins"}
    assert {row["payment_id"] for row in rows} == {payment["paymentId"]}

    world.send("payments.succeeded", payment)
    world.rewind()
    await world.settle()

    assert await world.parked() == []
    assert (await world.journey(payment["paymentId"]))["state"] == "scheduled"


async def test_what_nobody_can_read_on_a_topic_of_ours_is_one_row_whoever_meets_it(world: World) -> None:
    payment = a_payment()
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("trainers.changed", a_trainer())
    await world.settle(names=["directory"])
    for topic in ("enrollments.created", "allocations.approved"):
        world.send(topic, b"poison", {"paymentId": payment["paymentId"]}, None)
    world.send("payments.succeeded", payment)

    await world.settle()
    world.rewind()
    await world.settle(batch=1)

    rows = await world.rows("SELECT topic, reason, count(*) AS n FROM parked GROUP BY 1, 2 ORDER BY 1")
    assert [tuple(row.values()) for row in rows] == [
        ("allocations.approved", "unreadable", 3),
        ("enrollments.created", "unreadable", 3),
    ]
    assert (await world.journey(payment["paymentId"]))["state"] == "scheduled"


async def test_what_is_derived_has_the_payments_key_and_trace_also_when_it_is_parked(world: World) -> None:
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    payment, lonely = a_payment(coinsRedeemed=5), a_payment(courseId="crs_nobody")
    world.send("students.changed", a_student(payment["studentId"]), a_student(lonely["studentId"]))
    world.send("trainers.changed", a_trainer())
    await world.settle(names=["directory"])

    for bought in (payment, lonely):
        world.send("payments.succeeded", bought, key=b"any", headers=(("TraceParent", trace),))
    await world.settle()

    derived = [record for topic, records in world.log.items() if topic not in _OUTSIDE for record in records]
    assert {record.key for record in derived} == {payment["paymentId"].encode(), lonely["paymentId"].encode()}
    assert {record.headers for record in derived} == {(("traceparent", trace),)}
    assert len(world.log["fulfilment.parked"]) == 2


async def test_the_identity_of_a_record_knows_no_offset(world: World) -> None:
    world.send("payments.succeeded", b"poison", key=b"k")
    await world.settle()
    (first,) = await _rows(world)

    await _empty(world)
    world.log.clear()
    world.rewind()
    world.send("payments.succeeded", *(b"others %d" % number for number in range(3)))
    world.send("payments.succeeded", b"poison", key=b"k", headers=(("x", b"other"),))
    world.send("coins.credited", b"poison", key=b"k")
    await world.settle()

    same = [row for row in await _rows(world) if row["payload"] == b"poison"]
    assert [row["id"] for row in same if row["topic"] == "payments.succeeded"] == [first["id"]]
    assert len({row["id"] for row in same}) == 2


async def test_a_replay_announces_what_is_parked_again_under_the_same_id(world: World) -> None:
    await _troubled(world)
    told = world.published(FulfilmentParked)
    times = len(world.log["fulfilment.parked"])

    world.rewind()
    await world.settle()

    assert len(world.log["fulfilment.parked"]) >= 2 * times
    assert world.published(FulfilmentParked) == told
    by_id = {row["id"]: row for row in await _rows(world)}
    assert {event.parked_id for event in told} == by_id.keys()
    for event in told:
        row = by_id[event.parked_id]
        assert (event.reason, event.actor, event.facts) == (row["reason"], row["actor"], row["facts"])
        assert (event.version, event.parked_at) == (row["episode"], row["parked_at"])


async def test_a_step_that_succeeds_later_closes_its_row_and_the_purchase_goes_on(world: World) -> None:
    payment = a_payment()
    world.send("students.changed", a_student(payment["studentId"]))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", payment)
    await world.settle()
    journey = await world.journey(payment["paymentId"])
    assert (journey["state"], journey["parked_reason"]) == ("parked", "no_trainer_available")
    assert journey["parked_at"] is not None

    world.send("trainers.changed", a_trainer())
    await world.settle(names=["directory"])
    world.rewind()
    await world.settle()

    journey = await world.journey(payment["paymentId"])
    assert (journey["state"], journey["sessions"], journey["parked_reason"]) == ("scheduled", 10, None)
    assert journey["allocated_at"] <= journey["scheduled_at"]
    (row,) = await _rows(world)
    assert (row["status"], row["closed_at"] is None) == ("resolved", False)
    assert await world.offenders() == {}


async def test_the_episode_rises_only_after_the_last_row_was_resolved(world: World) -> None:
    await _troubled(world)
    before = {row["id"] for row in await _rows(world)}
    await world.rows("UPDATE parked SET status = 'resolved', closed_at = now() WHERE kind = 'step' RETURNING id")

    for _ in range(3):
        world.rewind()
        await world.settle()

    steps = [row for row in await _rows(world) if row["kind"] == "step"]
    first = {row["subject"]: row for row in steps if row["episode"] == 1}
    second = {row["subject"]: row for row in steps if row["episode"] == 2}
    assert len(steps) == 10
    assert first.keys() == second.keys()
    assert {row["status"] for row in first.values()} == {"resolved"}
    assert {row["status"] for row in second.values()} == {"open"}
    assert not before & {row["id"] for row in second.values()}
    assert {row["id"].version for row in second.values()} == {5}
    versions = [(event.parked_id, event.version) for event in world.published(FulfilmentParked)]
    assert {(row["id"], 2) for row in second.values()} <= set(versions)


async def test_a_replay_never_opens_what_was_dismissed(world: World) -> None:
    payments = await _troubled(world)
    await world.rows("UPDATE parked SET status = 'dismissed', closed_at = now() RETURNING id")
    before = await _rows(world)

    world.rewind()
    await world.settle()
    world.send("payments.succeeded", *payments, b"poison")
    await world.settle(batch=1)

    assert await _rows(world) == before


async def test_a_record_that_was_dealt_with_is_not_opened_by_a_replay(world: World) -> None:
    payment = a_payment()
    world.send("payments.succeeded", b"poison", payment, payment | {"amountMinor": 1})
    await world.settle(names=["enrollment"])
    await world.rows("UPDATE parked SET status = 'resolved', closed_at = now() RETURNING id")

    world.rewind()
    await world.settle(names=["enrollment"])

    assert await world.rows("SELECT status, count(*) AS n FROM parked GROUP BY 1") == [{"status": "resolved", "n": 2}]


async def test_a_step_that_would_park_for_another_reason_by_now_still_has_one_open_row(world: World) -> None:
    payment = a_payment(purchaseTier=1)
    world.send("students.changed", a_student(payment["studentId"]))
    await world.settle()
    world.send("payments.succeeded", payment)
    await world.settle()
    assert await world.parked() == ["no_trainer_available"]
    other = a_payment(studentId=payment["studentId"], courseId="crs_chess")
    world.send("trainers.changed", a_trainer("trn_chess", courses=["crs_chess"]))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", other)
    await world.settle()

    world.send("trainers.changed", a_trainer("trn_yoga"))
    await world.settle(names=["directory"])
    world.rewind()
    await world.settle()

    rows = await world.rows("SELECT payment_id, status, episode FROM parked")
    assert rows == [{"payment_id": payment["paymentId"], "status": "open", "episode": 1}]
    journey = await world.journey(payment["paymentId"])
    assert (journey["state"], journey["allocation_id"]) == ("parked", None)
    assert await world.offenders() == {}


_OUTSIDE = ("students.changed", "trainers.changed", "payments.succeeded")


async def _troubled(world: World) -> list[dict[str, Any]]:
    """Five purchases that park, one by each cause, beside one that does not and two records of no use."""
    countless, dateless = a_payment(purchaseTier=0), a_payment(date="soon")
    lonely, ghost, poor = a_payment(courseId="crs_nobody"), a_payment(), a_payment(coinsRedeemed=5)
    fine = a_payment()
    known = (countless, dateless, lonely, poor, fine)
    world.send("students.changed", *(a_student(p["studentId"]) for p in known))
    world.send("trainers.changed", *(a_trainer(f"trn_{number}") for number in range(6)))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", countless, dateless, lonely, b"poison", ghost, poor, fine)
    world.send("payments.succeeded", fine | {"amountMinor": 1})
    await world.settle()
    return [countless, dateless, lonely, ghost, poor]


async def _empty(world: World) -> None:
    """A database built again: the schema, and nothing in it."""
    async with world.engine.begin() as db:
        await db.execute(text(f"TRUNCATE {_TABLES} RESTART IDENTITY CASCADE"))


async def _rows(world: World) -> list[dict[str, Any]]:
    rows = await world.rows("SELECT * FROM parked ORDER BY kind, actor, subject, episode")
    # What a step has seen is of the moment: it may see more when its event comes again.
    return [{name: value for name, value in row.items() if name != "seen"} for row in rows]
