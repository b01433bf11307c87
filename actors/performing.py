"""One step of an actor inside a transaction: what it does, what it parks, what of it that closes.

Delivery does it for live records, repair for what an admin asks for: the same code, the same rows.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import Actor, Outcome
from contracts.record import Record
from errors import Parked, Unreadable
from storage import parking, purchases
from storage.parking import ParkedItem, Parking

_IDS = ("payment_id", "enrollment_id", "allocation_id", "student_id")


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


async def park_alone(
    db: AsyncConnection, actor: Actor, record: Record, reason: Parked
) -> list[tuple[Record, ParkedItem]]:
    """Park what nothing helps: as the actor's step where the record is about one, else as a record."""
    subject = getattr(record.event, actor.subject or "", None)
    ids = {name: getattr(record.event, name, None) for name in _IDS}
    item = Parking(reason, record, None if subject is None else str(subject), **ids)
    if actor.holds_up and item.payment_id:
        await purchases.lock(db, [item.payment_id])
        await purchases.advance(db, [(item.payment_id, "parked")])
    return await parking.park(db, actor.name, [item])
