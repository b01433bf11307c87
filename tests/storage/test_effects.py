"""What a command wrote is told exactly: every business column of every row, and nothing of the clock."""

import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.decode import decode
from contracts.repairs import Effect, RepairCompleted
from storage import repairs
from storage.effects import Scope, Snapshot, difference, digest, snapshot
from storage.engine import open_engine, transaction
from tests.builders import a_cart_change, a_credit, a_payment, a_student, a_trainer, an_absence, soon
from tests.storage.test_repairs_audit import an_entry
from tests.storage.test_statements import counted
from tests.world import World

Rows = dict[str, dict[Any, dict[str, Any]]]

STEPS = ("enrollment", "cart", "coins", "allocation", "sessions")

# Each table with what names its rows to the database, and the columns that are no business of an admin's:
# numbers of our own, the database's clock, bytes, hashes, transactions, and what another told column says already.
TABLES: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "students": (("student_no",), {"student_no", "removed", "payload", "payload_hash"}),
    "trainers": (("trainer_no",), {"trainer_no", "payload", "payload_hash", "xact"}),
    "trainer_absences": (("busy_id",), {"payload", "payload_hash", "xact"}),
    "cart_changes": (("item_id",), {"payload", "payload_hash"}),
    "purchases": (("payment_id",), {"payload", "fingerprint", "received_at", "published_at"}),
    "refunds": (("refund_id",), {"payload", "fingerprint", "received_at"}),
    "enrollments": (("enrollment_id",), {"enrolled_at", "revoked_at"}),
    "cart_clearances": (("payment_id",), {"cleared_at"}),
    "coin_ledger": (("kind", "reference"), {"at", "booked_at"}),
    "allocations": (
        ("allocation_no",),
        {"allocation_no", "student_id", "course_id", "approved_at", "scheduled_at", "released_at", "effective_at"}
        | {"cancelled_at"},
    ),
    "bookings": (("booking_no",), {"booking_no", "trainer_no", "student_no", "ends_at", "freed"}),
    "sessions": (("allocation_id", "number"), {"payment_id", "student_id", "course_id", "latitude", "longitude"}),
    "session_history": (("allocation_id", "number", "version"), {"payment_id", "student_id", "replaced_at"}),
    "parked": (
        ("id",),
        {"kind", "payment_id", "enrollment_id", "allocation_id", "student_id", "topic", "partition", "offset", "key"}
        | {"payload", "headers", "parked_at", "closed_at", "closed_by", "seen"},
    ),
}
MADE = {"known", "scheduled", "cancelled", "stretch", "booked", "trainerId", "studentId"}

A_TRAINER = (
    "INSERT INTO trainers (trainer_id, active, courses, working_hours, changed_at, payload_hash)"
    " VALUES ('trn_0', false, '{}', '[]', now(), '')"
)

# What no actor does in this story, or in no such way: everything else that may become of a row.
BY_HAND = (
    (
        "INSERT INTO refunds (refund_id, payment_id, coins_returned, refunded_at, payload, fingerprint)"
        " VALUES ('ref_1', 'pay_a', 7, '2026-11-30T10:00:00.5Z', '{}', '')"
    ),
    "UPDATE purchases SET state = 'refunded', refunded_at = '2026-11-30T10:00:00.5Z' WHERE payment_id = 'pay_a'",
    "UPDATE enrollments SET status = 'revoked', version = 2, revoked_at = clock_timestamp()",
    (
        "INSERT INTO former_sessions SELECT allocation_no, trainer_no, starts_at, ends_at, number, version, cancelled"
        " FROM series_sessions WHERE number > 7"
    ),
    "UPDATE series_sessions SET cancelled = true, version = 2 WHERE number > 7",
    (
        "UPDATE bookings SET freed = pg_current_xact_id(), booked = booked - (SELECT range_agg(slot) FROM"
        " (SELECT slot FROM unnest(booked) WITH ORDINALITY AS s (slot, n) WHERE n > 7) x)"
    ),
    (
        "INSERT INTO bookings (allocation_id, trainer_no, student_no, booked, active, first_day, days_of_week,"
        " session_count, start_minute, slot_minutes, timezone) SELECT allocation_id, trainer_no, student_no, booked,"
        " false, first_day, days_of_week, session_count, start_minute, slot_minutes, timezone FROM bookings"
    ),
    (
        "UPDATE allocations SET status = 'released', released_at = clock_timestamp(), effective_at = clock_timestamp(),"
        " cancelled_at = clock_timestamp(), version = 2"
    ),
    "UPDATE parked SET attempts = attempts + 1",
    "UPDATE trainers SET active = false, changed_at = changed_at + interval '1 s'",
    "DELETE FROM series_sessions WHERE number = 10",
    "DELETE FROM coin_ledger WHERE kind = 'redemption'",
    "DELETE FROM bookings b WHERE booking_no = (SELECT max(booking_no) FROM bookings)",
    "UPDATE allocations SET metadata = jsonb_set(metadata, '{sessionCount}', '1')",
    "UPDATE allocations SET metadata = jsonb_set(metadata, '{sessionCount}', 'true')",
)


