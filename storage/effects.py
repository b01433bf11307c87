"""What a command wrote, or would have written: the difference of two looks at the rows it may touch.

Rows stand by their business columns: no numbers of our own, which do not roll back, and nothing of the
database's clock. So what a dry run tells and what is applied later are the same, to the last character.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.repairs import Effect

Snapshot = dict[str, dict[tuple[Any, ...], dict[str, Any]]]
"""Table -> key -> row: camelCase names, JSON values, instants in UTC as the wire writes them."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What to look at: all rows of these payments, and these students, trainers, parked items, feed records."""

    payment_ids: frozenset[str] = frozenset()
    student_ids: frozenset[str] = frozenset()
    trainer_ids: frozenset[str] = frozenset()
    parked_ids: frozenset[UUID] = frozenset()
    busy_ids: frozenset[str] = frozenset()
    item_ids: frozenset[str] = frozenset()
    credit_ids: frozenset[str] = frozenset()

    def __or__(self, other: "Scope") -> "Scope":
        return Scope(*(getattr(self, field.name) | getattr(other, field.name) for field in fields(self)))


# What tells one row of a table from another; in the order in which the tables are told.
_KEYS: dict[str, tuple[str, ...]] = {
    "students": ("studentId",),
    "trainers": ("trainerId",),
    "trainer_absences": ("busyId",),
    "cart_changes": ("itemId",),
    "purchases": ("paymentId",),
    "refunds": ("refundId",),
    "enrollments": ("enrollmentId",),
    "cart_clearances": ("paymentId",),
    "coin_ledger": ("kind", "reference"),
    "allocations": ("allocationId",),
    "bookings": ("allocationId", "stretch"),
    "sessions": ("allocationId", "number"),
    "session_history": ("allocationId", "number", "version"),
    "parked": ("id",),
}

# One statement, so that all of it is of one moment. Instants lose their zone here, whatever that of the session.
# A booking has no name of its own: it is the n-th of its allocation, as they were made.
_SNAPSHOT = text("""
    SELECT 'students', jsonb_agg(r) FROM (
        SELECT student_id AS "studentId", timezone, latitude, longitude, coins,
               changed_at IS NOT NULL AND NOT removed AS known, changed_at AT TIME ZONE 'UTC' AS "changedAt"
          FROM students WHERE student_id = ANY(CAST(:student_ids AS text[]))) r
     UNION ALL
    SELECT 'trainers', jsonb_agg(r) FROM (
        SELECT trainer_id AS "trainerId", active, courses, timezone, latitude, longitude, radius_km AS "radiusKm",
               working_hours AS "workingHours", removed, changed_at AT TIME ZONE 'UTC' AS "changedAt"
          FROM trainers WHERE trainer_id = ANY(CAST(:trainer_ids AS text[]))) r
     UNION ALL
    SELECT 'trainer_absences', jsonb_agg(r) FROM (
        SELECT busy_id AS "busyId", trainer_id AS "trainerId", starts_at AT TIME ZONE 'UTC' AS "startsAt",
               ends_at AT TIME ZONE 'UTC' AS "endsAt", removed, changed_at AT TIME ZONE 'UTC' AS "changedAt"
          FROM trainer_absences WHERE busy_id = ANY(CAST(:busy_ids AS text[]))) r
     UNION ALL
    SELECT 'cart_changes', jsonb_agg(r) FROM (
        SELECT item_id AS "itemId", student_id AS "studentId", course_id AS "courseId", removed,
               changed_at AT TIME ZONE 'UTC' AS "changedAt"
          FROM cart_changes WHERE item_id = ANY(CAST(:item_ids AS text[]))) r
     UNION ALL
    SELECT 'purchases', jsonb_agg(r) FROM (
        SELECT payment_id AS "paymentId", student_id AS "studentId", course_id AS "courseId",
               amount_minor AS "amountMinor", currency, succeeded_at AT TIME ZONE 'UTC' AS "succeededAt",
               coins_redeemed AS "coinsRedeemed", state, refunded_at AT TIME ZONE 'UTC' AS "refundedAt"
          FROM purchases WHERE payment_id = ANY(CAST(:payment_ids AS text[]))) r
     UNION ALL
    SELECT 'refunds', jsonb_agg(r) FROM (
        SELECT refund_id AS "refundId", payment_id AS "paymentId", coins_returned AS "coinsReturned",
               refunded_at AT TIME ZONE 'UTC' AS "refundedAt"
          FROM refunds WHERE payment_id = ANY(CAST(:payment_ids AS text[]))) r
     UNION ALL
    SELECT 'enrollments', jsonb_agg(r) FROM (
        SELECT enrollment_id AS "enrollmentId", payment_id AS "paymentId", student_id AS "studentId",
               course_id AS "courseId", status, version
          FROM enrollments WHERE payment_id = ANY(CAST(:payment_ids AS text[]))) r
     UNION ALL
    SELECT 'cart_clearances', jsonb_agg(r) FROM (
        SELECT payment_id AS "paymentId", student_id AS "studentId", course_id AS "courseId", item_id AS "itemId",
               added_until AT TIME ZONE 'UTC' AS "addedUntil"
          FROM cart_clearances WHERE payment_id = ANY(CAST(:payment_ids AS text[]))) r
     UNION ALL
    SELECT 'coin_ledger', jsonb_agg(r) FROM (
        SELECT kind, reference, student_id AS "studentId", payment_id AS "paymentId", coins
          FROM coin_ledger
         WHERE payment_id = ANY(CAST(:payment_ids AS text[]))
            OR (kind = 'credit' AND reference = ANY(CAST(:credit_ids AS text[])))) r
     UNION ALL
    SELECT 'allocations', jsonb_agg(r) FROM (
        SELECT allocation_id AS "allocationId", enrollment_id AS "enrollmentId", payment_id AS "paymentId",
               trainer_id AS "trainerId", status, provisional, version, metadata, latitude, longitude,
               scheduled_at IS NOT NULL AS scheduled, cancelled_at IS NOT NULL AS cancelled
          FROM allocations WHERE payment_id = ANY(CAST(:payment_ids AS text[]))) r
     UNION ALL
    SELECT 'bookings', jsonb_agg(r) FROM (
        SELECT b.allocation_id AS "allocationId",
               row_number() OVER (PARTITION BY b.allocation_id ORDER BY b.booking_no) AS stretch,
               t.trainer_id AS "trainerId", s.student_id AS "studentId", b.first_number AS "firstNumber",
               b.first_day AS "firstDay", b.days_of_week AS "daysOfWeek", b.session_count AS "sessionCount",
               b.start_minute AS "startMinute", b.slot_minutes AS "slotMinutes", b.timezone, b.active,
               ARRAY(SELECT ARRAY[lower(slot) AT TIME ZONE 'UTC', upper(slot) AT TIME ZONE 'UTC']
                       FROM unnest(b.booked) AS slot) AS booked
          FROM bookings b
          JOIN allocations a USING (allocation_id)
          JOIN trainers t USING (trainer_no)
          JOIN students s USING (student_no)
         WHERE a.payment_id = ANY(CAST(:payment_ids AS text[]))) r
     UNION ALL
    SELECT 'sessions', jsonb_agg(r) FROM (
        SELECT allocation_id AS "allocationId", number, trainer_id AS "trainerId",
               starts_at AT TIME ZONE 'UTC' AS "startsAt", ends_at AT TIME ZONE 'UTC' AS "endsAt", status, version
          FROM sessions WHERE payment_id = ANY(CAST(:payment_ids AS text[]))) r
     UNION ALL
    SELECT 'session_history', jsonb_agg(r) FROM (
        SELECT allocation_id AS "allocationId", number, version, trainer_id AS "trainerId",
               starts_at AT TIME ZONE 'UTC' AS "startsAt", ends_at AT TIME ZONE 'UTC' AS "endsAt", status
          FROM session_history WHERE payment_id = ANY(CAST(:payment_ids AS text[]))) r
     UNION ALL
    SELECT 'parked', jsonb_agg(r) FROM (
        SELECT id, actor, subject, episode, reason, waits_for AS "waitsFor", attempts, status, facts
          FROM parked
         WHERE id = ANY(CAST(:parked_ids AS uuid[])) OR payment_id = ANY(CAST(:payment_ids AS text[]))) r
""")

