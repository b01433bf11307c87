"""The line of a command: run again, it says the very same."""

import subprocess
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as checking
from hypothesis import strategies as st
from typer.testing import CliRunner

import commands.repair
import commands.session
from app import app
from commands.lines import KINDS, line_of
from commands.repair import built
from contracts.repairs import RepairCommand, RepairCompleted

SHARED = {"command_id": "cmd_1", "requested_by": "asha@example.org", "reason": "said by phone"}
ID = str(uuid.UUID(int=1))
SCHEDULE = {"date": "2026-12-01", "time_slot": "4:00 PM - 5:00 PM", "days_of_week": ["mon", "wed"]}

SAID: list[tuple[str, dict[str, Any]]] = [
    ("retry", {"parked_id": ID}),
    ("retry", {"parked_id": ID, "dry_run": True, "expected_digest": "3f5a"}),
    ("resume", {"payment_id": "pay_8f3", "step": "allocation"}),
    ("resume", {"payment_id": "-dashed", "step": "cart", "dry_run": True}),
    ("createSessions", {"allocation_id": ID, "latitude": -12.5, "longitude": 77, "session_count": 20, **SCHEDULE}),
    ("assignTrainer", {"enrollment_id": ID, "session_count": "20 sessions", "force": ["distance", "hours"]}),
    ("assignTrainer", {"enrollment_id": ID, "trainer_id": "trn_4", "timezone": "Asia/Kolkata", **SCHEDULE}),
    ("rescheduleSessions", {"allocation_id": ID, "trainer_id": "trn_9", **SCHEDULE}),
    ("editAndRetry", {"parked_id": ID, "payload": {"paymentId": "pay_1", "note": "it's \u0930\u093e\u092e \x1b[2J"}}),
    ("dismiss", {"parked_id": ID, "reason": 'it\'s "quoted" $HOME `id` \\ ; rm'}),
    ("restore", {"parked_id": ID, "reason": "-- dashes first"}),
    ("retryWaiting", {"waits_for": "trainer", "course_id": "crs_1", "changed_at": "2026-11-22T08:00:00Z"}),
    ("cancelBulk", {"bulk_id": "blk_1"}),
]


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[RepairCommand]:
    """What the command line would publish."""
    commands_: list[RepairCommand] = []

    async def ask(_settings: object, _kafka: str, command: RepairCommand, _seconds: float) -> RepairCompleted:
        commands_.append(command)
        return RepairCompleted(
            command_id=command.command_id, command="retry", outcome="applied", completed_at=datetime.now(UTC)
        )

    monkeypatch.setattr(commands.repair, "ask", ask)
    monkeypatch.setattr(commands.session, "configure_logs", lambda _: None)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    return commands_


def run(line: str) -> None:
    """Run a line as bash would."""
    shell = ["bash", "-c", f"printf '%s\\0' {line}"]
    split = subprocess.run(shell, check=True, capture_output=True, env={"LC_ALL": "C.UTF-8", "HOME": "/nowhere"})
    program, *words = split.stdout.decode().split("\0")[:-1]
    result = CliRunner().invoke(app, words)
    assert (program, result.exit_code) == ("app.py", 0), result.output


@pytest.mark.parametrize(("name", "values"), SAID)
def test_a_line_says_what_the_command_says(published: list[RepairCommand], name: str, values: dict[str, Any]) -> None:
    command = built(KINDS[name], SHARED | values)

    run(line_of(command.model_dump(mode="json", by_alias=True, exclude_none=True)))

    assert [again.to_wire() for again in published] == [command.to_wire()]


def test_every_command_is_tried_here() -> None:
    assert {name for name, _ in SAID} == set(KINDS) - {"bulk"}


@checking(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(reason=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=50))
def test_any_reason_survives_the_shell(published: list[RepairCommand], reason: str) -> None:
    published.clear()
    command = built(KINDS["dismiss"], SHARED | {"parked_id": ID, "reason": reason})
    line = line_of(command.model_dump(mode="json", by_alias=True, exclude_none=True))

    run(line)

    assert published == [command]
    assert line.isprintable()
