"""The committed examples, and strategies that vary them: every field by its name, optional ones at times absent."""

import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from pydantic import TypeAdapter

from contracts import repairs
from contracts.base import Contract, Event
from contracts.decode import Tombstone, decode
from contracts.feeds import TrainerChanged
from contracts.hours import DAYS, WorkingHours
from contracts.payments import PaymentMetadata, PaymentSucceeded
from contracts.repairs import Effect, RepairCompleted
from contracts.sessions import SessionsCancelled, SessionsScheduled, SessionTime
from contracts.topics import TOPICS

FOLDER = Path(__file__).parents[2] / "contracts" / "examples"
_BASICS = {"commandId": "cmd_1", "requestedBy": "asha@example.org", "reason": "profile completed by phone"}
_OURS = "7d3f3a10-52c4-5b7e-8f21-000000000001"

COMMANDS: list[dict[str, Any]] = [
    {"command": "retry", "parkedId": _OURS},
    {"command": "resume", "paymentId": "pay_8f3", "step": "allocation"},
    {"command": "createSessions", "allocationId": _OURS},
    {
        "command": "createSessions",
        "allocationId": _OURS,
        "sessionCount": "20 sessions",
        "date": "2026-12-01",
        "timeSlot": "16:00",
        "daysOfWeek": ["mon"],
        "latitude": 12.97,
        "longitude": 77.59,
    },
    {"command": "assignTrainer", "enrollmentId": _OURS},
    {"command": "assignTrainer", "enrollmentId": _OURS, "sessionCount": 20, "force": ["distance", "hours", "course"]},
    {"command": "rescheduleSessions", "allocationId": _OURS},
    {"command": "rescheduleSessions", "allocationId": _OURS, "trainerId": "trn_9", "timeSlot": "17:00"},
    {"command": "editAndRetry", "parkedId": _OURS, "payload": {"paymentId": None, "metadata": {"date": None}}},
    {"command": "dismiss", "parkedId": _OURS},
    {"command": "restore", "parkedId": _OURS},
    {
        "command": "retryWaiting",
        "waitsFor": "trainer",
        "courseId": "crs_yoga",
        "changedAt": "2026-11-22T07:00:00Z",
    },
    {"command": "bulk", "apply": "retry", "parkedIds": [_OURS]},
    {"command": "cancelBulk", "bulkId": "cmd_7"},
]


def example(topic: str) -> dict[str, Any]:
    """The committed example of a topic, as JSON."""
    found: dict[str, Any] = json.loads((FOLDER / f"{topic}.v1.json").read_text())
    return found


def a_command(fields: dict[str, Any]) -> dict[str, Any]:
    return {**_BASICS, **fields}


def read(topic: str, message: Any) -> Event:
    """The event that a JSON value decodes to."""
    event = decode(topic, None, json.dumps(message).encode())
    assert not isinstance(event, Tombstone)
    return event


# No surrogates and no NUL: neither can be stored.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
# A prefix that no field of ours has; a null on the top level counts as missing, so it does not survive.
extras = st.dictionaries(texts.map("x-{}".format), values.filter(lambda value: value is not None), max_size=2)

_ids = st.from_regex(r"[A-Za-z0-9._:-]{1,64}", fullmatch=True)
_ours = st.uuids().map(str)
_lines = texts.filter(bool)
_wholes = st.integers(1, 2**63 - 1)
_instants = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 28), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda moment: moment.isoformat().replace("+00:00", "Z")
)

_BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "enrollmentId": _ours,
    "allocationId": _ours,
    "parkedId": _ours,
    "amountMinor": st.integers(0, 2**63 - 1),
    "coinsRedeemed": st.integers(0, 2**63 - 1),
    "coinsReturned": st.integers(0, 2**63 - 1),
    "currency": st.from_regex(r"[A-Z]{3}", fullmatch=True),
    "coins": _wholes,
    "version": _wholes,
    "number": _wholes,
    "count": _wholes,
    "provisional": st.booleans(),
    "active": st.booleans(),
    "dryRun": st.booleans(),
    "facts": st.dictionaries(texts, values, max_size=3),
    "rows": st.lists(st.dictionaries(texts, values, max_size=2), max_size=2),
    "courses": st.lists(_ids, max_size=3),
    "radiusKm": st.floats(0, 1e6),
    "action": st.sampled_from(["added", "removed"]),
    "from": st.just("22:30"),
    "to": st.sampled_from(["24:00", "06:00", "00:00", "22:31"]),
    "days": st.sets(st.sampled_from(DAYS), min_size=1).map(lambda days: [day for day in DAYS if day in days]),
    "outcome": st.sampled_from(["applied", "dryRun", "republished", "unchanged", "refused"]),
    "operation": st.sampled_from(["insert", "update", "delete"]),
    "learningMode": _lines,
    "force": st.lists(st.sampled_from(["distance", "hours", "course"]), max_size=2),
}
_ANY_JSON = frozenset(
    {
        "purchaseTier",
        "sessionCount",
        "groupSize",
        "timeSlot",
        "date",
        "daysOfWeek",
        "preferredTimeSlot",
        "preferredDate",
        "timezone",
    }
)
_PARTS: dict[tuple[type[Contract], str], type[Contract]] = {
    (PaymentSucceeded, "metadata"): PaymentMetadata,
    (TrainerChanged, "workingHours"): WorkingHours,
    (SessionsScheduled, "sessions"): SessionTime,
    (SessionsCancelled, "sessions"): SessionTime,
    (RepairCompleted, "effects"): Effect,
}
# Fields that depend on one another keep the value of the example.
_KEPT = frozenset({"timezone", "latitude", "longitude", "startsAt", "endsAt"})


def _field(model: type[Contract], name: str, value: Any) -> st.SearchStrategy[Any]:
    part = _PARTS.get((model, name))
    if part is not None:
        return messages(part, value) if isinstance(value, dict) else st.lists(messages(part, value[0]), max_size=2)
    if model is PaymentMetadata and name in _ANY_JSON:
        return values.filter(lambda found: found not in ("", None))
    if name in _KEPT or (model in _COMMAND_TYPES and name in {"step", "apply", "command"}):
        return st.just(value)
    return _BY_NAME[name] if name in _BY_NAME else _by_kind(name, value)


def _by_kind(name: str, value: Any) -> st.SearchStrategy[Any]:
    if name.endswith(("At", "Until")):
        return _instants
    if name.endswith("Id"):
        return _ids
    if isinstance(value, str):
        return _lines
    return _wholes if type(value) is int else st.just(value)


_COMMAND_TYPES = frozenset(kind for kind in vars(repairs).values() if isinstance(kind, type))


def messages(model: type[Contract], shape: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Valid messages of a model that have the fields of `shape`, the optional ones at times not."""
    required = {field.alias for field in model.model_fields.values() if field.is_required()} | _KEPT | {"command"}
    fields = {name: _field(model, name, value) for name, value in shape.items()}
    return st.builds(
        lambda known, unknown: {**known, **unknown},
        st.fixed_dictionaries(
            {name: made for name, made in fields.items() if name in required},
            optional={name: made for name, made in fields.items() if name not in required},
        ),
        extras,
    )


@cache
def messages_of(topic: str) -> st.SearchStrategy[dict[str, Any]]:
    """Valid messages of a topic."""
    contract = TOPICS[topic].contract
    if isinstance(contract, TypeAdapter):
        return st.one_of(
            [messages(type(contract.validate_python(a_command(fields))), a_command(fields)) for fields in COMMANDS]
        )
    return messages(contract, example(topic))
