"""How rows and values look to a person. Whatever came from outside is hostile: no markup, no control character."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from commands.session import out

_MOST_OF_A_PAYLOAD = 4_000
_LIMITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def plain(value: object) -> str:
    """A value as one line of text; what cannot be seen, or would steer a terminal, is escaped."""
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, bool | dict | list | tuple):
        value = json.dumps(value, ensure_ascii=False, default=plain)
    return visible("" if value is None else str(value))


def visible(text: str) -> str:
    """The text with every character escaped that does not print as itself."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def instant(moment: datetime) -> str:
    """An instant in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def lasted(time: timedelta) -> str:
    """A length of time in its two largest units, such as 2 h 5 min."""
    seconds = time.total_seconds()
    if abs(seconds) < 1:
        return f"{seconds * 1000:.0f} ms"
    rest, parts = int(abs(seconds)), []
    for limit, name in _LIMITS:
        if rest >= limit:
            parts.append(f"{rest // limit} {name}")
            rest %= limit
    return ("-" if seconds < 0 else "") + " ".join(parts[:2])


def say(line: object, style: str = "", indent: int = 0) -> None:
    """Print one line, whole and without markup."""
    out.print(Text(" " * indent + plain(line), style=style), soft_wrap=True, highlight=False)


def table(rows: Iterable[Sequence[object]], *names: str, title: str | None = None, to: Console = out) -> None:
    """Print a table; long values go on in the next line of their cell."""
    made = Table(title=title and Text(visible(title)), title_justify="left")
    for name in names:
        made.add_column(Text(plain(str(name).replace("_", " "))), overflow="fold")
    for row in rows:
        made.add_row(*(Text(plain(value)) for value in row))
    to.print(made)


def pairs(facts: Mapping[str, Any], indent: int = 0) -> None:
    """Print names with their values, one a line; what is missing is left out."""
    shown = {_words(name): value for name, value in facts.items() if value not in (None, "")}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        say(f"{name:<{width}}  {_joined(value) if isinstance(value, list) else plain(value)}", indent=indent)


def listed(value: object, name: str = "") -> Iterator[str]:
    """JSON as readable lines: `session count: 30`; what stands in a list or under a name is indented."""
    label = f"{_words(name)}: " if name else ""
    if isinstance(value, dict) and value:
        if name:
            yield f"{_words(name)}:"
        for key, inner in value.items():
            yield from (("  " if name else "") + line for line in listed(inner, str(key)))
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        yield f"{_words(name)}:"
        for inner in value:
            first, *rest = list(listed(inner)) or [""]
            yield f"  - {first}"
            yield from (f"    {line}" for line in rest)
    elif isinstance(value, list):
        yield label + _joined(value)
    else:
        yield label + plain(value)


def payload_lines(payload: bytes | None) -> list[str]:
    """The bytes of a record as lines to be shown; a long one is cut, with how much more there is."""
    if payload is None:
        return ["(null)"]
    text = payload[:_MOST_OF_A_PAYLOAD].decode("utf-8", "backslashreplace")
    lines = [visible(line) for line in text.split("\n")]
    if len(payload) > _MOST_OF_A_PAYLOAD:
        lines.append(f"... and {len(payload) - _MOST_OF_A_PAYLOAD:,} bytes more: --json shows all")
    return lines


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _joined(values: Sequence[object]) -> str:
    return ", ".join(map(plain, values)) or "none"


def _words(name: str) -> str:
    """`sessionCount` and `session_count` as `session count`."""
    spaced = "".join(f" {character.lower()}" if character.isupper() else character for character in name)
    return visible(spaced.replace("_", " ").strip())
