"""How many sessions a purchase buys: its tier, else the metadata's count, else 30."""

import re
from dataclasses import dataclass
from typing import Final

from domain.values import is_missing, shown
from errors import SessionCountInvalid

_DEFAULT: Final = 30
_MOST: Final = 365
_LONGEST_TEXT: Final = 64
_WRITTEN: Final = re.compile(r"0*([0-9]{1,3})\s*(?:sessions?)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SessionCount:
    """A count from 1 to 365, and where it came from: `purchaseTier`, `sessionCount`, `default` or `repair`."""

    count: int
    source: str


def session_count(purchase_tier: object, session_count: object) -> SessionCount:
    """Take the first that is given; one that is given and invalid raises SessionCountInvalid."""
    for source, value in (("purchaseTier", purchase_tier), ("sessionCount", session_count)):
        if not is_missing(value):
            return SessionCount(_read(value, source), source)
    return SessionCount(_DEFAULT, "default")


def _read(value: object, field: str) -> int:
    count = _whole(value)
    if count is None or not 1 <= count <= _MOST:
        raise SessionCountInvalid(field=field, value=shown(value), expected=f"a whole number from 1 to {_MOST}")
    return count


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and len(value) <= _LONGEST_TEXT:
        written = _WRITTEN.fullmatch(value.strip())
        return int(written[1]) if written else None
    return None
