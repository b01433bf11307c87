"""What each error of the database means for the batch: the table of policy, provoked on a real server."""

import asyncio
from contextlib import suppress

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from errors import BadValue, Conflict, Contended, Fault, FirstbellError, Transient
from storage.engine import open_engine, transaction

POLICY: dict[type[FirstbellError], tuple[str, ...]] = {
    Contended: ("25P03", "55P03", "57014", "53200"),
    Conflict: ("23505", "23P01"),
    Transient: (
        "40001", "40P01", "57P01", "57P02", "57P03", "57P04", "57P05", "08000", "08003", "08006", "08P01",
        "53000", "53100", "53300", "53400", "25006",
    ),
    BadValue: ("22000", "22001", "22003", "22007", "22008", "22021", "22P02", "22P05", "23502", "23514"),
    Fault: ("42P01", "42703", "42501", "28000", "28P01", "23503", "23000", "P0001", "XX000", "0A000", "58030"),
}  # fmt: skip


@pytest.mark.parametrize("expected", list(POLICY), ids=lambda error: error.__name__)
async def test_every_sqlstate_of_the_policy_becomes_its_error(
    engine: AsyncEngine, expected: type[FirstbellError]
) -> None:
    found = {code: await _raised(engine, _raising(code)) for code in POLICY[expected]}

    assert {code: type(error) for code, error in found.items()} == dict.fromkeys(POLICY[expected], expected)
    assert {code: error.args[0] for code, error in found.items()} == {code: code for code in POLICY[expected]}


@pytest.mark.parametrize(
    ("statement", "expected", "code"),
    [
        ("SELECT 1 / 0", BadValue, "22012"),
        ("SELECT CAST('nonsense' AS integer)", BadValue, "22P02"),
        ("SELECT CAST('\"\\u0000\"' AS jsonb)", BadValue, "22P05"),
        ("INSERT INTO students (student_id, coins) VALUES ('stu_1', -1)", BadValue, "23514"),
        ("INSERT INTO students (student_id) VALUES (NULL)", BadValue, "23502"),
        ("INSERT INTO students (student_id) VALUES ('stu_1'), ('stu_1')", Conflict, "23505"),
        ("SELECT * FROM nowhere", Fault, "42P01"),
        ("INSERT INTO bookings (allocation_id, trainer_no) VALUES (gen_random_uuid(), 1)", BadValue, "23502"),
    ],
)
async def test_what_a_statement_provokes_becomes_its_error(
    engine: AsyncEngine, statement: str, expected: type[FirstbellError], code: str
) -> None:
    error = await _raised(engine, statement)

    assert (type(error), error.args[0]) == (expected, code)


async def test_a_statement_that_takes_too_long_asks_for_smaller_batches(database_url: str) -> None:
    engine = open_engine(database_url, pool_size=1, statement_timeout="30ms")

    error = await _raised(engine, "SELECT pg_sleep(60)")
    await engine.dispose()

    assert (type(error), error.args[0]) == (Contended, "57014")


async def test_a_lock_that_is_not_given_in_time_asks_for_smaller_batches(
    engine: AsyncEngine, database_url: str
) -> None:
    hasty = open_engine(database_url, pool_size=1, lock_timeout="30ms")
    async with transaction(engine) as holder:
        await holder.execute(text("LOCK TABLE students"))

        error = await _raised(hasty, "SELECT * FROM students")
    await hasty.dispose()

    assert (type(error), error.args[0]) == (Contended, "55P03")


async def test_a_transaction_that_somebody_forgot_is_ended_by_the_server(database_url: str) -> None:
    engine = open_engine(database_url, pool_size=1, idle_in_transaction_session_timeout="30ms")

    async def forget() -> None:
        async with transaction(engine) as db:
            await db.execute(text("SELECT 1"))
            await _line_ends(await db.get_raw_connection())
            await db.execute(text("SELECT 1"))

    with pytest.raises(Transient):
        await forget()
    await engine.dispose()


async def test_a_terminated_backend_is_transient_and_the_next_transaction_gets_a_line_that_works(
    engine: AsyncEngine,
) -> None:
    error = await _raised(engine, "SELECT pg_terminate_backend(pg_backend_pid())")

    async with transaction(engine) as db:
        alive = (await db.execute(text("SELECT 1"))).scalar_one()
    assert isinstance(error, Transient)
    assert alive == 1


async def test_a_server_that_does_not_listen_is_transient(unused_tcp_port: int) -> None:
    engine = open_engine(f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/nothing", pool_size=1)

    error = await _raised(engine, "SELECT 1")
    await engine.dispose()

    assert (type(error), error.args[0]) == (Transient, "connection")


@pytest.mark.parametrize(
    ("cast", "value"), [("integer", 2**40), ("bigint", 2**70), ("text", "a\0b"), ("text", "\ud800")]
)
async def test_a_value_that_cannot_even_be_sent_is_the_records_own_fault(
    engine: AsyncEngine, cast: str, value: object
) -> None:
    with pytest.raises(BadValue):
        async with transaction(engine) as db:
            await db.execute(text(f"SELECT CAST(:value AS {cast})"), {"value": value})


async def test_a_deadlock_is_transient_for_one_of_the_two(engine: AsyncEngine) -> None:
    async with transaction(engine) as db:
        await db.execute(text("INSERT INTO students (student_id) VALUES ('a'), ('b')"))
    lock = text("SELECT * FROM students WHERE student_id = :id FOR UPDATE")
    met = asyncio.Barrier(2)

    async def both(first: str, second: str) -> None:
        async with transaction(engine) as db:
            await db.execute(lock, {"id": first})
            await met.wait()
            await db.execute(lock, {"id": second})

    ends = await asyncio.gather(both("a", "b"), both("b", "a"), return_exceptions=True)

    (error,) = [end for end in ends if end is not None]
    assert isinstance(error, Transient)
    assert error.args[0] == "40P01"


async def test_our_own_errors_pass_as_they_are_and_roll_back(engine: AsyncEngine) -> None:
    with suppress(Fault):
        async with transaction(engine) as db:
            await db.execute(text("INSERT INTO students (student_id) VALUES ('stu_1')"))
            raise Fault("mine", "kept")

    async with transaction(engine) as db:
        assert (await db.execute(text("SELECT count(*) FROM students"))).scalar_one() == 0


def _raising(code: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION 'provoked' USING ERRCODE = '{code}'; END $$"


async def _raised(engine: AsyncEngine, statement: str) -> FirstbellError:
    with pytest.raises(FirstbellError) as caught:
        async with transaction(engine) as db:
            await db.execute(text(statement))
    return caught.value


async def _line_ends(raw: object) -> None:
    """Wait until the server has closed the line."""
    connection: asyncpg.Connection = raw.driver_connection  # type: ignore[attr-defined]
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    await ended.wait()
