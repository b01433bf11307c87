"""What became of a sample's records, read from the service's database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from traffic.world import World


@dataclass(frozen=True, slots=True)
class Passed:
    """How many purchases have passed each step; `parked` wait for somebody, `done` have nothing left to do."""

    enrolled: int = 0
    allocated: int = 0
    scheduled: int = 0
    parked: int = 0
    done: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What a run did; times in milliseconds from the payment to its sessions, None where nothing was scheduled.

    `parked` counts purchases by reason; `aside` what is parked without stopping one: coins, copies that contradict.
    """

    scheduled: int
    parked: dict[str, int]
    aside: dict[str, int]
    sessions: int
    p50_ms: float | None
    p99_ms: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Journey:
    """One purchase, told step by step; `starts` are its first sessions, `zone` the student's."""

    payment_id: str
    student_id: str
    course_id: str
    trainer_id: str
    zone: str
    sessions: int
    coins: int
    item_id: str | None
    paid_at: datetime
    enrolled_at: datetime
    allocated_at: datetime
    scheduled_at: datetime
    starts: tuple[tuple[datetime, datetime], ...]


# How many of these are in the local copies.
_KNOWN = text("""
    SELECT (SELECT count(*) FROM students
             WHERE student_id = ANY(CAST(:students AS text[])) AND changed_at IS NOT NULL)
         + (SELECT count(*) FROM trainers WHERE trainer_id = ANY(CAST(:trainers AS text[])))
         + (SELECT count(*) FROM trainer_absences WHERE busy_id = ANY(CAST(:absences AS text[])))
         + (SELECT count(*) FROM cart_changes WHERE item_id = ANY(CAST(:cart AS text[])))
         + (SELECT count(*) FROM coin_ledger WHERE kind = 'credit' AND reference = ANY(CAST(:credits AS text[])))
""")

# Not the view's count of sessions: it would be computed for every purchase at every look.
_PASSED = text("""
    SELECT count(*) AS enrolled,
           count(*) FILTER (WHERE j.state IN ('allocated', 'scheduled')) AS allocated,
           count(*) FILTER (WHERE j.state = 'scheduled') AS scheduled,
           count(*) FILTER (WHERE j.state = 'parked') AS parked,
           count(*) FILTER (
               WHERE j.state IN ('scheduled', 'parked', 'refunded')
                 AND EXISTS (SELECT FROM cart_clearances c WHERE c.payment_id = j.payment_id)
                 AND (p.coins_redeemed = 0
                      OR EXISTS (SELECT FROM coin_ledger l WHERE l.kind = 'redemption' AND l.reference = j.payment_id)
                      OR EXISTS (SELECT FROM parked k WHERE k.payment_id = j.payment_id AND k.actor = 'coins'))
           ) AS done
      FROM purchase_journey j
      JOIN purchases p USING (payment_id)
     WHERE j.payment_id = ANY(CAST(:ids AS text[]))
""")

_RESULT = text("""
    WITH these AS MATERIALIZED (
        SELECT state, sessions, paid_at, coalesce(scheduled_at, parked_at) AS ended_at,
               extract(epoch FROM scheduled_at - paid_at) * 1000 AS ms
          FROM purchase_journey WHERE payment_id = ANY(CAST(:ids AS text[])))
    SELECT count(*) FILTER (WHERE state = 'scheduled') AS scheduled,
           coalesce(sum(sessions), 0)::bigint AS sessions,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FILTER (WHERE state = 'scheduled') AS p50_ms,
           percentile_cont(0.99) WITHIN GROUP (ORDER BY ms) FILTER (WHERE state = 'scheduled') AS p99_ms,
           coalesce(extract(epoch FROM max(ended_at) - min(paid_at)), 0)::float8 AS seconds
      FROM these
""")

_REASONS = text("""
    SELECT coalesce(parked_reason, 'unknown'), count(*)
      FROM purchase_journey
     WHERE payment_id = ANY(CAST(:ids AS text[])) AND state = 'parked'
     GROUP BY 1 ORDER BY 2 DESC, 1
""")

_ASIDE = text("""
    SELECT reason, count(*)
      FROM parked
     WHERE payment_id = ANY(CAST(:ids AS text[])) AND status = 'open'
       AND NOT (kind = 'step' AND actor IN ('enrollment', 'allocation', 'sessions'))
     GROUP BY 1 ORDER BY 2 DESC, 1
""")

# One that tells much: with a bought cart item, with coins, with the most sessions.
_TELLING = text("""
    SELECT j.payment_id, j.student_id, j.course_id, a.trainer_id, a.metadata ->> 'timezone' AS zone, j.sessions,
           coalesce(-l.coins, 0) AS coins, c.item_id, j.paid_at, j.enrolled_at, j.allocated_at, j.scheduled_at
      FROM purchase_journey j
      JOIN allocations a USING (allocation_id)
      LEFT JOIN cart_clearances c ON c.payment_id = j.payment_id
      LEFT JOIN coin_ledger l ON l.kind = 'redemption' AND l.reference = j.payment_id
     WHERE j.payment_id = ANY(CAST(:ids AS text[])) AND j.state = 'scheduled'
     ORDER BY c.item_id IS NULL, l.coins IS NULL, j.sessions DESC, j.payment_id
     LIMIT 1
""")

_FIRST_SESSIONS = text("""
    SELECT starts_at, ends_at FROM sessions
     WHERE payment_id = :payment_id AND status = 'scheduled'
     ORDER BY number LIMIT 3
""")


async def unknown_feeds(db: AsyncConnection, world: World) -> int:
    """Count what the feeds told and the directory does not know yet."""
    ids = {
        "students": [student.student_id for student in world.students],
        "trainers": [trainer.trainer_id for trainer in world.trainers],
        "absences": [absence.busy_id for absence in world.absences],
        "cart": [item.item_id for item in world.cart],
        "credits": [credit.credit_id for credit in world.credits],
    }
    known: int = (await db.execute(_KNOWN, ids)).scalar_one()
    return sum(map(len, ids.values())) - known


async def passed(db: AsyncConnection, payment_ids: Sequence[str]) -> Passed:
    """How far these purchases are."""
    return Passed(*(await db.execute(_PASSED, {"ids": payment_ids})).one())


async def result(db: AsyncConnection, payment_ids: Sequence[str]) -> Result:
    """What became of these purchases."""
    row = (await db.execute(_RESULT, {"ids": payment_ids})).one()
    return Result(
        scheduled=row.scheduled,
        parked=await _counts(db, _REASONS, payment_ids),
        aside=await _counts(db, _ASIDE, payment_ids),
        sessions=row.sessions,
        p50_ms=_number(row.p50_ms),
        p99_ms=_number(row.p99_ms),
        seconds=row.seconds,
    )


async def telling_journey(db: AsyncConnection, payment_ids: Sequence[str]) -> Journey | None:
    """One of these purchases as an example; None when none is scheduled."""
    row = (await db.execute(_TELLING, {"ids": payment_ids})).one_or_none()
    if row is None:
        return None
    starts = await db.execute(_FIRST_SESSIONS, {"payment_id": row.payment_id})
    return Journey(**row._asdict(), starts=tuple((start, end) for start, end in starts))


async def _counts(db: AsyncConnection, counting: TextClause, payment_ids: Sequence[str]) -> dict[str, int]:
    return {str(reason): int(count) for reason, count in await db.execute(counting, {"ids": payment_ids})}


def _number(value: Any) -> float | None:
    return None if value is None else round(float(value), 1)
