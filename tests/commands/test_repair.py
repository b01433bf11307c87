"""`app.py repair ...`: a command is published, its answer awaited and told."""

import asyncio
import json
import shlex
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from contracts import signing
from contracts.repairs import AssignTrainer, EditAndRetry, RepairCompleted, Retry
from settings import Settings
from tests.commands.calling import Caller
from tests.commands.stand_in import an_answer, answering

ID = UUID(int=7)
RETRY = ("repair", "retry", str(ID), "--reason", "said by phone")


async def applied(command: Any) -> list[RepairCompleted]:
    return [an_answer(command, parked_id=ID)]


async def silent(_command: Any) -> list[RepairCompleted]:
    return []


async def refused(command: Any) -> list[RepairCompleted]:
    offer = {"says": "trn_9 at 17:00", "command": {"command": "retry", "parkedId": str(ID)}}
    refusal = {"code": "no_trainer", "message": "There is still [b]nobody[/b].\x1b", "facts": {"offers": [offer]}}
    return [an_answer(command, "refused", refusal=refusal)]


async def dry(command: Any) -> list[RepairCompleted]:
    rows = [{"number": number, "startsAt": "2026-12-02T10:30:00Z"} for number in range(1, 21)]
    moved = {"before": {"number": 1, "trainerId": "trn_1"}, "after": {"number": 1, "trainerId": "trn_2"}}
    long = {"table": "bookings", "operation": "insert", "count": 1, "rows": [{"booked": "x" * 1_000}]}
    effects = [
        long,
        {"table": "sessions", "operation": "insert", "count": 20, "rows": rows},
        {"table": "allocations", "operation": "update", "count": 1, "rows": [moved]},
    ]
    events = [{"topic": "sessions.scheduled", "id": "evt_1", "subject": "alc_1"}]
    return [an_answer(command, "dryRun", effects=effects, events=events, digest="3f5a")]


async def test_a_command_is_published_under_its_id_and_its_answer_printed(
    call: Caller, settings: Settings, kafka: str
) -> None:
    async with answering(kafka, settings, applied) as repairer:
        printed = await call(*RETRY, "--by", "asha@example.org", "--command-id", "cmd_1", "--json")

    assert printed.code == 0, printed.err
    assert repairer.commands == [
        Retry(command_id="cmd_1", requested_by="asha@example.org", reason="said by phone", parked_id=ID)
    ]
    assert repairer.records[0].key == b"cmd_1"
    assert (printed.json["commandId"], printed.json["outcome"]) == ("cmd_1", "applied")


async def test_whoever_says_nothing_gets_an_id_of_his_own_and_is_told_by_user_and_machine(
    call: Caller, settings: Settings, kafka: str
) -> None:
    async with answering(kafka, settings, applied) as repairer:
        for _ in range(2):
            assert (await call(*RETRY)).code == 0

    assert len({command.command_id for command in repairer.commands}) == 2
    assert all("@" in command.requested_by for command in repairer.commands)
    assert "firstbell-signature" not in dict(repairer.records[0].headers)


async def test_with_keys_set_the_command_is_signed(call: Caller, settings: Settings, kafka: str) -> None:
    async with answering(kafka, settings, applied) as repairer:
        await call(*RETRY, FIRSTBELL_REPAIR_KEYS=f"desk:{'s' * 32}")

    record = repairer.records[0]
    assert signing.verify(record.value, record.headers, {"desk": b"s" * 32}).key_id == "desk"


async def test_options_are_read_as_the_contract_wants_them(call: Caller, settings: Settings, kafka: str) -> None:
    said = ["--session-count", "20", "--days-of-week", "mon, wed", "--force", "distance,hours", "--time-slot", "17:00"]
    async with answering(kafka, settings, applied) as repairer:
        printed = await call("repair", "assign-trainer", str(ID), *said, "--reason", "r", "--date", "")

    assert printed.code == 0, printed.err
    (command,) = repairer.commands
    assert isinstance(command, AssignTrainer)
    assert (command.session_count, command.days_of_week, command.force) == (20, ("mon", "wed"), ("distance", "hours"))
    assert (command.time_slot, command.date) == ("17:00", None)


@pytest.mark.parametrize("from_file", [True, False])
async def test_a_corrected_record_comes_as_text_or_from_a_file(
    call: Caller, settings: Settings, kafka: str, tmp_path: Path, *, from_file: bool
) -> None:
    payload = {"paymentId": "pay_1", "metadata": {"note": "राम"}}
    file = tmp_path / "it's corrected.json"
    file.write_text(json.dumps(payload))
    said = f"@{file}" if from_file else json.dumps(payload)

    async with answering(kafka, settings, silent) as repairer:
        unanswered = await call("repair", "edit-and-retry", str(ID), "--payload", said, "--reason", "r", "--wait", "0")
        again = shlex.split(unanswered.err.splitlines()[-1])[1:]
        await call(*again, "--wait", "0")
        await _read(repairer, 2)

    first, second = repairer.records
    assert isinstance(repairer.commands[0], EditAndRetry)
    assert repairer.commands[0].payload == payload
    assert first.value == second.value


