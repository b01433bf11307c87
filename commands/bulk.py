"""`app.py repair bulk`: one command for many parked items, chosen by id or by cause, and followed to its end."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Literal, NoReturn
from uuid import UUID

import typer

from commands.answers import show_answer
from commands.asking import ask
from commands.following import Followed
from commands.following import follow as watch
from commands.printing import counted, say, table
from commands.repair import NO_ANSWER, By, CommandId, DryRun, NotAsked, Wait, built, shared_values
from commands.session import AsJson, complete, err, known_database, known_kafka, print_json, reading, session
from contracts.repairs import MAX_BULK, Bulk, RepairCompleted
from settings import Settings
from storage.reading import Filter, Listed, listed, uuid_or_none

Apply = Literal["retry", "dismiss", "restore"]


def bulk(
    ids: Annotated[list[str] | None, typer.Argument(metavar="PARKED_ID", help="These items.")] = None,
    *,
    reason: Annotated[str | None, typer.Option("--reason", help="Why: kept in the audit.")] = None,
    apply: Annotated[Apply | None, typer.Option("--apply", help="What to do with each.")] = None,
    reason_code: Annotated[str | None, typer.Option("--reason-code", help="Items parked for this reason.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Items of this actor.")] = None,
    course: Annotated[str | None, typer.Option("--course", help="Items of this course.")] = None,
    waits_for: Annotated[str | None, typer.Option("--waits-for", help="Items that wait for this.")] = None,
    follow: Annotated[str | None, typer.Option("--follow", metavar="BULK_ID", help="Follow one that runs.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    by: By = None,
    dry_run: DryRun = False,
    command_id: CommandId = None,
    wait: Wait = 30,
    as_json: AsJson = False,
) -> None:
    """One command for many parked items, at most 5,000: by id or by cause; follow it to its end."""
    with session() as settings:
        if follow is None:
            if not apply or not reason:
                raise NotAsked("repair bulk needs --apply and --reason, or --follow with the id of one that runs")
            chosen = complete(
                _chosen(settings, Filter(reason_code, actor, course, waits_for, _status(apply), _uuids(ids)))
            )
            _confirm(apply, chosen, yes=yes or dry_run)
            values = {"apply": apply, "parked_ids": [str(row.id) for row in chosen], "dry_run": dry_run}
            command = built(Bulk, values | shared_values(reason, by, command_id))
            answer = complete(ask(settings, known_kafka(settings), command, wait))
            if dry_run or (answer and answer.refusal):
                _end(answer, as_json=as_json)
            follow = command.command_id
        ended = complete(watch(known_database(settings), follow, wait))
    _report(follow, ended, as_json=as_json)


def _status(apply: Apply) -> str:
    """Which rows a command is for: what is dismissed is restored, what is open is tried again or dismissed."""
    return "dismissed" if apply == "restore" else "open"


def _uuids(ids: Sequence[str] | None) -> list[UUID] | None:
    if not ids:
        return None
    if wrong := [any_id for any_id in ids if uuid_or_none(any_id) is None]:
        raise NotAsked(f"not the id of a parked item: {', '.join(wrong[:5])}")
    return [UUID(any_id) for any_id in ids]


async def _chosen(settings: Settings, matching: Filter) -> list[Listed]:
    """The rows to be repaired, the oldest first, at most as many as a bulk may have."""
    if not any((matching.reason, matching.actor, matching.course_id, matching.waits_for, matching.ids)):
        raise NotAsked("say which items: by their ids, or by --reason-code, --actor, --course or --waits-for")
    async with reading(known_database(settings)) as db:
        rows, total = await listed(db, matching, MAX_BULK)
    if not rows:
        raise NotAsked(f"no {matching.status} item matches")
    if total > len(rows):
        err.print(f"{total:,} items match: these are the oldest {len(rows):,}; the others need another bulk.")
    return rows


def _confirm(apply: str, chosen: Sequence[Listed], *, yes: bool) -> None:
    """Show how many of which cause, and ask."""
    found = Counter((row.reason, row.course_id, row.actor) for row in chosen)
    table(((*cause, n) for cause, n in found.most_common()), "reason", "course", "actor", "items", to=err)
    if not yes:
        typer.confirm(f"{apply} {counted(len(chosen), 'item')}?", abort=True, err=True)


def _end(answer: RepairCompleted | None, *, as_json: bool) -> NoReturn:
    """Print the answer to the bulk itself, and end."""
    if answer is None:
        err.print("No answer in time: does a service run?")
        raise typer.Exit(NO_ANSWER)
    if as_json:
        print_json(answer.model_dump(mode="json", by_alias=True, exclude_none=True))
    else:
        show_answer(answer)
    raise typer.Exit(1 if answer.refusal else 0)


def _report(bulk_id: str, ended: Followed | None, *, as_json: bool) -> None:
    """What became of the items; exit code 1 when some were refused."""
    if ended is None:
        err.print(
            f"Nothing new for a while; it goes on by itself. Follow it: app.py repair bulk --follow {bulk_id}",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
        raise typer.Exit(NO_ANSWER)
    if as_json:
        print_json({"bulkId": bulk_id, **asdict(ended)})
    else:
        say(f"{counted(ended.items or 0, 'item')} of the bulk {bulk_id}:", "bold")
        table(ended.outcomes.items(), "outcome", "items")
        if ended.refusals:
            table(ended.refusals.items(), "refused because", "items")
    raise typer.Exit(1 if ended.refusals else 0)
