"""The coin ledger: unique by kind and reference; a student's balance is its sum and never below zero."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import directory, returns
from storage.returns import Return


@dataclass(frozen=True, slots=True)
class Due:
    """Coins that a payment wants to redeem, and what its student had when his row was locked.

    `available` is what may be taken for it: the balance, or for a refunded one what there was of it at the refund.
    """

    payment_id: str
    enrollment_id: UUID
    student_id: str
    coins: int
    succeeded_at: datetime
    refunded: bool
    balance: int
    available: int


@dataclass(frozen=True, slots=True)
class Redemption:
    """Coins redeemed by a payment, as the ledger has it (coins > 0)."""

    payment_id: str
    student_id: str
    coins: int
    redeemed_at: datetime


@dataclass(frozen=True, slots=True)
class Credit:
    """Coins given to a student (coins > 0)."""

    credit_id: str
    student_id: str
    coins: int
    at: datetime


_KNOWN = text("""
    SELECT p.payment_id, p.student_id, p.coins_redeemed > 0 AS redeems, p.refunded_at IS NOT NULL AS refunded
      FROM purchases p
      JOIN enrollments e USING (payment_id)
     WHERE p.payment_id = ANY(CAST(:payment_ids AS text[]))
""")

# Read after the students are locked. The order is that of success: who paid first is served first. What an
# admin dismissed is not done by a replay. For a refunded purchase no coins are taken that came after its
# refund, while all that was ever spent counts: that sum never grows, so what it once was too small for
# stays undone whenever the event comes again.
_DUE = text("""
    SELECT p.payment_id, e.enrollment_id, p.student_id, p.coins_redeemed, p.succeeded_at,
           p.refunded_at IS NOT NULL AS refunded, s.coins,
           CASE WHEN e.revoked_at IS NULL THEN s.coins
                ELSE (SELECT CAST(coalesce(sum(c.coins), 0) AS bigint) FROM coin_ledger c
                       WHERE c.student_id = p.student_id AND (c.coins < 0 OR c.booked_at <= e.revoked_at))
           END AS available
      FROM purchases p
      JOIN enrollments e USING (payment_id)
      JOIN students s ON s.student_id = p.student_id
      LEFT JOIN coin_ledger l ON l.kind = 'redemption' AND l.reference = p.payment_id
     WHERE p.payment_id = ANY(CAST(:payment_ids AS text[]))
       AND p.coins_redeemed > 0 AND l.reference IS NULL
       AND NOT EXISTS (SELECT FROM parked k WHERE k.kind = 'step' AND k.actor = 'coins'
                          AND k.subject = CAST(e.enrollment_id AS text) AND k.status = 'dismissed')
     ORDER BY p.succeeded_at, p.payment_id
""")

_REDEEM = text("""
    INSERT INTO coin_ledger (kind, reference, student_id, payment_id, coins, at)
    SELECT 'redemption', payment_id, student_id, payment_id, -coins, at
      FROM unnest(CAST(:payment_ids AS text[]), CAST(:student_ids AS text[]), CAST(:coins AS bigint[]),
                  CAST(:at AS timestamptz[])) AS incoming (payment_id, student_id, coins, at)
     ORDER BY payment_id
""")

_CREDIT = text("""
    INSERT INTO coin_ledger (kind, reference, student_id, coins, at)
    SELECT 'credit', credit_id, student_id, coins, at
      FROM unnest(CAST(:credit_ids AS text[]), CAST(:student_ids AS text[]), CAST(:coins AS bigint[]),
                  CAST(:at AS timestamptz[])) AS incoming (credit_id, student_id, coins, at)
     ORDER BY credit_id
    ON CONFLICT (kind, reference) DO NOTHING
    RETURNING reference
""")

_CREDITS = text("""
    SELECT reference, student_id, coins, at FROM coin_ledger
     WHERE kind = 'credit' AND reference = ANY(CAST(:credit_ids AS text[]))
""")

_ADD = text("""
    UPDATE students SET coins = students.coins + incoming.coins
      FROM (SELECT student_id, sum(coins) AS coins
              FROM unnest(CAST(:student_ids AS text[]), CAST(:coins AS bigint[])) AS change (student_id, coins)
             GROUP BY student_id) AS incoming
     WHERE students.student_id = incoming.student_id
""")

_REDEMPTIONS = text("""
    SELECT payment_id, student_id, -coins, booked_at FROM coin_ledger
     WHERE kind = 'redemption' AND reference = ANY(CAST(:payment_ids AS text[]))
     ORDER BY payment_id
""")


async def due(db: AsyncConnection, payment_ids: Sequence[str]) -> tuple[dict[str, bool], list[Due]]:
    """Lock the students who redeem coins here.

    Returns the payments that this database holds, each with whether it was refunded, and what of them is not
    redeemed yet, in the order of success.
    """
    known = (await db.execute(_KNOWN, {"payment_ids": list(payment_ids)})).all()
    await directory.lock_students(db, (row.student_id for row in known if row.redeems))
    dues = [Due(*row) for row in await db.execute(_DUE, {"payment_ids": list(payment_ids)})]
    return {row.payment_id: row.refunded for row in known}, dues


async def book(db: AsyncConnection, dues: Sequence[Due], given_back: Sequence[Return]) -> None:
    """Redeem, and give back; the students are locked by `due`, and their balances suffice for both together."""
    if dues:
        await db.execute(
            _REDEEM,
            {
                "payment_ids": [d.payment_id for d in dues],
                "student_ids": [d.student_id for d in dues],
                "coins": [d.coins for d in dues],
                "at": [d.succeeded_at for d in dues],
            },
        )
    if given_back:
        await returns.enter(db, given_back)
    # The balances change once: in between one of them might look as if it were below zero.
    changes = [(d.student_id, -d.coins) for d in dues] + [(r.student_id, r.coins) for r in given_back]
    if changes:
        await db.execute(_ADD, {"student_ids": [s for s, _ in changes], "coins": [coins for _, coins in changes]})


async def redemptions(db: AsyncConnection, payment_ids: Sequence[str]) -> list[Redemption]:
    """The redemption of every payment that has one."""
    return [Redemption(*row) for row in await db.execute(_REDEMPTIONS, {"payment_ids": list(payment_ids)})]


async def credit(db: AsyncConnection, credits_: Sequence[Credit]) -> dict[str, Credit]:
    """Credit each id once; return the stored credit of *every* id, so a contradiction shows.

    The caller has numbered and locked the students.
    """
    if not credits_:
        return {}
    first = {c.credit_id: c for c in reversed(credits_)}
    inserted = (
        await db.execute(
            _CREDIT,
            {
                "credit_ids": list(first),
                "student_ids": [c.student_id for c in first.values()],
                "coins": [c.coins for c in first.values()],
                "at": [c.at for c in first.values()],
            },
        )
    ).scalars()
    new = [first[reference] for reference in inserted]
    await db.execute(_ADD, {"student_ids": [c.student_id for c in new], "coins": [c.coins for c in new]})
    return {row.reference: Credit(*row) for row in await db.execute(_CREDITS, {"credit_ids": list(first)})}
