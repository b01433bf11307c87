"""Time given back: bookings shrink with their recipe, and who waits for time hears of it, however often it is told."""

from datetime import datetime
from typing import Any

import pytest

from actors.releasing import release
from contracts.decode import decode
from domain.schedule import Series, session_starts
from storage import releases
from storage.engine import transaction
from tests.builders import a_payment, a_refund, a_student, a_trainer, soon
from tests.world import World

BOOKINGS = """
    SELECT active, session_count, freed IS NOT NULL AS freed, freed = pg_current_xact_id() AS now,
           (SELECT count(*) FROM unnest(booked)) AS sessions
      FROM bookings
"""


@pytest.mark.parametrize(("kept", "expected"), [(0, (False, 10)), (1, (True, 1)), (9, (True, 9))])
async def test_a_booking_keeps_the_sessions_that_begin_before_the_instant(
    world: World, kept: int, expected: tuple[bool, int]
) -> None:
    await _bought(world)
    times = await world.rows("SELECT starts_at FROM sessions ORDER BY number")
    before = await world.rows("SELECT booked::text FROM bookings")

    (booking,) = await _freed(world, times[kept]["starts_at"])

    assert (booking["active"], booking["session_count"]) == expected
    assert (booking["freed"], booking["now"]) == (True, True)
    assert booking["sessions"] == booking["session_count"]
    assert (await world.rows("SELECT booked::text FROM bookings") == before) == (kept == 0)
    if kept:
        (row,) = await world.rows("""
            SELECT first_day, days_of_week, session_count, start_minute, slot_minutes, timezone,
                   ARRAY(SELECT lower(slot) FROM unnest(booked) AS slot) AS starts FROM bookings""")
        *recipe, starts = row.values()
        assert [int(start.timestamp()) // 60 for start in starts] == list(session_starts(Series(*recipe)))


async def test_without_an_instant_all_of_it_is_given_back(world: World) -> None:
    await _bought(world)

    (booking,) = await _freed(world, None)

    assert (booking["active"], booking["now"]) == (False, True)


async def test_nothing_is_freed_after_the_last_session_nor_a_second_time(world: World) -> None:
    await _bought(world)

    (after,) = await _freed(world, datetime.fromisoformat(f"{soon(100)}T00:00:00Z"))
    (once,) = await _freed(world, None)
    (again,) = await _freed(world, None)

    assert (after["active"], after["freed"]) == (True, False)
    assert (once["now"], again["now"]) == (True, False)


async def test_freed_time_is_news_for_the_student_and_the_courses_of_the_trainer_on_every_delivery(
    world: World,
) -> None:
    payment = await _bought(world, courses=["crs_yoga", "crs_chess"])
    world.send("payments.refunded", a_refund(payment))
    await world.settle(names=["enrollment"])
    (record,) = world.log["enrollments.revoked"]
    record = record._replace(event=decode(record.topic, record.key, record.value))

    news = []
    for _ in range(2):
        async with transaction(world.engine) as db:
            news.append((await release(db, [record])).news)

    (row,) = await world.rows("SELECT released_at FROM allocations")
    assert [n.students for n in news] == [{payment["studentId"]}] * 2
    assert [dict(n.courses) for n in news] == [dict.fromkeys(["crs_chess", "crs_yoga"], row["released_at"])] * 2


async def test_a_refund_that_frees_nothing_is_no_news_for_any_course(world: World) -> None:
    payment = await _bought(world)
    world.send("payments.refunded", a_refund(payment, refundedAt=f"{soon(100)}T00:00:00Z"))
    await world.settle(names=["enrollment"])
    (record,) = world.log["enrollments.revoked"]
    record = record._replace(event=decode(record.topic, record.key, record.value))

    async with transaction(world.engine) as db:
        outcome = await release(db, [record])

    assert dict(outcome.news.courses) == {}
    assert len(outcome.publish) == 1


async def test_a_release_closes_what_was_parked_of_an_absent_trainer(world: World) -> None:
    payment = await _bought(world)
    async with world.engine.begin() as db:
        await db.exec_driver_sql("""
            INSERT INTO parked (id, kind, actor, subject, reason, topic, partition, "offset", headers, facts)
            SELECT gen_random_uuid(), 'step', 'directory', allocation_id, 'trainer_unavailable', 't', 0, 0, '[]', '{}'
              FROM allocations""")

    world.send("payments.refunded", a_refund(payment))
    await world.settle()

    assert await world.rows("SELECT status FROM parked") == [{"status": "resolved"}]


async def test_a_release_that_was_parked_closes_its_row_when_it_goes_through(world: World) -> None:
    payment = await _bought(world)
    world.send("payments.refunded", a_refund(payment))
    await world.settle(names=["enrollment"])
    async with world.engine.begin() as db:
        await db.exec_driver_sql("""
            INSERT INTO parked (id, kind, actor, subject, reason, topic, partition, "offset", headers, facts)
            SELECT gen_random_uuid(), 'step', 'allocation', enrollment_id, 'unexpected_error', 'enrollments.revoked',
                   0, 0, '[]', '{}'
              FROM enrollments""")

    await world.settle(names=["allocation"])

    assert await world.parked() == []
    assert await world.rows("SELECT status FROM allocations") == [{"status": "released"}]


async def _freed(world: World, effective_at: datetime | None) -> list[Any]:
    """The bookings as they are when this much has been given back, seen by who did it."""
    ids = [row["allocation_id"] for row in await world.rows("SELECT allocation_id FROM allocations")]
    async with transaction(world.engine) as db:
        await releases.free(db, ids, effective_at)
        return [dict(row) for row in (await db.exec_driver_sql(BOOKINGS)).mappings()]


async def _bought(world: World, **trainer: Any) -> dict[str, Any]:
    payment = a_payment()
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("trainers.changed", a_trainer(**trainer))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", payment)
    await world.settle()
    return payment
