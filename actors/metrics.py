"""every event of ours -> -

Counts purchases for people: what became of them, how long it took, how many sessions, coins, carts.
Replay-safe: an event only says which purchase to look at; what of it was counted is noted with the totals.
Parks: answers that nobody can read.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import Actor, Outcome
from actors.tracing import payment_of
from contracts.record import Record
from contracts.repairs import RepairCompleted
from contracts.topics import TOPICS
from storage import figures


async def count(db: AsyncConnection, records: Sequence[Record]) -> Outcome:
    """Count anew each purchase that something has happened to."""
    await figures.count(db, filter(None, map(_payment_id, records)))
    return Outcome()


# What outsiders write counts for nothing until an actor of ours has accepted it, and says so.
_TOPICS = tuple(spec.name for spec in TOPICS.values() if not spec.outside)

# Thirty sessions take longer to decode than to count; of answers the key is the command's.
ACTOR = Actor("metrics", _TOPICS, count, unhurried=True, by_key=frozenset(_TOPICS) - {RepairCompleted.TOPIC})


def _payment_id(record: Record) -> str | None:
    """The payment that a record is about, or another id, which is no purchase's."""
    if record.event is not None:
        return payment_of(record)
    # PostgreSQL takes no NUL, and no id of ours has one.
    return (record.key or b"").decode("utf-8", "replace").replace("\0", "\ufffd")
