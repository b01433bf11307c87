"""CloudEvents 1.0 in Kafka's binary mode: headers beside a value of plain JSON.

Headers are always written and never required: what comes in may be anything at all.
"""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from contracts.base import Event

SOURCE = b"/firstbell"

# W3C Trace Context: no version ff, and no ids of zeros only.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def headers(event: Event, traceparent: str | None) -> list[tuple[str, bytes]]:
    """The headers of an event as it is published; a command has no time, so no ce_time."""
    found = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event.event_id.encode()),
        ("ce_type", f"firstbell.{event.TOPIC}.v1".encode()),
        ("ce_source", SOURCE),
        ("ce_subject", event.subject.encode()),
        ("content-type", b"application/json"),
    ]
    if event.occurred_at is not None:
        found.append(("ce_time", event.occurred_at.isoformat().replace("+00:00", "Z").encode()))
    if traceparent is not None:
        found.append(("traceparent", traceparent.encode()))
    return found


def trace_of(raw_headers: Sequence[tuple[str, bytes | None]], payment_id: str | None) -> str:
    """The W3C traceparent that came in; without a valid one, one made of the payment's id.

    So every hop of a purchase has one trace, and a replay repeats it. Never raises, whatever the
    headers hold. Where there is no payment, any other id that names the matter will do.
    """
    for name, value in raw_headers or ():
        if isinstance(name, str) and name.lower() == "traceparent" and (found := _valid(value)):
            return found
    digest = sha256((payment_id or "").encode("utf-8", "replace")).hexdigest()
    return f"00-{digest[:32]}-{digest[32:48]}-01"


def _valid(value: Any) -> str | None:
    if not isinstance(value, bytes):
        return None
    text = value.decode("ascii", "replace").strip()
    match = _TRACEPARENT.match(text)
    if match is None:
        return None
    # A later version may say more behind a dash; we know version 00, which says no more.
    rest = text[match.end() :]
    if rest and (text.startswith("00") or not rest.startswith("-")):
        return None
    return match.group()
