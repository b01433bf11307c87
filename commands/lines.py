"""A command of repair as the line that publishes it: what offers and dry runs print, ready to run."""

import getpass
import json
import os
import shlex
import socket
from collections.abc import Mapping
from typing import Any, get_args

from pydantic.alias_generators import to_camel

from contracts.repairs import RepairCommand, RepairRequested

# By the wire's name of the command.
KINDS: dict[str, type[RepairCommand]] = {
    kind.model_fields["command"].default: kind for kind in get_args(get_args(RepairRequested)[0])
}

# What every command says, and who says it.
SHARED = frozenset(RepairCommand.model_fields)
_SHARED_OPTIONS = {
    "reason": "--reason",
    "requested_by": "--by",
    "command_id": "--command-id",
    "expected_digest": "--expected-digest",
}


def whoever() -> str:
    """Who asks, unless told otherwise: the user of this machine; in a container he may have a number only."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def kebab(name: str) -> str:
    """`createSessions` and `session_count` as `create-sessions` and `session-count`."""
    spaced = "".join(f"-{character.lower()}" if character.isupper() else character for character in name)
    return spaced.replace("_", "-")


def own_fields(kind: type[RepairCommand]) -> tuple[str, list[str]]:
    """The fields of this command alone: the one that names its target, and the others, which are options."""
    own = [name for name in kind.model_fields if name != "command" and (name not in SHARED or name == "bulk_id")]
    target = next(name for name in own if kind.model_fields[name].is_required())
    return target, [name for name in own if name not in (target, "bulk_id")]


def line_of(command: Mapping[str, Any]) -> str:
    """The line for any command but a bulk, by the wire's names; what it does not tell is left to the defaults."""
    target, others = own_fields(KINDS[command["command"]])
    options = {name: f"--{kebab(name)}" for name in others} | _SHARED_OPTIONS
    words = ["app.py", "repair", kebab(command["command"])]
    # An id of others may begin with a dash.
    aimed = _quoted(command[to_camel(target)])
    if not aimed.startswith("-"):
        words.append(aimed)
    for name, option in options.items():
        if (value := command.get(to_camel(name))) not in (None, "", [], ()):
            words += [option, _quoted(value)]
    words += ["--dry-run"] if command.get("dryRun") else []
    return " ".join([*words, *(["--", aimed] if aimed.startswith("-") else [])])


def _quoted(value: Any) -> str:
    """A word for the shell: lists by commas, objects as JSON, what does not print as `$'...'`."""
    if isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    elif isinstance(value, dict):
        value = json.dumps(value)
    text = str(value)
    return shlex.quote(text) if text.isprintable() else "$'" + "".join(map(_escaped, text)) + "'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"
