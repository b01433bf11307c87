"""What is parked, as people ask for it: lists, causes, single items, and whose it is by any id. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows: every field that is given must match; `waits_for` 'nothing' is what only a person can mend."""

    reason: str | None = None
    actor: str | None = None
    course_id: str | None = None
    waits_for: str | None = None
    status: str | None = None
    ids: Sequence[UUID] | None = None


class Listed(NamedTuple):
    """A row of the list."""

    id: UUID
    parked_at: datetime
    actor: str
    reason: str
    payment_id: str | None
    enrollment_id: UUID | None
    allocation_id: UUID | None
    student_id: str | None
    course_id: str | None
    waits_for: str | None
    attempts: int
    status: str


class Cause(NamedTuple):
    """Rows of one reason, course and actor."""

    reason: str
    course_id: str | None
    actor: str
    items: int
    oldest: datetime


class BulkRow(NamedTuple):
    """How many items a bulk has, its own outcome, and why it was refused."""

    items: int
    outcome: str
    message: str | None


# Each condition falls away where its bind is null: plans are made for the values at hand. The oldest come first.
_LIST = text("""
    SELECT k.id, k.parked_at, k.actor, k.reason, k.payment_id, k.enrollment_id, k.allocation_id, k.student_id,
           p.course_id, k.waits_for, k.attempts, k.status, count(*) OVER () AS total
      FROM parked k
      LEFT JOIN purchases p USING (payment_id)
     WHERE (CAST(:reason AS text) IS NULL OR k.reason = :reason)
       AND (CAST(:actor AS text) IS NULL OR k.actor = :actor)
       AND (CAST(:course_id AS text) IS NULL OR p.course_id = :course_id)
       AND (CAST(:waits_for AS text) IS NULL OR coalesce(k.waits_for, 'nothing') = :waits_for)
       AND (CAST(:status AS text) IS NULL OR k.status = :status)
       AND (CAST(:ids AS uuid[]) IS NULL OR k.id = ANY(CAST(:ids AS uuid[])))
     ORDER BY k.parked_at, k.id
     LIMIT :most
""")

_CAUSES = text("""
    SELECT k.reason, p.course_id, k.actor, count(*) AS items, min(k.parked_at) AS oldest
      FROM parked k
      LEFT JOIN purchases p USING (payment_id)
     WHERE (CAST(:reason AS text) IS NULL OR k.reason = :reason)
       AND (CAST(:actor AS text) IS NULL OR k.actor = :actor)
       AND (CAST(:course_id AS text) IS NULL OR p.course_id = :course_id)
       AND (CAST(:waits_for AS text) IS NULL OR coalesce(k.waits_for, 'nothing') = :waits_for)
       AND (CAST(:status AS text) IS NULL OR k.status = :status)
       AND (CAST(:ids AS uuid[]) IS NULL OR k.id = ANY(CAST(:ids AS uuid[])))
     GROUP BY k.reason, p.course_id, k.actor
     ORDER BY count(*) DESC, k.reason, p.course_id, k.actor
""")

# A parked item by its own id; else everything of the purchases, or of the student, that the id names.
_NAMED = text("""
    WITH its_own AS (SELECT id FROM parked WHERE id = CAST(:uuid AS uuid)),
         payments AS (
             SELECT CAST(:id AS text) AS payment_id
              UNION SELECT payment_id FROM refunds WHERE refund_id = :id
              UNION SELECT payment_id FROM enrollments WHERE enrollment_id = CAST(:uuid AS uuid)
              UNION SELECT payment_id FROM allocations WHERE allocation_id = CAST(:uuid AS uuid))
    SELECT id FROM its_own
     UNION
    SELECT id
      FROM parked
     WHERE NOT EXISTS (SELECT FROM its_own)
       AND (payment_id IN (SELECT payment_id FROM payments) OR student_id = :id
            OR enrollment_id = CAST(:uuid AS uuid) OR allocation_id = CAST(:uuid AS uuid))
""")

