"""What travels: a message as its bytes, and a purchase that becomes one when it is paid."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from contracts.base import Event
from contracts.payments import PaymentSucceeded


class Message(NamedTuple):
    """A record to publish; `topic` is the plain name, without a deployment's prefix."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Purchase:
    """A purchase going to be paid: all of its payment but the time. `cloudevents`: with headers."""

    payment_id: str
    student_id: str
    amount_minor: int
    currency: str
    coins_redeemed: int
    metadata: dict[str, Any]
    cloudevents: bool = False


Draft = Message | Purchase


def feed_message(event: Event) -> Message:
    """A record of a feed."""
    return Message(event.TOPIC, event.message_key.encode(), event.to_wire())


def payment_message(purchase: Purchase, paid_at: datetime) -> Message:
    """The payment as a TypeScript backend writes it: camelCase by JSON.stringify, times by toISOString."""
    at = javascript_time(paid_at)
    body: dict[str, Any] = {
        "paymentId": purchase.payment_id,
        "studentId": purchase.student_id,
        "amountMinor": purchase.amount_minor,
        "currency": purchase.currency,
        "succeededAt": at,
        "metadata": purchase.metadata,
    }
    if purchase.coins_redeemed:
        body["coinsRedeemed"] = purchase.coins_redeemed
    value = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    headers = _cloudevents(purchase.payment_id, at) if purchase.cloudevents else ()
    return Message(PaymentSucceeded.TOPIC, purchase.payment_id.encode(), value, headers)


def stamping(now: Callable[[], datetime]) -> Callable[[Draft], Message]:
    """A function that makes drafts messages: a purchase is paid when first asked for, its copies are the same bytes."""
    paid: dict[str, Message] = {}

    def stamp(draft: Draft) -> Message:
        if isinstance(draft, Message):
            return draft
        if draft.payment_id not in paid:
            paid[draft.payment_id] = payment_message(draft, now())
        return paid[draft.payment_id]

    return stamp


def javascript_time(instant: datetime) -> str:
    """An instant by Date.toISOString: UTC, milliseconds, Z."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cloudevents(payment_id: str, at: str) -> tuple[tuple[str, bytes | None], ...]:
    return (
        ("ce_specversion", b"1.0"),
        ("ce_id", f"evt_{payment_id}".encode()),
        ("ce_type", b"shop.payment.succeeded"),
        ("ce_source", b"/shop/checkout"),
        ("ce_time", at.encode()),
        ("content-type", b"application/json"),
    )
