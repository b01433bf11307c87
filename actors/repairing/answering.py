"""What is told of a command, and kept of it: its answer, and its row in the audit."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic_core import from_json, to_json, to_jsonable_python

from actors.repairing.bulk import EXPAND
from actors.repairing.subjects import Done, Subject
from contracts.base import Event
from contracts.decode import read_event
from contracts.record import Record
from contracts.repairs import Announced, EditAndRetry, Effect, RepairCommand, RepairCompleted
from storage.repairs import Entry


@dataclass(frozen=True, slots=True)
class Judged:
    """A command carried out, or refused: its outcome in a word, what was written, and what follows from it."""

    kind: str
    done: Done
    effects: list[Effect]
    digest: str | None


def kind_of(command: RepairCommand, done: Done, written: list[Effect]) -> str:
    """How a command ended, in a word."""
    if done.refusal:
        return "refused"
    if command.dry_run:
        return "dryRun"
    if isinstance(command, EditAndRetry):
        return "republished"
    return "applied" if written or type(command) in EXPAND else "unchanged"


def answer_to(command: RepairCommand, judged: Judged, subject: Subject | None) -> RepairCompleted:
    """The answer to a command; without a subject it was not even looked at."""
    row, target = (subject.row, subject.target) if subject else (None, None)
    told = [event for event in judged.done.outcome.publish if not isinstance(event, RepairCommand)]
    items = len(judged.done.outcome.publish) - len(told)
    return RepairCompleted(
        command_id=command.command_id,
        command=command.command,
        outcome=judged.kind,
        parked_id=getattr(command, "parked_id", None),
        payment_id=(target.payment_id if target else row.payment_id if row else None) or _corrected(command, told),
        enrollment_id=target.enrollment_id if target else row.enrollment_id if row else None,
        allocation_id=target.allocation_id if target else row.allocation_id if row else None,
        effects=tuple(judged.effects),
        digest=judged.digest,
        events=tuple(Announced(topic=e.TOPIC, id=e.event_id, subject=e.subject) for e in told),
        items=items or None,
        refusal=judged.done.refusal,
        completed_at=datetime.now(UTC),
    )


def _corrected(command: RepairCommand, told: Sequence[Event]) -> str | None:
    """The payment of a record that nobody could read before it was edited."""
    return next((getattr(e, "payment_id", None) for e in told if isinstance(command, EditAndRetry)), None)


def entry_of(
    record: Record,
    value_hash: bytes,
    answer: RepairCompleted,
    events: list[Event],
    *,
    accepted: bool = True,
    key_id: str | None = None,
) -> Entry:
    """The row of the audit: what was asked, by whom and why, and how it was answered."""
    command: Any = record.event
    return Entry(
        command_id=command.command_id,
        value_hash=value_hash,
        accepted=accepted,
        command=command.command,
        requested_by=command.requested_by,
        reason=command.reason,
        key_id=key_id,
        parked_id=answer.parked_id,
        payment_id=answer.payment_id,
        enrollment_id=answer.enrollment_id,
        allocation_id=answer.allocation_id,
        step=getattr(command, "step", None),
        bulk_id=command.bulk_id,
        request=from_json(record.value or b"{}"),
        outcome=answer.outcome,
        refusal_code=answer.refusal.code if answer.refusal else None,
        answer=to_jsonable_python(answer, by_alias=True, exclude_none=True),
        events=[{"topic": event.TOPIC, "value": from_json(event.to_wire())} for event in events],
        requested_at=record.at,
        completed_at=answer.completed_at,
    )


def told_before(stored: dict[str, Any]) -> Event:
    """An event as it was published the first time."""
    return read_event(stored["topic"], None, to_json(stored["value"]))
