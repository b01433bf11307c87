"""What purchases took out of carts. A clearance is a fact of its own, so no order of arrival matters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Clearance:
    """One purchase's clearance: of `item_id`, or of the course's items added until `added_until`."""

    payment_id: str
    student_id: str
    course_id: str
    item_id: str | None
    added_until: datetime
    cleared_at: datetime


# Older producers name the item `processingItemId`. Empty counts as missing. A refunded purchase clears too: so
# the cart is the same whichever comes first. What an admin dismissed is not done by a replay.
# ORDER BY: overlapping batches lock rows in one order.
_CLEAR = text("""
    INSERT INTO cart_clearances (payment_id, student_id, course_id, item_id, added_until)
    SELECT payment_id, student_id, course_id,
           coalesce(nullif(payload #>> '{metadata,cartItemId}', ''),
                    nullif(payload #>> '{metadata,processingItemId}', '')),
           succeeded_at
      FROM purchases p
     WHERE payment_id = ANY(CAST(:payment_ids AS text[])) AND payload IS NOT NULL
       AND NOT EXISTS (SELECT FROM parked k WHERE k.payment_id = p.payment_id AND k.kind = 'step'
                          AND k.actor = 'cart' AND k.status = 'dismissed')
     ORDER BY payment_id
    ON CONFLICT (payment_id) DO NOTHING
""")

_READ = text("""
    SELECT p.payment_id, c.student_id, c.course_id, c.item_id, c.added_until, c.cleared_at
      FROM purchases p
      LEFT JOIN cart_clearances c USING (payment_id)
     WHERE p.payment_id = ANY(CAST(:payment_ids AS text[])) AND p.payload IS NOT NULL
     ORDER BY p.payment_id
""")


async def clear(db: AsyncConnection, payment_ids: Sequence[str]) -> tuple[set[str], list[Clearance]]:
    """Clear what each payment bought, for good.

    Returns the payments that this database holds, and the clearance of *every* one that has one, replays too.
    """
    await db.execute(_CLEAR, {"payment_ids": list(payment_ids)})
    rows = (await db.execute(_READ, {"payment_ids": list(payment_ids)})).all()
    return {row.payment_id for row in rows}, [Clearance(*row) for row in rows if row.cleared_at is not None]
