"""Local copies of what other services own: student profiles and cart changes here, trainers in `availability`.

The newest `changedAt` wins, whatever the order of arrival; at a tie a removal wins, then the larger
hash of the payload: the three columns compare as one row value, so the outcome has no order.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Change:
    """One record of a feed: what it is about, when it changed, and the fields (None when removed)."""

    id: str
    changed_at: datetime
    removed: bool
    payload_hash: bytes
    payload: str | None
    fields: Any

    @property
    def rank(self) -> tuple[datetime, bool, bytes]:
        """What decides which of two changes of one id wins: the larger."""
        return (self.changed_at, self.removed, self.payload_hash)


@dataclass(frozen=True, slots=True)
class Student:
    """A student as the steps see him; `known` tells whether a profile is there (and not deleted)."""

    student_no: int
    student_id: str
    known: bool
    timezone: str | None
    latitude: float | None
    longitude: float | None


# ORDER BY, here and below: overlapping batches lock rows in one order.
_STUDENTS = text("""
    INSERT INTO students (student_id, timezone, latitude, longitude, changed_at, removed, payload_hash, payload)
    SELECT id, timezone, latitude, longitude, changed_at, removed, payload_hash, payload::jsonb
      FROM unnest(CAST(:ids AS text[]), CAST(:timezone AS text[]), CAST(:latitude AS float8[]),
                  CAST(:longitude AS float8[]), CAST(:changed_at AS timestamptz[]), CAST(:removed AS boolean[]),
                  CAST(:payload_hash AS bytea[]), CAST(:payload AS text[]))
           AS incoming (id, timezone, latitude, longitude, changed_at, removed, payload_hash, payload)
     ORDER BY id
    ON CONFLICT (student_id) DO UPDATE
       SET timezone = excluded.timezone, latitude = excluded.latitude, longitude = excluded.longitude,
           changed_at = excluded.changed_at, removed = excluded.removed,
           payload_hash = excluded.payload_hash, payload = excluded.payload
     WHERE students.changed_at IS NULL
        OR (excluded.changed_at, excluded.removed, excluded.payload_hash)
         > (students.changed_at, students.removed, students.payload_hash)
""")

_CARTS = text("""
    INSERT INTO cart_changes (item_id, student_id, course_id, changed_at, removed, payload_hash, payload)
    SELECT id, student_id, course_id, changed_at, removed, payload_hash, payload::jsonb
      FROM unnest(CAST(:ids AS text[]), CAST(:student_id AS text[]), CAST(:course_id AS text[]),
                  CAST(:changed_at AS timestamptz[]), CAST(:removed AS boolean[]),
                  CAST(:payload_hash AS bytea[]), CAST(:payload AS text[]))
           AS incoming (id, student_id, course_id, changed_at, removed, payload_hash, payload)
     ORDER BY id
    ON CONFLICT (item_id) DO UPDATE
       SET student_id = excluded.student_id, course_id = excluded.course_id,
           changed_at = excluded.changed_at, removed = excluded.removed,
           payload_hash = excluded.payload_hash, payload = excluded.payload
     WHERE (excluded.changed_at, excluded.removed, excluded.payload_hash)
         > (cart_changes.changed_at, cart_changes.removed, cart_changes.payload_hash)
""")

# A purchase gives its student a number before any profile has come.
_NUMBER = text("""
    INSERT INTO students (student_id)
    SELECT DISTINCT id FROM unnest(CAST(:ids AS text[])) AS incoming (id) ORDER BY id
    ON CONFLICT (student_id) DO NOTHING
""")

_LOCK_STUDENTS = text("""
    SELECT student_no, student_id, changed_at IS NOT NULL AND NOT removed AS known, timezone, latitude, longitude
      FROM students
     WHERE student_id = ANY(CAST(:ids AS text[]))
     ORDER BY student_id
       FOR NO KEY UPDATE
""")


async def keep_students(db: AsyncConnection, changes: Sequence[Change]) -> None:
    """Keep the newest profile of each student."""
    await keep_newest(
        db,
        _STUDENTS,
        changes,
        timezone=lambda f: f.timezone,
        latitude=lambda f: f.latitude,
        longitude=lambda f: f.longitude,
    )


async def keep_cart_changes(db: AsyncConnection, changes: Sequence[Change]) -> None:
    """Keep the newest change of each cart item; `cart_items` is computed from these."""
    await keep_newest(
        db,
        _CARTS,
        changes,
        student_id=lambda f: f.student_id,
        course_id=lambda f: f.course_id,
    )


async def number_students(db: AsyncConnection, student_ids: Iterable[str]) -> None:
    """Make sure that every one of these students has a number of our own."""
    await db.execute(_NUMBER, {"ids": sorted(set(student_ids))})


async def lock_students(db: AsyncConnection, student_ids: Iterable[str]) -> dict[str, Student]:
    """Lock the students, in the order of their ids, and read them by id."""
    rows = await db.execute(_LOCK_STUDENTS, {"ids": sorted(set(student_ids))})
    return {row.student_id: Student(*row) for row in rows}


async def keep_newest(
    db: AsyncConnection,
    statement: TextClause,
    changes: Sequence[Change],
    *,
    absent: dict[str, Any] | None = None,
    **columns: Callable[[Any], Any],
) -> None:
    """One upsert of the winners among `changes`; `absent` holds the columns of a removal that may not be null."""
    winners = list({c.id: c for c in sorted(changes, key=lambda c: c.rank)}.values())
    if not winners:
        return
    none = absent or {}
    await db.execute(
        statement,
        {
            "ids": [c.id for c in winners],
            "changed_at": [c.changed_at for c in winners],
            "removed": [c.removed for c in winners],
            "payload_hash": [c.payload_hash for c in winners],
            "payload": [c.payload for c in winners],
            **{
                name: [none.get(name) if c.fields is None else read(c.fields) for c in winners]
                for name, read in columns.items()
            },
        },
    )
