"""One step of an actor inside a transaction: what it does, what it parks, what of it that closes.

Delivery does it for live records, repair for what an admin asks for: the same code, the same rows.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import Actor, Outcome
from contracts.record import Record
from errors import Unreadable
from storage import parking
from storage.parking import ParkedItem, Parking


async def perform(
    db: AsyncConnection, actor: Actor, records: Sequence[Record]
) -> tuple[Outcome, list[tuple[Record, ParkedItem]]]:
    """Handle decoded records; park those that nobody can read, and the steps that cannot be done.

    Returns what the step led to, and the stored row of everything parked, replays too.
    """
    rejects = [Parking(record.event, record) for record in records if isinstance(record.event, Unreadable)]
    good = [record for record in records if not isinstance(record.event, Unreadable)]
    outcome = await actor.handle(db, good) if good else Outcome()
    parked = await parking.park(db, actor.name, [*rejects, *outcome.parked])
    if outcome.done:
        await parking.resolve(db, actor.name, outcome.done)
    return outcome, [*parked, *outcome.stored]
