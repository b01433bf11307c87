"""What cannot be done is parked: never lost, never in the way, always repairable.

A step has one open row per actor and subject; its episode rises when it parks again after its last
row was resolved. A record that nobody can read has one row per topic and hash, whoever meets it.
"""

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.base import derived_id
from contracts.record import Record
from errors import Parked


@dataclass(frozen=True, slots=True)
class Parking:
    """A reason to park `record`.

    `subject` is the id of the step's object, None when the record itself is bad. `seen` is the snapshot
    (pg_snapshot as text) before which nothing that the step waits for can have been missed.
    """

    reason: Parked
    record: Record
    subject: str | None = None
    payment_id: str | None = None
    enrollment_id: UUID | None = None
    allocation_id: UUID | None = None
    student_id: str | None = None
    seen: str | None = None


@dataclass(frozen=True, slots=True)
class ParkedItem:
    """A row of `parked`, as far as `fulfilment.parked` tells it."""

    id: UUID
    actor: str
    reason: str
    facts: dict[str, Any]
    payment_id: str | None
    enrollment_id: UUID | None
    allocation_id: UUID | None
    student_id: str | None
    topic: str
    waits_for: str | None
    episode: int
    parked_at: datetime


# The last episode of each subject, and whether it still stands.
_LAST = text("""
    SELECT DISTINCT ON (subject) subject, episode, status
      FROM parked
     WHERE kind = 'step' AND actor = :actor AND subject = ANY(CAST(:subjects AS text[]))
     ORDER BY subject, episode DESC
""")

# No arbiter is named: with one, two workers that park the same at once fail on the other unique keys.
_PARK = text("""
    INSERT INTO parked (id, kind, actor, subject, episode, reason, payment_id, enrollment_id, allocation_id,
                        student_id, topic, partition, "offset", key, payload, headers, facts, waits_for, seen)
    SELECT id, kind, :actor, subject, episode, reason, payment_id, enrollment_id, allocation_id,
           student_id, topic, partition, "offset", key, payload, headers::jsonb, facts::jsonb, waits_for,
           seen::pg_snapshot
      FROM unnest(CAST(:ids AS uuid[]), CAST(:kinds AS text[]), CAST(:subjects AS text[]),
                  CAST(:episodes AS integer[]), CAST(:reasons AS text[]), CAST(:payment_ids AS text[]),
                  CAST(:enrollment_ids AS uuid[]), CAST(:allocation_ids AS uuid[]), CAST(:student_ids AS text[]),
                  CAST(:topics AS text[]), CAST(:partitions AS integer[]), CAST(:offsets AS bigint[]),
                  CAST(:keys AS bytea[]), CAST(:payloads AS bytea[]), CAST(:headers AS text[]),
                  CAST(:facts AS text[]), CAST(:waits_for AS text[]), CAST(:seen AS text[]))
           AS incoming (id, kind, subject, episode, reason, payment_id, enrollment_id, allocation_id, student_id,
                        topic, partition, "offset", key, payload, headers, facts, waits_for, seen)
     ORDER BY id
    ON CONFLICT DO NOTHING
""")

# An open step says why it is stuck now, and what it has seen; what an admin dismissed stays as it is. A
# record's identity is its bytes, so the other reason of an actor beside changes nothing there.
_RESTATE = text("""
    UPDATE parked
       SET reason = incoming.reason, facts = incoming.facts::jsonb, waits_for = incoming.waits_for,
           seen = incoming.seen::pg_snapshot
      FROM unnest(CAST(:ids AS uuid[]), CAST(:reasons AS text[]), CAST(:facts AS text[]), CAST(:waits_for AS text[]),
                  CAST(:seen AS text[]))
           AS incoming (id, reason, facts, waits_for, seen)
     WHERE parked.id = incoming.id AND parked.status = 'open' AND parked.kind = 'step'
       AND (parked.reason, parked.facts, parked.seen::text)
           IS DISTINCT FROM (incoming.reason, incoming.facts::jsonb, incoming.seen)
""")

_READ = text("""
    SELECT id, actor, reason, facts, payment_id, enrollment_id, allocation_id, student_id, topic, waits_for,
           episode, parked_at
      FROM parked
     WHERE id = ANY(CAST(:ids AS uuid[]))
     ORDER BY id
""")

