"""Refunds: what upstream told us, once per refund; a purchase may have several."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Refund:
    """One refund; `coins_returned` None: all that the payment redeemed. `payload` is its JSON as received."""

    refund_id: str
    payment_id: str
    coins_returned: int | None
    refunded_at: datetime
    payload: str

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of its known fields: the contract has brought them to one form, an instant counts by its moment."""
        return hashlib.sha256(json.dumps([*_known(self).values()], default=_moment).encode()).digest()


class StoredRefund(NamedTuple):
    """A refund as the first message of its id told it."""

    refund_id: str
    payment_id: str
    coins_returned: int | None
    refunded_at: datetime
    fingerprint: bytes


# ORDER BY: overlapping batches lock rows in one order.
_KEEP = text("""
    INSERT INTO refunds (refund_id, payment_id, coins_returned, refunded_at, payload, fingerprint)
    SELECT refund_id, payment_id, coins_returned, refunded_at, payload::jsonb, fingerprint
      FROM unnest(CAST(:refund_ids AS text[]), CAST(:payment_ids AS text[]), CAST(:coins AS bigint[]),
                  CAST(:refunded AS timestamptz[]), CAST(:payloads AS text[]), CAST(:fingerprints AS bytea[]))
           AS incoming (refund_id, payment_id, coins_returned, refunded_at, payload, fingerprint)
     ORDER BY refund_id
    ON CONFLICT (refund_id) DO NOTHING
""")

# A statement of its own, after the insert: it sees what another transaction committed meanwhile.
_READ = text("""
    SELECT refund_id, payment_id, coins_returned, refunded_at, fingerprint
      FROM refunds
     WHERE refund_id = ANY(CAST(:refund_ids AS text[]))
""")

_OF_PAYMENTS = text("""
    SELECT refund_id, payment_id, coins_returned, refunded_at, fingerprint
      FROM refunds
     WHERE payment_id = ANY(CAST(:payment_ids AS text[]))
     ORDER BY payment_id, refunded_at, refund_id
""")


async def keep(db: AsyncConnection, refunds: Sequence[Refund]) -> dict[str, StoredRefund]:
    """Keep each refund once; return what is stored of *every* refund id. The purchases are there, and locked."""
    first = {r.refund_id: r for r in reversed(refunds)}.values()
    await db.execute(
        _KEEP,
        {
            "refund_ids": [r.refund_id for r in first],
            "payment_ids": [r.payment_id for r in first],
            "coins": [r.coins_returned for r in first],
            "refunded": [r.refunded_at for r in first],
            "payloads": [r.payload for r in first],
            "fingerprints": [r.fingerprint for r in first],
        },
    )
    rows = await db.execute(_READ, {"refund_ids": [r.refund_id for r in first]})
    return {row.refund_id: StoredRefund(*row) for row in rows}


async def of_payments(db: AsyncConnection, payment_ids: Iterable[str]) -> list[StoredRefund]:
    """Every refund of these payments, by payment and in the order in which they were given."""
    rows = await db.execute(_OF_PAYMENTS, {"payment_ids": sorted(set(payment_ids))})
    return [StoredRefund(*row) for row in rows]


def differing_fields(first: StoredRefund, second: Refund) -> list[str]:
    """The names of the known fields, as the wire has them, in which two messages of one refund differ."""
    before, now = _known(first), _known(second)
    return sorted(name for name in before if before[name] != now[name])


def _known(refund: Refund | StoredRefund) -> dict[str, object]:
    return {
        "refundId": refund.refund_id,
        "paymentId": refund.payment_id,
        "coinsReturned": refund.coins_returned,
        "refundedAt": refund.refunded_at,
    }


def _moment(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat()
