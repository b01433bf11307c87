"""Which changes of a contract are refused, and what is said: by topic, by field, and in both directions."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from contracts.compatibility import broken
from contracts.json_schemas import schemas
from contracts.topics import TOPICS

OUTSIDE = {topic: spec.outside for topic, spec in TOPICS.items()}

Json = Any
Change = Callable[[Json], object]
"""Changes the schema of one topic."""


def of(schema: Json, *names: str) -> Json:
    """The schema of a field: `[]` is the item of a list, `:name` a command, and alternatives are looked through."""
    for name in names:
        if name.startswith(":"):
            schema = next(s for s in schema["oneOf"] if s["properties"]["command"]["const"] == name[1:])
            continue
        while "anyOf" in schema:
            schema = schema["anyOf"][0]
        schema = schema["items"] if name == "[]" else schema["properties"][name]
    return schema


def replaced(*names: str, **keywords: Any) -> Change:
    """Keywords of a field are others; None takes one away."""

    def change(schema: Json) -> None:
        part = of(schema, *names)
        for keyword, value in keywords.items():
            if value is None:
                del part[keyword]
            else:
                part[keyword] = value

    return change


def instead(*names: str, of_it: Json) -> Change:
    """A field is something else."""

    def change(schema: Json) -> None:
        part = of(schema, *names)
        part.clear()
        part.update(deepcopy(of_it))

    return change


def without(*names: str) -> Change:
    """A field is gone."""

    def change(schema: Json) -> None:
        parent = of(schema, *names[:-1])
        while "anyOf" in parent:
            parent = parent["anyOf"][0]
        del parent["properties"][names[-1]]
        parent["required"] = [name for name in parent["required"] if name != names[-1]]

    return change


def grown(*names: str, required: bool, of_it: Json) -> Change:
    """There is a new field."""

    def change(schema: Json) -> None:
        parent = of(schema, *names[:-1])
        while "anyOf" in parent:
            parent = parent["anyOf"][0]
        parent["properties"][names[-1]] = of_it
        parent["required"] = [*parent["required"], *([names[-1]] if required else [])]

    return change


def requiring(*names: str) -> Change:
    def change(schema: Json) -> None:
        of(schema, *names[:-1])["required"].append(names[-1])

    return change


def releasing(*names: str) -> Change:
    """A field may be left out."""
    return lambda schema: of(schema, *names[:-1])["required"].remove(names[-1])


def alternatives(*names: str, keep: Callable[[Json], bool], more: Json = None) -> Change:
    """Of the alternatives of a field some are gone, and one may be new."""

    def change(schema: Json) -> None:
        part = of(schema, *names)
        part["anyOf"] = [one for one in part["anyOf"] if keep(one)] + ([more] if more else [])

    return change


def commands(*, keep: Callable[[str], bool]) -> Change:
    def change(schema: Json) -> None:
        schema["oneOf"] = [s for s in schema["oneOf"] if keep(s["properties"]["command"]["const"])]

    return change


TEXT = {"type": "string"}
NUMBER = {"type": "number"}
WHOLE = {"type": "integer"}

REFUSED: list[tuple[str, Change, str]] = [
    # What outsiders write.
    (
        "payments.succeeded",
        instead("metadata", "courseId", of_it=NUMBER),
        "metadata.courseId is a number now, where producers send a text",
    ),
    (
        "payments.succeeded",
        grown("channel", required=True, of_it=TEXT),
        "channel is required now, and no producer knows it",
    ),
    (
        "payments.succeeded",
        requiring("coinsRedeemed"),
        "coinsRedeemed is required now, where producers may leave it out",
    ),
    (
        "payments.succeeded",
        requiring("metadata", "timeSlot"),
        "metadata.timeSlot is required now, where producers may leave it out",
    ),
    (
        "payments.succeeded",
        alternatives("coinsRedeemed", keep=lambda one: one.get("const") != ""),
        "coinsRedeemed is a whole number or null now, where producers send an empty text",
    ),
    (
        "payments.succeeded",
        alternatives("coinsRedeemed", keep=lambda one: one.get("type") != "null"),
        "coinsRedeemed is a whole number or an empty text now, where producers send null",
    ),
    (
        "payments.succeeded",
        replaced("amountMinor", minimum=100),
        "amountMinor must be 100 or more now, where producers may send 0 or more",
    ),
    (
        "payments.succeeded",
        replaced("amountMinor", maximum=1000),
        "amountMinor must be 1000 or less now, where producers may send 9223372036854775807 or less",
    ),
    (
        "payments.succeeded",
        replaced("currency", pattern="^[A-Z]{3}$"),
        (
            "currency must be a text that matches ^[A-Z]{3}$ now, "
            "where producers may send a text that matches ^[A-Za-z]{3}$"
        ),
    ),
    (
        "payments.succeeded",
        replaced("paymentId", maxLength=32),
        "paymentId must be a text of at most 32 characters now, where producers may send any other",
    ),
    (
        "payments.succeeded",
        instead("metadata", "purchaseTier", of_it=WHOLE),
        "metadata.purchaseTier is a whole number now, where producers send anything",
    ),
    (
        "payments.succeeded",
        replaced("coinsRedeemed", default=10),
        "coinsRedeemed counts as 10 now where it is left out, and counted as 0",
    ),
    (
        "payments.succeeded",
        replaced("metadata", additionalProperties=False),
        "metadata takes no unknown fields now, where producers may send any",
    ),
    (
        "payments.succeeded",
        replaced("metadata", minProperties=3),
        "metadata must be minProperties 3 now, where producers may send any other",
    ),
    (
        "students.changed",
        instead("latitude", of_it={"anyOf": [WHOLE, {"type": "null"}, {"const": ""}]}),
        "latitude is a whole number or null or an empty text now, where producers send a number",
    ),
    (
        "trainers.changed",
        replaced("workingHours", "[]", "from", pattern="^[0-9]{2}:00$"),
        (
            "workingHours[].from must be a text that matches ^[0-9]{2}:00$ now, "
            "where producers may send a text that matches ^([01][0-9]|2[0-3]):[0-5][0-9]$"
        ),
    ),
    (
        "trainers.changed",
        replaced("courses", "[]", minLength=3),
        "courses[] must be a text of at least 3 characters now, where producers may send any other",
    ),
    ("carts.changed", replaced("action", enum=["added"]), 'action takes "removed" no more'),
    ("carts.changed", instead("action", of_it={"const": "added"}), 'action takes "removed" no more'),
    (
        "repairs.requested",
        commands(keep=lambda name: name != "cancelBulk"),
        "the command cancelBulk is gone, and whoever sends it is refused",
    ),
    (
        "repairs.requested",
        replaced(":resume", "step", enum=["enrollment", "cart", "coins", "allocation"]),
        'step of the command resume takes "sessions" no more',
    ),
    (
        "repairs.requested",
        replaced(":bulk", "parkedIds", maxItems=100),
        (
            "parkedIds of the command bulk must be a list of at most 100 now, "
            "where producers may send a list of at most 5000"
        ),
    ),
    (
        "repairs.requested",
        alternatives(":createSessions", "sessionCount", keep=lambda one: one.get("type") != "string"),
        (
            "sessionCount of the command createSessions is a whole number or null or an empty text now, "
            "where producers send a text"
        ),
    ),
    (
        "repairs.requested",
        grown(":retry", "ticket", required=True, of_it=TEXT),
        "ticket of the command retry is required now, and no producer knows it",
    ),
    (
        "payments.succeeded",
        without("metadata", "groupSize"),
        "metadata.groupSize is looked at no more, where producers send it",
    ),
    ("payments.succeeded", without("amountMinor"), "amountMinor is looked at no more, where producers send it"),
    (
        "trainers.changed",
        without("workingHours", "[]", "to"),
        "workingHours[].to is looked at no more, where producers send it",
    ),
    # What we write, and read again.
    (
        "enrollments.created",
        grown("channel", required=True, of_it=TEXT),
        "channel is required now, and kept records do not have it",
    ),
    (
        "sessions.scheduled",
        grown("sessions", "[]", "room", required=True, of_it=TEXT),
        "sessions[].room is required now, and kept records do not have it",
    ),
    (
        "sessions.scheduled",
        requiring("sessions", "[]", "version"),
        "sessions[].version is required now, where kept records may lack it",
    ),
    (
        "sessions.scheduled",
        replaced("version", maximum=1000),
        "version must be 1000 or less now, where kept records may hold 9223372036854775807 or less",
    ),
    (
        "allocations.approved",
        alternatives("sessionCount", keep=lambda one: one.get("const") != ""),
        "sessionCount is a whole number or null now, where kept records may hold an empty text",
    ),
    (
        "repairs.completed",
        replaced("outcome", enum=["applied", "dryRun", "republished", "unchanged"]),
        'outcome takes "refused" no more, which kept records may hold',
    ),
    # What we write.
    ("sessions.scheduled", without("trainerId"), "trainerId is gone, where readers rely on it"),
    ("sessions.scheduled", without("sessions", "[]", "endsAt"), "sessions[].endsAt is gone, where readers rely on it"),
    ("sessions.scheduled", without("sessions", "[]", "version"), "sessions[].version is gone, and readers know it"),
    ("sessions.scheduled", releasing("courseId"), "courseId may be missing now, where readers rely on it"),
    (
        "sessions.scheduled",
        releasing("sessions", "[]", "startsAt"),
        "sessions[].startsAt may be missing now, where readers rely on it",
    ),
    (
        "coins.redeemed",
        instead("coins", of_it=NUMBER),
        "coins may be a number now, where readers expect a whole number",
    ),
    (
        "coins.redeemed",
        replaced("coins", minimum=0),
        "coins may be 0 or more now, where readers expect 1 or more",
    ),
    (
        "coins.redeemed",
        replaced("coins", maximum=None),
        "coins may be any other now, where readers expect 9223372036854775807 or less",
    ),
    (
        "coins.redeemed",
        replaced("redeemedAt", format=None),
        "redeemedAt may be any other now, where readers expect a text in the format date-time",
    ),
    (
        "allocations.approved",
        alternatives("sessionCount", keep=bool, more=TEXT),
        "sessionCount may be a text now, where readers expect a whole number or null or an empty text",
    ),
    (
        "allocations.approved",
        instead("version", of_it={}),
        "version may be anything now, where readers expect a whole number",
    ),
    (
        "repairs.completed",
        replaced("outcome", enum=["applied", "dryRun", "republished", "unchanged", "refused", "skipped"]),
        'outcome may be "skipped" now, which no reader knows',
    ),
    (
        "repairs.completed",
        replaced("command", maxLength=4000),
        "command may be a text of at most 4000 characters now, where readers expect a text of at most 2000 characters",
    ),
    (
        "repairs.completed",
        replaced("effects", "[]", "operation", enum=["insert", "update", "delete", "merge"]),
        'effects[].operation may be "merge" now, which no reader knows',
    ),
    (
        "repairs.completed",
        instead("effects", "[]", "rows", of_it={"type": "object"}),
        "effects[].rows may be an object now, where readers expect a list",
    ),
    (
        "fulfilment.parked",
        alternatives("studentId", keep=lambda one: "pattern" not in one, more={**TEXT, "maxLength": 80}),
        "studentId may be any other now, where readers expect a text that matches ^[A-Za-z0-9._:-]{1,64}$",
    ),
]

ALLOWED: list[tuple[str, Change]] = [
    ("payments.succeeded", grown("channel", required=False, of_it=TEXT)),
    ("payments.succeeded", releasing("currency")),
    ("payments.succeeded", replaced("amountMinor", minimum=-100)),
    ("payments.succeeded", replaced("amountMinor", maximum=None)),
    ("payments.succeeded", instead("amountMinor", of_it=NUMBER)),
    ("payments.succeeded", replaced("currency", pattern=None)),
    ("payments.succeeded", instead("metadata", "courseId", of_it={})),
    ("payments.succeeded", replaced("paymentId", description="other words")),
    ("carts.changed", replaced("action", enum=["added", "removed", "moved"])),
    ("carts.changed", instead("action", of_it={"type": "string", "pattern": "^[a-z]+$", "maxLength": 10})),
    ("repairs.requested", replaced(":bulk", "parkedIds", maxItems=10_000)),
    ("repairs.requested", lambda s: s["oneOf"].append({**s["oneOf"][0], "properties": {"command": {"const": "new"}}})),
    ("repairs.requested", lambda s: s["oneOf"].reverse()),
    ("sessions.scheduled", grown("channel", required=False, of_it=TEXT)),
    ("sessions.scheduled", grown("sessions", "[]", "room", required=False, of_it=TEXT)),
    ("allocations.approved", replaced("provisional", default=True)),
]


def after(topic: str, change: Change) -> dict[str, Json]:
    changed = deepcopy(schemas())
    change(changed[topic])
    return changed


@pytest.mark.parametrize(("topic", "change", "sentence"), REFUSED, ids=[sentence for _, _, sentence in REFUSED])
def test_a_change_that_breaks_somebody_is_told_by_topic_and_field(topic: str, change: Change, sentence: str) -> None:
    assert broken(schemas(), after(topic, change), OUTSIDE) == [f"{topic}: {sentence}"]


@pytest.mark.parametrize(("topic", "change"), ALLOWED, ids=[f"{n} {topic}" for n, (topic, _) in enumerate(ALLOWED)])
def test_a_change_that_breaks_nobody_is_let_through(topic: str, change: Change) -> None:
    assert after(topic, change) != schemas()

    assert broken(schemas(), after(topic, change), OUTSIDE) == []


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_cannot_be_removed(topic: str) -> None:
    left = {name: schema for name, schema in schemas().items() if name != topic}

    assert broken(schemas(), left, OUTSIDE) == [f"{topic}: the topic is gone"]


def test_a_new_topic_breaks_nobody() -> None:
    assert broken({}, schemas(), OUTSIDE) == []


def test_every_break_is_told_at_once() -> None:
    changed = schemas()
    changed["payments.succeeded"]["required"].append("coinsRedeemed")
    changed["payments.succeeded"]["properties"]["amountMinor"]["minimum"] = 1
    del changed["coins.redeemed"]

    found = broken(schemas(), changed, OUTSIDE)

    assert [sentence.partition(" ")[0] for sentence in found] == ["payments.succeeded:"] * 2 + ["coins.redeemed:"]


@pytest.mark.parametrize("topic", TOPICS)
def test_a_schema_is_compatible_with_itself(topic: str) -> None:
    assert broken({topic: schemas()[topic]}, {topic: schemas()[topic]}, OUTSIDE) == []
