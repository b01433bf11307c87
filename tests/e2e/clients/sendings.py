"""The ways in which a client may send: every pair of them occurs."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.e2e.clients.orders import Order

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

CLOUDEVENTS = {
    "ce_specversion": "1.0",
    "ce_id": "evt-17",
    "ce_type": "com.example.payment.succeeded",
    "ce_source": "/checkout",
    "ce_time": "2026-11-22T08:02:55.123Z",
    "content-type": "application/json",
    "traceparent": TRACEPARENT,
}
# Names that frameworks give a meaning to, with values that must mean nothing here.
STRANGE = {
    "content-type": "text/plain",
    "correlation_id": "checkout=7",
    "traceparent": "none",
    "__TypeId__": "com.example.Payment",
    "x-note": "नमस्ते",
}
BATCH = 5


@dataclass(frozen=True)
class Sending:
    """One way to send some orders; `batched` ones go out together, others one by one."""

    codec: str
    headers: dict[str, str]
    keyed: bool
    batched: bool
    orders: Sequence[Order]


Publish = Callable[[str, str, Sending], Awaitable[None]]
"""Sends to a broker (host:port) and a topic, and returns when all is acknowledged."""


def sendings(order: Callable[[int], Order]) -> list[Sending]:
    """Every codec with every kind of headers; each codec and kind also keyed and not, batched and not."""
    made: list[Sending] = []
    numbers = iter(range(10_000))
    for c, codec in enumerate(CODECS):
        for h, headers in enumerate(({}, CLOUDEVENTS, STRANGE)):
            batched = h != c % 3
            orders = [order(next(numbers)) for _ in range(BATCH if batched else 2)]
            made.append(Sending(codec, headers, (c + h) % 2 == 0, batched, orders))
    return made
