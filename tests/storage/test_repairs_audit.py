"""The audit of commands: rows are added and never changed; an accepted command has its id for itself."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from errors import Conflict
from storage import repairs
from storage.engine import sqlstate, transaction
from storage.repairs import Answered, Entry

MOMENT = datetime(2026, 11, 22, 8, 2, 55, 123456, UTC)


def an_entry(command_id: str, **changes: Any) -> Entry:
    """A row of the audit that says nothing special."""
    basics: dict[str, Any] = {
        "value_hash": b"\x01",
        "accepted": True,
        "command": "dismiss",
        "requested_by": "asha@example.org",
        "reason": "a test",
        "request": {},
        "outcome": "applied",
        "answer": {},
        "requested_at": MOMENT,
        "completed_at": MOMENT,
        "events": [],
    }
    return Entry(command_id=command_id, **basics | changes)


async def kept(engine: AsyncEngine, *entries: Entry) -> None:
    """Record each in a transaction of its own."""
    for entry in entries:
        async with transaction(engine) as db:
            await repairs.record(db, entry)


async def rows(engine: AsyncEngine, query: str) -> list[dict[str, Any]]:
    async with transaction(engine) as db:
        return [dict(row) for row in (await db.execute(text(query))).mappings()]


async def test_a_row_holds_what_was_asked_by_whom_and_why_and_how_it_was_answered(engine: AsyncEngine) -> None:
    entry = Entry(
        command_id="cmd_1",
        value_hash=b"\x00\xff" * 16,
        accepted=True,
        command="resume",
        requested_by="asha@example.org",
        reason="profile completed by phone",
        request={"command": "resume", "note": "\u00e9 'quoted' :bind %s"},
        outcome="refused",
        answer={"refusal": {"code": "x", "message": "y"}, "effects": []},
        requested_at=MOMENT,
        completed_at=MOMENT,
        events=[{"topic": "sessions.scheduled", "value": {"version": 1}}],
        refusal_code="nothing_parked",
        key_id="ops-1",
        parked_id=UUID(int=1),
        payment_id="pay_1",
        enrollment_id=UUID(int=2),
        allocation_id=UUID(int=3),
        step="allocation",
        bulk_id="blk_1",
    )

    await kept(engine, entry)

    (row,) = await rows(engine, "SELECT * FROM repairs")
    assert row.pop("repair_no") == 1
    assert row.pop("began_at") is not None
    assert row == {name: getattr(entry, name) for name in Entry.__slots__}


async def test_an_accepted_command_is_answered_from_what_is_kept(engine: AsyncEngine) -> None:
    events = [{"topic": "sessions.scheduled", "value": {"version": 1}}]
    await kept(engine, an_entry("cmd_1", value_hash=b"\x01", answer={"outcome": "applied"}, events=events))

    async with transaction(engine) as db:
        first = await repairs.answered(db, "cmd_1")
        other = await repairs.answered(db, "cmd_2")

    assert first == Answered(b"\x01", {"outcome": "applied"}, events)
    assert other is None


@pytest.mark.parametrize("outcome", ["applied", "refused"])
async def test_an_accepted_id_is_accepted_once(engine: AsyncEngine, outcome: str) -> None:
    code = "gone" if outcome == "refused" else None
    first = an_entry("cmd_1", value_hash=b"\x01", outcome=outcome, refusal_code=code)
    await kept(engine, first)

    for second in (first, replace(first, value_hash=b"\x02")):
        with pytest.raises(Conflict):
            await kept(engine, second)

    assert len(await rows(engine, "SELECT repair_no FROM repairs")) == 1


async def test_what_was_rejected_occupies_no_id_whether_it_comes_before_or_after(engine: AsyncEngine) -> None:
    forged = an_entry("cmd_1", accepted=False, outcome="refused", refusal_code="forged", value_hash=b"\x02")

    await kept(engine, forged)
    async with transaction(engine) as db:
        before = await repairs.answered(db, "cmd_1")
    await kept(engine, an_entry("cmd_1", value_hash=b"\x01"), forged, replace(forged, value_hash=b"\x01"))

    async with transaction(engine) as db:
        after = await repairs.answered(db, "cmd_1")
    assert before is None
    assert after is not None
    assert after.value_hash == b"\x01"
    assert len(await rows(engine, "SELECT repair_no FROM repairs WHERE NOT accepted")) == 2


async def test_what_was_rejected_is_kept_once_for_each_content_and_cause(engine: AsyncEngine) -> None:
    forged = an_entry("cmd_1", accepted=False, outcome="refused", refusal_code="forged", reason="the first time")

    await kept(engine, forged, replace(forged, reason="again"), replace(forged, refusal_code="expired"))
    await kept(engine, replace(forged, value_hash=b"other bytes"), replace(forged, command_id="cmd_2"))

    found = await rows(engine, "SELECT refusal_code, reason FROM repairs ORDER BY repair_no")
    assert [row["refusal_code"] for row in found] == ["forged", "expired", "forged", "forged"]
    assert found[0]["reason"] == "the first time"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE repairs SET reason = 'another'",
        "UPDATE repairs SET reason = reason WHERE false",
        "DELETE FROM repairs",
        "TRUNCATE repairs",
        "INSERT INTO repairs SELECT * FROM repairs ON CONFLICT (repair_no) DO UPDATE SET reason = 'another'",
    ],
)
async def test_not_even_the_owner_of_the_server_changes_the_audit(engine: AsyncEngine, statement: str) -> None:
    await kept(engine, an_entry("cmd_1", reason="as it was"))
    (server,) = await rows(engine, "SELECT usesuper FROM pg_user WHERE usename = current_user")

    async with engine.connect() as db:
        with pytest.raises(Exception, match="append-only") as refused:
            await db.execute(text(statement.replace("SELECT *", "OVERRIDING SYSTEM VALUE SELECT *")))

    assert server["usesuper"]
    assert sqlstate(refused.value) == "42501"
    assert [row["reason"] for row in await rows(engine, "SELECT reason FROM repairs")] == ["as it was"]


async def test_two_of_the_same_id_go_one_after_the_other_and_others_do_not_wait(engine: AsyncEngine) -> None:
    order: list[str] = []

    async def second() -> None:
        async with transaction(engine) as db:
            order.append("asks")
            await repairs.take_turn(db, "cmd_1")
            order.append("has it")

    async with transaction(engine) as db:
        await repairs.take_turn(db, "cmd_1")
        task = asyncio.create_task(second())
        await waited(engine)
        async with transaction(engine) as other:
            await repairs.take_turn(other, "cmd_2")
        order.append("first ends")
    await task

    assert order == ["asks", "first ends", "has it"]


async def test_a_bulk_is_stopped_by_an_accepted_cancel_of_its_own(engine: AsyncEngine) -> None:
    cancel = an_entry("cancel", command="cancelBulk", bulk_id="blk_1")
    await kept(
        engine,
        replace(cancel, command_id="c1", accepted=False, outcome="refused", refusal_code="forged"),
        replace(cancel, command_id="c2", outcome="refused", refusal_code="bulk_unknown"),
        replace(cancel, command_id="c3", bulk_id="blk_2"),
        an_entry("c4", command="retry", bulk_id="blk_1"),
    )
    async with transaction(engine) as db:
        before = await repairs.cancelled(db, "blk_1")

    await kept(engine, cancel)

    async with transaction(engine) as db:
        assert (before, await repairs.cancelled(db, "blk_1")) == (False, True)
        assert await repairs.cancelled(db, "blk_3") is False


async def test_the_progress_of_a_bulk_counts_its_items_by_outcome(engine: AsyncEngine) -> None:
    item = an_entry("i0", command="retry", bulk_id="blk_1")
    refused = replace(item, outcome="refused", refusal_code="gone")
    await kept(
        engine,
        item,
        replace(item, command_id="i1"),
        replace(item, command_id="i2", outcome="unchanged"),
        replace(refused, command_id="i3"),
        replace(refused, command_id="i4", accepted=False),
        replace(item, command_id="i5", bulk_id="blk_2"),
        replace(item, command_id="blk_1", command="bulk"),
        replace(item, command_id="c1", command="cancelBulk"),
    )

    async with transaction(engine) as db:
        assert await repairs.progress(db, "blk_1") == {"applied": 2, "refused": 1, "unchanged": 1}
        assert await repairs.progress(db, "blk_3") == {}


async def waited(engine: AsyncEngine) -> None:
    """Return when somebody waits for an advisory lock of this database."""
    while not await rows(
        engine,
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    ):
        await asyncio.sleep(0)
