"""`app.py contracts`: the contracts of this release against what is committed, and against what is parked."""

from typing import Any

import typer

from commands.contract_files import breaks, documents
from commands.parked_check import Report, check
from commands.printing import counted, plain, say, table
from commands.session import AsJson, complete, joined, print_json, servers, session
from contracts.committed import write
from errors import FirstbellError
from storage.engine import open_engine, transaction

contracts = typer.Typer(no_args_is_help=True, help="Compare and write the JSON Schemas, and check what is parked.")

_NEW_VERSION = "Give the topic another name with its version, and let both live until nobody uses the old one."
_MOST_SHOWN = 5


class Incompatible(FirstbellError):
    """The contracts would break a producer or a reader."""


@contracts.command("write")
def write_files() -> None:
    """Write the JSON Schemas and the AsyncAPI document anew; refused where that would break somebody."""
    with session():
        if sentences := breaks():
            told = "\n".join(f"  {sentence}" for sentence in sentences)
            raise Incompatible(f"Nothing is written: this would break who relies on it.\n{told}\n{_NEW_VERSION}")
        for path in (written := write(documents())):
            say(path)
    say(f"{counted(len(written), 'file')} written." if written else "Everything is as committed.")


@contracts.command("check")
def check_parked(*, as_json: AsJson = False) -> None:
    """Read what is parked or on its way by the contracts of this release; exit with 1 if something cannot be read."""
    with session() as settings, servers(joined(settings), kafka=False) as addresses:
        report = complete(_checked(addresses.database_url))
    if as_json:
        print_json(_as_json(report))
    else:
        _show(report)
    raise typer.Exit(1 if report.lost else 0)


async def _checked(database_url: str) -> Report:
    """Made for a production database: the server itself refuses any writing."""
    engine = open_engine(database_url, pool_size=1, statement_timeout="60s", default_transaction_read_only="on")
    try:
        async with transaction(engine) as db:
            return await check(db)
    finally:
        await engine.dispose()


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "checked": report.checked,
        "readable": report.readable,
        "still_unreadable": report.still_unreadable,
        "readable_now": report.readable_now,
        "unreadable": [
            {**cause._asdict(), "count": number, "parked_ids": report.ids[cause]}
            for cause, number in report.lost.most_common()
        ],
    }


def _show(report: Report) -> None:
    checked = counted(report.checked, "parked item or purchase", "parked items or purchases")
    say(f"{checked} checked; {report.readable:,} can be read, as before.")
    if report.still_unreadable:
        say(f"{counted(report.still_unreadable, 'record')} could not be taken before, and cannot be read now.")
    if report.readable_now:
        say(f"{counted(len(report.readable_now), 'record')} can be read by this release: retry after it is deployed.")
        for parked_id in report.readable_now[:_MOST_SHOWN]:
            say(f"app.py repair retry {parked_id} --reason 'readable since this release'", indent=2)
        if (more := len(report.readable_now) - _MOST_SHOWN) > 0:
            say(f"and {more:,} more; --json shows all.", indent=2)
    if not report.lost:
        return
    say(f"{counted(report.lost.total(), 'item')} cannot be read by this release any more:", "bold")
    table(
        (
            (cause.topic, cause.kind, number, cause.field, cause.expected, ", ".join(map(plain, report.ids[cause])))
            for cause, number in report.lost.most_common()
        ),
        *("topic", "kind", "items", "field", "expected", "some of them"),
    )
