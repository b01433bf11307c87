"""The answer to a command, as a person reads it: outcome, rows by table, events, and the line that comes next."""

from typing import Any

from rich.text import Text

from commands.lines import KINDS, line_of, whoever
from commands.printing import counted, listed, pairs, plain, say, table
from commands.session import err
from commands.words import OUTCOMES
from contracts.repairs import Effect, RepairCommand, RepairCompleted

# Rows that are shown of one table: a series of thirty sessions is told by its first ones.
_MOST_ROWS = 10
# Columns that fit side by side.
_MOST_COLUMNS = 8
# Characters of one value.
_MOST_OF_A_VALUE = 240

_OPERATIONS = {"insert": "new", "update": "changed", "delete": "deleted"}


def show_answer(answer: RepairCompleted) -> None:
    """Print what a command did, would do, or why it was refused."""
    style = "bold red" if answer.refusal else "bold green"
    say(OUTCOMES.get(answer.outcome, answer.outcome), style)
    if answer.refusal:
        say(f"{answer.refusal.message} ({answer.refusal.code})")
        show_facts(answer.refusal.facts or {})
    for effect in answer.effects:
        _show_effect(effect)
    if answer.items:
        say(f"Expanded into {counted(answer.items, 'command')}.")
    if answer.events:
        table(((e.topic, e.subject, e.id) for e in answer.events), "event", "about", "id")


def show_facts(facts: dict[str, Any]) -> None:
    """Print facts line by line, and each offer among them as the line that takes it up."""
    for line in listed({name: value for name, value in facts.items() if name != "offers"}):
        say(line, indent=2)
    offers = [offer for offer in facts.get("offers") or () if offer["command"]["command"] in KINDS]
    if offers:
        say("What would help:", "bold")
    for offer in offers:
        say(offer.get("says"), indent=2)
        say(line_of({"reason": plain(offer.get("says")), **offer["command"]}), "cyan", indent=4)


def show_next(command: RepairCommand, answer: RepairCompleted, said: dict[str, Any]) -> None:
    """After a dry run: the line that applies exactly this. `said` are values as they were typed."""
    if answer.outcome != "dryRun" or not answer.digest:
        return
    body = {**_wire(command), **said, "expectedDigest": answer.digest, "dryRun": False, "commandId": None}
    if command.requested_by == whoever():
        body["requestedBy"] = None
    say(f"Digest {answer.digest}. Apply exactly this:")
    say(line_of(body), "cyan", indent=2)


def show_unanswered(command: RepairCommand, seconds: float, said: dict[str, Any]) -> None:
    """No answer in time: the command is kept, and asking again with the same id does nothing twice."""
    for line in (
        f"No answer within {seconds:g} s. The command is kept and will be carried out once the service reads it.",
        "Ask again, which does nothing twice:",
        f"  {line_of({**_wire(command), **said})}",
    ):
        err.print(Text(line), soft_wrap=True, highlight=False)


def _wire(command: RepairCommand) -> dict[str, Any]:
    return command.model_dump(mode="json", by_alias=True, exclude_none=True)


def _show_effect(effect: Effect) -> None:
    title = f"{effect.table}: {counted(effect.count, 'row')} {_OPERATIONS[effect.operation]}"
    rows = [
        _changes(row) if effect.operation == "update" else {name: _cell(value) for name, value in row.items()}
        for row in effect.rows[:_MOST_ROWS]
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    if len(names) > _MOST_COLUMNS or len(rows) == 1:
        say(title, "bold")
        for row in rows:
            pairs(row, indent=2)
            say("")
    else:
        table(([row.get(name) for name in names] for row in rows), *names, title=title)
    if effect.count > len(rows):
        say(f"... and {counted(effect.count - len(rows), 'row')} more: --json shows all", "dim")


def _changes(row: dict[str, Any]) -> dict[str, Any]:
    """A changed row: what stayed as it is, and `before -> after` where it differs."""
    before, after = row.get("before") or {}, row.get("after") or {}
    return {
        name: _cell(after.get(name))
        if before.get(name) == after.get(name)
        else f"{_cell(before.get(name)) or '(none)'} -> {_cell(after.get(name)) or '(none)'}"
        for name in dict.fromkeys([*before, *after])
    }


def _cell(value: object) -> str:
    """A value on one line, cut when it is long: what is new in it stands in the JSON."""
    text = plain(value)
    return text if len(text) <= _MOST_OF_A_VALUE else f"{text[:_MOST_OF_A_VALUE]}... ({len(text):,} characters)"
