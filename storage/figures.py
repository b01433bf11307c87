"""Figures for people: totals over all purchases, exact whatever is lost, repeated or out of order.

A purchase is counted by comparing what its rows say now with what of it was counted before. The
difference goes into the totals in the transaction that notes it.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.objective import BOUNDS, WITHIN_SECONDS


class Figure(NamedTuple):
    """One total: its name, its label (empty where it has none), its value."""

    name: str
    label: str
    value: float


# A refund that came before its payment leaves a purchase that nobody has paid yet.
_OPEN = text("""
    INSERT INTO counted_purchases (payment_id)
    SELECT payment_id FROM purchases
     WHERE payment_id = ANY(CAST(:payment_ids AS text[])) AND payload IS NOT NULL
     ORDER BY payment_id
    ON CONFLICT DO NOTHING
""")

_LOCK = text("""
    SELECT payment_id FROM counted_purchases
     WHERE payment_id = ANY(CAST(:payment_ids AS text[]))
     ORDER BY payment_id
       FOR UPDATE
""")

# What was once said stands: that it was paid, how long its sessions took, and whether somebody had to help.
# Help is a command about a step that leads to sessions, begun before there were any by the clock that set
# scheduled_at: the broker's may be ahead of it.
# Every part of the statement sees the rows as they were before it, so `before` is what was counted.
# ORDER BY: batches that meet in several totals lock them in one order.
_COUNT = text("""
    WITH before AS (
        SELECT * FROM counted_purchases WHERE payment_id = ANY(CAST(:payment_ids AS text[]))
    ), truth AS (
        SELECT p.payment_id, p.state,
               e.payment_id IS NOT NULL AND NOT EXISTS (
                   SELECT FROM refunds r WHERE r.payment_id = p.payment_id AND r.received_at < e.enrolled_at) AS paid,
               a.scheduled_at IS NOT NULL AS scheduled,
               greatest(extract(epoch FROM a.scheduled_at - coalesce(p.published_at, p.received_at)), 0) AS seconds,
               EXISTS (SELECT FROM repairs r
                        WHERE r.payment_id = p.payment_id AND r.accepted AND r.requested_by NOT LIKE 'system:%'
                          AND r.outcome IN ('applied', 'republished')
                          AND coalesce(r.began_at, r.requested_at) <= a.scheduled_at
                          AND NOT EXISTS (SELECT FROM parked k
                                           WHERE k.id = r.parked_id AND k.actor IN ('cart', 'coins'))
                          AND r.step IS DISTINCT FROM 'cart' AND r.step IS DISTINCT FROM 'coins') AS with_help,
               CASE WHEN a.scheduled_at IS NOT NULL AND a.metadata ->> 'sessionCount' ~ '^[0-9]{1,4}$'
                    THEN CAST(a.metadata ->> 'sessionCount' AS integer) END AS sessions,
               CASE WHEN a.status = 'released'
                    THEN (SELECT count(*) FROM series_sessions s
                           WHERE s.allocation_no = a.allocation_no AND s.cancelled)
               END AS cancelled,
               c.payment_id IS NOT NULL AS cart_cleared,
               coins.redeemed AS coins_redeemed, coins.returned AS coins_returned
          FROM purchases p
          LEFT JOIN enrollments e ON e.payment_id = p.payment_id
          LEFT JOIN allocations a ON a.payment_id = p.payment_id
          LEFT JOIN cart_clearances c ON c.payment_id = p.payment_id
         CROSS JOIN LATERAL (
               SELECT -sum(l.coins) FILTER (WHERE l.kind = 'redemption') AS redeemed,
                      sum(l.coins) FILTER (WHERE l.kind = 'return') AS returned
                 FROM coin_ledger l
                WHERE l.payment_id = p.payment_id) AS coins
         WHERE p.payment_id = ANY(CAST(:payment_ids AS text[]))
    ), now AS (
        SELECT b.payment_id, t.state, b.paid OR t.paid AS paid, t.scheduled,
               CASE WHEN b.scheduled THEN b.in_time
                    ELSE t.scheduled AND t.seconds <= :within AND NOT t.with_help END AS in_time,
               CASE WHEN b.scheduled THEN b.with_help ELSE t.scheduled AND t.with_help END AS with_help,
               CASE WHEN b.scheduled THEN b.seconds ELSE CAST(t.seconds AS double precision) END AS seconds,
               CASE WHEN t.sessions IN (10, 20, 30) THEN CAST(t.sessions AS text)
                    WHEN t.scheduled THEN 'other' END AS tier,
               coalesce(t.sessions, 0) AS sessions, coalesce(t.cancelled, 0) AS cancelled, t.cart_cleared,
               coalesce(t.coins_redeemed, 0) AS coins_redeemed, coalesce(t.coins_returned, 0) AS coins_returned
          FROM before b
          JOIN truth t USING (payment_id)
    ), written AS (
        UPDATE counted_purchases c
           SET state = now.state, paid = now.paid, scheduled = now.scheduled, in_time = now.in_time,
               with_help = now.with_help, seconds = now.seconds, tier = now.tier, sessions = now.sessions,
               cancelled = now.cancelled, cart_cleared = now.cart_cleared, coins_redeemed = now.coins_redeemed,
               coins_returned = now.coins_returned
          FROM now
         WHERE now.payment_id = c.payment_id
           AND (now.state, now.paid, now.scheduled, now.sessions, now.cancelled, now.cart_cleared,
                now.coins_redeemed, now.coins_returned)
               IS DISTINCT FROM (c.state, c.paid, c.scheduled, c.sessions, c.cancelled, c.cart_cleared,
                                 c.coins_redeemed, c.coins_returned)
    ), signed AS (
        SELECT 1 AS sign, state, paid, scheduled, in_time, with_help, seconds, tier, sessions, cancelled,
               cart_cleared, coins_redeemed, coins_returned
          FROM now
        UNION ALL
        SELECT -1, state, paid, scheduled, in_time, with_help, seconds, tier, sessions, cancelled,
               cart_cleared, coins_redeemed, coins_returned
          FROM before
    )
    INSERT INTO figures (name, label, value)
    SELECT fact.name, fact.label, sum(sign * fact.value)
      FROM signed
     CROSS JOIN LATERAL (VALUES
           ('purchases', state, 1),
           ('paid', '', CAST(paid AS integer)),
           ('scheduled', '', CAST(scheduled AS integer)),
           ('in_time', '', CAST(in_time AS integer)),
           ('with_help', '', CAST(with_help AS integer)),
           ('seconds', (SELECT CAST(coalesce(min(bound), 'Infinity') AS text)
                          FROM unnest(CAST(:bounds AS double precision[])) AS bound
                         WHERE seconds <= bound), CAST(scheduled AS integer)),
           ('seconds_sum', '', CAST(seconds AS numeric)),
           ('sessions_created', tier, sessions),
           ('sessions_cancelled', '', cancelled),
           ('carts_cleared', '', CAST(cart_cleared AS integer)),
           ('coins_redeemed', '', coins_redeemed),
           ('coins_returned', '', coins_returned)) AS fact (name, label, value)
     WHERE fact.label IS NOT NULL
     GROUP BY fact.name, fact.label
    HAVING sum(sign * fact.value) <> 0
     ORDER BY fact.name, fact.label
    ON CONFLICT (name, label) DO UPDATE SET value = figures.value + excluded.value
