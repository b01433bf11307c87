"""From the bytes of a record to its contract, or to one sentence that says what is wrong with them.

The hot path is a few searches for bytes and pydantic's own JSON parser; whatever is costly is done
only when a cheap test says that it might matter.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json

from contracts.base import Event
from contracts.repairs import COMMANDS
from contracts.topics import TOPICS, TopicSpec
from errors import Unreadable

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32

_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
# Backslashes occur in JSON only inside texts, where an even number of them leaves the u a letter.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
# A text that never ends takes the rest: nothing is read twice, so hostile bytes cost linear time.
_BRACKET_OR_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_STEP = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
_FINITE_TYPES = frozenset((str, int, bool, type(None), datetime, UUID))
_MAX_FIELD = 200
# How the parser names control characters; whoever searches the facts for a NUL must not find one here.
_RANGE = " (\\u0000-\\u001F)"

_WORDS = {
    "missing": "a value: this field is required",
    "model_type": "a JSON object",
    "model_attributes_type": "a JSON object",
    "dict_type": "a JSON object",
    "tuple_type": "a list",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A record without a value: what its key names was deleted."""

    topic: str
    id: str


def _validator(spec: TopicSpec) -> Callable[..., Event]:
    contract = spec.contract
    core = contract.validator if isinstance(contract, TypeAdapter) else contract.__pydantic_validator__
    return core.validate_json


_VALIDATORS = {name: _validator(spec) for name, spec in TOPICS.items()}


def decode(topic: str, key: bytes | None, value: bytes | None) -> Event | Tombstone:
    """The record's contract, a Tombstone where a null value means a deletion; raises Unreadable.

    A key is looked at only where the value is null. A name that comes twice in an object counts as
    it was written last, as it does in PostgreSQL. A byte order mark is no JSON.
    """
    spec = TOPICS[topic]
    if value is None:
        return _tombstone(spec, key)
    if len(value) > MAX_BYTES:
        raise Unreadable(field="value", expected=f"at most {MAX_BYTES} bytes")
    # What we write ourselves is no deeper than its contract, and may have many brackets.
    if spec.outside and value.count(b"{") + value.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise Unreadable(field="value", expected=f"a nesting of at most {MAX_DEPTH} levels")
    if b"\\u0000" in value or b"NaN" in value or b"Infinity" in value:
        _check_exactly(value)
    try:
        # by_name: our own field names are nobody's names on the wire.
        event = _VALIDATORS[topic](value, by_alias=True, by_name=False)
    except ValidationError as error:
        raise _unreadable(topic, value, error) from None
    # 1e999 is read as infinity, which no later JSON can hold.
    if _has_infinity((event,)):
        raise Unreadable(field=_field_where(_is_infinite, from_json(value)), expected="a finite number")
    return event


def read_event(topic: str, key: bytes | None, value: bytes) -> Event:
    """The contract of a value that is there; raises Unreadable."""
    event = decode(topic, key, value)
    if isinstance(event, Tombstone):  # only where the value is null
        raise Unreadable(field="value", expected="a JSON object")
    return event


def _tombstone(spec: TopicSpec, key: bytes | None) -> Tombstone:
    if not spec.tombstones:
        raise Unreadable(field="value", expected="a JSON object: a null value means nothing on this topic")
    if key is None or not _ID.fullmatch(key):
        raise Unreadable(field="key", expected="the id of what was deleted, since the value is null")
    return Tombstone(spec.name, key.decode("ascii"))


def _depth(value: bytes) -> int:
    """The deepest nesting; brackets inside texts do not count."""
    deepest = depth = 0
    for match in _BRACKET_OR_TEXT.finditer(value):
        depth += _STEP.get(match.group(), 0)
        deepest = max(deepest, depth)
    return deepest


def _check_exactly(value: bytes) -> None:
    """Refuse what is JSON to many, and cannot be stored as such; invalid JSON is left to the parser."""
    try:
        parsed = from_json(value)
    except ValueError:
        return
    if _NUL.search(value):
        raise Unreadable(field=_field_where(_has_nul, parsed), expected="text without NUL characters")
    try:
        from_json(value, allow_inf_nan=False)
    except ValueError:
        raise Unreadable(field=_field_where(_is_infinite, parsed), expected="a finite number") from None


def _has_infinity(values: Iterable[Any]) -> bool:
    for value in values:
        kind = type(value)
        if kind in _FINITE_TYPES:
            continue
        if kind is float:
            if not math.isfinite(value):
                return True
        elif isinstance(value, BaseModel):
            if _has_infinity(value.__dict__.values()) or _has_infinity((value.__pydantic_extra__ or {}).values()):
                return True
        elif _has_infinity(value.values() if kind is dict else value):
            return True
    return False


def _is_infinite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _has_nul(value: object) -> bool:
    return isinstance(value, str) and "\0" in value


def _field_where(wrong: Callable[[object], bool], parsed: object) -> str:
    """The first field whose name or value is wrong; `value` where a later field of its name hides it."""
    pending: list[tuple[tuple[str | int, ...], object]] = [((), parsed)]
    while pending:
        path, value = pending.pop()
        if wrong(value) or (path and wrong(path[-1])):
            return _field(path)
        if isinstance(value, dict):
            pending.extend(((*path, name), part) for name, part in reversed(value.items()))
        elif isinstance(value, list):
            pending.extend(((*path, index), value[index]) for index in reversed(range(len(value))))
    return "value"


def _field(path: Iterable[str | int]) -> str:
    """`workingHours[0].from`, as an admin reads it, and short and clean enough to be stored as a fact."""
    parts = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return parts.removeprefix(".").replace("\0", "\N{SYMBOL FOR NULL}")[:_MAX_FIELD] or "value"


def _unreadable(topic: str, value: bytes, error: ValidationError) -> Unreadable:
    first = error.errors(include_url=False, include_input=False)[0]
    context = first.get("ctx", {})
    if first["type"] == "json_invalid":
        return Unreadable(field="value", expected=_json_wanted(value, context["error"]))
    if first["type"].startswith("union_tag"):
        return Unreadable(field="command", expected=f"one of {', '.join(COMMANDS)}")
    # A union puts the tag before the path; a validator of a whole model names the field itself.
    path = first["loc"][1:] if isinstance(TOPICS[topic].contract, TypeAdapter) else first["loc"]
    if context.get("field"):
        path = (*path, context["field"])
    return Unreadable(field=_field(path), expected=_expected(first))


def _json_wanted(value: bytes, trouble: str) -> str:
    if value.startswith(b"\xef\xbb\xbf"):
        return "JSON without a byte order mark"
    try:
        value.decode()
    except UnicodeDecodeError:
        return "JSON in UTF-8"
    return f"JSON ({trouble.replace(_RANGE, '')})"


def _expected(error: ErrorDetails) -> str:
    words = _WORDS.get(error["type"])
    return error["msg"].removeprefix("Input should be ") if words is None else words.format_map(error.get("ctx", {}))
