"""`app.py contracts`: what a release would break is told before it is out, by its contracts and by what is parked."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from commands import contracts as command
from commands import parked_check
from commands.contract_files import documents
from contracts.committed import ASYNCAPI, SCHEMAS, as_text
from errors import Transient
from service import Addresses
from storage.engine import transaction
from tests.builders import a_payment, a_trainer
from tests.commands.calling import Caller, Printed
from tests.e2e.deployment import ROOT
from tests.world import World

# app.py, with the committed files elsewhere: it must never write into this repository.
ELSEWHERE = """
import sys
from pathlib import Path
import commands.contract_files, contracts.committed
contracts.committed.SCHEMAS = Path(sys.argv[1]) / "schemas"
commands.contract_files.ASYNCAPI = Path(sys.argv[1]) / "asyncapi.json"
commands.contract_files.PROMISES = contracts.committed.PROMISES = Path(sys.argv[1]) / "promises.json"
from app import app
app(sys.argv[2:])
"""

_CHANGE = text("UPDATE parked SET payload = CAST(:payload AS bytea) WHERE id = :id")
_SAY = text("UPDATE parked SET reason = :reason WHERE id = :id")
_MOVE = text("UPDATE parked SET topic = :topic WHERE id = :id")
_CLOSE = text("UPDATE parked SET status = 'dismissed', closed_at = now(), closed_by = 'asha' WHERE id = :id")
_MANY = text("""
    INSERT INTO parked (id, kind, actor, subject, reason, topic, partition, "offset", payload, headers, facts)
    SELECT gen_random_uuid(), 'record', 'enrollment', n::text, 'unreadable', 'payments.succeeded', 0, n,
           convert_to('{"paymentId": ' || n || '}', 'UTF8'), '[]', '{}'
      FROM generate_series(1, :count) AS n
""")


async def writing(folder: Path) -> Printed:
    """`app.py contracts write` on the files of this folder."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ELSEWHERE, str(folder), "contracts", "write"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complained = await process.communicate()
    return Printed(process.returncode or 0, printed.decode(), complained.decode())


def changed(folder: Path, topic: str, field: str, **keywords: Any) -> Path:
    """The file of a topic, as if it had been committed with another field."""
    path = folder / "schemas" / f"{topic}.v1.json"
    schema = json.loads(path.read_text())
    schema["properties"][field] |= keywords
    path.write_text(as_text(schema))
    return path


def test_the_files_of_this_release_are_those_that_write_would_write() -> None:
    assert {path.read_text() == as_text(document) for path, document in documents().items()} == {True}
    assert {path.parent for path in documents()} == {SCHEMAS, ASYNCAPI.parent}


async def test_what_is_missing_is_written_and_then_nothing_more(tmp_path: Path) -> None:
    first = await writing(tmp_path)
    second = await writing(tmp_path)

    assert (first.code, second.code) == (0, 0)
    assert "21 files written." in first.out
    assert second.out == "Everything is as committed.\n"
    assert (tmp_path / "asyncapi.json").read_text() == ASYNCAPI.read_text()


async def test_a_change_that_breaks_nobody_is_written(tmp_path: Path) -> None:
    await writing(tmp_path)
    path = changed(tmp_path, "payments.succeeded", "amountMinor", minimum=1)

    printed = await writing(tmp_path)

    assert printed.code == 0
    assert path.name in printed.out
    assert path.read_text() == (SCHEMAS / path.name).read_text()


async def test_a_change_that_breaks_somebody_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    await writing(tmp_path)
    files = [
        changed(tmp_path, "payments.succeeded", "amountMinor", minimum=-100),
        changed(tmp_path, "coins.redeemed", "coins", minimum=10),
        changed(tmp_path, "trainers.busy", "busyId", description="other words"),
    ]
    before = [path.read_text() for path in files]

    printed = await writing(tmp_path)

    assert printed.code == 1
    assert "payments.succeeded: amountMinor must be 0 or more now, where producers may send -100 or more" in printed.err
    assert "coins.redeemed: coins may be 1 or more now, where readers expect 10 or more" in printed.err
    assert "Traceback" not in printed.err
    assert [path.read_text() for path in files] == before


async def parked(world: World) -> tuple[Any, Any]:
    """A step that waits for a trainer, and a record that nobody can read; their rows."""
    world.send("payments.succeeded", a_payment(courseId="crs_chess"))
    world.send("payments.succeeded", b'{"paymentId": 7}')
    world.send("trainers.changed", a_trainer())
    await world.settle()
    (step,) = await world.rows("SELECT * FROM parked WHERE kind = 'step'")
    (record,) = await world.rows("SELECT * FROM parked WHERE kind = 'record'")
    return step, record


async def execute(world: World, statement: Any, **binds: Any) -> None:
    async with transaction(world.engine) as db:
        await db.execute(statement, binds)


