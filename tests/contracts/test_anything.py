"""Whatever bytes, JSON or damage a record holds, reading it ends in an event or in Unreadable, and in nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.decode import decode
from contracts.topics import TOPICS
from errors import Unreadable
from tests.contracts.examples import example, messages_of, read, values

TOPIC = "payments.succeeded"


def _survives(topic: str, value: bytes) -> None:
    refused = None
    try:
        decode(topic, None, value)
    except Unreadable as error:
        refused = error

    if refused is not None:
        assert set(refused.facts) == {"field", "expected"}
        assert all(refused.facts.values())
        assert "\\u0000" not in json.dumps(refused.facts, allow_nan=False)


@pytest.mark.parametrize("topic", TOPICS)
@settings(max_examples=25)
@given(value=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(topic: str, value: bytes) -> None:
    _survives(topic, value)


hostile = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("topic", TOPICS)
@settings(max_examples=25)
@given(value=hostile)
def test_any_json_is_read_or_refused(topic: str, value: Any) -> None:
    _survives(topic, json.dumps(value).encode())


@pytest.mark.parametrize("topic", TOPICS)
@settings(max_examples=25)
@given(data=st.data())
def test_a_message_with_anything_in_one_field_is_read_or_refused(topic: str, data: st.DataObject) -> None:
    message = data.draw(messages_of(topic))

    message[data.draw(st.sampled_from(sorted(message)))] = data.draw(hostile)

    _survives(topic, json.dumps(message).encode())


@pytest.mark.parametrize("topic", TOPICS)
@settings(max_examples=25)
@given(data=st.data())
def test_a_damaged_message_is_read_or_refused(topic: str, data: st.DataObject) -> None:
    value = bytearray(json.dumps(data.draw(messages_of(topic))).encode())

    value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))

    _survives(topic, bytes(value))


@given(
    value=values, name=st.sampled_from(["purchaseTier", "sessionCount", "timeSlot", "date", "daysOfWeek", "timezone"])
)
def test_what_was_bought_may_be_any_json_at_the_door(value: Any, name: str) -> None:
    message = example(TOPIC)
    message["metadata"][name] = value

    payment = read(TOPIC, message)

    assert json.loads(payment.to_wire())["metadata"].get(name) == (None if value == "" else value)
