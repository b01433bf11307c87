"""`app.py repair bulk`: items chosen by cause, asked about, published as one command, followed to the end."""

from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.repairs import Bulk, RepairCompleted
from settings import Settings
from storage.engine import transaction
from tests.commands.calling import Caller
from tests.commands.stand_in import Judge, an_answer, answering

_PARK = text("""
    INSERT INTO parked (id, kind, actor, subject, reason, topic, partition, "offset", headers, facts, status, closed_at)
    SELECT CAST(lpad(CAST(number AS text), 32, '0') AS uuid), 'step', :actor, number, :reason, 'enrollments.created',
           0, number, '[]', '{}', :status, CASE WHEN :status <> 'open' THEN now() END
      FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS number
""")

_ANSWERED = text("""
    INSERT INTO repairs (command_id, value_hash, accepted, command, requested_by, reason, bulk_id, request, outcome,
                         refusal_code, answer, events, requested_at, completed_at)
    SELECT :bulk_id || '.' || number, '', true, 'retry', 'asha', 'r', :bulk_id, '{}', :outcome,
           CASE WHEN :outcome = 'refused' THEN 'no_trainer' END, '{}', '[]', now(), now()
      FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS number
""")

_EXPANDED = text("""
    INSERT INTO repairs (command_id, value_hash, accepted, command, requested_by, reason, request, outcome,
                         refusal_code, answer, events, requested_at, completed_at)
    VALUES (:bulk_id, '', true, 'bulk', 'asha', 'r', '{}', :outcome, CASE WHEN :outcome = 'refused' THEN 'no' END,
            jsonb_build_object('items', CAST(:items AS integer), 'refusal', jsonb_build_object('message', 'Not now.')),
            '[]', now(), now())
""")

CHOSEN = (
    "repair",
    "bulk",
    "--apply",
    "retry",
    "--reason",
    "a trainer is back",
    "--reason-code",
    "no_trainer_available",
)


async def park(engine: AsyncEngine, first: int, last: int, **row: str) -> list[UUID]:
    """Park items with these numbers for ids."""
    binds = {"actor": "allocation", "reason": "no_trainer_available", "status": "open", **row}
    async with transaction(engine) as db:
        await db.execute(_PARK, {"first": first, "last": last, **binds})
    return [UUID(f"{number:032}") for number in range(first, last + 1)]


def carrying_out(engine: AsyncEngine, refused: int = 0) -> Judge:
    """Answers a bulk and all its items, the last ones of them by a refusal."""

    async def judge(command: Any) -> list[RepairCompleted]:
        items = len(command.parked_ids)
        if not command.dry_run:
            bulk = {"bulk_id": command.command_id}
            async with transaction(engine) as db:
                await db.execute(_EXPANDED, {**bulk, "items": items, "outcome": "applied"})
                await db.execute(_ANSWERED, {**bulk, "outcome": "applied", "first": 1, "last": items - refused})
                await db.execute(_ANSWERED, {**bulk, "outcome": "refused", "first": items - refused + 1, "last": items})
        return [an_answer(command, "dryRun" if command.dry_run else "applied", items=items)]

    return judge


async def test_what_matches_is_repaired_by_one_command_and_followed_to_its_end(
    call: Caller, settings: Settings, kafka: str, engine: AsyncEngine
) -> None:
    wanted = await park(engine, 1, 30)
    await park(engine, 31, 35, reason="schedule_invalid")
    await park(engine, 36, 40, status="dismissed")

    async with answering(kafka, settings, carrying_out(engine)) as repairer:
        printed = await call(*CHOSEN, "--yes", "--json", "--command-id", "blk_1")

    assert printed.code == 0, printed.err
    (command,) = repairer.commands
    assert isinstance(command, Bulk)
    assert (command.command_id, command.apply, set(command.parked_ids)) == ("blk_1", "retry", set(wanted))
    assert printed.json == {"bulkId": "blk_1", "items": 30, "outcomes": {"applied": 30}, "refusals": {}}


async def test_items_are_chosen_by_their_ids_each_once(
    call: Caller, settings: Settings, kafka: str, engine: AsyncEngine
) -> None:
    ids = await park(engine, 1, 5, status="dismissed")
    said = [str(ids[0]), str(ids[3]), str(ids[3])]

    async with answering(kafka, settings, carrying_out(engine)) as repairer:
        printed = await call("repair", "bulk", *said, "--apply", "restore", "--reason", "r", "--yes")

    assert printed.code == 0, printed.err
    assert isinstance(repairer.commands[0], Bulk)
    assert sorted(repairer.commands[0].parked_ids) == [ids[0], ids[3]]


