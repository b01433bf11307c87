"""Whether one JSON Schema takes whatever another one lets through, and if not, where.

What cannot be proved counts as a difference: two patterns are the same, or they differ. Only keywords
that our schemas use are understood; any other one must be equal on both sides.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

Schema = Mapping[str, Any]

_SAYS_NOTHING = frozenset({"$schema", "$id", "title", "description", "default", "examples", "discriminator"})
_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_EQUAL = ("pattern", "format")
_STRUCTURE = frozenset({"type", "const", "enum", "anyOf", "oneOf", "items", "properties", "required"})
_UNDERSTOOD = _SAYS_NOTHING | _STRUCTURE | {*_LEAST, *_MOST, *_EQUAL, "additionalProperties"}
_KINDS = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


class Place(NamedTuple):
    """Where a difference lies: `workingHours[].from`, and which command it is about, if any."""

    field: str = ""
    variant: str = ""

    def of(self, name: str) -> "Place":
        return self._replace(field=f"{self.field}.{name}" if self.field else name)

    def item(self) -> "Place":
        return self._replace(field=f"{self.field}[]")


_WHOLE = Place()


class Difference(NamedTuple):
    """What may be sent and is not taken; `sent` and `taken` are schemas, or values of the keyword `kind`."""

    place: Place
    kind: str
    sent: Any
    taken: Any


def differences(sent: Schema, taken: Schema, place: Place = _WHOLE) -> Iterator[Difference]:
    """Every place where `taken` may refuse a value that `sent` allows; a field that it does not know is taken."""
    options = list(alternatives(taken))
    tag = _tag(sent) or _tag(taken)
    for part in alternatives(sent):
        name = _variant(part, tag)
        here = place._replace(variant=name or place.variant)
        close = [option for option in options if _comparable(part, option) and _variant(option, tag) == name]
        found = [list(_between(part, option, here)) for option in close]
        if not found:
            yield Difference(here, "variant" if name else _kind_of(part, options), part, taken)
        else:
            yield from min(found, key=len)


def alternatives(schema: Schema) -> Iterator[Schema]:
    """The schema as alternatives of one type or one value each."""
    for name in ("anyOf", "oneOf"):
        if name in schema:
            for part in schema[name]:
                yield from alternatives(part)
            return
    if "enum" in schema:
        yield from ({"const": value} for value in schema["enum"])
    elif "const" in schema:
        yield {"const": schema["const"]}
    elif isinstance(schema.get("type"), list):
        yield from ({**schema, "type": kind} for kind in schema["type"])
    else:
        yield schema


def is_anything(schema: Schema) -> bool:
    """Whether every JSON value is allowed."""
    return schema.keys() <= _SAYS_NOTHING


def _tag(schema: Schema) -> str:
    return str(schema.get("discriminator", {}).get("propertyName", ""))


def _variant(schema: Schema, tag: str) -> str:
    """The value of the field that tells alternatives of objects apart: `retry`."""
    return str(schema.get("properties", {}).get(tag, {}).get("const", ""))


def _kind_of(part: Schema, options: list[Schema]) -> str:
    values = [type(option["const"]) for option in options if option.get("const")]
    return "value" if "const" in part and type(part["const"]) in values else "type"


def _comparable(part: Schema, option: Schema) -> bool:
    """Whether this alternative is the one that would take the part, if any does."""
    if is_anything(option):
        return True
    if "const" in option:
        return "const" in part and _same(part["const"], option["const"])
    kind = _KINDS.get(type(part["const"]), "null") if "const" in part else part.get("type")
    return kind == option.get("type") or (kind == "integer" and option.get("type") == "number")


def _between(part: Schema, option: Schema, place: Place) -> Iterator[Difference]:
    if is_anything(option) or "const" in option:
        return
    if "const" in part:
        yield from _of_value(part, option, place)
        return
    for keyword in (*_LEAST, *_MOST, *_EQUAL):
        if keyword in option and not _within(keyword, part.get(keyword), option[keyword]):
            yield Difference(place, keyword, part.get(keyword), option[keyword])
    for keyword in sorted((part.keys() | option.keys()) - _UNDERSTOOD):
        if part.get(keyword) != option.get(keyword):
            yield Difference(place, keyword, part.get(keyword), option.get(keyword))
    if "items" in option:
        yield from differences(part.get("items", {}), option["items"], place.item())
    yield from _of_fields(part, option, place)


def _of_fields(part: Schema, option: Schema, place: Place) -> Iterator[Difference]:
    theirs, ours = part.get("properties", {}), option.get("properties", {})
    surely, needed = part.get("required", ()), option.get("required", ())
    for name, field in ours.items():
        if name not in theirs:
            yield Difference(place.of(name), "unknown" if name in needed else "gone", None, field)
            continue
        if name in needed and name not in surely:
            yield Difference(place.of(name), "optional", theirs[name], field)
        yield from differences(theirs[name], field, place.of(name))
        if theirs[name].get("default") != field.get("default"):
            yield Difference(place.of(name), "default", theirs[name].get("default"), field.get("default"))
    if (allowed := option.get("additionalProperties", True)) is not True:
        if part.get("additionalProperties", True) != allowed:
            yield Difference(place, "additionalProperties", part.get("additionalProperties", True), allowed)
        yield from (Difference(place.of(name), "dropped", theirs[name], None) for name in theirs if name not in ours)


def _within(keyword: str, sent: Any, taken: Any) -> bool:
    if sent is None:
        return False
    if keyword in _LEAST:
        return bool(sent >= taken)
    return bool(sent <= taken) if keyword in _MOST else bool(sent == taken)


def _of_value(part: Schema, option: Schema, place: Place) -> Iterator[Difference]:
    """A single value against bounds and a pattern; whatever else there is could not be judged."""
    value = part["const"]
    size = len(value) if isinstance(value, str) else value
    for keyword in sorted(option.keys() - _SAYS_NOTHING - {"type"}):
        if keyword == "pattern":
            taken = re.search(option[keyword], value) is not None
        elif keyword in _LEAST or keyword in _MOST:
            taken = _within(keyword, size, option[keyword])
        else:
            taken = False
        if not taken:
            yield Difference(place, "value", part, option)
            return


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)