def a_story() -> list[tuple[str, dict[str, Any]]]:
    """Two purchases with everything, and one that parks: its student has no profile and the coins are too few."""
    payments = [
        a_payment(paymentId="pay_a", studentId="stu_a", coinsRedeemed=7, cartItemId="itm_a"),
        a_payment(paymentId="pay_b", studentId="stu_b", timeSlot="18:30", daysOfWeek=["mon", "wed"]),
        a_payment(paymentId="pay_c", studentId="stu_c", coinsRedeemed=9),
    ]
    return [
        *(("students.changed", a_student(f"stu_{letter}")) for letter in "ab"),
        *(("trainers.changed", a_trainer(f"trn_{letter}")) for letter in "ab"),
        (
            "trainers.busy",
            {**an_absence("trn_a", *(datetime(2031, 1, n, tzinfo=UTC) for n in (1, 2))), "busyId": "b_1"},
        ),
        ("carts.changed", a_cart_change("stu_a", "itm_a")),
        ("coins.credited", a_credit("stu_a", 100, creditId="crd_1")),
        *(("payments.succeeded", payment) for payment in payments),
    ]


EVERYTHING = Scope(
    payment_ids=frozenset({"pay_a", "pay_b", "pay_c"}),
    student_ids=frozenset({"stu_a", "stu_b", "stu_c"}),
    trainer_ids=frozenset({"trn_a", "trn_b"}),
    busy_ids=frozenset({"b_1"}),
    item_ids=frozenset({"itm_a"}),
    credit_ids=frozenset({"crd_1"}),
)


async def look(engine: AsyncEngine, scope: Scope = EVERYTHING) -> Snapshot:
    async with transaction(engine) as db:
        return await snapshot(db, scope)


async def effects_of(world: World, name: str) -> list[Effect]:
    """What one turn of an actor writes."""
    before = await look(world.engine)
    await world.turn(name)
    return difference(before, await look(world.engine))


async def whole_tables(engine: AsyncEngine) -> Rows:
    """Every row of every table, read another way: plain columns, without those that are left out."""
    found: Rows = {}
    async with transaction(engine) as db:
        for table, (key, left_out) in TABLES.items():
            rows = (await db.execute(text(f"SELECT * FROM {table}"))).mappings().all()  # noqa: S608
            found[table] = {
                tuple(row[name] for name in key): {
                    camel(name): plain(value) for name, value in row.items() if name not in left_out
                }
                | made(table, row)
                for row in rows
            }
        await name_bookings(db, found["bookings"])
    return found


def made(table: str, row: Any) -> dict[str, Any]:
    """What is told in place of a column that is left out."""
    if table == "students":
        return {"known": row["changed_at"] is not None and not row["removed"]}
    if table == "allocations":
        return {"scheduled": row["scheduled_at"] is not None, "cancelled": row["cancelled_at"] is not None}
    return {}


