"""Editing a record that nobody could read: its corrected bytes go to its topic again, for every actor behind it.

What the corrected record leads to is found out by the actor whose record it is, and rolled back: the
live record does it.
"""

from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import Outcome
from actors.performing import perform
from actors.repairing.locating import scope_of
from actors.repairing.subjects import Done, Subject, Tools
from contracts.base import derived_id
from contracts.decode import read_event
from contracts.record import Record
from contracts.repairs import EditAndRetry, Effect, RepairCommand
from contracts.topics import TOPICS
from errors import ConflictingDuplicate, Refused, Unreadable, in_words
from storage import effects, parked
from storage.effects import Scope
from storage.parked import ParkedRow
from storage.parking import record_subject


async def edit_and_retry(
    db: AsyncConnection, tools: Tools, command: EditAndRetry, subject: Subject, scope: Scope
) -> tuple[Done, list[Effect]]:
    """Close the parked record and publish the corrected one; the effects are what that one leads to, as seen now."""
    row = _editable(subject.row)
    value = to_json(command.payload)
    try:
        event = read_event(row.topic, row.key, value)
    except Unreadable as unreadable:
        facts = unreadable.facts
        message = f"The corrected record cannot be read either: {facts['field']} must be {facts['expected']}."
        raise Refused(unreadable.code, message, **facts) from unreadable
    scope |= scope_of(event)
    before = await effects.snapshot(db, scope)
    savepoint = await db.begin_nested()
    try:
        await parked.close(db, row.id, "resolved", command.requested_by)
        record = Record(row.topic, -1, -1, subject.at, event.message_key.encode(), value, row.record_headers, event)
        _, stored = await perform(db, tools.steps[row.actor], [record])
        itself = derived_id("parked", record_subject(record))
        for item in [item for _, item in stored if item.id == itself]:
            raise Refused(item.reason, in_words(item.reason), **item.facts)
        foreseen = effects.difference(before, await effects.snapshot(db, scope))
    finally:
        await savepoint.rollback()
    await parked.close(db, row.id, "resolved", command.requested_by)
    return Done(Outcome(publish=[event])), foreseen


def _editable(row: ParkedRow | None) -> ParkedRow:
    if row is None:
        raise Refused("unknown_item", "No parked item has this id.")
    if row.status != "open":
        raise Refused(row.status, f"The item is {row.status}.")
    # A command is signed by whoever gives it: we must not sign what somebody else asks for.
    if row.kind != "record" or not TOPICS[row.topic].outside or row.topic == RepairCommand.TOPIC:
        raise Refused(
            "not_editable",
            "Only a record from outside can be corrected; what stops a step is repaired by assignTrainer,"
            " createSessions or rescheduleSessions.",
        )
    if row.reason == ConflictingDuplicate.code:
        raise Refused(
            "not_editable",
            "The first record of this id holds: dismiss this one, and change what is needed by commands.",
        )
    return row
