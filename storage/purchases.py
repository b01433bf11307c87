"""Purchases: what upstream told us, once per payment, and the lock of everything that follows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Purchase:
    """What one payment bought.

    `payload` is its JSON as received, `fingerprint` that of its known fields; `published_at` is when the
    broker appended it.
    """

    payment_id: str
    student_id: str
    course_id: str
    amount_minor: int
    currency: str
    succeeded_at: datetime
    coins_redeemed: int
    payload: str
    fingerprint: bytes
    published_at: datetime


# Keeps each payment once; makes an empty row for a refund that comes first, and fills it when its payment
# comes. What is there already is locked by the conflict, even where its WHERE changes nothing; what is new is
# nobody else's. Payments and refunds in one statement: two would lock the rows of a batch in two orders.
# ORDER BY: overlapping batches lock rows in one order.
_KEEP = text("""
    INSERT INTO purchases (payment_id, student_id, course_id, amount_minor, currency, succeeded_at,
                           coins_redeemed, payload, fingerprint, published_at, refunded_at, state)
    SELECT payment_id, student_id, course_id, amount_minor, currency, succeeded_at, coins_redeemed,
           payload::jsonb, fingerprint, published_at, refunded_at,
           CASE WHEN payload IS NULL THEN 'refunded' ELSE 'enrolled' END
      FROM unnest(CAST(:payment_ids AS text[]), CAST(:student_ids AS text[]), CAST(:course_ids AS text[]),
                  CAST(:amounts AS bigint[]), CAST(:currencies AS text[]), CAST(:succeeded AS timestamptz[]),
                  CAST(:coins AS bigint[]), CAST(:payloads AS text[]), CAST(:fingerprints AS bytea[]),
                  CAST(:published AS timestamptz[]), CAST(:refunded AS timestamptz[]))
           AS incoming (payment_id, student_id, course_id, amount_minor, currency, succeeded_at,
                        coins_redeemed, payload, fingerprint, published_at, refunded_at)
     ORDER BY payment_id
    ON CONFLICT (payment_id) DO UPDATE
       SET student_id = excluded.student_id, course_id = excluded.course_id,
           amount_minor = excluded.amount_minor, currency = excluded.currency,
           succeeded_at = excluded.succeeded_at, coins_redeemed = excluded.coins_redeemed,
           payload = excluded.payload, fingerprint = excluded.fingerprint, published_at = excluded.published_at
     WHERE purchases.payload IS NULL AND excluded.payload IS NOT NULL
""")

# A statement of its own, after the insert: it sees what another transaction committed meanwhile.
_FINGERPRINTS = text("""
    SELECT payment_id, fingerprint FROM purchases WHERE payment_id = ANY(CAST(:payment_ids AS text[]))
""")

_PAYLOADS = text("""
    SELECT payment_id, payload FROM purchases WHERE payment_id = ANY(CAST(:payment_ids AS text[]))
""")

# The lock of the purchase: taken before anything about it is read.
_LOCK = text("""
    SELECT payment_id FROM purchases
     WHERE payment_id = ANY(CAST(:payment_ids AS text[]))
     ORDER BY payment_id
       FOR NO KEY UPDATE
""")

# The earliest of its refunds counts, in whatever order they come.
_REFUND = text("""
    UPDATE purchases SET state = 'refunded', refunded_at = given.first
      FROM (SELECT payment_id, min(refunded_at) AS first FROM refunds
             WHERE payment_id = ANY(CAST(:payment_ids AS text[]))
             GROUP BY payment_id) AS given
     WHERE purchases.payment_id = given.payment_id AND purchases.refunded_at IS DISTINCT FROM given.first
""")

_FORGET = text("""
    DELETE FROM purchases p
     WHERE payment_id = ANY(CAST(:payment_ids AS text[])) AND payload IS NULL
       AND NOT EXISTS (SELECT FROM refunds r WHERE r.payment_id = p.payment_id)
""")

# A refunded purchase keeps that state whatever step ends after the refund, and a scheduled one though a
# replay of it fails.
_ADVANCE = text("""
    UPDATE purchases SET state = incoming.state
      FROM unnest(CAST(:payment_ids AS text[]), CAST(:states AS text[])) AS incoming (payment_id, state)
     WHERE purchases.payment_id = incoming.payment_id
       AND purchases.state NOT IN ('refunded', incoming.state)
       AND NOT (purchases.state = 'scheduled' AND incoming.state = 'parked')
""")


async def keep(
    db: AsyncConnection, purchases: Sequence[Purchase], refunded: Mapping[str, datetime] | None = None
) -> dict[str, bytes]:
    """Keep each payment once, and a row for each payment id of `refunded`; all of them are locked then.

    Returns the fingerprint that is stored for *every* one of the payments.
    """
    first = {p.payment_id: p for p in reversed(purchases)}
    empty = {payment_id: at for payment_id, at in (refunded or {}).items() if payment_id not in first}
    offered, nothing = list(first.values()), [None] * len(empty)
    await db.execute(
        _KEEP,
        {
            "payment_ids": [*first, *empty],
            "student_ids": [p.student_id for p in offered] + nothing,
            "course_ids": [p.course_id for p in offered] + nothing,
            "amounts": [p.amount_minor for p in offered] + nothing,
            "currencies": [p.currency for p in offered] + nothing,
            "succeeded": [p.succeeded_at for p in offered] + nothing,
            "coins": [p.coins_redeemed for p in offered] + [0] * len(empty),
            "payloads": [p.payload for p in offered] + nothing,
            "fingerprints": [p.fingerprint for p in offered] + nothing,
            "published": [p.published_at for p in offered] + nothing,
            "refunded": [None] * len(first) + list(empty.values()),
        },
    )
    if not first:
        return {}
    rows = await db.execute(_FINGERPRINTS, {"payment_ids": list(first)})
    return {row.payment_id: bytes(row.fingerprint) for row in rows}


async def refund(db: AsyncConnection, payment_ids: Iterable[str]) -> None:
    """Mark purchases as refunded, at the instant of their earliest refund; the caller holds their lock."""
    await db.execute(_REFUND, {"payment_ids": sorted(set(payment_ids))})


async def forget(db: AsyncConnection, payment_ids: Iterable[str]) -> None:
    """Take back the empty rows that were made for refunds which contradict an earlier one."""
    await db.execute(_FORGET, {"payment_ids": sorted(set(payment_ids))})


async def payloads(db: AsyncConnection, payment_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What the first message of each payment said, by payment id."""
    rows = await db.execute(_PAYLOADS, {"payment_ids": sorted(set(payment_ids))})
    return {row.payment_id: row.payload for row in rows}


async def lock(db: AsyncConnection, payment_ids: Iterable[str]) -> None:
    """Lock the purchases, in the order of their ids, until the transaction ends."""
    await db.execute(_LOCK, {"payment_ids": sorted(set(payment_ids))})


async def advance(db: AsyncConnection, states: Iterable[tuple[str, str]]) -> None:
    """Store the state that each (payment id, state) has reached; refunded purchases stay refunded."""
    pairs = sorted(set(states))
    if pairs:
        await db.execute(
            _ADVANCE, {"payment_ids": [payment_id for payment_id, _ in pairs], "states": [state for _, state in pairs]}
        )