async def name_bookings(db: AsyncConnection, bookings: dict[Any, dict[str, Any]]) -> None:
    """Ids in place of numbers, and each one's place among those of its allocation."""
    names = await db.execute(
        text(
            "SELECT booking_no, trainer_id, student_id FROM bookings"
            " JOIN trainers USING (trainer_no) JOIN students USING (student_no) ORDER BY booking_no"
        )
    )
    counts: dict[str, int] = {}
    for number, trainer_id, student_id in names:
        row = bookings[(number,)]
        row["stretch"] = counts[row["allocationId"]] = counts.get(row["allocationId"], 0) + 1
        row |= {"trainerId": trainer_id, "studentId": student_id}


def camel(name: str) -> str:
    return re.sub("_(.)", lambda match: match[1].upper(), name)


def plain(value: Any) -> Any:
    """A value of the driver as the wire writes it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list) and all(isinstance(part, asyncpg.Range) for part in value):
        return [[plain(part.lower), plain(part.upper)] for part in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # as JSON of PostgreSQL writes it
    return str(value) if isinstance(value, UUID) else value


def by_comparison(before: Rows, after: Rows) -> dict[tuple[str, str], list[str]]:
    """What lies between two readings of whole tables, each row as one line."""
    found: dict[tuple[str, str], list[str]] = {}
    for table in TABLES:
        old, new = before[table], after[table]
        found[table, "insert"] = [line(row) for key, row in new.items() if key not in old]
        found[table, "delete"] = [line(row) for key, row in old.items() if key not in new]
        pairs = [(old[key], row) for key, row in new.items() if key in old]
        found[table, "update"] = [line(changed) for was, row in pairs if (changed := columns(was, row))]
    return {what: sorted(lines) for what, lines in found.items() if lines}


def columns(was: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    return {name: [was[name], row[name]] for name in row if line(was[name]) != line(row[name])}


def as_told(effects: Sequence[Effect]) -> dict[tuple[str, str], list[str]]:
    """The same lines from effects."""
    assert all(effect.count == len(effect.rows) > 0 for effect in effects)
    return {
        (effect.table, effect.operation): sorted(
            line({name: [row["before"][name], row["after"][name]] for name in row["after"]})
            if effect.operation == "update"
            else line(row)
            for row in effect.rows
        )
        for effect in effects
    }


def line(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


async def test_every_change_of_a_business_column_is_told_and_nothing_else(world: World) -> None:
    seen: set[tuple[str, str]] = set()
    for topic, message in a_story():
        world.send(topic, message)

    async def compare(act: Any) -> None:
        rows, before = await whole_tables(world.engine), await look(world.engine)
        await act
        effects = difference(before, await look(world.engine))
        expected = by_comparison(rows, await whole_tables(world.engine))
        assert as_told(effects) == expected
        seen.update(expected)

    for name in ("directory", *STEPS):
        await compare(world.settle(names=[name]))
    for statement in BY_HAND:
        await compare(execute(world.engine, statement))

    assert {table for table, _ in seen} == set(TABLES)
    assert {operation for _, operation in seen} == {"insert", "update", "delete"}


async def test_every_column_is_told_or_left_out_for_a_reason(world: World) -> None:
    for topic, message in a_story():
        world.send(topic, message)
    await world.settle()
    for statement in BY_HAND[:4]:
        await execute(world.engine, statement)

    told = {table: set(next(iter(rows.values()))) for table, rows in (await look(world.engine)).items()}

    for table, (_, left_out) in TABLES.items():
        stored = await world.rows("SELECT column_name FROM information_schema.columns WHERE table_name = :t", t=table)
        names = {row["column_name"] for row in stored}
        assert left_out <= names
        assert told[table] - MADE == {camel(name) for name in names - left_out} - MADE, table


async def test_the_same_history_at_another_time_has_the_same_effects(world: World, elsewhere: World) -> None:
    story = a_story()
    played: list[list[str]] = []
    await execute(elsewhere.engine, "INSERT INTO students (student_id) VALUES ('stu_0')")
    await execute(elsewhere.engine, A_TRAINER)

    for each in (world, elsewhere):
        for topic, message in story:
            each.send(topic, message)
        digests = [digest(await effects_of(each, name)) for name in ("directory", *STEPS)]
        for statement in BY_HAND:
            before = await look(each.engine)
            await execute(each.engine, statement)
            digests.append(digest(difference(before, await look(each.engine))))
        played.append(digests)

    assert played[0] == played[1]
    assert len(set(played[0])) == len(played[0])
    assert await numbers(world) != await numbers(elsewhere)


async def test_what_is_rolled_back_and_done_again_has_the_same_effects(world: World) -> None:
    for topic, message in a_story():
        world.send(topic, message)
    await world.settle(names=["directory", "enrollment"])
    allocation = next(actor for actor in world.actors if actor.name == "allocation")
    records = [r._replace(event=decode(r.topic, r.key, r.value)) for r in world.log["enrollments.created"]]

    async with world.engine.connect() as db:
        before = await snapshot(db, EVERYTHING)
        await allocation.handle(db, records)
        tried = difference(before, await snapshot(db, EVERYTHING))
        await db.rollback()
    applied = await effects_of(world, "allocation")

    assert {effect.table for effect in tried} == {"purchases", "allocations", "bookings"}
    assert digest([e for e in applied if e.table != "parked"]) == digest(tried)


async def test_a_row_that_was_updated_is_told_by_its_key_and_what_changed(world: World) -> None:
    for topic, message in a_story():
        world.send(topic, message)
    await world.settle(names=["directory", "enrollment"])

    coins = await effects_of(world, "coins")

    assert coins[0] == Effect(
        table="students",
        operation="update",
        count=1,
        rows=({"studentId": "stu_a", "before": {"coins": 100}, "after": {"coins": 93}},),
    )
    assert [(effect.table, effect.operation) for effect in coins[1:]] == [
        ("coin_ledger", "insert"),
        ("parked", "insert"),
    ]


async def test_nothing_done_has_no_effects(world: World) -> None:
    for topic, message in a_story():
        world.send(topic, message)
    await world.settle()
    world.rewind()

    again = [await effects_of(world, name) for name in ("directory", *STEPS)]

    assert again == [[]] * 6


async def test_rows_out_of_scope_are_not_told(world: World) -> None:
    for topic, message in a_story():
        world.send(topic, message)
    await world.settle(names=["directory"])
    await world.settle()
    parked = await world.rows("SELECT id, payment_id FROM parked ORDER BY id LIMIT 1")

    nothing = await look(world.engine, Scope())
    one = await look(world.engine, Scope(payment_ids=frozenset({"pay_b"})))
    row = await look(world.engine, Scope(parked_ids=frozenset({parked[0]["id"]})))
    credit = await look(world.engine, Scope(credit_ids=frozenset({"crd_1", "pay_a"})))

    assert not any(nothing.values())
    assert {table: len(rows) for table, rows in one.items() if rows} == {
        "purchases": 1,
        "enrollments": 1,
        "cart_clearances": 1,
        "allocations": 1,
        "bookings": 1,
        "sessions": 10,
    }
    assert {table: list(rows) for table, rows in row.items() if rows} == {"parked": [(str(parked[0]["id"]),)]}
    assert {table: list(rows) for table, rows in credit.items() if rows} == {"coin_ledger": [("credit", "crd_1")]}


async def test_a_look_is_one_statement_and_the_same_in_every_session(world: World, database_url: str) -> None:
    for topic, message in a_story():
        world.send(topic, message)
    await world.settle()
    abroad = open_engine(database_url, pool_size=1, timezone="Asia/Kathmandu", DateStyle="SQL, DMY")

    with counted(world.engine) as sent:
        here = await look(world.engine)
    there = await look(abroad)
    await abroad.dispose()

    assert len(sent) == 1
    assert repr(here) == repr(there)
    assert here["sessions"][await first_session(world)]["startsAt"] == f"{soon()}T10:30:00Z"


def test_scopes_add_up() -> None:
    every = [field.name for field in fields(Scope)]
    first = Scope(**{name: frozenset({f"{name}_1"}) for name in every})  # type: ignore[arg-type]
    second = Scope(**{name: frozenset({f"{name}_2"}) for name in every})  # type: ignore[arg-type]

    both = first | second

    assert all(getattr(both, name) == {f"{name}_1", f"{name}_2"} for name in every)


async def test_an_answer_read_from_the_audit_has_the_same_bytes(world: World) -> None:
    for topic, message in a_story():
        world.send(topic, message)
    effects = [effect for name in ("directory", *STEPS) for effect in await effects_of(world, name)]
    for statement in BY_HAND:
        before = await look(world.engine)
        await execute(world.engine, statement)
        effects += difference(before, await look(world.engine))
    answer = RepairCompleted(
        command_id="cmd_1",
        command="retry",
        outcome="applied",
        effects=tuple(effects),
        digest=digest(effects),
        completed_at=datetime.now(UTC),
    )

    async with transaction(world.engine) as db:
        await repairs.record(db, an_entry("cmd_1", answer=json.loads(answer.to_wire())))
        kept = await repairs.answered(db, "cmd_1")

    assert kept is not None
    again = RepairCompleted.model_validate(kept.answer)
    assert again.to_wire() == answer.to_wire()
    assert digest(again.effects) == answer.digest


ROW = {"paymentId": "pay_1", "before": {"coins": 1, "at": None}, "after": {"coins": 2, "at": "x"}}
EFFECTS = [
    Effect(table="students", operation="update", count=2, rows=(ROW, {"a": [1, 2]})),
    Effect(table="parked", operation="insert", count=1, rows=({"b": True},)),
]


@pytest.mark.parametrize(
    ("index", "change"),
    [
        (0, {"table": "trainers"}),
        (0, {"operation": "insert"}),
        (0, {"count": 3}),
        (0, {"rows": (ROW,)}),
        (0, {"rows": (ROW, {"a": [2, 1]})}),
        (0, {"rows": (ROW, {"a": [1, 2.0]})}),
        (0, {"rows": (ROW, {"a": "[1, 2]"})}),
        (0, {"rows": ({"a": [1, 2]}, ROW)}),
        (0, {"rows": ({**ROW, "before": {"coins": 1}}, {"a": [1, 2]})}),
        (0, {"rows": ({**ROW, "after": {"coins": True, "at": "x"}}, {"a": [1, 2]})}),
        (1, {"rows": ({"b": 1},)}),
        (1, {"rows": ({"b": None},)}),
        (1, {"rows": ({},)}),
    ],
)
def test_any_change_gives_another_digest(index: int, change: dict[str, Any]) -> None:
    changed = list(EFFECTS)
    changed[index] = changed[index].model_copy(update=change)

    assert digest(changed) != digest(EFFECTS)
    assert digest(EFFECTS[:1]) != digest(EFFECTS)
    assert digest(EFFECTS[::-1]) != digest(EFFECTS)


def test_the_digest_is_the_sha_256_of_what_anybody_can_write_down() -> None:
    # printf '[]' | sha256sum
    assert digest([]) == "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"


leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(leaves | st.text(), lambda part: st.lists(part) | st.dictionaries(st.text(), part), max_leaves=8)


@given(st.lists(st.dictionaries(st.text(), values), max_size=4))
def test_the_digest_depends_on_content_and_on_no_order_of_fields(rows: list[dict[str, Any]]) -> None:
    effect = Effect(table="parked", operation="insert", count=len(rows), rows=tuple(rows))
    turned = Effect.model_validate(json.loads(json.dumps(effect.model_dump(mode="json")), object_pairs_hook=backwards))

    assert digest([turned]) == digest([effect])
    assert re.fullmatch("[0-9a-f]{64}", digest([effect]))


def backwards(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


@pytest.fixture
async def elsewhere(second_database_url: str) -> AsyncIterator[World]:
    """The same service on another database."""
    engine = open_engine(second_database_url, pool_size=2)
    yield World(engine)
    await engine.dispose()


async def execute(engine: AsyncEngine, statement: str) -> None:
    async with transaction(engine) as db:
        await db.execute(text(statement))


async def numbers(world: World) -> list[dict[str, Any]]:
    return await world.rows("SELECT allocation_id, student_no, trainer_no FROM bookings ORDER BY booking_no")


async def first_session(world: World) -> tuple[str, int]:
    (row,) = await world.rows("SELECT allocation_id FROM allocations WHERE payment_id = 'pay_a'")
    return (str(row["allocation_id"]), 1)
