"""The records of everything that is parked open, a page at a time: their bytes may be more than memory holds."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_FIRST = UUID(int=0)


class ParkedRecord(NamedTuple):
    """The record of an open row: for a step the one that started it, else the one that is bad itself."""

    id: UUID
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


async def pages(db: AsyncConnection, most: int) -> AsyncIterator[Sequence[ParkedRecord]]:
    """Every open row once, at most so many at a time, by id; one that is parked meanwhile may be left out."""
    after = _FIRST
    while page := [ParkedRecord(*row) for row in await db.execute(_PAGE, {"after": after, "most": most})]:
        yield page
        after = page[-1].id
