"""`app.py repair ...`: every command of contracts/repairs.py, its options read from the contract.

A field that a command of repair gets is an option here, without anything to be written.
"""

import inspect
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer
from pydantic.alias_generators import to_camel

from commands.answers import show_answer, show_next, show_unanswered
from commands.asking import ask
from commands.lines import KINDS, kebab, own_fields, whoever
from commands.session import AsJson, complete, known_kafka, print_json, session
from contracts.decode import decode
from contracts.repairs import Bulk, RepairCommand
from errors import FirstbellError, Unreadable

repair = typer.Typer(no_args_is_help=True)

NO_ANSWER = 2

Why = Annotated[str, typer.Option("--reason", help="Why: kept in the audit.")]
By = Annotated[str | None, typer.Option("--by", help="Who asks. Default: this user and machine.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show exactly what would be written, and write nothing.")]
Digest = Annotated[
    str | None, typer.Option("--expected-digest", help="Refuse when something else than that dry run showed is due.")
]
CommandId = Annotated[
    str | None, typer.Option("--command-id", help="The same id twice does nothing twice. Default: a new one.")
]
Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for the answer.")]

_HELP = {
    "parked_id": "The parked item.",
    "payment_id": "The payment.",
    "allocation_id": "The allocation.",
    "enrollment_id": "The enrolment.",
    "bulk_id": "The command id of the bulk.",
    "waits_for": "What has come, such as trainer.",
    "step": "enrollment, cart, coins, allocation or sessions.",
    "session_count": "How many sessions, such as 20.",
    "date": "The first day, such as 2026-12-01.",
    "time_slot": "Such as 17:00 or 17:00-18:30.",
    "days_of_week": "Comma-separated, such as mon,wed.",
    "timezone": "Such as Asia/Kolkata.",
    "trainer_id": "This trainer; without, the service decides.",
    "force": "Comma-separated: distance, hours, course. Never a double booking.",
    "latitude": "Of the place, in degrees.",
    "longitude": "Of the place, in degrees.",
    "payload": "The corrected record, as JSON or as @file.json.",
    "course_id": "The course.",
    "changed_at": "When it came, with its offset; default: now.",
}


class NotAsked(FirstbellError):
    """The command says something that its contract does not allow."""


def built(kind: type[RepairCommand], values: dict[str, Any]) -> RepairCommand:
    """The command of these values by field, read as the service will read it.

    Raises: NotAsked, naming the option that is not as expected.
    """
    body = {to_camel(name): value for name, value in values.items()}
    try:
        command = decode(
            kind.TOPIC, None, json.dumps({"command": kind.model_fields["command"].default, **body}).encode()
        )
    except Unreadable as error:
        raise NotAsked(f"{kebab(error.facts['field'])}: expected {error.facts['expected']}") from None
    assert isinstance(command, kind)  # noqa: S101  the discriminator says so
    return command


def _command_of(kind: type[RepairCommand]) -> Callable[..., None]:
    """The function behind `repair retry` and the like: what is special in it is its signature."""

    def carry_out(**options: Any) -> None:
        wait, json_wanted = options.pop("wait"), options.pop("as_json")
        said = {"payload": options["payload"]} if "payload" in options else {}
        with session() as settings:
            command = built(kind, _values(options))
            answer = complete(ask(settings, known_kafka(settings), command, wait))
        if answer is None:
            show_unanswered(command, wait, said)
            raise typer.Exit(NO_ANSWER)
        if json_wanted:
            print_json(answer.model_dump(mode="json", by_alias=True, exclude_none=True))
        else:
            show_answer(answer)
            show_next(command, answer, said)
        raise typer.Exit(1 if answer.refusal else 0)

    carry_out.__doc__ = kind.__doc__
    carry_out.__signature__ = inspect.Signature(_parameters(kind))  # type: ignore[attr-defined]
    return carry_out


def _parameters(kind: type[RepairCommand]) -> list[inspect.Parameter]:
    target, others = own_fields(kind)
    parameters = [_parameter(target, Annotated[str, typer.Argument(metavar=target.upper(), help=_HELP.get(target))])]
    for name in others:
        option = typer.Option(f"--{kebab(name)}", help=_HELP.get(name), show_default=False)
        if kind.model_fields[name].is_required() and name != "changed_at":
            parameters.append(_parameter(name, Annotated[str, option]))
        else:
            parameters.append(_parameter(name, Annotated[str | None, option], None))
    return [
        *parameters,
        _parameter("reason", Why),
        _parameter("requested_by", By, None),
        _parameter("dry_run", DryRun, default=False),
        _parameter("expected_digest", Digest, None),
        _parameter("command_id", CommandId, None),
        _parameter("wait", Wait, 30),
        _parameter("as_json", AsJson, default=False),
    ]


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def shared_values(reason: str, by: str | None, command_id: str | None) -> dict[str, Any]:
    """What every command says, with what stands in for what was not."""
    return {"reason": reason, "requested_by": by or whoever(), "command_id": command_id or str(uuid4())}


def _values(options: dict[str, Any]) -> dict[str, Any]:
    """What was typed, by field: lists and JSON read, numbers as numbers, empty as missing."""
    values = {name: value for name, value in options.items() if value not in (None, "")}
    for name in ("days_of_week", "force"):
        if name in values:
            values[name] = [word.strip() for word in values[name].split(",") if word.strip()]
    for name in ("latitude", "longitude", "session_count"):
        if name in values:
            values[name] = _number(values[name])
    if "payload" in values:
        values["payload"] = _contents(values["payload"])
    if "changed_at" in options and "changed_at" not in values:
        values["changed_at"] = datetime.now(UTC).isoformat()
    return values | shared_values(options["reason"], options["requested_by"], options["command_id"])


def _number(typed: str) -> int | float | str:
    """A number where it is one: what is none is judged by the contract, or by who carries it out."""
    for read in (int, float):
        try:
            return read(typed)
        except ValueError:
            continue
    return typed


def _contents(payload: str) -> Any:
    try:
        return json.loads(Path(payload[1:]).read_text("utf-8") if payload.startswith("@") else payload)
    except (OSError, ValueError, RecursionError) as error:
        raise NotAsked(f"payload: {error}") from None


for _name, _kind in KINDS.items():
    if _kind is not Bulk:
        repair.command(kebab(_name))(_command_of(_kind))
