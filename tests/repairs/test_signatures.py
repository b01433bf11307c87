"""Where keys are set, only what one of them signed has any effect; whatever else comes is refused, kept and counted."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

import metrics
from contracts.record import Record
from contracts.signing import sign
from roster import actors_of
from settings import Settings
from tests.builders import a_payment
from tests.repairs.asking import a_command, answer_to
from tests.world import World

KEYS = {"ops": b"a secret of more than thirty-two characters", "old": b"another secret of at least 32 characters"}
# Tests are collected long before the last of them runs.
LATER = int(time.time()) + 86_400


@pytest.fixture
async def guarded(engine: AsyncEngine) -> World:
    """A world with keys, and a step that is parked."""
    listed = ",".join(f"{key}:{secret.decode()}" for key, secret in KEYS.items())
    world = World(engine, actors_of(Settings(repair_keys=listed.replace(" ", "_"))))
    world.send("payments.succeeded", a_payment(purchaseTier="many"))
    await world.settle()
    return world


def signed(command: dict[str, Any], key: str = "ops", expires: int = LATER) -> tuple[bytes, list[tuple[str, bytes]]]:
    value = json.dumps(command).encode()
    return value, sign(value, key, KEYS[key].replace(b" ", b"_"), expires)


async def dismissal(world: World) -> dict[str, Any]:
    (row,) = await world.rows("SELECT id FROM parked")
    return a_command("dismiss", parkedId=str(row["id"]))


async def published(world: World, value: bytes, headers: Any, at: datetime | None = None) -> list[Record]:
    sent = world.send("repairs.requested", value, headers=headers, at=at)
    await world.settle()
    return sent


@pytest.mark.parametrize("key", KEYS)
async def test_what_any_key_has_signed_is_carried_out_and_the_audit_knows_the_key(guarded: World, key: str) -> None:
    command = await dismissal(guarded)

    await published(guarded, *signed(command, key))

    assert answer_to(guarded, command["commandId"]).outcome == "applied"
    assert await guarded.parked() == []
    assert await guarded.rows("SELECT key_id, accepted FROM repairs") == [{"key_id": key, "accepted": True}]


Forge = Callable[[bytes, list[tuple[str, bytes]]], tuple[bytes, list[tuple[str, bytes]]]]
FORGERIES: dict[str, tuple[str, Forge]] = {
    "no signature": ("unsigned", lambda value, _: (value, [])),
    "another value": ("forged", lambda value, headers: (value.replace(b"phone", b"email"), headers)),
    "a later expiry": ("forged", lambda value, h: (value, [h[0], (h[1][0], b"%d" % (LATER + 1)), h[2]])),
    "another key": ("forged", lambda value, headers: (value, [(headers[0][0], b"old"), *headers[1:]])),
    "an unknown key": ("unknown_key", lambda value, headers: (value, [(headers[0][0], b"eve"), *headers[1:]])),
    "a key twice": ("forged", lambda value, headers: (value, [*headers, headers[0]])),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forgery_is_refused_kept_counted_and_occupies_no_id(guarded: World, name: str) -> None:
    code, forge = FORGERIES[name]
    command = await dismissal(guarded)
    before = metrics.COMMANDS_REJECTED.labels(code)._value.get()
    forged = forge(*signed(command))

    await published(guarded, *forged)
    await published(guarded, *forged)
    refused = [a for a in guarded.log["repairs.completed"] if b'"refused"' in (a.value or b"")]
    still_parked = await guarded.parked()
    await published(guarded, *signed(command))

    assert len(refused) == 2
    assert still_parked == ["session_count_invalid"]
    assert await guarded.parked() == []
    assert metrics.COMMANDS_REJECTED.labels(code)._value.get() == before + 2
    rows = await guarded.rows("SELECT accepted, outcome, refusal_code FROM repairs ORDER BY repair_no")
    assert rows == [
        {"accepted": False, "outcome": "refused", "refusal_code": code},
        {"accepted": True, "outcome": "applied", "refusal_code": None},
    ]


async def test_a_signature_counts_by_the_time_of_the_append_and_a_redelivery_answers_whatever_its_age(
    guarded: World,
) -> None:
    command = await dismissal(guarded)
    in_time, too_late = (datetime.fromtimestamp(LATER + by, UTC) for by in (-700, 1))

    await published(guarded, *signed(command), at=too_late)
    expired = await guarded.parked()
    await published(guarded, *signed(command), at=in_time)
    await published(guarded, *signed(command), at=too_late + timedelta(days=30))

    assert expired == ["session_count_invalid"]
    rows = await guarded.rows("SELECT accepted, refusal_code FROM repairs ORDER BY repair_no")
    assert rows == [{"accepted": False, "refusal_code": "expired"}, {"accepted": True, "refusal_code": None}]
    answers = [json.loads(record.value or b"") for record in guarded.log["repairs.completed"]]
    assert [answer["outcome"] for answer in answers] == ["refused", "applied", "applied"]
    assert answers[1] == answers[2]


async def test_other_bytes_under_a_used_id_are_refused_and_the_first_answer_stands(guarded: World) -> None:
    command = await dismissal(guarded)
    other = {**command, "reason": "something else"}

    await published(guarded, *signed(command))
    await published(guarded, *signed(other))
    await published(guarded, *signed(command))

    answers = [json.loads(record.value or b"") for record in guarded.log["repairs.completed"]]
    assert [answer.get("refusal", {}).get("code") for answer in answers] == [None, "command_id_used", None]
    assert answers[0] == answers[2]
