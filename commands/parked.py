"""`app.py parked`: what waits for somebody, by cause, and one item with everything that is known about it."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from commands.answers import show_facts
from commands.printing import counted, pairs, payload_lines, plain, say, table
from commands.session import AsJson, complete, joined, print_json, reading, servers, session
from commands.words import reason_in_words, waited_for
from errors import FirstbellError
from storage import reading as queries
from storage.reading import Cause, Filter, Listed

Course = Annotated[str | None, typer.Option("--course", help="Only of this course.")]
WaitsFor = Annotated[
    str | None, typer.Option("--waits-for", help="Only what waits for this, such as trainer; nothing: for a person.")
]

# What stands in one line of an item.
_TOLD = (
    *("id", "status", "actor", "payment_id", "enrollment_id", "allocation_id", "student_id", "course_id"),
    *("parked_at", "episode", "attempts", "closed_at", "closed_by"),
)


class NothingFound(FirstbellError):
    """There is nothing by this id."""


def parked(
    any_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="An item, payment, enrolment, allocation, refund or student.")
    ] = None,
    *,
    reason: Annotated[str | None, typer.Option("--reason", help="Only this reason code.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Only of this actor.")] = None,
    course: Course = None,
    waits_for: WaitsFor = None,
    status: Annotated[str | None, typer.Option("--status", help="open, dismissed or resolved.")] = None,
    group: Annotated[bool, typer.Option("--group", help="By cause instead of one by one.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most, the oldest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show what is parked: as a list, by cause, or one item with all that is known and what would help."""
    if status not in (None, "open", "dismissed", "resolved"):
        raise typer.BadParameter("--status is open, dismissed or resolved")
    matching = Filter(reason, actor, course, waits_for, status or "open")
    with session() as settings, servers(joined(settings), kafka=False) as addresses:
        if any_id is not None:
            _show_named(any_id, complete(_named(addresses.database_url, any_id, status)), as_json=as_json)
        elif group:
            _show_causes(complete(_causes(addresses.database_url, matching)), as_json=as_json)
        else:
            _show_list(*complete(_list(addresses.database_url, matching, limit)), as_json=as_json)


async def _list(database_url: str, matching: Filter, limit: int) -> tuple[list[Listed], int]:
    async with reading(database_url) as db:
        return await queries.listed(db, matching, limit)


async def _causes(database_url: str, matching: Filter) -> list[Cause]:
    async with reading(database_url) as db:
        return await queries.causes(db, matching)


async def _named(database_url: str, any_id: str, status: str | None) -> list[dict[str, Any]]:
    """Whole rows, each with its repairs."""
    async with reading(database_url) as db:
        rows = await queries.named(db, any_id, status)
        return [{**row, "repairs": await queries.repairs_of(db, row["id"])} for row in rows]


def _show_list(rows: Sequence[Listed], total: int, *, as_json: bool) -> None:
    if as_json:
        print_json([row._asdict() for row in rows])
        return
    if not rows:
        say("Nothing is parked that matches.")
        return
    _list_table([row._asdict() for row in rows])
    if total > len(rows):
        say(f"{counted(total - len(rows), 'item')} more; --limit shows more, --group the causes.")
    say("One of them with all that is known: app.py parked ID", "dim")


def _show_causes(causes: Sequence[Cause], *, as_json: bool) -> None:
    if as_json:
        print_json([cause._asdict() for cause in causes])
    elif not causes:
        say("Nothing is parked that matches.")
    else:
        table(causes, "reason", "course", "actor", "items", "oldest")
        for code in dict.fromkeys(cause.reason for cause in causes):
            say(f"{code}: {reason_in_words(code).wrong}", "dim")


def _show_named(any_id: str, rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if not rows:
        raise NothingFound(f"Nothing is parked by the id {plain(any_id)}.")
    if as_json:
        print_json([{**row, "key": _text(row["key"]), "payload": _text(row["payload"])} for row in rows])
    elif len(rows) == 1:
        _show_item(rows[0])
    else:
        _list_table(rows)
        say("One of them with all that is known: app.py parked ID", "dim")


def _list_table(rows: Sequence[dict[str, Any]]) -> None:
    table(
        (
            (row["id"], row["parked_at"], row["status"], row["actor"], row["reason"], _ids(row), _waits(row))
            for row in rows
        ),
        *("id", "since", "status", "actor", "reason", "about", "waits for"),
    )


def _show_item(row: dict[str, Any]) -> None:
    wrong, mend = reason_in_words(row["reason"])
    say(f"{row['reason']}: {wrong}", "bold")
    if row["status"] == "open":
        say(mend)
    record = f"{row['topic']}, partition {row['partition']}, offset {row['offset']}"
    pairs({**{name: row[name] for name in _TOLD}, "waits_for": _waits(row), "record": record}, indent=2)
    say("Facts", "bold")
    show_facts(row["facts"])
    _lines("Headers", [f"{plain(name)}: {plain(value)}" for name, value in row["headers"]])
    _lines("Key", payload_lines(row["key"]))
    _lines("Payload", payload_lines(row["payload"]))
    if row["repairs"]:
        names = ("completed_at", "command", "requested_by", "reason", "outcome", "message")
        table(([repair[name] for name in names] for repair in row["repairs"]), *names, title="Repairs")


def _lines(title: str, lines: Sequence[str]) -> None:
    if lines:
        say(title, "bold")
    for line in lines:
        say(line, indent=2)


def _ids(row: dict[str, Any]) -> str:
    """The payment and the student of an item, or what else there is."""
    known = [row[name] for name in ("payment_id", "student_id", "allocation_id", "enrollment_id") if row[name]]
    return ", ".join(map(str, known[:2]))


def _waits(row: dict[str, Any]) -> str:
    return waited_for(row["waits_for"]) if row["status"] == "open" else ""


def _text(raw: bytes | None) -> str | dict[str, str] | None:
    """Bytes as JSON holds them: as text where they are, else as {"base64": ...}, as in the headers of a row."""
    if raw is None:
        return None
    try:
        return bytes(raw).decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(raw).decode()}
