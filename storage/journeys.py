"""One purchase across all actors, as people ask for it: by any id, in the order in which it happened. Reads only."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.reading import uuid_or_none


class Happening(NamedTuple):
    """Something that happened to a purchase: when, what in one word, and JSON values about it."""

    at: datetime
    what: str
    facts: dict[str, Any]


# The purchases of an id that names one: payment, refund, enrolment, allocation, parked item or command.
_PAYMENTS = text("""
    SELECT payment_id FROM purchases WHERE payment_id = :id
     UNION SELECT payment_id FROM parked WHERE payment_id = :id
     UNION SELECT payment_id FROM refunds WHERE refund_id = :id
     UNION SELECT payment_id FROM enrollments WHERE enrollment_id = CAST(:uuid AS uuid)
     UNION SELECT payment_id FROM allocations WHERE allocation_id = CAST(:uuid AS uuid)
     UNION SELECT payment_id FROM parked WHERE id = CAST(:uuid AS uuid) AND payment_id IS NOT NULL
     UNION SELECT payment_id FROM repairs WHERE command_id = :id AND accepted AND payment_id IS NOT NULL
     ORDER BY payment_id
""")

_OF_STUDENT = text("""
    SELECT payment_id, course_id, state, sessions, paid_at, parked_reason
      FROM purchase_journey
     WHERE student_id = :student_id
     ORDER BY paid_at, payment_id
""")

_HEAD = text("""
    SELECT j.payment_id, j.student_id, j.course_id, j.enrollment_id, j.allocation_id, j.state, a.trainer_id,
           a.provisional, a.version, a.metadata
      FROM purchase_journey j
      LEFT JOIN allocations a USING (allocation_id)
     WHERE j.payment_id = :payment_id
""")

# One line for everything that left a trace; `place` keeps the order of the flow where instants are equal.
_TIMELINE = text("""
    SELECT at, what, facts FROM (
        SELECT succeeded_at AS at, 1 AS place, 'paid' AS what,
               jsonb_build_object('amount_minor', amount_minor, 'currency', currency, 'course_id', course_id) AS facts
          FROM purchases WHERE payment_id = :payment_id AND payload IS NOT NULL
        UNION ALL
        SELECT received_at, 2, 'received', jsonb_build_object()
          FROM purchases WHERE payment_id = :payment_id
        UNION ALL
        SELECT enrolled_at, 3, 'enrolled', jsonb_build_object('enrollment_id', enrollment_id)
          FROM enrollments WHERE payment_id = :payment_id
        UNION ALL
        SELECT cleared_at, 4, 'cart cleared', jsonb_build_object('item_id', item_id, 'course_id', course_id)
          FROM cart_clearances WHERE payment_id = :payment_id
        UNION ALL
        SELECT booked_at, 5, CASE kind WHEN 'redemption' THEN 'coins redeemed' ELSE 'coins returned' END,
               jsonb_build_object('coins', abs(coins))
          FROM coin_ledger WHERE payment_id = :payment_id AND kind <> 'credit'
        UNION ALL
        SELECT approved_at, 6, 'allocated', jsonb_build_object(
                   'allocation_id', allocation_id, 'trainer_id', trainer_id, 'provisional', provisional)
          FROM allocations WHERE payment_id = :payment_id
        UNION ALL
        SELECT scheduled_at, 7, 'scheduled', jsonb_build_object('sessions', metadata -> 'sessionCount')
          FROM allocations WHERE payment_id = :payment_id
        UNION ALL
        SELECT parked_at, 8, 'parked', jsonb_build_object('parked_id', id, 'actor', actor, 'reason', reason)
          FROM parked WHERE payment_id = :payment_id
        UNION ALL
        SELECT completed_at, 9, 'repair', jsonb_build_object(
                   'command', command, 'requested_by', requested_by, 'reason', reason, 'outcome', outcome,
                   'refusal', answer -> 'refusal' ->> 'message')
          FROM repairs
         WHERE payment_id = :payment_id
            OR parked_id IN (SELECT id FROM parked WHERE payment_id = :payment_id)
        UNION ALL
        SELECT closed_at, 10, status, jsonb_build_object(
                   'parked_id', id, 'actor', actor, 'reason', reason, 'closed_by', closed_by)
          FROM parked WHERE payment_id = :payment_id
        UNION ALL
        SELECT refunded_at, 11, 'refunded', jsonb_build_object('refund_id', refund_id, 'coins', coins_returned)
          FROM refunds WHERE payment_id = :payment_id
        UNION ALL
        SELECT revoked_at, 12, 'revoked', jsonb_build_object('enrollment_id', enrollment_id)
          FROM enrollments WHERE payment_id = :payment_id
        UNION ALL
        SELECT released_at, 13, 'released', jsonb_build_object('effective_at', effective_at)
          FROM allocations WHERE payment_id = :payment_id
        UNION ALL
        SELECT max(f.replaced_at), 14, 'changed', jsonb_build_object('sessions', count(*))
          FROM former_sessions f
          JOIN allocations a USING (allocation_no)
         WHERE a.payment_id = :payment_id
         GROUP BY date_trunc('second', f.replaced_at)
        UNION ALL
        SELECT cancelled_at, 15, 'cancelled', jsonb_build_object()
          FROM allocations WHERE payment_id = :payment_id) AS happened
     WHERE at IS NOT NULL
     ORDER BY at, place, facts::text
""")

_SESSIONS = text("""
    SELECT number, starts_at, ends_at, trainer_id, status, version
      FROM sessions
     WHERE allocation_id = CAST(:allocation_id AS uuid)
     ORDER BY number
""")

_FORMER = text("""
    SELECT number, starts_at, ends_at, trainer_id, status, version, replaced_at
      FROM session_history
     WHERE allocation_id = CAST(:allocation_id AS uuid)
     ORDER BY number, version
""")


async def payments_of(db: AsyncConnection, any_id: str) -> list[str]:
    """The payment ids of the purchases that an id names; a student's own are `purchases_of`."""
    return list((await db.execute(_PAYMENTS, {"id": any_id, "uuid": uuid_or_none(any_id)})).scalars())


async def purchases_of(db: AsyncConnection, student_id: str) -> list[dict[str, Any]]:
    """A student's purchases by column, in the order in which they were paid."""
    return _dicts((await db.execute(_OF_STUDENT, {"student_id": student_id})).mappings().all())


async def journey(db: AsyncConnection, payment_id: str) -> dict[str, Any]:
    """Everything about one purchase: who and what, `timeline`, `sessions`, and `former` times of those.

    A payment that only parked rows know has a timeline and nothing else.
    """
    head = (await db.execute(_HEAD, {"payment_id": payment_id})).mappings().one_or_none() or {"payment_id": payment_id}
    found = await db.execute(_TIMELINE, {"payment_id": payment_id})
    its = {"allocation_id": head.get("allocation_id")}
    return {
        **head,
        "timeline": [Happening(*row) for row in found],
        "sessions": _dicts((await db.execute(_SESSIONS, its)).mappings().all()),
        "former": _dicts((await db.execute(_FORMER, its)).mappings().all()),
    }


def _dicts(rows: Sequence[Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in rows]
