"""`app.py replay`: read again what came since an instant, as after a database that was restored to an older state."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from actors.rewinding import Rewind, planned, rewind
from commands.printing import counted, instant, say, table
from commands.session import AsJson, complete, err, joined, print_json, servers, session
from roster import actors_of

_DURATION = re.compile(r"(\d{1,5})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def replay(
    since: Annotated[
        str, typer.Option("--since", help="An instant such as 2026-11-22T08:00:00Z, or a time ago: 90m, 2h, 3d.")
    ],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Rewind every actor to an instant, so that all since is read again; nothing happens twice."""
    moment = instant_of(since, datetime.now(UTC))
    with session() as settings, servers(joined(settings), database=False) as addresses:
        plan = complete(planned(settings, addresses.kafka, actors_of(settings), moment))
        _show(plan, moment, as_json=as_json, dry_run=dry_run)
        if dry_run or not plan:
            return
        if not yes:
            typer.confirm(f"Read {counted(_records(plan), 'record')} again?", abort=True, err=True)
        complete(rewind(settings, addresses.kafka, plan))
        err.print("Done. Start the service: it reads all of this again.", highlight=False)


def instant_of(since: str, now: datetime) -> datetime:
    """The instant that a person names: itself, with its offset, or so long before now.

    Raises: BadParameter.
    """
    if match := _DURATION.fullmatch(since.strip()):
        return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        moment = datetime.fromisoformat(since.strip())
    except ValueError:
        raise typer.BadParameter("an instant such as 2026-11-22T08:00:00Z, or a time ago such as 2h or 3d") from None
    if moment.tzinfo is None:
        raise typer.BadParameter("the instant needs its offset at the end: Z, or one such as +05:30")
    if moment > now:
        raise typer.BadParameter(f"{since} has not come yet")
    return moment


def _records(plan: Sequence[Rewind]) -> int:
    return sum(rewound.records for rewound in plan)


def _show(plan: Sequence[Rewind], since: datetime, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        rows = [{**rewound._asdict(), "records": rewound.records} for rewound in plan]
        print_json({"since": since, "dryRun": dry_run, "records": _records(plan), "partitions": rows})
        return
    if not plan:
        say(f"Nothing was read since {instant(since)}: no group has to go back.")
        return
    names = ("group", "topic", "partition", "has read to", "goes back to", "records")
    table(((*rewound, rewound.records) for rewound in plan), *names)
    groups: Counter[str] = Counter()
    for rewound in plan:
        groups[rewound.group] += rewound.records
    for group, records in groups.items():
        say(f"{group} reads {counted(records, 'record')} since {instant(since)} again.")
