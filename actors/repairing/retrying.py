"""Trying again: a parked step or record, or any step of a purchase, by the code of the actor whose it is."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.performing import perform
from actors.repairing.settling import settling
from actors.repairing.subjects import (
    Done,
    Subject,
    Tools,
    as_record,
    judged,
    open_row,
    purchase_of,
    refuse_dismissed,
    stored_of,
)
from actors.repairing.triggers import triggers
from actors.unavailable import recheck
from contracts.record import Record
from contracts.repairs import Resume, Retry
from errors import AllocationProvisional, Refused, TrainerUnavailable, Unreadable, in_words
from storage import parked
from storage.parked import ParkedRow


async def retry(db: AsyncConnection, tools: Tools, command: Retry, subject: Subject) -> Done:
    """Do the parked step, or read the parked record, again."""
    row = open_row(subject)
    await parked.attempt(db, row.id)
    if row.kind == "record":
        return await _retry_record(db, tools, command, row, subject.at)
    if row.reason == TrainerUnavailable.code and row.allocation_id:
        outcome = await recheck(db, [row.allocation_id])
        return judged(outcome, await stored_of(db, "directory", outcome), row.id)
    if row.reason == AllocationProvisional.code and subject.target:
        records = await triggers(db, tools.steps, "allocation", subject.target, subject.at)
        outcome, stored = await perform(db, settling(tools.allocator), records)
        if outcome.publish or stored:
            return judged(outcome, stored, row.id)
        # What it could be settled by has gone again: the step says what it waits for now.
    outcome, stored = await perform(db, tools.steps[row.actor], await _records(db, tools, row, subject))
    done = judged(outcome, stored, row.id)
    if done.refusal is None:
        # Nothing of it is left to do: it was done by others, or a refund came.
        await parked.close(db, row.id, "resolved", command.requested_by)
    return done


async def resume(db: AsyncConnection, tools: Tools, command: Resume, subject: Subject) -> Done:
    """Do a step of a purchase again, and tell its events again."""
    target = purchase_of(subject)
    records = await triggers(db, tools.steps, command.step, target, subject.at)
    actor = tools.steps[command.step]
    subjects = [str(getattr(r.event, actor.subject)) for r in records if actor.subject]
    await refuse_dismissed(db, actor.name, subjects)
    if command.step == "allocation" and target.provisional and target.status == "approved":
        actor = settling(tools.allocator)
    outcome, stored = await perform(db, actor, records)
    return judged(outcome, stored, None)


async def _retry_record(db: AsyncConnection, tools: Tools, command: Retry, row: ParkedRow, at: datetime) -> Done:
    """A record may be readable by now, or no longer lie in the future."""
    record = as_record(row, at)
    if isinstance(record.event, Unreadable):
        raise Refused(record.event.code, in_words(record.event.code), **record.event.facts)
    if row.actor not in tools.steps:
        raise Refused("not_retried", "Commands are not retried: send a corrected one.")
    outcome, stored = await perform(db, tools.steps[row.actor], [record])
    done = judged(outcome, stored, row.id)
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
        record = as_record(row, subject.at)
        return [] if isinstance(record.event, Unreadable) else [record]
    records = await triggers(db, tools.steps, row.actor, target, subject.at)
    return [record._replace(headers=row.record_headers) for record in records]
