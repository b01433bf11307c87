"""Commands that are many: each becomes one command an item, so a crash loses none and repeating one changes nothing."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.healing import REQUESTED_BY, retry_of
from contracts.base import derived_text
from contracts.repairs import Bulk, CancelBulk, Dismiss, RepairCommand, Restore, Retry, RetryWaiting
from errors import NoTrainerAvailable, Refused
from storage import repairs, waiting

_APPLY: Final[Mapping[str, type[Retry | Dismiss | Restore]]] = {"retry": Retry, "dismiss": Dismiss, "restore": Restore}


async def bulk(_: AsyncConnection, command: Bulk) -> list[RepairCommand]:
    """One command for each item, under an id made of the bulk's and the item's."""
    return [
        _APPLY[command.apply](
            command_id=derived_text(command.command_id, parked_id),
            requested_by=command.requested_by,
            reason=command.reason,
            parked_id=parked_id,
            bulk_id=command.command_id,
        )
        for parked_id in dict.fromkeys(command.parked_ids)
    ]


async def retry_waiting(db: AsyncConnection, command: RetryWaiting) -> list[RepairCommand]:
    """A wake-up for whatever waits for this news now."""
    found = await waiting.waiting_for(db, command.waits_for, command.course_id)
    if command.requested_by == REQUESTED_BY and command.waits_for == NoTrainerAvailable.waits_for:
        # A wake-up is for those who have not seen the news; an admin's command is for all.
        found = await waiting.arrived(db, [parked_id for parked_id, _ in found], trainers=True)
    return [retry_of(parked_id, attempts) for parked_id, attempts in found]


async def cancel_bulk(_: AsyncConnection, __: CancelBulk) -> list[RepairCommand]:
    """Nothing by itself: the items look for it before they begin."""
    return []


EXPAND: Final[Mapping[type[RepairCommand], Callable[[AsyncConnection, Any], Awaitable[list[RepairCommand]]]]] = {
    Bulk: bulk,
    RetryWaiting: retry_waiting,
    CancelBulk: cancel_bulk,
}


async def refuse_cancelled(db: AsyncConnection, command: RepairCommand) -> None:
    """Raise Refused for an item of a bulk that somebody stopped."""
    if command.bulk_id is None or isinstance(command, CancelBulk):
        return
    if await repairs.cancelled(db, command.bulk_id):
        raise Refused("bulk_cancelled", "The bulk was stopped before this item began.", bulkId=command.bulk_id)
