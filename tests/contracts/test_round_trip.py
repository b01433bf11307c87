"""What is written is what was read, and an event is the same event for ever."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import base
from contracts.base import Event, derived_id
from contracts.parking import FulfilmentParked
from contracts.payments import PaymentSucceeded
from contracts.topics import TOPICS
from tests.contracts.examples import COMMANDS, FOLDER, a_command, example, messages_of, read

# An id that changes is a new event to everybody who has seen the old one.
EVENT_IDS = {
    "payments.succeeded": "c37e5612-7539-5890-b6a3-994f1d2bd9ba",
    "payments.refunded": "2260e30e-5e1b-5fe2-88f8-3072a0f7b33e",
    "enrollments.created": "32897b2e-c36d-5cc4-93b8-5e8724e4e6ba",
    "enrollments.revoked": "d3a7e428-637d-5569-9550-773bb75c73e4",
    "carts.cleared": "5e0e2fae-fbf1-5916-9d19-03447e0785c7",
    "coins.redeemed": "6bd9c10e-a40b-5f0e-a08d-4842e14edd65",
    "coins.returned": "cf62191e-3505-57cd-8a88-5b8ca8394fd9",
    "allocations.approved": "c1556378-0847-52ca-abf1-e90e37366323",
    "allocations.released": "879d641a-ef4f-5330-9b0a-d1f6528b8caa",
    "sessions.scheduled": "7a45d835-b3e6-5162-abb4-11b511caa9a2",
    "sessions.cancelled": "75f5816b-21bf-5a10-9ef4-720c61b807b8",
    "students.changed": "5f7b733b-63fd-596f-bae6-f1ae764d039e",
    "trainers.changed": "44edcc42-de44-5ff9-88a9-8f1ca70fcce0",
    "trainers.busy": "0d9e0fcb-7094-5788-a942-95d1aa107bcb",
    "carts.changed": "942e9c08-988d-551d-b91b-d503937ba6da",
    "coins.credited": "7e4c82e6-5b7a-5b15-85a2-e5009ac7faae",
    "repairs.requested": "4a84bb20-adb6-57f1-bab4-ed2c91a8019f",
    "repairs.completed": "fd2c3e50-927f-5563-834b-6d8e8660d14d",
    "fulfilment.parked": "02c115ff-e5ad-502c-bdc1-db0dfe0830af",
}
KEYS = {
    "students.changed": "stu_17",
    "trainers.changed": "trn_4",
    "trainers.busy": "leave_9",
    "carts.changed": "itm_4",
    "coins.credited": "crd_1",
    "repairs.requested": "cmd_1",
    "repairs.completed": "cmd_1",
}


def test_every_topic_has_an_example_and_every_example_a_topic() -> None:
    names = [path.name for path in FOLDER.iterdir()]

    assert sorted(names) == sorted(f"{topic}.v1.json" for topic in TOPICS)


@pytest.mark.parametrize("topic", TOPICS)
def test_an_example_is_written_as_it_was_read(topic: str) -> None:
    event = read(topic, example(topic))

    assert topic == event.TOPIC
    assert json.loads(event.to_wire()) == {**_defaults(topic), **example(topic)}


@pytest.mark.parametrize("fields", COMMANDS, ids=lambda fields: fields["command"])
def test_every_command_is_read_and_written(fields: dict[str, Any]) -> None:
    command = read("repairs.requested", a_command(fields))

    assert json.loads(command.to_wire()).items() >= a_command(fields).items()
    assert read("repairs.requested", json.loads(command.to_wire())) == command


@pytest.mark.parametrize("topic", TOPICS)
def test_the_id_of_an_event_never_changes(topic: str) -> None:
    assert read(topic, example(topic)).event_id == EVENT_IDS[topic]


@pytest.mark.parametrize("topic", TOPICS)
def test_what_belongs_to_a_purchase_is_keyed_by_its_payment(topic: str) -> None:
    assert read(topic, example(topic)).message_key == KEYS.get(topic, "pay_8f3")


def test_a_derived_id_tells_its_parts_apart() -> None:
    assert derived_id("parked", "pay_8f3", 1) == UUID("271dd524-fad0-5078-aa26-92ac051d3649")
    assert derived_id("a", "bc") != derived_id("ab", "c")
    assert derived_id("1:a", "b") != derived_id("1:a1:b")
    assert derived_id("a", 1) == derived_id("a", "1")


def test_an_instant_is_the_same_in_every_zone() -> None:
    here = read("students.changed", {**example("students.changed"), "changedAt": "2026-11-22T12:30:00+05:30"})

    assert here.event_id == EVENT_IDS["students.changed"]
    assert json.loads(here.to_wire())["changedAt"] == "2026-11-22T07:00:00Z"


def test_another_version_is_another_event() -> None:
    first = read("allocations.approved", example("allocations.approved"))
    second = read("allocations.approved", {**example("allocations.approved"), "version": 2})

    assert first.event_id != second.event_id


def test_a_parked_record_without_a_payment_is_keyed_by_itself() -> None:
    message = example("fulfilment.parked")
    del message["paymentId"]

    parked = read("fulfilment.parked", message)

    assert isinstance(parked, FulfilmentParked)
    assert parked.message_key == message["parkedId"]


@pytest.mark.parametrize("topic", TOPICS)
@settings(max_examples=25)
@given(data=st.data())
def test_reading_what_was_written_gives_the_same_event(topic: str, data: st.DataObject) -> None:
    event = read(topic, data.draw(messages_of(topic)))

    again = read(topic, json.loads(event.to_wire()))

    assert again == event
    assert again.to_wire() == event.to_wire()
    assert again.event_id == event.event_id


@pytest.mark.parametrize("topic", TOPICS)
@settings(max_examples=25)
@given(data=st.data())
def test_no_field_of_a_message_is_lost_on_the_way(topic: str, data: st.DataObject) -> None:
    message = data.draw(messages_of(topic))

    written = json.loads(read(topic, message).to_wire())

    assert {name: value for name, value in written.items() if name in message} == message


@pytest.mark.parametrize(
    "name",
    [
        "payment_id",
        "TOPIC",
        "message_key",
        "to_wire",
        "model_config",
        "model_extra",
        "__class__",
        "__dict__",
        "self",
        "",
    ],
)
def test_an_unknown_field_may_have_any_name(name: str) -> None:
    payment = read("payments.succeeded", {**example("payments.succeeded"), name: {"kept": None}})

    assert isinstance(payment, PaymentSucceeded)
    assert payment.payment_id == payment.message_key == "pay_8f3"
    assert json.loads(payment.to_wire()) == {**example("payments.succeeded"), name: {"kept": None}}


def test_events_are_built_by_the_names_of_python_too() -> None:
    built: dict[str, Any] = {name: getattr(_payment(), name) for name in PaymentSucceeded.model_fields}

    assert PaymentSucceeded(**built) == _payment()


def test_events_are_frozen() -> None:
    payment = _payment()

    with pytest.raises(ValueError, match="frozen"):
        payment.payment_id = "pay_other"  # type: ignore[misc]


def test_the_namespace_is_ours_for_ever() -> None:
    assert str(base.NAMESPACE) == "5e1f2b11-0f1c-5b7e-9a41-f17d3be11a00"


def _payment() -> PaymentSucceeded:
    payment = read("payments.succeeded", example("payments.succeeded"))
    assert isinstance(payment, PaymentSucceeded)
    return payment


def _defaults(topic: str) -> dict[str, Any]:
    """The optional fields whose default is no None: they are written whether they were read or not."""
    event: Event = read(topic, example(topic))
    return {
        field.alias or name: list(field.default) if isinstance(field.default, tuple) else field.default
        for name, field in type(event).model_fields.items()
        if not field.is_required() and field.default is not None
    }
