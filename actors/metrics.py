"""every event of ours -> -

Counts purchases for people: what became of them, how long it took, how many sessions, coins, carts.
Replay-safe: an event only says which purchase to look at; what of it was counted is noted with the totals.
Parks: records that are no valid event.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import Actor, Outcome
from actors.tracing import payment_of
from contracts.record import Record
from contracts.topics import TOPICS
from storage import figures


async def count(db: AsyncConnection, records: Sequence[Record]) -> Outcome:
    """Count anew each purchase that something has happened to."""
    await figures.count(db, filter(None, map(payment_of, records)))
    return Outcome()


# What outsiders write counts for nothing until an actor of ours has accepted it, and says so.
ACTOR = Actor("metrics", tuple(spec.name for spec in TOPICS.values() if not spec.outside), count, unhurried=True)
