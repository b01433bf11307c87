"""What a change of the contracts would break, in sentences that name topic and field.

A topic that outsiders write must go on taking what its producers send, and using it. A topic that we write
must go on being what its readers know, and this release must read what the one before has written: it is kept
for weeks, replayed, and written beside us while a release is rolled out.
"""

import json
from collections.abc import Mapping
from typing import Any

from contracts.containment import Difference, Schema, alternatives, differences, is_anything

_TYPES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_LIMITS = {
    "minimum": "{} or more",
    "exclusiveMinimum": "more than {}",
    "maximum": "{} or less",
    "exclusiveMaximum": "less than {}",
    "minLength": "a text of at least {} characters",
    "maxLength": "a text of at most {} characters",
    "minItems": "a list of at least {}",
    "maxItems": "a list of at most {}",
    "pattern": "a text that matches {}",
    "format": "a text in the format {}",
}

# What producers send and the new contract refuses, by the kind of the difference.
_REFUSED = {
    "variant": "{field} is gone, and whoever sends it is refused",
    "unknown": "{field} is required now, and no producer knows it",
    "optional": "{field} is required now, where producers may leave it out",
    "value": "{field} takes {sent} no more",
    "type": "{field} is {taken} now, where producers send {sent}",
    "default": "{field} counts as {taken} now where it is left out, and counted as {sent}",
    "additionalProperties": "{field} takes no unknown fields now, where producers may send any",
    "dropped": "{field} is refused now, where producers may send it",
    "ignored": "{field} is looked at no more, where producers send it",
    "limit": "{field} must be {taken} now, where producers may send {sent}",
}
# What was written before, is read again, and is refused.
_KEPT = {
    "variant": "{field} is gone, and kept records hold it",
    "unknown": "{field} is required now, and kept records do not have it",
    "optional": "{field} is required now, where kept records may lack it",
    "value": "{field} takes {sent} no more, which kept records may hold",
    "type": "{field} is {taken} now, where kept records may hold {sent}",
    "additionalProperties": "{field} takes no unknown fields now, where kept records may hold any",
    "limit": "{field} must be {taken} now, where kept records may hold {sent}",
}
# What we would send and readers by the old contract do not expect.
_UNEXPECTED = {
    "variant": "{field} may be sent now, which no reader knows",
    "unknown": "{field} is gone, where readers rely on it",
    "gone": "{field} is gone, and readers know it",
    "optional": "{field} may be missing now, where readers rely on it",
    "value": "{field} may be {sent} now, which no reader knows",
    "type": "{field} may be {sent} now, where readers expect {taken}",
    "additionalProperties": "{field} may hold unknown fields now, which readers refuse",
    "dropped": "{field} may be there now, which readers refuse",
    "limit": "{field} may be {sent} now, where readers expect {taken}",
}


def broken(old: Mapping[str, Schema], new: Mapping[str, Schema], outside: Mapping[str, bool]) -> list[str]:
    """A sentence for each thing that the new schemas would break, by topic; `outside`: whether outsiders write it."""
    found: list[str] = []
    for topic, schema in old.items():
        if topic not in new:
            found.append(f"{topic}: the topic is gone")
        elif outside[topic]:
            found += broken_for_producers(topic, schema, new[topic])
        else:
            found += broken_for_readers(topic, schema, new[topic])
    return found


def broken_for_producers(topic: str, old: Schema, new: Schema) -> list[str]:
    """A sentence for each thing that producers may send by the old schema and the new one refuses."""
    # What producers were never told of may get a meaning, as long as they need not send it.
    found = [d for d in differences(old, new) if d.kind != "gone"]
    # A field that is renamed is taken as unknown by its old name: nothing is refused, and nobody looks at it.
    ignored = [d._replace(kind="ignored") for d in differences(new, old) if d.kind in {"gone", "unknown"}]
    return _sentences(topic, [*found, *ignored], _REFUSED)


def broken_for_readers(topic: str, old: Schema, new: Schema) -> list[str]:
    """A sentence for each thing that the new schema may send and readers by the old one do not expect."""
    # What is left out is read as the reader's own default, and we leave none out.
    found = [d for d in differences(new, old) if d.kind != "default"]
    # What is new to kept records harms nobody, and a type that changes is told once.
    told = {d.place for d in found}
    again = [d for d in differences(old, new) if d.place not in told and d.kind not in {"gone", "dropped", "default"}]
    return _sentences(topic, found, _UNEXPECTED) + _sentences(topic, again, _KEPT)


def _sentences(topic: str, found: list[Difference], words: Mapping[str, str]) -> list[str]:
    """Each sentence once: alternatives may say the same."""
    said = []
    for difference in found:
        _, kind, sent, taken = difference
        facts = {"field": _field(difference), "sent": _words(kind, sent), "taken": _words(kind, taken)}
        said.append(f"{topic}: {words.get(kind, words['limit']).format_map(facts)}")
    return list(dict.fromkeys(said))


def _field(difference: Difference) -> str:
    """`workingHours[].from`, or `step of the command resume`."""
    field, command = difference.place
    if not field:
        return f"the command {command}" if command else "the value"
    return f"{field} of the command {command}" if command else field


def _words(kind: str, value: Any) -> str:
    """What is sent or taken, in words."""
    match kind:
        case "type":
            return _what(value)
        case "value":
            return _shown(value.get("const"))
        case "default":
            return _shown(value)
    return _limit(kind, value)


def _what(schema: Schema) -> str:
    return " or ".join(dict.fromkeys(_one(part) for part in alternatives(schema)))


def _one(schema: Schema) -> str:
    if is_anything(schema):
        return "anything"
    if "const" in schema:
        return "an empty text" if schema["const"] == "" else _shown(schema["const"])
    return _TYPES.get(schema.get("type", ""), "something else")


def _limit(keyword: str, value: Any) -> str:
    if value is None:
        return "any other"
    return _LIMITS[keyword].format(value) if keyword in _LIMITS else f"{keyword} {_shown(value)}"


def _shown(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)