async def test_a_database_with_nothing_parked_is_fine(call: Caller) -> None:
    printed = await call("contracts", "check")

    assert printed.code == 0
    assert "0 parked items or purchases checked" in printed.out


async def test_what_is_parked_reads_as_it_did_and_unreadable_records_are_no_alarm(world: World, call: Caller) -> None:
    await parked(world)

    printed = await call("contracts", "check", "--json")
    shown = await call("contracts", "check")

    assert (printed.code, shown.code) == (0, 0)
    assert printed.json == {
        "checked": 3,
        "readable": 2,
        "still_unreadable": 1,
        "readable_now": [],
        "unreadable": [],
    }
    assert "3 parked items or purchases checked; 2 can be read, as before." in shown.out


async def test_a_step_whose_record_cannot_be_read_any_more_is_named_and_fails(world: World, call: Caller) -> None:
    step, _ = await parked(world)
    payload = {name: value for name, value in json.loads(step["payload"]).items() if name != "courseId"}
    await execute(world, _CHANGE, id=step["id"], payload=json.dumps(payload).encode())

    printed = await call("contracts", "check", "--json")
    shown = await call("contracts", "check")

    assert (printed.code, shown.code) == (1, 1)
    assert printed.json["unreadable"] == [
        {
            "topic": "enrollments.created",
            "kind": "step",
            "field": "courseId",
            "expected": "a value: this field is required",
            "count": 1,
            "parked_ids": [str(step["id"])],
        }
    ]
    for said in ("1 item cannot be read by this release any more", "courseId", str(step["id"])):
        assert said in shown.out


async def test_a_record_that_can_be_read_now_is_good_news(world: World, call: Caller) -> None:
    _, record = await parked(world)
    await execute(world, _CHANGE, id=record["id"], payload=json.dumps(a_payment()).encode())

    printed = await call("contracts", "check", "--json")
    shown = await call("contracts", "check")

    assert (printed.code, shown.code) == (0, 0)
    assert printed.json["readable_now"] == [str(record["id"])]
    assert f"app.py repair retry {record['id']}" in shown.out


@pytest.mark.parametrize(
    ("reason", "code"), [("conflicting_duplicate", 1), ("changed_at_in_future", 1), ("refused_by_database", 0)]
)
async def test_a_record_that_could_be_read_when_it_was_parked_must_still_be(
    world: World, call: Caller, reason: str, code: int
) -> None:
    _, record = await parked(world)
    await execute(world, _SAY, id=record["id"], reason=reason)

    printed = await call("contracts", "check", "--json")

    assert printed.code == code
    assert printed.json["still_unreadable"] == 1 - code


async def test_what_is_parked_of_a_topic_that_is_gone_fails(world: World, call: Caller) -> None:
    step, _ = await parked(world)
    await execute(world, _MOVE, id=step["id"], topic="enrollments.made")

    printed = await call("contracts", "check", "--json")

    assert printed.code == 1
    (cause,) = printed.json["unreadable"]
    assert (cause["topic"], cause["field"], cause["expected"]) == (
        "enrollments.made",
        "topic",
        "a topic of this release",
    )


async def test_a_payment_on_its_way_that_a_resume_could_not_read_any_more_fails(world: World, call: Caller) -> None:
    step, _ = await parked(world)
    await execute(world, text("UPDATE purchases SET payload = payload - 'currency'"))

    printed = await call("contracts", "check", "--json")

    assert printed.code == 1
    (cause,) = printed.json["unreadable"]
    assert (cause["topic"], cause["kind"], cause["field"]) == ("payments.succeeded", "purchase", "currency")
    assert cause["parked_ids"] == [step["payment_id"]]


async def test_what_is_closed_is_not_looked_at(world: World, call: Caller) -> None:
    step, _ = await parked(world)
    await execute(world, _MOVE, id=step["id"], topic="enrollments.made")
    await execute(world, _CLOSE, id=step["id"])

    printed = await call("contracts", "check", "--json")

    assert printed.code == 0
    assert printed.json["checked"] == 2


async def test_every_item_is_looked_at_once_over_many_pages_and_causes_are_counted(world: World, call: Caller) -> None:
    count = 3 * parked_check._PAGE + 1
    await execute(world, _MANY, count=count)

    calm = await call("contracts", "check", "--json")
    await execute(world, text("UPDATE parked SET reason = 'conflicting_duplicate'"))
    alarm = await call("contracts", "check", "--json")

    assert calm.json["still_unreadable"] == count
    (cause,) = alarm.json["unreadable"]
    assert (cause["count"], cause["field"]) == (count, "paymentId")
    assert len(set(cause["parked_ids"])) == parked_check._MOST_IDS


async def test_a_check_cannot_write(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    async def writing(db: AsyncConnection) -> None:
        await db.execute(_CLOSE, {"id": uuid4()})

    monkeypatch.setattr(command, "check", writing)

    with pytest.raises(Transient, match="read-only transaction"):
        await command._checked(addresses.database_url)
