"""What each command does, inside a transaction whose purchase is locked: the steps themselves do the work.

Whatever stands in the way is raised, and nothing of the command is written then; except for a step
that is tried and parks again, which is told as a refusal and stays tried.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.allocation import Allocator, approval
from actors.batch import Actor, Outcome, joined
from actors.moving import order_of, reschedule, schedule_given
from actors.performing import perform
from actors.request import Wanted
from actors.settling import settling
from actors.triggers import triggers
from actors.unavailable import recheck
from contracts.decode import decode
from contracts.record import Record
from contracts.repairs import (
    AssignTrainer,
    CreateSessions,
    Dismiss,
    Refusal,
    RepairCommand,
    RescheduleSessions,
    Restore,
    Resume,
    Retry,
)
from errors import AllocationProvisional, Parked, Refused, TrainerUnavailable, Unreadable, in_words
from storage import parked, parking, purchases
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


async def retry(db: AsyncConnection, tools: Tools, command: Retry, subject: Subject) -> Done:
    """Do the parked step, or read the parked record, again."""
    row = _open(subject)
    await parked.attempt(db, row.id)
    if row.kind == "record":
        return await _retry_record(db, tools, command, row, subject.at)
    if row.reason == TrainerUnavailable.code and row.allocation_id:
        outcome = await recheck(db, [row.allocation_id])
        return _judged(outcome, await _stored(db, "directory", outcome), row.id)
    if row.reason == AllocationProvisional.code and subject.target:
        records = await triggers(db, tools.steps, "allocation", subject.target, subject.at)
        outcome, stored = await perform(db, settling(tools.allocator), records)
        if outcome.publish or stored:
            return _judged(outcome, stored, row.id)
        # What it could be settled by has gone again: the step says what it waits for now.
    outcome, stored = await perform(db, tools.steps[row.actor], await _records(db, tools, row, subject))
    done = _judged(outcome, stored, row.id)
    if done.refusal is None:
        # Nothing of it is left to do: it was done by others, or a refund came.
        await parked.close(db, row.id, "resolved", command.requested_by)
    return done


async def resume(db: AsyncConnection, tools: Tools, command: Resume, subject: Subject) -> Done:
    """Do a step of a purchase again, and tell its events again."""
    target = _purchase(subject)
    records = await triggers(db, tools.steps, command.step, target, subject.at)
    actor = tools.steps[command.step]
    subjects = [str(getattr(r.event, actor.subject)) for r in records if actor.subject]
    await _refuse_dismissed(db, actor.name, subjects)
    if command.step == "allocation" and target.provisional and target.status == "approved":
        actor = settling(tools.allocator)
    outcome, stored = await perform(db, actor, records)
    return _judged(outcome, stored, None)


async def assign_trainer(db: AsyncConnection, tools: Tools, command: AssignTrainer, subject: Subject) -> Done:
    """Allocate, as the admin says where he says anything; what was decided before is decided again."""
    target = _unscheduled(subject, "rescheduleSessions moves them")
    await _refuse_dismissed(db, "allocation", [str(target.enrollment_id)])
    if command.force and command.trainer_id is None:
        raise Refused("force_without_trainer", "Rules can be set aside for one trainer only: name him as trainerId.")
    given = schedule_given(command) | _given(sessionCount=command.session_count, timezone=command.timezone)
    wanted = Wanted(given, command.trainer_id, command.force, keep=command.trainer_id is None)
    return Done(await _decided(db, tools, target, wanted))


async def create_sessions(db: AsyncConnection, tools: Tools, command: CreateSessions, subject: Subject) -> Done:
    """Create an allocation's sessions; what is given is decided first, and so is what is provisional."""
    target = _purchase(subject)
    given = schedule_given(command) | _given(
        sessionCount=command.session_count, latitude=command.latitude, longitude=command.longitude
    )
    if target.scheduled_at is not None and not given and target.refunded_at is None:
        return Done()
    target = _unscheduled(subject, "rescheduleSessions moves them")
    if target.status != "approved":
        raise Refused("not_allocated", "The allocation holds no trainer's time; assign a trainer first.")
    decided = Outcome()
    if given or target.provisional:
        decided = await _decided(db, tools, target, Wanted(given, keep=True))
    await _refuse_dismissed(db, "sessions", [str(target.allocation_id)])
    records = await triggers(db, tools.steps, "sessions", target, subject.at)
    outcome, stored = await perform(db, tools.steps["sessions"], records)
    for _, item in stored:
        raise Refused(item.reason, in_words(item.reason), **item.facts)
    return Done(joined(decided, outcome))


async def reschedule_sessions(db: AsyncConnection, tools: Tools, command: RescheduleSessions, subject: Subject) -> Done:
    """Move the sessions that have not begun."""
    target = _purchase(subject)
    _refuse_refunded(target)
    if target.scheduled_at is None:
        raise Refused("not_scheduled", "There are no sessions yet; assignTrainer changes what they will be.")
    moved = await reschedule(db, tools.allocator, await order_of(db, target.payment_id), command)
    checked = await recheck(db, [command.allocation_id])
    return Done(joined(moved, Outcome(stored=await _stored(db, "directory", checked))))


async def dismiss(db: AsyncConnection, _: Tools, command: Dismiss, subject: Subject) -> Done:
    """Take an open item off the list."""
    row = _row(subject)
    await parked.close(db, row.id, "dismissed", command.requested_by)
    return Done()