_RESOLVE = text("""
    UPDATE parked SET status = 'resolved', closed_at = clock_timestamp(), closed_by = :actor
     WHERE kind = 'step' AND actor = :actor AND status = 'open' AND subject = ANY(CAST(:subjects AS text[]))
""")


# ORDER BY: as `_PARK` inserts them, so that two who meet in several rows do not wait for each other.
_CLOSE_REFUNDED = text("""
    UPDATE parked SET status = 'resolved', closed_at = clock_timestamp(), closed_by = 'refund'
     WHERE id IN (SELECT id FROM parked
                   WHERE kind = 'step' AND status = 'open' AND payment_id = ANY(CAST(:payment_ids AS text[]))
                   ORDER BY id
                     FOR NO KEY UPDATE)
""")


async def park(db: AsyncConnection, actor: str, parkings: Sequence[Parking]) -> list[tuple[Record, ParkedItem]]:
    """Park each step or record once; return the stored row of *every* one, replays too, with its record."""
    if not parkings:
        return []
    steps = [p.subject for p in parkings if p.subject is not None]
    last = {row.subject: row for row in await db.execute(_LAST, {"actor": actor, "subjects": steps})}
    first: dict[UUID, tuple[dict[str, Any], Record]] = {}
    for parking in parkings:
        before = last.get(parking.subject)
        episode = 1 if before is None else before.episode + (before.status == "resolved")
        row = _row(actor, parking, episode)
        first.setdefault(row["ids"], (row, parking.record))
    values = [row for row, _ in first.values()]
    columns = {name: [row[name] for row in values] for name in values[0]}
    await db.execute(_PARK, {"actor": actor, **columns})
    await db.execute(_RESTATE, {name: columns[name] for name in ("ids", "reasons", "facts", "waits_for", "seen")})
    items = await db.execute(_READ, {"ids": list(first)})
    return [(first[row.id][1], ParkedItem(*row)) for row in items]


async def resolve(db: AsyncConnection, actor: str, subjects: Iterable[str]) -> None:
    """Close the open rows of steps that have succeeded now."""
    await db.execute(_RESOLVE, {"actor": actor, "subjects": sorted(set(subjects))})


async def close_refunded(db: AsyncConnection, payment_ids: Iterable[str]) -> None:
    """Close every open step of purchases that were refunded: nothing waits for it any more."""
    await db.execute(_CLOSE_REFUNDED, {"payment_ids": sorted(set(payment_ids))})


def record_subject(record: Record) -> str:
    """The identity of a record that nobody can read: its topic, and a hash of its key and value."""
    digest = hashlib.sha256()
    for part in (record.key, record.value):
        digest.update(b"-" if part is None else b"%d:%b" % (len(part), part))
    return f"{record.topic}:{digest.hexdigest()}"


def _row(actor: str, parking: Parking, episode: int) -> dict[str, Any]:
    """The columns of one row, named as the binds of `_PARK`."""
    record = parking.record
    if parking.subject is None:
        kind, subject = "record", record_subject(record)
        identity = derived_id("parked", subject)
    else:
        kind, subject = "step", parking.subject
        identity = derived_id("parked", actor, subject, str(episode))
    return {
        "ids": identity,
        "kinds": kind,
        "subjects": subject,
        "episodes": episode,
        "reasons": parking.reason.code,
        "payment_ids": parking.payment_id,
        "enrollment_ids": parking.enrollment_id,
        "allocation_ids": parking.allocation_id,
        "student_ids": parking.student_id,
        "topics": record.topic,
        "partitions": record.partition,
        "offsets": record.offset,
        "keys": record.key,
        "payloads": record.value,
        "headers": json.dumps([[_kept(name), _kept(value)] for name, value in record.headers]),
        "facts": json.dumps(parking.reason.facts, default=str),
        "waits_for": parking.reason.waits_for,
        "seen": parking.seen if parking.reason.waits_for else None,
    }


def _kept(raw: str | bytes | None) -> str | dict[str, str] | None:
    """A header as JSON that PostgreSQL can store: text as it is, other bytes as {"base64": ...}."""
    if raw is None:
        return None
    data = raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogateescape")
    with suppress(UnicodeDecodeError):
        if b"\0" not in data:
            return data.decode()
    return {"base64": b64encode(data).decode()}
