"""A trainer's working hours: days of the week, and a stretch of the wall clock in his zone."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from contracts.base import Contract, text_like, unexpected

_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAYS = tuple(name[:3] for name in _NAMES)
_MEANT = {written: name[:3] for name in _NAMES for written in (name, name[:3])}
_DAY_MINUTES = 24 * 60

_Start = Annotated[str, text_like(r"^([01][0-9]|2[0-3]):[0-5][0-9]$", "a time from 00:00 to 23:59")]
_End = Annotated[str, text_like(r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$", "a time from 00:00 to 24:00")]


def _in_any_case(name: str) -> str:
    """A pattern: JSON Schema has no flags."""
    return "".join(f"[{letter.upper()}{letter}]" for letter in name)


_DAY_IN_JSON = {"type": "string", "pattern": rf"^\s*({'|'.join(map(_in_any_case, sorted(_MEANT)))})\s*$"}
_DAYS_IN_JSON = {
    "description": "days of the week, mon to sun, or their full names, in any case",
    "anyOf": [_DAY_IN_JSON, {"type": "array", "minItems": 1, "items": _DAY_IN_JSON}],
}


def _weekdays(value: Any) -> tuple[str, ...]:
    days = [value] if isinstance(value, str) else value
    if not isinstance(days, list | tuple) or not days:
        raise unexpected("a list of days of the week, mon to sun")
    meant = {_MEANT.get(day.strip().lower()) if isinstance(day, str) else None for day in days}
    if None in meant:
        raise unexpected("days of the week, mon to sun, or their full names")
    return tuple(day for day in DAYS if day in meant)


def _minute(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])


class WorkingHours(Contract):
    """From one time of day to another, on these days; `to` may be 24:00, or before `from`: the next day.

    `days` are `mon` to `sun`, each once and in order, however they were written.
    """

    days: Annotated[tuple[str, ...], BeforeValidator(_weekdays), WithJsonSchema(_DAYS_IN_JSON)]
    starts: _Start = Field(alias="from")
    ends: _End = Field(alias="to")

    @field_validator("ends")
    @classmethod
    def _differs(cls, ends: str, info: ValidationInfo) -> str:
        if ends == info.data.get("starts"):
            raise unexpected("a time other than `from` (a whole day is from 00:00 to 24:00)")
        return ends

    @property
    def start_minute(self) -> int:
        """Minutes from midnight, 0 to 1439."""
        return _minute(self.starts)

    @property
    def end_minute(self) -> int:
        """Minutes from the same midnight, above `start_minute`; more than 1440 lies on the next day."""
        end = _minute(self.ends)
        return end if end > self.start_minute else end + _DAY_MINUTES