async def restore(db: AsyncConnection, tools: Tools, _: Restore, subject: Subject) -> Done:
    """Put a dismissed item back on the list; it is looked after as if it had parked just now."""
    row = _row(subject)
    if row.status == "resolved":
        raise Refused("resolved", "The item was resolved: there is nothing to put back.")
    if row.status == "open":
        return Done()
    if subject.target and row.kind == "step":
        _refuse_refunded(subject.target)
    item = await parked.reopen(db, row.id)
    if item is None:
        raise Refused("superseded", "The same step has parked again since; that item is the one to work on.")
    if row.kind == "step" and row.payment_id and tools.steps[row.actor].holds_up:
        await purchases.advance(db, [(row.payment_id, "parked")])
    return Done(Outcome(stored=[(_as_record(row, subject.at), item)]))


Carry = Callable[[AsyncConnection, Tools, Any, Subject], Awaitable[Done]]
CARRY: Mapping[type[RepairCommand], Carry] = {
    Retry: retry,
    Resume: resume,
    AssignTrainer: assign_trainer,
    CreateSessions: create_sessions,
    RescheduleSessions: reschedule_sessions,
    Dismiss: dismiss,
    Restore: restore,
}


async def _retry_record(db: AsyncConnection, tools: Tools, command: Retry, row: ParkedRow, at: datetime) -> Done:
    """A record may be readable by now, or no longer lie in the future."""
    record = _as_record(row, at)
    if isinstance(record.event, Unreadable):
        raise Refused(record.event.code, in_words(record.event.code), **record.event.facts)
    if row.actor not in tools.steps:
        raise Refused("not_retried", "Commands are not retried: send a corrected one.")
    outcome, stored = await perform(db, tools.steps[row.actor], [record])
    done = _judged(outcome, stored, row.id)
    if done.refusal is None:
        await parked.close(db, row.id, "resolved", command.requested_by)
    return done


async def _records(db: AsyncConnection, tools: Tools, row: ParkedRow, subject: Subject) -> list[Record]:
    """What starts the parked step: made from what is stored, else the record that was parked."""
    target = subject.target
    stored = target is not None and target.enrollment_id is not None
    if row.actor == "sessions":
        stored = stored and target is not None and target.allocation_id == row.allocation_id
    if not stored or target is None:
        record = _as_record(row, subject.at)
        return [] if isinstance(record.event, Unreadable) else [record]
    records = await triggers(db, tools.steps, row.actor, target, subject.at)
    return [record._replace(headers=row.record_headers) for record in records]


async def _decided(db: AsyncConnection, tools: Tools, target: Target, wanted: Wanted) -> Outcome:
    """One order decided as wanted; its parked row closes. Raises: Parked."""
    order = await order_of(db, target.payment_id)
    allocation = await tools.allocator.decide(db, order, wanted)
    await purchases.advance(db, [(target.payment_id, "allocated")])
    await parking.resolve(db, "allocation", [str(order.enrollment_id)])
    checked = await _stored(db, "directory", await recheck(db, [order.allocation_id]))
    return Outcome(publish=[approval(allocation)], stored=checked)


async def _stored(db: AsyncConnection, actor: str, outcome: Outcome) -> list[tuple[Record, ParkedItem]]:
    """Store what a check found out."""
    if outcome.done:
        await parking.resolve(db, actor, outcome.done)
    return await parking.park(db, actor, outcome.parked)


def _judged(outcome: Outcome, stored: Sequence[tuple[Record, ParkedItem]], tried: UUID | None) -> Done:
    """A step that parked again is refused with its reason, though its row is written; other rows are by-products."""
    told = Outcome(publish=outcome.publish, news=outcome.news, stored=stored)
    again = [item for _, item in stored if tried is None or item.id == tried]
    if not again:
        return Done(told)
    return Done(told, Refusal(code=again[0].reason, message=in_words(again[0].reason), facts=again[0].facts))


def _as_record(row: ParkedRow, at: datetime) -> Record:
    """The record that was parked, read again, as if it had come at `at`."""
    record = Record(row.topic, -1, -1, at, row.key, row.payload, row.record_headers)
    try:
        return record._replace(event=decode(row.topic, row.key, row.payload))
    except Unreadable as unreadable:
        return record._replace(event=unreadable)


async def _refuse_dismissed(db: AsyncConnection, actor: str, subjects: Sequence[str]) -> None:
    if await parked.is_dismissed(db, actor, subjects):
        raise Refused("dismissed", "Somebody dismissed this step; restore it first.", step=actor)


def _row(subject: Subject) -> ParkedRow:
    if subject.row is None:
        raise Refused("unknown_item", "No parked item has this id.")
    return subject.row


def _open(subject: Subject) -> ParkedRow:
    row = _row(subject)
    if row.status == "dismissed":
        raise Refused("dismissed", "The item was dismissed; restore it first.")
    if row.status == "resolved":
        raise Unchanged
    return row


def _purchase(subject: Subject) -> Target:
    if subject.target is None:
        raise Refused("unknown_purchase", "No purchase has this id.")
    return subject.target


def _unscheduled(subject: Subject, instead: str) -> Target:
    target = _purchase(subject)
    _refuse_refunded(target)
    if target.enrollment_id is None:
        raise Refused("not_enrolled", "The purchase is not enrolled yet; resume its enrollment first.")
    if target.scheduled_at is not None:
        raise Refused("already_scheduled", f"The sessions are there already; {instead}.")
    return target


def _refuse_refunded(target: Target) -> None:
    if target.refunded_at is not None:
        raise Refused("refunded", "The purchase was refunded.", refundedAt=target.refunded_at.isoformat())


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


class Unchanged(Exception):
    """There is nothing to do."""


def refusal_of(reason: Parked | Refused) -> Refusal:
    """Why nothing was done, for the answer."""
    if isinstance(reason, Refused):
        return Refusal(code=reason.code, message=reason.message, facts=reason.facts or None)
    return Refusal(code=reason.code, message=in_words(reason.code), facts=reason.facts or None)