async def test_it_tells_the_causes_and_asks_and_no_is_no(
    call: Caller, settings: Settings, kafka: str, engine: AsyncEngine
) -> None:
    await park(engine, 1, 12)

    async with answering(kafka, settings, carrying_out(engine)) as repairer:
        declined = await call(*CHOSEN, typed="n\n")
        unasked = await call(*CHOSEN)
        agreed = await call(*CHOSEN, typed="y\n")

    assert (declined.code, unasked.code, agreed.code) == (1, 1, 0)
    assert "retry 12 items?" in declined.err
    assert "no_trainer_available" in declined.err
    assert len(repairer.commands) == 1


async def test_refused_items_are_told_by_their_cause(
    call: Caller, settings: Settings, kafka: str, engine: AsyncEngine
) -> None:
    await park(engine, 1, 12)

    async with answering(kafka, settings, carrying_out(engine, refused=5)):
        printed = await call(*CHOSEN, "--yes", "--command-id", "blk_1")
        again = await call("repair", "bulk", "--follow", "blk_1", "--json")

    assert (printed.code, again.code) == (1, 1)
    assert "no_trainer" in printed.out
    assert again.json == {
        "bulkId": "blk_1",
        "items": 12,
        "outcomes": {"applied": 7, "refused": 5},
        "refusals": {"no_trainer": 5},
    }


async def test_a_bulk_that_gets_no_further_is_left_with_the_line_that_follows_it(
    call: Caller, engine: AsyncEngine
) -> None:
    async with transaction(engine) as db:
        await db.execute(_EXPANDED, {"bulk_id": "blk_1", "items": 3, "outcome": "applied"})
        await db.execute(_ANSWERED, {"bulk_id": "blk_1", "outcome": "applied", "first": 1, "last": 2})

    printed = await call("repair", "bulk", "--follow", "blk_1", "--wait", "0")

    assert printed.code == 2
    assert "app.py repair bulk --follow blk_1" in printed.err


async def test_a_bulk_that_was_refused_is_not_waited_for(call: Caller, engine: AsyncEngine) -> None:
    async with transaction(engine) as db:
        await db.execute(_EXPANDED, {"bulk_id": "blk_1", "items": None, "outcome": "refused"})

    printed = await call("repair", "bulk", "--follow", "blk_1")

    assert printed.code == 1
    assert "The bulk was refused: Not now." in printed.err


async def test_a_dry_run_of_a_bulk_follows_nothing(
    call: Caller, settings: Settings, kafka: str, engine: AsyncEngine
) -> None:
    await park(engine, 1, 4)

    async with answering(kafka, settings, carrying_out(engine)) as repairer:
        printed = await call(*CHOSEN, "--dry-run", "--json")

    assert printed.code == 0, printed.err
    assert (printed.json["outcome"], printed.json["items"]) == ("dryRun", 4)
    assert repairer.commands[0].dry_run


async def test_more_than_a_bulk_may_have_are_taken_oldest_first(
    call: Caller, settings: Settings, kafka: str, engine: AsyncEngine
) -> None:
    await park(engine, 1, 5_010)

    async with answering(kafka, settings, carrying_out(engine)) as repairer:
        printed = await call(*CHOSEN, "--yes", "--json")

    assert printed.code == 0, printed.err
    assert "5,010 items match" in printed.err
    assert isinstance(repairer.commands[0], Bulk)
    assert len(repairer.commands[0].parked_ids) == 5_000


async def test_a_dry_run_that_nobody_answers_is_not_followed(
    call: Caller, settings: Settings, kafka: str, engine: AsyncEngine
) -> None:
    async def silent(_command: Any) -> list[RepairCompleted]:
        return []

    await park(engine, 1, 4)

    async with answering(kafka, settings, silent):
        printed = await call(*CHOSEN, "--dry-run", "--wait", "0.1")

    assert printed.code == 2
    assert "No answer in time" in printed.err


async def test_a_bulk_says_what_it_is_for_and_of_what(call: Caller) -> None:
    cases = {
        (): "needs --apply and --reason",
        ("--apply", "retry", "--reason", "r"): "say which items",
        ("--apply", "retry", "--reason", "r", "--actor", "allocation"): "no open item matches",
        ("--apply", "retry", "--reason", "r", "pay_1"): "not the id of a parked item: pay_1",
    }

    printed = {arguments: await call("repair", "bulk", *arguments) for arguments in cases}

    assert {arguments: found.code for arguments, found in printed.items()} == dict.fromkeys(cases, 1)
    assert all(said in printed[arguments].err for arguments, said in cases.items())
