"""The JSON Schemas tell the truth: what they accept is read, and what is read they accept."""

import json
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from commands.contract_files import breaks, documents
from contracts.committed import ASYNCAPI, as_text, committed, schema_file
from contracts.decode import decode
from contracts.json_schemas import schemas
from contracts.topics import TOPICS
from errors import Unreadable
from tests.contracts.examples import COMMANDS, a_command, example, messages_of

Path = tuple[str | int, ...]

NOTHING = object()
# Every kind of JSON value, and the edges of what fields may hold. Not 1.0, nor 1e300: JSON Schema takes them for whole.
PROBES: list[Any] = [
    *(
        None,
        "",
        " ",
        "x",
        "a b",
        "x" * 64,
        "x" * 65,
        "y" * 2001,
        "é",
        "inr",
        "30",
        "30 sessions",
        "mon",
        "MON",
        "added",
    ),
    *(True, False, 0, -1, 1, 30, 181, -91, 1.5, 1e-300, 2**63 - 1, 2**63, -(2**70), [], [1], ["mon"], [None], [[]]),
    *({}, {"a": 1}, "2026-11-22T08:02:55Z", "2026-11-22T08:02:55", "2026-11-22 08:02+0530", "2026-11-22", "24:00"),
    *("00:00", "16:00", "7d3f3a10-52c4-5b7e-8f21-000000000003", "{7D3F3A10-52c4-5b7e-8f21-000000000003}", "retry"),
    *("7d3f3a1052c45b7e8f21000000000003", "urn:uuid:7d3f3a10-52c4-5b7e-8f21-000000000003", "7d3f3a10-52c4", NOTHING),
]
# Names of a table, and rules between fields: no schema can tell them.
BEYOND = {
    ("students.changed", "timezone"),
    ("trainers.changed", "timezone"),
    ("trainers.changed", "active"),
    ("trainers.changed", "latitude"),
    ("trainers.changed", "longitude"),
    ("trainers.busy", "startsAt"),
    ("trainers.busy", "endsAt"),
    ("trainers.changed", "workingHours", 0, "from"),
    ("trainers.changed", "workingHours", 0, "to"),
}


@cache
def validator(topic: str) -> Draft202012Validator:
    return Draft202012Validator(schemas()[topic])


def accepts(topic: str, message: Any) -> bool:
    return bool(validator(topic).is_valid(message))


def reads(topic: str, message: Any) -> bool:
    try:
        decode(topic, None, json.dumps(message).encode())
    except Unreadable:
        return False
    return True


def shapes(topic: str) -> list[dict[str, Any]]:
    """Messages that have every field of their kind."""
    return [a_command(fields) for fields in COMMANDS] if topic == "repairs.requested" else [example(topic)]


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield (*path, name)
        yield from paths(part, (*path, name))