""")

_READ = text("SELECT name, label, value FROM figures ORDER BY name, label")

# In the order of their ids, each round after the last of the one before: from the beginning again and again
# it would read all that is counted once for every thousand that is not.
_UNCOUNTED = text("""
    SELECT p.payment_id FROM purchases p
      LEFT JOIN counted_purchases c USING (payment_id)
     WHERE p.payment_id > :after
       AND p.payload IS NOT NULL AND p.received_at < clock_timestamp() - interval '5 minutes'
       AND (c.state IS DISTINCT FROM p.state
            OR NOT c.scheduled AND EXISTS (SELECT FROM allocations a
                                            WHERE a.payment_id = p.payment_id AND a.scheduled_at IS NOT NULL)
            OR NOT c.cart_cleared AND EXISTS (SELECT FROM cart_clearances l WHERE l.payment_id = p.payment_id)
            OR c.coins_redeemed + c.coins_returned <> (
                   SELECT coalesce(sum(abs(l.coins)), 0) FROM coin_ledger l
                    WHERE l.payment_id = p.payment_id AND l.kind IN ('redemption', 'return')))
     ORDER BY p.payment_id
     LIMIT :most
""")


async def count(db: AsyncConnection, payment_ids: Iterable[str]) -> None:
    """Bring the totals up to what the rows of these purchases say now; ids that are no purchase are passed over."""
    ids = sorted(set(payment_ids))
    if not ids:
        return
    await db.execute(_OPEN, {"payment_ids": ids})
    await db.execute(_LOCK, {"payment_ids": ids})
    await db.execute(_COUNT, {"payment_ids": ids, "within": WITHIN_SECONDS, "bounds": list(BOUNDS)})


async def read(db: AsyncConnection) -> Sequence[Figure]:
    """Every total that is not zero, and some that are."""
    return [Figure(row.name, row.label, float(row.value)) for row in await db.execute(_READ)]


async def uncounted(db: AsyncConnection, most: int, after: str = "") -> list[str]:
    """Purchases whose rows no event has led here, or not to how they are now; those behind the id `after`.

    They are of before there were figures, or their last events are lost.
    """
    return list((await db.execute(_UNCOUNTED, {"most": most, "after": after})).scalars())
