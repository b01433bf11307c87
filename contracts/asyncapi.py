"""The AsyncAPI 3.0 document of every topic, as Firstbell sees it: what it receives, what it sends, with which headers.

Who reads a topic and how it is kept is no matter of contracts: whoever asks for the document tells it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import TypeAdapter
from pydantic.alias_generators import to_camel

from contracts.base import Event
from contracts.cloudevents import SOURCE
from contracts.json_schemas import Schema, schema_of
from contracts.parking import FulfilmentParked
from contracts.repairs import RepairCommand
from contracts.signing import EXPIRES, KEY_ID, SIGNATURE
from contracts.topics import TOPICS, TopicSpec

_BINDING = "0.5.0"
_ANY_TEXT: Schema = {"type": "string"}
_TRACE: Schema = {
    "traceparent": {**_ANY_TEXT, "description": "W3C trace context; it is carried to everything that follows."}
}


def document(readers: Mapping[str, Sequence[str]], kept: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The whole document; `readers` are the consumer groups and `kept` the topic settings of each topic."""
    topics = TOPICS.values()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Firstbell",
            "version": "1.0.0",
            "description": "From payment succeeded to every session on the calendar. Unknown fields are allowed "
            "everywhere and kept; null and an empty text count as missing.",
        },
        "defaultContentType": "application/json",
        "channels": {spec.name: _channel(spec, kept[spec.name]) for spec in topics},
        "operations": {
            name: operation for spec in topics for name, operation in _operations(spec, readers.get(spec.name, ()))
        },
        "components": {
            "messages": {spec.name: _message(spec) for spec in topics},
            "schemas": {spec.name: _payload(spec) for spec in topics},
        },
    }


def _channel(spec: TopicSpec, kept: Mapping[str, str]) -> dict[str, Any]:
    binding = {"topic": spec.name, "topicConfiguration": _configuration(kept), "bindingVersion": _BINDING}
    return {
        "address": spec.name,
        "description": _how_it_is_kept(spec),
        "messages": {spec.name: {"$ref": f"#/components/messages/{spec.name}"}},
        "bindings": {"kafka": binding},
    }


def _configuration(kept: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {"cleanup.policy": [kept.get("cleanup.policy", "delete")]}
    for name, value in kept.items():
        if name != "cleanup.policy":
            found[name] = int(value) if value.isdigit() else value
    return found


def _how_it_is_kept(spec: TopicSpec) -> str:
    sentences = ["Written by others: the broker stamps and unpacks its records." if spec.outside else "Written by us."]
    if spec.compacted:
        sentences.append("Kept by key.")
    if spec.tombstones:
        sentences.append("A null value means that what the key names was deleted.")
    return " ".join(sentences)


def _operations(spec: TopicSpec, groups: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    channel = {"$ref": f"#/channels/{spec.name}"}
    messages = [{"$ref": f"#/channels/{spec.name}/messages/{spec.name}"}]
    found: list[tuple[str, dict[str, Any]]] = []
    for group in groups:
        binding = {"groupId": {"type": "string", "const": group}, "bindingVersion": _BINDING}
        found.append(
            (
                f"{group}.receives.{spec.name}",
                {"action": "receive", "channel": channel, "messages": messages, "bindings": {"kafka": binding}},
            )
        )
    # Commands come from admins, and from Firstbell itself where it heals.
    if not spec.outside or spec.name == RepairCommand.TOPIC:
        found.append((f"firstbell.sends.{spec.name}", {"action": "send", "channel": channel, "messages": messages}))
    return found


def _message(spec: TopicSpec) -> dict[str, Any]:
    properties = _headers(spec)
    headers: Schema = {"type": "object", "properties": properties, "additionalProperties": True}
    made = {
        "name": f"firstbell.{spec.name}.v1",
        "title": spec.name,
        "contentType": "application/json",
        "headers": headers if spec.outside else {**headers, "required": list(properties)},
        "payload": {"$ref": f"#/components/schemas/{spec.name}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": _keyed_by(spec)}, "bindingVersion": _BINDING}},
    }
    return made if spec.outside else {**made, "correlationId": {"location": "$message.header#/correlation_id"}}


def _keyed_by(spec: TopicSpec) -> str:
    field = to_camel(_events(spec)[0].KEY)
    if spec.tombstones:
        return f"{field}; needed where the value is null, or where the topic is kept by key"
    if spec.outside:
        return f"{field}, so that what belongs together stays in order; not needed"
    return f"{field} (parkedId where there is none)" if spec.name == FulfilmentParked.TOPIC else field


def _headers(spec: TopicSpec) -> Schema:
    """The headers that we write; of what others write all are optional, and nothing but the trace is read."""
    if spec.outside:
        signed = dict.fromkeys((KEY_ID, EXPIRES, SIGNATURE), _ANY_TEXT) if spec.name == RepairCommand.TOPIC else {}
        return {**_TRACE, **signed}
    return {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": {"type": "string", "format": "uuid", "description": "The same for the same event, however often."},
        "ce_type": {"type": "string", "const": f"firstbell.{spec.name}.v1"},
        "ce_source": {"type": "string", "const": SOURCE.decode()},
        "ce_subject": {**_ANY_TEXT, "description": to_camel(_events(spec)[0].SUBJECT)},
        "ce_time": {"type": "string", "format": "date-time", "description": to_camel(_events(spec)[0].TIME or "")},
        "content-type": {"type": "string", "const": "application/json"},
        "correlation_id": {**_ANY_TEXT, "description": "The trace id of traceparent."},
        **_TRACE,
    }


def _events(spec: TopicSpec) -> list[type[Event]]:
    contract = spec.contract
    return list(get_args(get_args(contract._type)[0])) if isinstance(contract, TypeAdapter) else [contract]  # noqa: SLF001


def _payload(spec: TopicSpec) -> Schema:
    """The schema as AsyncAPI embeds it: no dialect of its own, and the discriminator is a name."""
    made = {name: value for name, value in schema_of(spec).items() if not name.startswith("$")}
    if "discriminator" in made:
        made["discriminator"] = made["discriminator"]["propertyName"]
    return made
