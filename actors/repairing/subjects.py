"""What a command is about, what it led to, and the refusals that every command has in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.allocation import Allocator
from actors.batch import Actor, Outcome
from contracts.decode import decode
from contracts.record import Record
from contracts.repairs import Refusal
from errors import Parked, Refused, Unreadable, in_words
from storage import parked, parking
from storage.parked import ParkedRow
from storage.parking import ParkedItem
from storage.targets import Target


@dataclass(frozen=True, slots=True)
class Tools:
    """What commands work with: the actors by name, and an allocator of the repair actor's own."""

    steps: Mapping[str, Actor]
    allocator: Allocator


@dataclass(frozen=True, slots=True)
class Subject:
    """What a command is about, locked: a purchase, a parked row, or both; `at` is when it was asked for."""

    target: Target | None
    row: ParkedRow | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Done:
    """What a command led to; with a refusal when the step was tried and parked again."""

    outcome: Outcome = field(default_factory=Outcome)
    refusal: Refusal | None = None


async def stored_of(db: AsyncConnection, actor: str, outcome: Outcome) -> list[tuple[Record, ParkedItem]]:
    """Store what a check found out."""
    if outcome.done:
        await parking.resolve(db, actor, outcome.done)
    return await parking.park(db, actor, outcome.parked)


def judged(outcome: Outcome, stored: Sequence[tuple[Record, ParkedItem]], tried: UUID | None) -> Done:
    """A step that parked again is refused with its reason, though its row is written; other rows are by-products."""
    told = Outcome(publish=outcome.publish, news=outcome.news, stored=stored)
    again = [item for _, item in stored if tried is None or item.id == tried]
    if not again:
        return Done(told)
    return Done(told, Refusal(code=again[0].reason, message=in_words(again[0].reason), facts=again[0].facts))


def as_record(row: ParkedRow, at: datetime) -> Record:
    """The record that was parked, read again, as if it had come at `at`."""
    record = Record(row.topic, -1, -1, at, row.key, row.payload, row.record_headers)
    try:
        return record._replace(event=decode(row.topic, row.key, row.payload))
    except Unreadable as unreadable:
        return record._replace(event=unreadable)


async def refuse_dismissed(db: AsyncConnection, actor: str, subjects: Sequence[str]) -> None:
    """Raise Refused when an admin has dismissed this step of one of the subjects."""
    if await parked.is_dismissed(db, actor, subjects):
        raise Refused("dismissed", "Somebody dismissed this step; restore it first.", step=actor)


def row_of(subject: Subject) -> ParkedRow:
    """The parked row that the command is about. Raises: Refused."""
    if subject.row is None:
        raise Refused("unknown_item", "No parked item has this id.")
    return subject.row


def open_row(subject: Subject) -> ParkedRow:
    """The same, still open. Raises: Refused; Unchanged when it is resolved already."""
    row = row_of(subject)
    if row.status == "dismissed":
        raise Refused("dismissed", "The item was dismissed; restore it first.")
    if row.status == "resolved":
        raise Unchanged
    return row


def purchase_of(subject: Subject) -> Target:
    """The purchase that the command is about. Raises: Refused."""
    if subject.target is None:
        raise Refused("unknown_purchase", "No purchase has this id.")
    return subject.target


def unscheduled(subject: Subject, instead: str) -> Target:
    """The same, enrolled and without sessions yet; `instead` says what to do with those. Raises: Refused."""
    target = purchase_of(subject)
    refuse_refunded(target)
    if target.enrollment_id is None:
        raise Refused("not_enrolled", "The purchase is not enrolled yet; resume its enrollment first.")
    if target.scheduled_at is not None:
        raise Refused("already_scheduled", f"The sessions are there already; {instead}.")
    return target


def refuse_refunded(target: Target) -> None:
    """Raise Refused for a purchase that was refunded."""
    if target.refunded_at is not None:
        raise Refused("refunded", "The purchase was refunded.", refundedAt=target.refunded_at.isoformat())


class Unchanged(Exception):
    """There is nothing to do."""


def refusal_of(reason: Parked | Refused) -> Refusal:
    """Why nothing was done, for the answer."""
    if isinstance(reason, Refused):
        return Refusal(code=reason.code, message=reason.message, facts=reason.facts or None)
    return Refusal(code=reason.code, message=in_words(reason.code), facts=reason.facts or None)
