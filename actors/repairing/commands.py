"""What each command does, inside a transaction whose purchase is locked: the steps themselves do the work.

Whatever stands in the way is raised, and nothing of the command is written then; except for a step
that is tried and parks again, which is told as a refusal and stays tried.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.allocation import approval
from actors.batch import Outcome, joined
from actors.performing import perform
from actors.repairing.freeing import freed_news
from actors.repairing.moving import order_of, reschedule, schedule_given
from actors.repairing.retrying import resume, retry
from actors.repairing.subjects import (
    Done,
    Subject,
    Tools,
    as_record,
    purchase_of,
    refuse_dismissed,
    refuse_refunded,
    row_of,
    stored_of,
    unscheduled,
)
from actors.repairing.triggers import triggers
from actors.request import Wanted
from actors.unavailable import recheck
from contracts.repairs import (
    AssignTrainer,
    CreateSessions,
    Dismiss,
    RepairCommand,
    RescheduleSessions,
    Restore,
    Resume,
    Retry,
)
from errors import Refused, in_words
from storage import parked, parking, purchases
from storage.targets import Target


async def assign_trainer(db: AsyncConnection, tools: Tools, command: AssignTrainer, subject: Subject) -> Done:
    """Allocate, as the admin says where he says anything; what was decided before is decided again."""
    target = unscheduled(subject, "rescheduleSessions moves them")
    await refuse_dismissed(db, "allocation", [str(target.enrollment_id)])
    if command.force and command.trainer_id is None:
        raise Refused("force_without_trainer", "Rules can be set aside for one trainer only: name him as trainerId.")
    given = schedule_given(command) | _given(sessionCount=command.session_count, timezone=command.timezone)
    wanted = Wanted(given, command.trainer_id, command.force, keep=command.trainer_id is None)
    return Done(await _decided(db, tools, target, wanted))


async def create_sessions(db: AsyncConnection, tools: Tools, command: CreateSessions, subject: Subject) -> Done:
    """Create an allocation's sessions; what is given is decided first, and so is what is provisional."""
    target = purchase_of(subject)
    given = schedule_given(command) | _given(
        sessionCount=command.session_count, latitude=command.latitude, longitude=command.longitude
    )
    if target.scheduled_at is not None and not given and target.refunded_at is None:
        return Done()
    target = unscheduled(subject, "rescheduleSessions moves them")
    if target.status != "approved":
        raise Refused("not_allocated", "The allocation holds no trainer's time; assign a trainer first.")
    decided = Outcome()
    if given or target.provisional:
        decided = await _decided(db, tools, target, Wanted(given, keep=True))
    await refuse_dismissed(db, "sessions", [str(target.allocation_id)])
    records = await triggers(db, tools.steps, "sessions", target, subject.at)
    outcome, stored = await perform(db, tools.steps["sessions"], records)
    for _, item in stored:
        raise Refused(item.reason, in_words(item.reason), **item.facts)
    return Done(joined(decided, outcome))


async def reschedule_sessions(db: AsyncConnection, tools: Tools, command: RescheduleSessions, subject: Subject) -> Done:
    """Move the sessions that have not begun."""
    target = purchase_of(subject)
    refuse_refunded(target)
    if target.scheduled_at is None:
        raise Refused("not_scheduled", "There are no sessions yet; assignTrainer changes what they will be.")
    moved = await reschedule(db, tools.allocator, await order_of(db, target.payment_id), command)
    checked = await recheck(db, [command.allocation_id])
    return Done(joined(moved, Outcome(stored=await stored_of(db, "directory", checked))))


async def dismiss(db: AsyncConnection, _: Tools, command: Dismiss, subject: Subject) -> Done:
    """Take an open item off the list."""
    row = row_of(subject)
    await parked.close(db, row.id, "dismissed", command.requested_by)
    return Done()


async def restore(db: AsyncConnection, tools: Tools, _: Restore, subject: Subject) -> Done:
    """Put a dismissed item back on the list; it is looked after as if it had parked just now."""
    row = row_of(subject)
    if row.status == "resolved":
        raise Refused("resolved", "The item was resolved: there is nothing to put back.")
    if row.status == "open":
        return Done()
    if subject.target and row.kind == "step":
        refuse_refunded(subject.target)
    item = await parked.reopen(db, row.id)
    if item is None:
        raise Refused("superseded", "The same step has parked again since; that item is the one to work on.")
    if row.kind == "step" and row.payment_id and tools.steps[row.actor].holds_up:
        await purchases.advance(db, [(row.payment_id, "parked")])
    return Done(Outcome(stored=[(as_record(row, subject.at), item)]))


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


async def _decided(db: AsyncConnection, tools: Tools, target: Target, wanted: Wanted) -> Outcome:
    """One order decided as wanted; its parked row closes. Raises: Parked."""
    order = await order_of(db, target.payment_id)
    allocation = await tools.allocator.decide(db, order, wanted)
    await purchases.advance(db, [(target.payment_id, "allocated")])
    await parking.resolve(db, "allocation", [str(order.enrollment_id)])
    checked = await stored_of(db, "directory", await recheck(db, [order.allocation_id]))
    news = await freed_news(db, order, allocation.approved_at)
    return Outcome(publish=[approval(allocation)], stored=checked, news=news)


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
