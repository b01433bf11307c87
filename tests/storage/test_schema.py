"""The schema: made once by whoever comes first, with names that people query and rules that hold."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from errors import BadValue, Conflict, Fault, FirstbellError
from service import UnsafeDatabase, prepare_database
from storage.engine import open_engine, transaction, translated, undurable_settings
from storage.schema import migrate, needed_version, schema_version
from tests.conftest import database_named
from tests.world import World

# Names that the issue promises: people query them.
INTERFACE = {
    "students": "student_id timezone latitude longitude coins changed_at removed",
    "trainers": "trainer_id active courses timezone latitude longitude radius_km working_hours changed_at removed",
    "cart_items": "item_id student_id course_id added_at",
    "coin_ledger": "kind reference student_id payment_id coins at",
    "purchases": "payment_id student_id course_id amount_minor currency succeeded_at coins_redeemed payload state",
    "enrollments": "enrollment_id payment_id student_id course_id status version enrolled_at",
    "allocations": "allocation_id enrollment_id payment_id student_id course_id trainer_id status provisional version"
    " metadata approved_at",
    "bookings": "allocation_id trainer_no student_no booked active",
    "sessions": "allocation_id number trainer_id starts_at ends_at status version latitude longitude",
    "session_history": "allocation_id number trainer_id starts_at ends_at status version replaced_at",
    "parked": "id actor reason payment_id enrollment_id allocation_id student_id topic partition offset payload facts"
    " waits_for status parked_at",
    "purchase_journey": "payment_id student_id course_id enrollment_id allocation_id state sessions paid_at enrolled_at"
    " allocated_at scheduled_at parked_at parked_reason",
}

STUDENT = "INSERT INTO students (student_id) VALUES ('stu_1');"
TRAINER = """
    INSERT INTO trainers (trainer_id, active, courses, working_hours, changed_at, payload_hash)
    VALUES ('trn_1', true, '{}', '[]', now(), '');
"""
PURCHASE = """
    INSERT INTO purchases (payment_id, student_id, course_id, amount_minor, currency, succeeded_at, payload,
                           fingerprint, state)
    VALUES ('pay_1', 'stu_1', 'crs_1', 1, 'INR', now(), '{}', '', 'enrolled');
"""
ENROLLMENT = """
    INSERT INTO enrollments (enrollment_id, payment_id, student_id, course_id)
    VALUES ('00000000-0000-0000-0000-000000000001', 'pay_1', 'stu_1', 'crs_1');
"""
ALLOCATION = """
    INSERT INTO allocations (allocation_id, enrollment_id, payment_id, student_id, course_id, trainer_id, metadata)
    VALUES ('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', 'pay_1', 'stu_1', 'crs_1',
            'trn_1', '{}');
"""
BOOKING = """
    INSERT INTO bookings (allocation_id, trainer_no, student_no, booked, first_day, days_of_week, session_count,
                          start_minute, slot_minutes, timezone)
    SELECT '00000000-0000-0000-0000-00000000000a', trainer_no, student_no,
           '{[2030-01-01 10:00+00,2030-01-01 11:00+00)}', '2030-01-01', 127, 1, 600, 60, 'UTC'
      FROM trainers, students WHERE student_id = 'stu_1' AND trainer_id = 'trn_1';
"""
PARKED = """
    INSERT INTO parked (id, kind, actor, subject, episode, reason, topic, partition, "offset", headers, facts)
    SELECT gen_random_uuid(), 'step', 'allocation', 'x', count(*) + 1, 'y', 'z', 0, 0, '[]', '{}' FROM parked;
"""
SESSION = """
    INSERT INTO series_sessions (allocation_no, trainer_no, starts_at, ends_at, number) VALUES (1, 1, now(), {}, {})
"""
LEDGER = "INSERT INTO coin_ledger (kind, reference, student_id, coins, at) VALUES ('{}', 'ref_1', 'stu_1', {}, now())"
ABSENCE = """
    INSERT INTO trainer_absences (busy_id, trainer_id, starts_at, ends_at, changed_at, payload_hash)
    VALUES ('busy_1', 'trn_1', now(), now(), now(), '')
