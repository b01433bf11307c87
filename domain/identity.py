"""Whether two messages about one payment say the same: their known fields, brought to one form."""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from domain.dates import instant_of, written_date
from domain.slots import EVERY_DAY, parse_days, parse_slot
from domain.tiers import session_count
from domain.values import is_missing
from errors import Parked

_LONGEST_NUMBER: Final = 18  # digits


def normalised(known: Mapping[str, object]) -> dict[str, object]:
    """Return the known fields of a payment in canonical form, flat, by their camelCase names.

    `known` is the payment with its `metadata` inside, or both flat. What is missing or says the
    default is left out, and what cannot be read stays as it is, so nothing raises.
    """
    inner = known.get("metadata")
    metadata = inner if isinstance(inner, Mapping) else known
    given = {name: known.get(name) for name in _PAYMENT} | {name: metadata.get(name) for name in _METADATA}
    said = {name: _READERS[name](value) for name, value in given.items() if not is_missing(value)}
    # An older name of the same field.
    older = said.get("processingItemId")
    if older is not None and said.setdefault("cartItemId", older) == older:
        del said["processingItemId"]
    return {name: value for name, value in said.items() if not _is_default(name, value)}


def fingerprint(known: Mapping[str, object]) -> bytes:
    """Return the SHA-256 (32 bytes) of the normalised fields as canonical JSON."""
    text = json.dumps(normalised(known), sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).digest()


def _is_default(name: str, value: object) -> bool:
    return name in _DEFAULTS and not isinstance(value, bool) and value == _DEFAULTS[name]


def _text(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _currency(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


def _mode(value: object) -> object:
    return value.strip().casefold() if isinstance(value, str) else value


def _number(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    text = value.strip() if isinstance(value, str) else ""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST_NUMBER else _text(value)


def _instant(value: object) -> object:
    instant = instant_of(value)
    return _text(value) if instant is None else _stamp(instant)


def _date(value: object) -> object:
    # Without regard to the zone, which the payment may not know.
    written = written_date(value)
    if written is None:
        return _text(value)
    return written.day.isoformat() if written.instant is None else _stamp(written.instant)


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _tier(value: object) -> object:
    try:
        return session_count(value, None).count
    except Parked:
        return _text(value)


def _slot(value: object) -> object:
    try:
        slot = parse_slot(value)
    except Parked:
        return _text(value)
    return [slot.start_minute, slot.minutes]


def _days(value: object) -> object:
    try:
        return parse_days(value)
    except Parked:
        return _text(value)


_PAYMENT: Final[Mapping[str, Callable[[object], object]]] = {
    "paymentId": _text,
    "studentId": _text,
    "amountMinor": _number,
    "currency": _currency,
    "succeededAt": _instant,
    "coinsRedeemed": _number,
}
_METADATA: Final[Mapping[str, Callable[[object], object]]] = {
    "courseId": _text,
    "purchaseTier": _tier,
    "sessionCount": _tier,
    "groupSize": _number,
    "learningMode": _mode,
    "timeSlot": _slot,
    "date": _date,
    "daysOfWeek": _days,
    "preferredTimeSlot": _slot,
    "preferredDate": _date,
    "timezone": _text,
    "cartItemId": _text,
    "processingItemId": _text,
}
_READERS: Final = {**_PAYMENT, **_METADATA}
# Saying these is the same as saying nothing.
_DEFAULTS: Final[Mapping[str, object]] = {"coinsRedeemed": 0, "groupSize": 1, "daysOfWeek": EVERY_DAY}
