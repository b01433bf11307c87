"""What goes wrong on the way: copies, another order, and records that nobody can read.

Every function takes a share from 0 to 1 and a seeded Random, and returns a new list.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from contracts.payments import PaymentSucceeded
from traffic.messages import Message

T = TypeVar("T")

# A copy often follows at once (a producer's retry); this share of them comes at any later time.
_MUCH_LATER = 0.5
_SOON = 8

_GOOD = (
    b'{"paymentId":"pay_poison","studentId":"stu_poison","amountMinor":1499900,"currency":"INR",'
    b'"succeededAt":"2026-11-22T08:02:55.000Z","metadata":{"courseId":"crs_yoga","purchaseTier":30}}'
)

# Values for payments.succeeded that its contract refuses, each for another reason. None is a tombstone.
POISON: dict[str, bytes | None] = {
    "tombstone": None,
    "empty": b"",
    "not JSON": b"payment succeeded",
    "cut off": _GOOD[:-40],
    "not UTF-8": _GOOD.replace(b"stu_poison", b"stu_\xff\xfe"),
    "UTF-16": _GOOD.decode().encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + _GOOD,
    "no object": b"[" + _GOOD + b"]",
    "null": b"null",
    "deep nesting": _GOOD.replace(b'{"courseId"', b'{"deep":' + b"[" * 5_000 + b"]" * 5_000 + b',"courseId"'),
    "huge integer": _GOOD.replace(b"1499900", b"9" * 4_000),
    "integer beyond 64 bits": _GOOD.replace(b"1499900", b"9223372036854775808"),
    "NaN": _GOOD.replace(b'"purchaseTier":30', b'"purchaseTier":NaN'),
    "infinite": _GOOD.replace(b'"purchaseTier":30', b'"discount":1e999'),
    "NUL in text": _GOOD.replace(b"crs_yoga", b"crs_yoga\\u0000"),
    "NUL in an unknown field": _GOOD.replace(b'"purchaseTier":30', b'"note":"a\\u0000b"'),
    "wrong type: money as text": _GOOD.replace(b"1499900", b'"1499900"'),
    "wrong type: money as fraction": _GOOD.replace(b"1499900", b"14999.5"),
    "wrong type: metadata as text": _GOOD.replace(b'{"courseId":"crs_yoga","purchaseTier":30}', b'"crs_yoga"'),
    "negative amount": _GOOD.replace(b"1499900", b"-1"),
    "missing id": _GOOD.replace(b'"paymentId":"pay_poison",', b""),
    "missing course": _GOOD.replace(b'"courseId":"crs_yoga",', b""),
    "null id": _GOOD.replace(b'"pay_poison"', b"null"),
    "empty id": _GOOD.replace(b'"pay_poison"', b'""'),
    "id too long": _GOOD.replace(b"pay_poison", b"p" * 65),
    "id of other characters": _GOOD.replace(b"pay_poison", b"pay poison'; --"),
    "bad date": _GOOD.replace(b"2026-11-22T", b"2026-02-30T"),
    "date without offset": _GOOD.replace(b"55.000Z", b"55"),
    "date as a number": _GOOD.replace(b'"2026-11-22T08:02:55.000Z"', b"1795334575"),
    "unknown currency": _GOOD.replace(b'"INR"', b'"rupees"'),
    # More than a record may hold here, less than the broker would refuse.
    "oversize": _GOOD.replace(b'"purchaseTier":30', b'"note":"' + b"x" * 300 * 1024 + b'"'),
}

# Headers that must do no harm to any record: null, repeated, empty, no text, hostile.
ODD_HEADERS: tuple[tuple[str, bytes | None], ...] = (
    ("traceparent", None),
    ("ce_id", b""),
    ("ce_id", b"\xff\xfe"),
    ("ce_time", b"yesterday"),
    ("", b"no name"),
)


def repeated(rng: Random, items: Sequence[T], share: float) -> list[T]:
    """Repeat a share of the items, each once and somewhere after its original; 1 repeats every one."""
    chosen = set(rng.sample(range(len(items)), round(len(items) * share)))
    places: list[tuple[float, T]] = []
    for place, item in enumerate(items):
        places.append((place, item))
        if place in chosen:
            furthest = len(items) if rng.random() < _MUCH_LATER else min(place + _SOON, len(items))
            places.append((rng.uniform(place, furthest), item))
    # The sort is stable, so a copy at its original's very place still follows it.
    return [item for _, item in sorted(places, key=lambda pair: pair[0])]


def reordered(rng: Random, items: Sequence[T], share: float) -> list[T]:
    """Let a share of the items change places among each other; 1 shuffles them all."""
    places = sorted(rng.sample(range(len(items)), round(len(items) * share)))
    shuffled = rng.sample(places, len(places))
    result = list(items)
    for place, origin in zip(places, shuffled, strict=True):
        result[place] = items[origin]
    return result


def poison(rng: Random, count: int, tag: str) -> list[Message]:
    """So many unreadable payments, of one kind after the other; another `tag` makes other records of them.

    Key and value are what tells two such records apart, so every one has a key of its own.
    """
    kinds = list(POISON.values())
    start = rng.randrange(len(kinds)) if count < len(kinds) else 0
    return [
        Message(
            PaymentSucceeded.TOPIC,
            f"poison_{tag}_{number:04}".encode(),
            kinds[(start + number) % len(kinds)],
            ODD_HEADERS if number % 3 == 0 else (),
        )
        for number in range(count)
    ]


def scattered(rng: Random, items: Sequence[T], among: Sequence[T]) -> list[T]:
    """Put `items` at random places among others, whose order stays."""
    result = [*among, *items]
    places = set(rng.sample(range(len(result)), len(items)))
    strangers, others = iter(items), iter(among)
    return [next(strangers) if place in places else next(others) for place in range(len(result))]