"""
TO_ENROLLMENT = (STUDENT, TRAINER, PURCHASE, ENROLLMENT)
TO_ALLOCATION = (*TO_ENROLLMENT, ALLOCATION)
TO_BOOKING = (*TO_ALLOCATION, BOOKING)
OTHER_STUDENT, OTHER_TRAINER = STUDENT.replace("stu_1", "stu_2"), TRAINER.replace("trn_1", "trn_2")

# What is there, what makes it impossible, and how that is refused.
IMPOSSIBLE: dict[str, tuple[tuple[str, ...], str, type[FirstbellError]]] = {
    "a balance below zero": ((STUDENT,), "UPDATE students SET coins = -1", BadValue),
    "a student twice": ((STUDENT,), STUDENT, Conflict),
    "a payment twice": ((PURCHASE,), PURCHASE, Conflict),
    "an unknown state": ((PURCHASE,), "UPDATE purchases SET state = 'lost'", BadValue),
    "refunded without a refund": ((PURCHASE,), "UPDATE purchases SET state = 'refunded'", BadValue),
    "a refund without the state": ((PURCHASE,), "UPDATE purchases SET refunded_at = now()", BadValue),
    "neither payment nor refund": ((PURCHASE,), "UPDATE purchases SET payload = NULL", BadValue),
    "a payment without its student": ((PURCHASE,), "UPDATE purchases SET student_id = NULL", BadValue),
    "an enrolment without a purchase": ((), ENROLLMENT, Fault),
    "two enrolments of one payment": (TO_ENROLLMENT, ENROLLMENT.replace("0001'", "0002'"), Conflict),
    "revoked at no time": (TO_ENROLLMENT, "UPDATE enrollments SET status = 'revoked'", BadValue),
    "two allocations of one enrolment": (TO_ALLOCATION, ALLOCATION.replace("00000a'", "00000b'"), Conflict),
    "sessions of a provisional allocation": (
        TO_ALLOCATION,
        "UPDATE allocations SET provisional = true, scheduled_at = now()",
        BadValue,
    ),
    "a trainer booked twice": ((*TO_BOOKING, OTHER_STUDENT), BOOKING.replace("stu_1", "stu_2"), Conflict),
    "a student booked twice": ((*TO_BOOKING, OTHER_TRAINER), BOOKING.replace("trn_1", "trn_2"), Conflict),
    "an active booking of no time": (TO_BOOKING, "UPDATE bookings SET booked = '{}'", BadValue),
    "a session that ends as it starts": ((), SESSION.format("now()", 1), BadValue),
    "a session number zero": ((), SESSION.format("now() + interval '1 hour'", 0), BadValue),
    "a redemption that gives": ((STUDENT,), LEDGER.format("redemption", 5), BadValue),
    "a credit that takes": ((STUDENT,), LEDGER.format("credit", -5), BadValue),
    "an absence of no time": ((), ABSENCE, BadValue),
    "one step parked twice": ((PARKED,), PARKED, Conflict),
    "a closed row without its time": ((PARKED,), "UPDATE parked SET status = 'resolved'", BadValue),
}


@pytest.fixture
async def empty() -> AsyncIterator[str]:
    """The address of a database without any schema."""
    server, name = os.environ["FIRSTBELL_TEST_DATABASE"], f"empty_{uuid.uuid4().hex[:12]}"
    connection = await asyncpg.connect(server)
    await connection.execute(f"CREATE DATABASE {name}")
    yield database_named(server, name)
    await connection.execute(f"DROP DATABASE {name} (FORCE)")
    await connection.close()


async def test_a_second_migration_finds_nothing_to_do(empty: str) -> None:
    engine = open_engine(empty, pool_size=1)

    async with transaction(engine) as db:
        before = await schema_version(db)
    versions = [await migrate(engine) for _ in range(2)]
    await engine.dispose()

    assert before is None
    assert versions == [needed_version()] * 2


async def test_processes_that_start_at_once_take_turns_with_the_migration(empty: str) -> None:
    engines = [open_engine(empty, pool_size=1) for _ in range(4)]

    versions = await asyncio.gather(*(migrate(engine) for engine in engines))
    for engine in engines:
        await engine.dispose()

    assert versions == [needed_version()] * 4


async def test_a_newer_schema_is_left_alone(engine: AsyncEngine) -> None:
    async with transaction(engine) as db:
        await db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        await db.execute(text("DROP VIEW session_history"))

    found = await migrate(engine)

    async with transaction(engine) as db:
        history = (await db.execute(text("SELECT to_regclass('session_history')"))).scalar_one()
    assert found == "9999"
    assert history is None


async def test_a_migration_that_fails_leaves_nothing_behind(empty: str) -> None:
    engine = open_engine(empty, pool_size=1)
    async with transaction(engine) as db:
        await db.execute(text("CREATE TABLE parked (id integer)"))

    with pytest.raises(Fault):
        await migrate(engine)

    async with transaction(engine) as db:
        left = (await db.execute(text("SELECT to_regclass('students')"))).scalar_one()
        version = await schema_version(db)
    await engine.dispose()
    assert (left, version) == (None, None)


async def test_the_names_that_people_query_are_there(world: World) -> None:
    for name, columns in INTERFACE.items():
        found = await world.rows("SELECT column_name FROM information_schema.columns WHERE table_name = :t", t=name)

        assert {row["column_name"] for row in found} >= set(columns.split()), name


async def test_cart_sessions_and_journey_are_views_and_the_rest_are_tables(world: World) -> None:
    found = await world.rows("SELECT table_name AS name, table_type AS kind FROM information_schema.tables")

    views = {row["name"] for row in found if row["kind"] == "VIEW"} & set(INTERFACE)
    assert views == {"cart_items", "sessions", "session_history", "purchase_journey"}


async def test_impossible_states_are_refused(engine: AsyncEngine) -> None:
    for state, (there, impossible, expected) in IMPOSSIBLE.items():
        async with engine.connect() as db:
            for statement in there:
                await db.exec_driver_sql(statement)
            with pytest.raises(DBAPIError) as caught:
                await db.exec_driver_sql(impossible)
            await db.rollback()

        assert type(translated(caught.value)) is expected, state


async def test_a_durable_server_is_accepted(engine: AsyncEngine) -> None:
    async with transaction(engine) as db:
        undurable = await undurable_settings(db)

    assert undurable == []


async def test_a_database_that_may_lose_what_it_committed_is_refused(database_url: str) -> None:
    careless: Any = open_engine(database_url, pool_size=1, synchronous_commit="off")

    with pytest.raises(UnsafeDatabase, match="synchronous_commit"):
        await prepare_database(careless, database_url)

    await careless.dispose()
