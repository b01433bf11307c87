"""The audit of commands: what was asked, by whom and why, and how it was answered.

Rows are only ever added. An accepted command occupies its id; a rejected one (forged, expired, or
other bytes under a used id) is kept once for each cause and occupies nothing.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Answered:
    """An accepted command: the hash of its bytes, its answer, and what was published with it as [{topic, value}]."""

    value_hash: bytes
    answer: dict[str, Any]
    events: list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the audit; `request`, `answer` and `events` are JSON values.

    `accepted` is False for what was not even looked at: forged, expired, or other bytes under a used id.
    """

    command_id: str
    value_hash: bytes
    accepted: bool
    command: str
    requested_by: str
    reason: str
    request: dict[str, Any]
    outcome: str
    answer: dict[str, Any]
    requested_at: datetime
    completed_at: datetime
    events: list[Any]
    refusal_code: str | None = None
    key_id: str | None = None
    parked_id: UUID | None = None
    payment_id: str | None = None
    enrollment_id: UUID | None = None
    allocation_id: UUID | None = None
    step: str | None = None
    bulk_id: str | None = None


_TAKE_TURN = text("SELECT pg_advisory_xact_lock(CAST(:key AS bigint))")

_ANSWERED = text("""
    SELECT value_hash, answer, events FROM repairs WHERE command_id = :command_id AND accepted
""")

# The arbiter covers what was rejected; an accepted id that is there already fails, and is read again.
_RECORD = text("""
    INSERT INTO repairs (command_id, value_hash, accepted, command, requested_by, reason, key_id, parked_id, payment_id,
                         enrollment_id, allocation_id, step, bulk_id, request, outcome, refusal_code, answer, events,
                         requested_at, completed_at)
    VALUES (:command_id, CAST(:value_hash AS bytea), :accepted, :command, :requested_by, :reason, :key_id,
            CAST(:parked_id AS uuid), :payment_id, CAST(:enrollment_id AS uuid), CAST(:allocation_id AS uuid), :step,
            :bulk_id, CAST(CAST(:request AS text) AS jsonb), :outcome, :refusal_code,
            CAST(CAST(:answer AS text) AS jsonb), CAST(CAST(:events AS text) AS jsonb),
            CAST(:requested_at AS timestamptz), CAST(:completed_at AS timestamptz))
    ON CONFLICT (command_id, value_hash, refusal_code) WHERE NOT accepted DO NOTHING
""")

_CANCELLED = text("""
    SELECT EXISTS (SELECT FROM repairs
                    WHERE bulk_id = :bulk_id AND command = 'cancelBulk' AND accepted AND outcome <> 'refused')
""")

# The rows of the bulk itself and of what stops it are no items.
_PROGRESS = text("""
    SELECT outcome, count(*) AS items FROM repairs
     WHERE bulk_id = :bulk_id AND accepted AND command NOT IN ('bulk', 'cancelBulk')
     GROUP BY outcome
     ORDER BY outcome
""")


async def take_turn(db: AsyncConnection, command_id: str) -> None:
    """Keep every other transaction of this command id out until this one ends."""
    digest = hashlib.sha256(b"repairs:" + command_id.encode()).digest()
    await db.execute(_TAKE_TURN, {"key": int.from_bytes(digest[:8], "big", signed=True)})


async def answered(db: AsyncConnection, command_id: str) -> Answered | None:
    """How the accepted command of this id was answered; None where there was none."""
    row = (await db.execute(_ANSWERED, {"command_id": command_id})).one_or_none()
    return None if row is None else Answered(bytes(row.value_hash), row.answer, row.events)


async def record(db: AsyncConnection, entry: Entry) -> None:
    """Add a row to the audit; what was rejected for the same cause before is not added again.

    An accepted command of an accepted id violates a unique key (23505).
    """
    await db.execute(
        _RECORD,
        {
            **{name: getattr(entry, name) for name in Entry.__slots__},
            "request": json.dumps(entry.request),
            "answer": json.dumps(entry.answer),
            "events": json.dumps(entry.events),
        },
    )


async def cancelled(db: AsyncConnection, bulk_id: str) -> bool:
    """Whether somebody stopped this bulk."""
    return bool((await db.execute(_CANCELLED, {"bulk_id": bulk_id})).scalar_one())


async def progress(db: AsyncConnection, bulk_id: str) -> dict[str, int]:
    """How many items of a bulk have ended, by outcome."""
    return {row.outcome: row.items for row in await db.execute(_PROGRESS, {"bulk_id": bulk_id})}