_INSTANTS = ("changedAt", "startsAt", "endsAt", "succeededAt", "refundedAt", "addedUntil")


async def snapshot(db: AsyncConnection, scope: Scope) -> Snapshot:
    """The rows in scope, by table and key, in one order."""
    binds = {field.name: sorted(getattr(scope, field.name)) for field in fields(scope)}
    found = {table: [_row(row) for row in rows or ()] for table, rows in await db.execute(_SNAPSHOT, binds)}
    return {
        table: dict(sorted((tuple(row[name] for name in key), row) for row in found[table]))
        for table, key in _KEYS.items()
    }


def difference(before: Snapshot, after: Snapshot) -> list[Effect]:
    """What lies between two looks at the same rows: one effect for each table and operation, rows by their keys.

    A row that was updated is told as its key, with the columns that changed in `before` and `after`.
    """
    effects: list[Effect] = []
    for table, key in _KEYS.items():
        old, new = before[table], after[table]
        kept = [(old[k], new[k]) for k in sorted(old.keys() & new.keys())]
        changes = {
            "insert": [new[k] for k in sorted(new.keys() - old.keys())],
            "update": [_update(key, was, row) for was, row in kept if _differ(was, row)],
            "delete": [old[k] for k in sorted(old.keys() - new.keys())],
        }
        effects += [
            Effect(table=table, operation=operation, count=len(rows), rows=tuple(rows))
            for operation, rows in changes.items()
            if rows
        ]
    return effects


def digest(effects: Sequence[Effect]) -> str:
    """SHA-256, in hex, of the effects as canonical JSON: equal for equal effects and for no others."""
    told = [effect.model_dump(mode="json", by_alias=True) for effect in effects]
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its instants as the wire writes them."""
    for name in _INSTANTS:
        if row.get(name) is not None:
            row[name] = _instant(row[name])
    if "booked" in row:
        row["booked"] = [[_instant(start), _instant(end)] for start, end in row["booked"]]
    return row


def _instant(utc: str) -> str:
    return datetime.fromisoformat(utc).isoformat() + "Z"


def _differ(old: object, new: object) -> bool:
    """To Python true, 1 and 1.0 are equal; both come from jsonb, so the order of their fields is the same."""
    return repr(old) != repr(new)


def _update(key: Sequence[str], old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    changed = [name for name in new if _differ(old[name], new[name])]
    told = {name: new[name] for name in key}
    told |= {"before": {name: old[name] for name in changed}, "after": {name: new[name] for name in changed}}
    # As jsonb keeps them: an answer that is read from the audit again has the same bytes.
    return dict(sorted(told.items(), key=lambda item: (len(item[0]), item[0])))
