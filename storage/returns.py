"""Coins given back by refunds: a row of the ledger each, together never more than was redeemed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Owed:
    """A refund that has given nothing back yet.

    `wanted`: how many coins, None for all that were redeemed. `redeemed` and `returned` are what the
    ledger holds of its payment, both counted upwards from 0.
    """

    refund_id: str
    payment_id: str
    student_id: str
    wanted: int | None
    refunded_at: datetime
    redeemed: int
    returned: int


@dataclass(frozen=True, slots=True)
class Return:
    """Coins that a refund gives back (coins > 0)."""

    refund_id: str
    payment_id: str
    student_id: str
    coins: int
    refunded_at: datetime


@dataclass(frozen=True, slots=True)
class Returned:
    """Coins given back, as the ledger has it (coins > 0)."""

    refund_id: str
    payment_id: str
    student_id: str
    coins: int
    returned_at: datetime


# Read after the students are locked. Who was refunded first is served first. What an admin dismissed is not
# done by a replay.
_OWED = text("""
    SELECT r.refund_id, r.payment_id, p.student_id, r.coins_returned, r.refunded_at, moved.redeemed, moved.returned
      FROM refunds r
      JOIN purchases p USING (payment_id)
      JOIN enrollments e USING (payment_id)
      LEFT JOIN coin_ledger l ON l.kind = 'return' AND l.reference = r.refund_id
     CROSS JOIN LATERAL (
           SELECT CAST(coalesce(-sum(coins) FILTER (WHERE kind = 'redemption'), 0) AS bigint) AS redeemed,
                  CAST(coalesce(sum(coins) FILTER (WHERE kind = 'return'), 0) AS bigint) AS returned
             FROM coin_ledger WHERE coin_ledger.payment_id = r.payment_id) AS moved
     WHERE r.payment_id = ANY(CAST(:payment_ids AS text[])) AND l.reference IS NULL
       AND NOT EXISTS (SELECT FROM parked k WHERE k.kind = 'step' AND k.actor = 'coins'
                          AND k.subject = CAST(e.enrollment_id AS text) AND k.status = 'dismissed'
                          AND k.topic = 'enrollments.revoked')
     ORDER BY r.payment_id, r.refunded_at, r.refund_id
""")

_RETURN = text("""
    INSERT INTO coin_ledger (kind, reference, student_id, payment_id, coins, at)
    SELECT 'return', refund_id, student_id, payment_id, coins, at
      FROM unnest(CAST(:refund_ids AS text[]), CAST(:student_ids AS text[]), CAST(:payment_ids AS text[]),
                  CAST(:coins AS bigint[]), CAST(:at AS timestamptz[]))
           AS incoming (refund_id, student_id, payment_id, coins, at)
     ORDER BY refund_id
""")

_RETURNED = text("""
    SELECT reference, payment_id, student_id, coins, booked_at FROM coin_ledger
     WHERE kind = 'return' AND payment_id = ANY(CAST(:payment_ids AS text[]))
     ORDER BY payment_id, reference
""")


async def owed(db: AsyncConnection, payment_ids: Sequence[str]) -> list[Owed]:
    """The refunds of these payments that have given nothing back; their students are locked by the caller."""
    return [Owed(*row) for row in await db.execute(_OWED, {"payment_ids": list(payment_ids)})]


async def enter(db: AsyncConnection, returns: Sequence[Return]) -> None:
    """Enter the returns into the ledger; the balances are the caller's to change."""
    await db.execute(
        _RETURN,
        {
            "refund_ids": [r.refund_id for r in returns],
            "student_ids": [r.student_id for r in returns],
            "payment_ids": [r.payment_id for r in returns],
            "coins": [r.coins for r in returns],
            "at": [r.refunded_at for r in returns],
        },
    )


async def returned(db: AsyncConnection, payment_ids: Sequence[str]) -> list[Returned]:
    """What refunds of these payments gave back, now or before."""
    return [Returned(*row) for row in await db.execute(_RETURNED, {"payment_ids": list(payment_ids)})]
