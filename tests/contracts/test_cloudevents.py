"""Headers are always written, never required, and whatever they hold harms nobody."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.cloudevents import headers, trace_of
from contracts.topics import TOPICS
from tests.contracts.examples import example, read

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
DERIVED = trace_of([], "pay_8f3")


def test_an_event_is_published_with_the_headers_of_cloudevents() -> None:
    event = read("enrollments.created", example("enrollments.created"))

    written = headers(event, TRACE)

    assert dict(written) == {
        "ce_specversion": b"1.0",
        "ce_id": b"32897b2e-c36d-5cc4-93b8-5e8724e4e6ba",
        "ce_type": b"firstbell.enrollments.created.v1",
        "ce_source": b"/firstbell",
        "ce_time": b"2026-11-22T08:02:56.104000Z",
        "ce_subject": b"7d3f3a10-52c4-5b7e-8f21-000000000001",
        "content-type": b"application/json",
        "traceparent": TRACE.encode(),
    }
    assert len(written) == len(dict(written))


@pytest.mark.parametrize("topic", TOPICS)
def test_every_event_has_headers_and_a_command_no_time(topic: str) -> None:
    written = dict(headers(read(topic, example(topic)), None))

    assert ("ce_time" in written) == (topic != "repairs.requested")
    assert "traceparent" not in written
    assert all(written.values())


@pytest.mark.parametrize("name", ["traceparent", "Traceparent", "TRACEPARENT"])
def test_a_trace_that_came_in_is_carried_on(name: str) -> None:
    assert trace_of([("ce_id", b"1"), (name, TRACE.encode())], "pay_8f3") == TRACE


def test_the_first_valid_trace_counts() -> None:
    assert trace_of([("traceparent", None), ("traceparent", b"x"), ("traceparent", TRACE.encode())], None) == TRACE


@pytest.mark.parametrize("more", [b"", b"-more", b"-"])
def test_a_later_version_may_say_more_which_is_left_out(more: bytes) -> None:
    later = b"01" + TRACE[2:].encode()

    assert trace_of([("traceparent", later + more)], "pay_8f3") == later.decode()


@pytest.mark.parametrize(
    "junk",
    [
        None,
        b"",
        b"\xff\xfe",
        b"00",
        TRACE.upper().encode(),
        TRACE.encode() + b"-more",
        TRACE.encode() + b"0",
        b"ff" + TRACE[2:].encode(),
        b"01" + TRACE[2:].encode() + b"0",
        b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-" + b"0" * 16 + b"-01",
        TRACE.encode().replace(b"-", b"_"),
        "00-4bf92f3577b34da6a3ce929d0e0e473\u0666-00f067aa0ba902b7-01".encode(),
    ],
)
def test_without_a_valid_trace_one_is_made_of_the_payment(junk: bytes | None) -> None:
    assert trace_of([("traceparent", junk)], "pay_8f3") == DERIVED


def test_the_trace_of_a_payment_is_the_same_whenever_it_is_made() -> None:
    assert DERIVED == "00-a8f798f592d2fecfaf0317dd719eaacb-0657e4178db03219-01"
    assert trace_of([("traceparent", DERIVED.encode())], None) == DERIVED
    assert trace_of([], "pay_9") != DERIVED


@given(
    st.lists(st.tuples(st.text(st.characters()) | st.just("traceparent"), st.none() | st.binary())),
    st.none() | st.text(st.characters()),
)
def test_no_header_raises(raw: list[tuple[str, bytes | None]], payment_id: str | None) -> None:
    trace = trace_of(raw, payment_id)

    assert trace_of([("traceparent", trace.encode())], None) == trace


@pytest.mark.parametrize("raw", [None, (), [(None, b"x")], [("traceparent", "text")], [(b"traceparent", b"x")]])
def test_headers_of_the_wrong_type_are_passed_over(raw: Any) -> None:
    assert trace_of(raw, "pay_8f3") == DERIVED
