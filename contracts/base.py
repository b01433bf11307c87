"""What every contract has in common: the types of its fields, its bytes, its identity.

Frozen, camelCase on the wire, unknown fields kept. A type that says what it expected, in plain words,
says so in the error of type `expected`, which `contracts.decode` hands on as it stands.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from hashlib import sha1
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetPydanticSchema, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator, core_schema

# Ours for ever: every derived id depends on it.
NAMESPACE = UUID("5e1f2b11-0f1c-5b7e-9a41-f17d3be11a00")
_NAMESPACE = NAMESPACE.bytes

MAX_BIGINT = 2**63 - 1

_ID = "an id of 1 to 64 characters out of A-Z, a-z, 0-9, '.', '_', ':' and '-'"
_OUR_ID = "an id of ours, such as 0b5cc1f2-9d3a-5c1e-8f60-6f7a2f4b9f11"
_INSTANT = "an instant with its offset, such as 2026-11-22T08:02:55Z"
_OFFSET = "an instant with its offset: Z, or one such as +05:30, is missing at its end"
_RANGE = "an instant of the years 1 to 9999"
_LOCAL = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?"
_ZONE = r"([Zz]|[+-][0-9]{2}:?[0-9]{2})"
_SHAPE = f"^{_LOCAL}{_ZONE}?$"

# A day from either end of what Python holds: so far no conversion between zones can overflow.
EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
LATEST = datetime(9999, 12, 30, tzinfo=UTC)


def derived_id(*parts: object) -> UUID:
    """The id (UUIDv5) of whatever these parts name: the same parts give the same id, for ever.

    Parts are told apart whatever they contain; instants count by their moment, not by their zone.
    """
    return UUID(derived_text(*parts))


def derived_text(*parts: object) -> str:
    """The same id as text: what `uuid.uuid5` gives, in a third of its time."""
    texts = [part.astimezone(UTC).isoformat() if isinstance(part, datetime) else str(part) for part in parts]
    digest = bytearray(
        sha1(_NAMESPACE + "".join(f"{len(text)}:{text}" for text in texts).encode(), usedforsecurity=False).digest()[
            :16
        ]
    )
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    hexed = digest.hex()
    return f"{hexed[:8]}-{hexed[8:12]}-{hexed[12:16]}-{hexed[16:20]}-{hexed[20:]}"


def unexpected(expected: str, field: str | None = None) -> PydanticCustomError:
    """The error of a validator that expected something else, in words an admin understands.

    `field` is for validators of a whole model: the wire's name of the field that is to blame.
    """
    return PydanticCustomError("expected", "{words}", {"words": expected, "field": field})


def missing_if_empty(value: object) -> object:
    """None instead of an empty text: empty counts as missing."""
    return None if value == "" else value


def default_if_missing(default: object) -> BeforeValidator:
    """A validator that puts the default in place of null and of an empty text."""
    return BeforeValidator(lambda value: default if value is None or value == "" else value)


def _or(schema: CoreSchema, expected: str) -> CoreSchema:
    return core_schema.custom_error_schema(schema, "expected", custom_error_message=expected)


def _exactly(schema: CoreSchema, expected: str) -> GetPydanticSchema:
    """A type checked by this schema alone, in Rust, that says what it expected."""
    return GetPydanticSchema(lambda _source, _handler: _or(schema, expected))


def says(expected: str) -> GetPydanticSchema:
    """Say this, whatever was wrong with the annotated type."""
    return GetPydanticSchema(partial(_say, expected))


def _say(expected: str, source: Any, handler: Callable[[Any], CoreSchema]) -> CoreSchema:
    return _or(handler(source), expected)


def text_like(pattern: str, expected: str, *, to_upper: bool = False) -> GetPydanticSchema:
    """A text that matches the pattern (Rust syntax, whole text by ^ and $)."""
    return _exactly(core_schema.str_schema(strict=True, pattern=pattern, to_upper=to_upper), expected)


def text_of(most: int, least: int = 1) -> GetPydanticSchema:
    """A text of so many characters."""
    expected = f"a text of {least} to {most} characters"
    return _exactly(core_schema.str_schema(strict=True, min_length=least, max_length=most), expected)


def whole(least: int, most: int = MAX_BIGINT) -> GetPydanticSchema:
    """A whole number: no text, no fraction, no true or false."""
    bound = f"of {least} or more" if most == MAX_BIGINT else f"from {least} to {most}"
    return _exactly(core_schema.int_schema(strict=True, ge=least, le=most), f"a whole number {bound}")


def number(least: float | None = None, most: float | None = None) -> GetPydanticSchema:
    """A finite number: no text, no true or false."""
    if least is None:
        expected = "a finite number"
    else:
        expected = f"a number of {least:g} or more" if most is None else f"a number from {least:g} to {most:g}"
    return _exactly(core_schema.float_schema(strict=True, allow_inf_nan=False, ge=least, le=most), expected)


def one_of(*words: str) -> GetPydanticSchema:
    """One of these words."""
    return _exactly(core_schema.literal_schema(list(words)), f"one of {', '.join(words)}")


def _instant_schema(_source: Any, _handler: Any) -> CoreSchema:
    moment = core_schema.datetime_schema(ge=EARLIEST, le=LATEST, tz_constraint="aware")
    text = core_schema.chain_schema(
        [
            _or(core_schema.str_schema(strict=True, pattern=_SHAPE), _INSTANT),
            _or(core_schema.datetime_schema(), _INSTANT),
            _or(core_schema.datetime_schema(tz_constraint="aware"), _OFFSET),
            _or(moment, _RANGE),
        ]
    )
    return core_schema.no_info_after_validator_function(
        _in_utc, core_schema.json_or_python_schema(json_schema=text, python_schema=moment)
    )


# The one zone object that the parser gives to every Z: to know it saves most of what an instant costs.
_PARSED_UTC = SchemaValidator(core_schema.datetime_schema()).validate_json('"2026-11-22T08:02:55Z"').tzinfo


def _in_utc(moment: datetime) -> datetime:
    zone = moment.tzinfo
    return moment if zone is _PARSED_UTC or zone is UTC else moment.astimezone(UTC)


# For others to read: what the two types above and below make of texts cannot be told from their schemas.
_INSTANT_IN_JSON = {"type": "string", "format": "date-time", "pattern": f"^{_LOCAL}{_ZONE}$", "description": _INSTANT}
_HEX = "[0-9A-Fa-f]"
_DASHED = f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"
_OUR_ID_IN_JSON = {
    "type": "string",
    "format": "uuid",
    "pattern": rf"^((urn:uuid:)?{_DASHED}|\{{{_DASHED}\}}|{_HEX}{{32}})$",
    "description": _OUR_ID,
}

Id = Annotated[str, text_like(r"^[A-Za-z0-9._:-]{1,64}$", _ID)]
# Read as text so that an empty one can be taken for missing afterwards, without leaving Rust.
IdOrEmpty = Annotated[str, text_like(r"^[A-Za-z0-9._:-]{0,64}$", _ID)]
OurId = Annotated[UUID, says(_OUR_ID), WithJsonSchema(_OUR_ID_IN_JSON)]
Instant = Annotated[datetime, GetPydanticSchema(_instant_schema), WithJsonSchema(_INSTANT_IN_JSON)]
Minor = Annotated[int, whole(0)]
Count = Annotated[int, whole(0)]
Positive = Annotated[int, whole(1)]
Flag = Annotated[bool, _exactly(core_schema.bool_schema(strict=True), "true or false")]
Currency = Annotated[str, text_like(r"^[A-Za-z]{3}$", "a currency of three letters, such as INR", to_upper=True)]
Finite = Annotated[float, number()]
Latitude = Annotated[float, number(-90, 90)]
Longitude = Annotated[float, number(-180, 180)]
Line = Annotated[str, text_of(2_000)]

OptionalId = Annotated[Id | None, BeforeValidator(missing_if_empty)]
OptionalOurId = Annotated[OurId | None, BeforeValidator(missing_if_empty)]
OptionalInstant = Annotated[Instant | None, BeforeValidator(missing_if_empty)]
OptionalPositive = Annotated[Positive | None, BeforeValidator(missing_if_empty)]
OptionalCount = Annotated[Count | None, BeforeValidator(missing_if_empty)]
OptionalFinite = Annotated[Finite | None, BeforeValidator(missing_if_empty)]
OptionalLine = Annotated[Line | None, BeforeValidator(missing_if_empty)]


class Contract(BaseModel):
    """A part of a message, or a whole one: frozen, camelCase on the wire, unknown fields kept."""

    model_config = ConfigDict(
        frozen=True, extra="allow", alias_generator=to_camel, validate_by_alias=True, validate_by_name=True
    )


class Event(Contract):
    """A message of a topic. The class variables name the fields that its key, identity and time come from."""

    TOPIC: ClassVar[str]
    KEY: ClassVar[str]
    SUBJECT: ClassVar[str]
    IDENTITY: ClassVar[tuple[str, ...]]
    TIME: ClassVar[str | None] = None

    @property
    def message_key(self) -> str:
        """The Kafka key: what belongs together stays in order."""
        return str(getattr(self, self.KEY))

    @property
    def subject(self) -> str:
        """The id of what the event is about (ce_subject)."""
        return str(getattr(self, self.SUBJECT))

    @property
    def event_id(self) -> str:
        """UUIDv5 of topic, natural key and version: published again, the event has the same id."""
        return derived_text(self.TOPIC, *(getattr(self, name) for name in self.IDENTITY))

    @property
    def occurred_at(self) -> datetime | None:
        """When it was decided, or happened (ce_time); None for commands, which hold nothing of the clock."""
        return None if self.TIME is None else getattr(self, self.TIME)

    def to_wire(self) -> bytes:
        """Compact JSON by the wire's names; what is missing is left out."""
        return self.__pydantic_serializer__.to_json(self, by_alias=True, exclude_none=True)
