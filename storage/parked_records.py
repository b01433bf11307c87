"""What a later release reads again, a page at a time: the records of open rows, and what upstream said of purchases."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.payments import PaymentSucceeded

_FIRST = UUID(int=0)
_PAID = PaymentSucceeded.TOPIC


class ParkedRecord(NamedTuple):
    """The record of an open row (for a step the one that started it, else the bad one itself), or of a purchase."""

    id: UUID | str
    kind: str
    reason: str
    topic: str
    key: bytes | None
    payload: bytes | None


# The rows that follow an id; by the primary key, so that a page costs the same wherever it begins.
_PAGE = text("""
    SELECT id, kind, reason, topic, key, payload
      FROM parked
     WHERE status = 'open' AND id > :after
     ORDER BY id
     LIMIT :most
""")


# What upstream said of the purchases that follow an id and have no sessions yet: a resume reads it again.
_PURCHASES = text("""
    SELECT payment_id, convert_to(CAST(payload AS text), 'UTF8') AS value
      FROM purchases
     WHERE state NOT IN ('scheduled', 'refunded') AND payload IS NOT NULL AND payment_id > :after
     ORDER BY payment_id
     LIMIT :most
""")


async def purchases(db: AsyncConnection, most: int) -> AsyncIterator[Sequence[ParkedRecord]]:
    """Every purchase on its way once, as it was stored, at most so many at a time, by id."""
    after = ""
    while rows := (await db.execute(_PURCHASES, {"after": after, "most": most})).all():
        yield [ParkedRecord(row.payment_id, "purchase", "", _PAID, row.payment_id.encode(), row.value) for row in rows]
        after = rows[-1].payment_id


async def pages(db: AsyncConnection, most: int) -> AsyncIterator[Sequence[ParkedRecord]]:
    """Every open row once, at most so many at a time, by id; one that is parked meanwhile may be left out."""
    after: UUID | str = _FIRST
    while page := [ParkedRecord(*row) for row in await db.execute(_PAGE, {"after": after, "most": most})]:
        yield page
        after = page[-1].id