def altered(message: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    changed = deepcopy(message)
    part: Any = changed
    for step in path[:-1]:
        part = part[step]
    if value is NOTHING:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    return changed


def every_field() -> list[tuple[str, int, Path]]:
    return [(topic, i, path) for topic in TOPICS for i, shape in enumerate(shapes(topic)) for path in paths(shape)]


def required_fields() -> list[tuple[str, int, Path]]:
    """What is there, and cannot be left out."""
    return [
        (topic, i, path)
        for topic, i, path in every_field()
        if (topic, *path) not in BEYOND
        and not isinstance(path[-1], int)
        and not reads(topic, altered(shapes(topic)[i], path, NOTHING))
    ]


def named(value: Any) -> str:
    return ".".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_schema_is_one(topic: str) -> None:
    Draft202012Validator.check_schema(schemas()[topic])


@pytest.mark.parametrize("topic", TOPICS)
def test_the_committed_example_is_accepted(topic: str) -> None:
    assert all(accepts(topic, message) for message in [example(topic), *shapes(topic)])


@pytest.mark.parametrize("topic", TOPICS)
@settings(max_examples=50)
@given(data=st.data())
def test_every_valid_message_is_accepted(topic: str, data: st.DataObject) -> None:
    message = data.draw(messages_of(topic))

    assert reads(topic, message)
    assert accepts(topic, message)


@pytest.mark.parametrize(("topic", "shape", "path"), required_fields(), ids=named)
@pytest.mark.parametrize("value", [NOTHING, None, "", [[]]], ids=["missing", "null", "empty", "ill-typed"])
def test_what_a_required_field_cannot_be_is_refused_by_both(topic: str, shape: int, path: Path, value: Any) -> None:
    message = altered(shapes(topic)[shape], path, value)

    assert not reads(topic, message)
    assert not accepts(topic, message)


@pytest.mark.parametrize(("topic", "shape", "path"), every_field(), ids=named)
def test_a_schema_accepts_of_a_field_what_is_read_and_no_more(topic: str, shape: int, path: Path) -> None:
    for value in PROBES:
        message = altered(shapes(topic)[shape], path, value)

        assert reads(topic, message) <= accepts(topic, message), f"{value!r} is read"
        if (topic, *path) not in BEYOND:
            assert accepts(topic, message) <= reads(topic, message), f"{value!r} is accepted"


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("whole", [None, [], "x", 1, {}], ids=str)
def test_what_is_no_message_at_all_is_refused_by_both(topic: str, whole: Any) -> None:
    assert not reads(topic, whole)
    assert not accepts(topic, whole)


@pytest.mark.parametrize("topic", TOPICS)
def test_every_field_says_what_it_is(topic: str) -> None:
    schema = schemas()[topic]
    fields = [part for one in schema.get("oneOf", [schema]) for part in one["properties"].values()]

    assert all("description" in part or part.get("type") in {"object", "array"} or len(part) > 1 for part in fields)


def test_the_committed_files_are_those_of_this_release() -> None:
    found = breaks()

    assert not found, "\n".join(["This would break who relies on it:", *found])
    for path, document in documents().items():
        assert path.read_text("utf-8") == as_text(document), "Run: .venv/bin/python app.py contracts write"


def test_there_is_no_schema_of_a_topic_that_is_gone() -> None:
    assert committed().keys() == TOPICS.keys()


def test_the_asyncapi_document_tells_of_every_topic_and_its_references_resolve() -> None:
    document = json.loads(ASYNCAPI.read_text("utf-8"))

    assert document["channels"].keys() == document["components"]["messages"].keys() == TOPICS.keys()
    found = list(references(document))
    assert len(found) > 2 * len(TOPICS)
    for reference in found:
        part = document
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
        assert isinstance(part, dict)


def test_the_asyncapi_document_tells_who_reads_and_who_writes() -> None:
    operations = json.loads(ASYNCAPI.read_text("utf-8"))["operations"]

    receiving = {name for name, operation in operations.items() if operation["action"] == "receive"}
    sending = {name.removeprefix("firstbell.sends.") for name in operations.keys() - receiving}
    assert sending == {t for t, spec in TOPICS.items() if not spec.outside} | {"repairs.requested"}
    assert "firstbell.enrollment.receives.payments.succeeded" in receiving
    assert "firstbell.metrics.receives.fulfilment.parked" in receiving
    assert operations["firstbell.repair.receives.repairs.requested"]["bindings"]["kafka"]["groupId"]["const"] == (
        "firstbell.repair"
    )


def test_the_asyncapi_document_tells_how_a_topic_is_kept() -> None:
    channels = json.loads(ASYNCAPI.read_text("utf-8"))["channels"]

    def kept(topic: str) -> Any:
        return channels[topic]["bindings"]["kafka"]["topicConfiguration"]

    month = 30 * 24 * 60 * 60 * 1000
    assert kept("sessions.scheduled") == {"cleanup.policy": ["delete"], "retention.ms": month}
    assert kept("students.changed")["cleanup.policy"] == ["compact"]
    assert kept("payments.succeeded")["message.timestamp.type"] == "LogAppendTime"


def test_a_schema_file_is_named_after_its_topic_and_version() -> None:
    assert schema_file("payments.succeeded").name == "payments.succeeded.v1.json"


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from references(part)
