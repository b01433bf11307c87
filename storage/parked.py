"""One parked row, as a command works on it: read under its lock, tried, closed, put back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.parking import ParkedItem


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """A row of `parked` with the bytes of its record; `headers` as they are stored ([name, value] pairs)."""

    id: UUID
    kind: str
    actor: str
    subject: str
    reason: str
    status: str
    payment_id: str | None
    enrollment_id: UUID | None
    allocation_id: UUID | None
    student_id: str | None
    topic: str
    key: bytes | None
    payload: bytes | None
    headers: list[list[Any]]
    facts: dict[str, Any]
    attempts: int

    @property
    def record_headers(self) -> Sequence[tuple[str, bytes | None]]:
        """The headers as they came, without those whose names or values are no text."""
        return [
            (name, None if value is None else value.encode())
            for name, value in self.headers
            if isinstance(name, str) and not isinstance(value, dict)
        ]


_READ = """
    SELECT id, kind, actor, subject, reason, status, payment_id, enrollment_id, allocation_id, student_id, topic,
           key, payload, headers, facts, attempts
      FROM parked
     WHERE id = :id
"""
_FIND = text(_READ)
_LOCK = text(_READ + " FOR NO KEY UPDATE")

# The attempt is part of the identity of the next wake-up, so it rises with the try.
_ATTEMPT = text("UPDATE parked SET attempts = attempts + 1 WHERE id = :id")

_CLOSE = text("""
    UPDATE parked SET status = :status, closed_at = clock_timestamp(), closed_by = :by
     WHERE id = :id AND status = 'open'
""")

# Only the last episode can be put back, and only where nothing else is open in its place. A wake-up that was
# refused meanwhile has used the id of the attempt.
_REOPEN = text("""
    UPDATE parked p SET status = 'open', closed_at = NULL, closed_by = NULL, attempts = attempts + 1
     WHERE p.id = :id AND p.status = 'dismissed'
       AND NOT EXISTS (SELECT FROM parked o
                        WHERE o.kind = p.kind AND o.actor = p.actor AND o.subject = p.subject AND o.episode > p.episode)
    RETURNING id, actor, reason, facts, payment_id, enrollment_id, allocation_id, student_id, topic, waits_for,
              episode, parked_at
""")

_OPEN = text("""
    SELECT id, actor, reason, facts, payment_id, enrollment_id, allocation_id, student_id, topic, waits_for,
           episode, parked_at
      FROM parked
     WHERE status = 'open' AND (payment_id = CAST(:payment_id AS text) OR id = CAST(:parked_id AS uuid))
     ORDER BY id
""")

_DISMISSED = text("""
    SELECT count(*) FROM parked
     WHERE kind = 'step' AND actor = :actor AND subject = ANY(CAST(:subjects AS text[])) AND status = 'dismissed'
""")


async def find(db: AsyncConnection, parked_id: UUID) -> ParkedRow | None:
    """The row of an id, without its lock."""
    return _row((await db.execute(_FIND, {"id": parked_id})).first())


async def lock(db: AsyncConnection, parked_id: UUID) -> ParkedRow | None:
    """Lock the row until the transaction ends, and read it; its purchase is locked before."""
    return _row((await db.execute(_LOCK, {"id": parked_id})).first())


async def attempt(db: AsyncConnection, parked_id: UUID) -> None:
    """Count one more try of this row."""
    await db.execute(_ATTEMPT, {"id": parked_id})


async def close(db: AsyncConnection, parked_id: UUID, status: str, by: str) -> None:
    """Close an open row as `resolved` or `dismissed`."""
    await db.execute(_CLOSE, {"id": parked_id, "status": status, "by": by})


async def reopen(db: AsyncConnection, parked_id: UUID) -> ParkedItem | None:
    """Put a dismissed row back on the list; None where another one stands in its place."""
    row = (await db.execute(_REOPEN, {"id": parked_id})).first()
    return None if row is None else ParkedItem(*row)


async def open_items(db: AsyncConnection, payment_id: str | None, parked_id: UUID | None) -> list[ParkedItem]:
    """What is open of a purchase, and the row of this id if it is."""
    rows = await db.execute(_OPEN, {"payment_id": payment_id, "parked_id": parked_id})
    return [ParkedItem(*row) for row in rows]


async def is_dismissed(db: AsyncConnection, actor: str, subjects: Sequence[str]) -> bool:
    """Whether an admin has dismissed this step."""
    found = await db.execute(_DISMISSED, {"actor": actor, "subjects": list(subjects)})
    return bool(found.scalar_one())


def _row(row: Any) -> ParkedRow | None:
    return None if row is None else ParkedRow(*row)
