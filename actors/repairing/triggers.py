"""The records that start a step of a purchase, made again from what is stored.

The first step starts from what upstream said; every later one from the events of the step before it,
which a replay of that step gives again, the same as the first time.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncConnection

from actors.batch import Actor
from contracts.decode import decode
from contracts.payments import PaymentRefunded, PaymentSucceeded
from contracts.record import Record
from errors import Refused
from storage.targets import Target

_BEFORE = {"cart": "enrollment", "coins": "enrollment", "allocation": "enrollment", "sessions": "allocation"}


async def triggers(
    db: AsyncConnection, steps: Mapping[str, Actor], step: str, target: Target, at: datetime
) -> list[Record]:
    """The records of a step of this purchase, as if written at `at`.

    Raises: Refused when the purchase has not come as far as this step.
    """
    if step == "enrollment":
        return _told(target, at)
    before = _BEFORE[step]
    if target.payload is None:
        raise Refused("not_paid", "Only the refund of this payment has come, and no payment yet.")
    if target.enrollment_id is None:
        raise Refused("not_enrolled", "The purchase is not enrolled yet; resume its enrollment first.")
    if before == "allocation" and target.status != "approved" and target.refunded_at is None:
        raise Refused(
            "not_allocated", "The purchase has no allocation yet; resume its allocation, or assign a trainer."
        )
    records = await triggers(db, steps, before, target, at)
    outcome = await steps[before].handle(db, records)
    topics = steps[step].topics
    return [
        _record(event.TOPIC, event.message_key, event.to_wire(), event, at)
        for event in outcome.publish
        if event.TOPIC in topics
    ]


def _told(target: Target, at: datetime) -> list[Record]:
    """What upstream said of this purchase: its payment, if it has come, and its refunds."""
    said: list[tuple[str, dict[str, Any]]] = [(PaymentRefunded.TOPIC, refund) for refund in target.refunds]
    if target.payload is not None:
        said.insert(0, (PaymentSucceeded.TOPIC, target.payload))
    records = []
    for topic, message in said:
        value = to_json(message)
        records.append(_record(topic, target.payment_id, value, decode(topic, None, value), at))
    return records


def _record(topic: str, key: str, value: bytes, event: Any, at: datetime) -> Record:
    """A record that stands nowhere: partition and offset are -1."""
    return Record(topic, -1, -1, at, key.encode(), value, (), event)
