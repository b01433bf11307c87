"""Values from outside: when one counts as missing, and how a refused one is shown in the facts."""

import math
import reprlib
from typing import Final

_SHOWN_CHARACTERS: Final = 80
_LARGEST_INTEGER: Final = 2**63 - 1


def is_missing(value: object) -> bool:
    """Whether a value says nothing: null, a blank text, an empty list or object."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, list | tuple | dict | set | frozenset) and not value)


def is_online(learning_mode: object) -> bool:
    """Whether lessons are online, in any case; every other mode, and none, is at home."""
    return isinstance(learning_mode, str) and learning_mode.strip().casefold() == "online"


def shown(value: object) -> object:
    """Return a JSON value that tells a person what was given: scalars as they are, the rest as clipped text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= _LARGEST_INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _clipped(value if isinstance(value, str) else _described(value))


def _described(value: object) -> str:
    # Python refuses to write out integers of several thousand digits, also inside a list.
    try:
        return reprlib.repr(value)
    except ValueError:
        return type(value).__name__


def _clipped(text: str) -> str:
    # Lone surrogates and NUL are legal in JSON and refused by jsonb.
    safe = text[: _SHOWN_CHARACTERS + 1].encode("utf-8", "replace").decode("utf-8").replace("\0", "?")
    return safe if len(safe) <= _SHOWN_CHARACTERS else safe[: _SHOWN_CHARACTERS - 1] + "…"
