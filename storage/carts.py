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


# Older producers name the item `processingItemId`. Empty counts as missing.
# ORDER BY: overlapping batches lock rows in one order.
_CLEAR = text("""
    INSERT INTO cart_clearances (payment_id, student_id, course_id, item_id, added_until)
    SELECT payment_id, student_id, course_id,
           coalesce(nullif(payload #>> '{metadata,cartItemId}', ''),
                    nullif(payload #>> '{metadata,processingItemId}', '')),
           succeeded_at
      FROM purchases
     WHERE payment_id = ANY(CAST(:payment_ids AS text[])) AND payload IS NOT NULL
     ORDER BY payment_id
    ON CONFLICT (payment_id) DO NOTHING
""")

_READ = text("""
    SELECT payment_id, student_id, course_id, item_id, added_until, cleared_at
      FROM cart_clearances
     WHERE payment_id = ANY(CAST(:payment_ids AS text[]))
     ORDER BY payment_id
""")


async def clear(db: AsyncConnection, payment_ids: Sequence[str]) -> list[Clearance]:
    """Clear what each payment bought, for good; return the clearance of *every* payment, replays too."""
    await db.execute(_CLEAR, {"payment_ids": list(payment_ids)})
    return [Clearance(*row) for row in await db.execute(_READ, {"payment_ids": list(payment_ids)})]