_WHOLE = text("""
    SELECT k.id, k.kind, k.status, k.actor, k.reason, k.waits_for, k.facts, k.payment_id, k.enrollment_id,
           k.allocation_id, k.student_id, p.course_id, k.episode, k.attempts, k.parked_at, k.closed_at, k.closed_by,
           k.topic, k.partition, k."offset", k.key, k.payload, k.headers
      FROM parked k
      LEFT JOIN purchases p USING (payment_id)
     WHERE k.id = ANY(CAST(:ids AS uuid[])) AND (CAST(:status AS text) IS NULL OR k.status = :status)
     ORDER BY k.parked_at, k.id
""")

_REPAIRS = text("""
    SELECT completed_at, command_id, command, requested_by, reason, outcome, refusal_code,
           answer -> 'refusal' ->> 'message' AS message, bulk_id
      FROM repairs
     WHERE parked_id = CAST(:parked_id AS uuid)
     ORDER BY repair_no
""")

# Whatever was expanded into items tells how many they are.
_BULK = text("""
    SELECT coalesce(CAST(answer ->> 'items' AS integer), 0) AS items, outcome,
           answer -> 'refusal' ->> 'message' AS message
      FROM repairs
     WHERE command_id = :bulk_id AND accepted
""")

_REFUSALS = text("""
    SELECT refusal_code, count(*) AS items FROM repairs
     WHERE bulk_id = :bulk_id AND accepted AND refusal_code IS NOT NULL AND command NOT IN ('bulk', 'cancelBulk')
     GROUP BY refusal_code
     ORDER BY count(*) DESC, refusal_code
""")


async def listed(db: AsyncConnection, matching: Filter, most: int) -> tuple[list[Listed], int]:
    """The first so many rows that match, the oldest first, and how many match in all."""
    rows = (await db.execute(_LIST, {**_binds(matching), "most": most})).all()
    return [Listed(*row[:-1]) for row in rows], rows[0].total if rows else 0


async def causes(db: AsyncConnection, matching: Filter) -> list[Cause]:
    """How many rows of which cause match, the most frequent first."""
    return [Cause(*row) for row in await db.execute(_CAUSES, _binds(matching))]


async def named(db: AsyncConnection, any_id: str, status: str | None = None) -> list[dict[str, Any]]:
    """Whole rows by the id of the item, of its purchase, enrolment, allocation, refund or student; by column."""
    found = (await db.execute(_NAMED, {"id": any_id, "uuid": uuid_or_none(any_id)})).scalars()
    rows = await db.execute(_WHOLE, {"ids": list(found), "status": status})
    return [dict(row) for row in rows.mappings()]


async def repairs_of(db: AsyncConnection, parked_id: UUID) -> list[dict[str, Any]]:
    """What was done about a parked item, in its order; refused commands too."""
    return [dict(row) for row in (await db.execute(_REPAIRS, {"parked_id": parked_id})).mappings()]


async def bulk_of(db: AsyncConnection, bulk_id: str) -> BulkRow | None:
    """The answer to a bulk itself; None while it is not carried out."""
    row = (await db.execute(_BULK, {"bulk_id": bulk_id})).one_or_none()
    return None if row is None else BulkRow(*row)


async def refusals(db: AsyncConnection, bulk_id: str) -> dict[str, int]:
    """Why items of a bulk were refused, with how many."""
    return {row.refusal_code: row.items for row in await db.execute(_REFUSALS, {"bulk_id": bulk_id})}


def uuid_or_none(any_id: str) -> UUID | None:
    """The id as one of ours, None where it can only be somebody else's."""
    try:
        return UUID(any_id)
    except ValueError:
        return None


def _binds(matching: Filter) -> dict[str, Any]:
    return {name: getattr(matching, name) for name in Filter.__slots__}