async def test_a_refusal_is_told_with_what_would_help_and_exits_with_1(
    call: Caller, settings: Settings, kafka: str
) -> None:
    async with answering(kafka, settings, refused):
        printed = await call(*RETRY)

    assert printed.code == 1
    assert r"There is still [b]nobody[/b].\x1b (no_trainer)" in printed.out
    assert f"app.py repair retry {ID} --reason 'trn_9 at 17:00'" in printed.out


async def test_a_dry_run_shows_the_rows_and_the_line_that_applies_just_them(
    call: Caller, settings: Settings, kafka: str
) -> None:
    async with answering(kafka, settings, dry) as repairer:
        printed = await call(*RETRY, "--dry-run")
        line = next(line for line in printed.out.splitlines() if "--expected-digest" in line)
        await call(*shlex.split(line)[1:])

    assert printed.code == 0
    for said in (
        "sessions: 20 rows new",
        "10 rows more",
        "trn_1 -> trn_2",
        "x... (1,000 characters)",
        "sessions.scheduled",
        "nothing was written",
    ):
        assert said in printed.out
    tried, applied_ = repairer.commands
    assert (tried.dry_run, tried.expected_digest) == (True, None)
    assert (applied_.dry_run, applied_.expected_digest) == (False, "3f5a")
    assert applied_ == tried.model_copy(
        update={"command_id": applied_.command_id, "dry_run": False, "expected_digest": "3f5a"}
    )
    assert applied_.command_id != tried.command_id


async def test_without_an_answer_the_line_that_asks_again_publishes_the_same_bytes(
    call: Caller, settings: Settings, kafka: str
) -> None:
    async with answering(kafka, settings, silent) as repairer:
        printed = await call(*RETRY, "--wait", "0.1")
        again = await call(*shlex.split(printed.err.splitlines()[-1])[1:], "--wait", "0.1")
        await _read(repairer, 2)

    assert (printed.code, again.code) == (2, 2)
    assert "kept and will be carried out" in printed.err
    assert repairer.records[0].value == repairer.records[1].value


async def test_the_answer_to_somebody_else_and_an_old_one_are_no_answer(
    call: Caller, settings: Settings, kafka: str
) -> None:
    async def to_another(command: Any) -> list[RepairCompleted]:
        return [an_answer(command.model_copy(update={"command_id": "cmd_other"}))]

    async with answering(kafka, settings, applied):
        await call(*RETRY, "--command-id", "cmd_1")
    async with answering(kafka, settings, to_another):
        printed = await call(*RETRY, "--command-id", "cmd_1", "--wait", "1")

    assert printed.code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("retry", "pay_1"), "parked-id: expected an id of ours"),
        (("resume", "pay_1", "--step", "payment"), "step: expected one of enrollment"),
        (("create-sessions", str(ID), "--latitude", "north"), "latitude: expected a finite number"),
        (("edit-and-retry", str(ID), "--payload", "{"), "payload: "),
        (("edit-and-retry", str(ID), "--payload", "[]"), "payload: expected a JSON object"),
        (("edit-and-retry", str(ID), "--payload", "@/no/such/file"), "payload: "),
        (("retry-waiting", "trainer", "--changed-at", "yesterday"), "changed-at: expected an instant"),
        (("retry", str(ID), "--command-id", "no id"), "command-id: expected an id"),
    ],
)
async def test_what_the_contract_does_not_allow_is_told_and_not_published(
    call: Caller, arguments: tuple[str, ...], said: str
) -> None:
    printed = await call("repair", *arguments, "--reason", "r")

    assert printed.code == 1
    assert said in printed.err
    assert "Traceback" not in printed.err


async def test_a_reason_must_be_given(call: Caller) -> None:
    printed = await call("repair", "retry", str(ID))

    assert printed.code == 2
    assert "--reason" in printed.err


async def test_where_nothing_runs_and_nothing_is_set_it_says_so(call: Caller) -> None:
    printed = await call(*RETRY, KAFKA_BOOTSTRAP_SERVERS="", DATABASE_URL="")

    assert printed.code == 1
    assert "No service runs in this folder." in printed.err


async def test_without_its_topics_nothing_is_published_and_the_remedy_is_named(call: Caller) -> None:
    printed = await call(*RETRY)

    assert printed.code == 1
    assert "app.py topics" in printed.err


async def test_a_broker_that_is_away_is_told_in_one_sentence(call: Caller) -> None:
    printed = await call(*RETRY, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")

    assert printed.code == 1
    assert "KAFKA_BOOTSTRAP_SERVERS" in printed.err
    assert "Traceback" not in printed.err


async def _read(repairer: Any, least: int) -> None:

    while len(repairer.records) < least:
        await asyncio.sleep(0.02)
