"""Spans: one trace shows every hop of a payment, and nothing of what the payment says."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from actors import enrollment, exporting
from actors.batch import Outcome
from actors.spans import ATTRIBUTES
from contracts.cloudevents import trace_of
from contracts.record import Record
from errors import Transient
from service import Addresses, running
from settings import Settings
from tests.builders import a_credit, a_payment, a_refund, a_student, a_trainer
from tests.delivery.kafka import committed, read, until, upstream
from tests.delivery.traced import (
    PARENT,
    SAMPLED,
    TRACE,
    UNSAMPLED,
    Traced,
    by_name,
    context_of,
    everything_for_a_payment,
    of,
    parent_of,
    reason_of,
    records_of,
    values,
)
from tests.world import World

HOPS = {
    "enrollment payments.succeeded",
    "cart enrollments.created",
    "coins enrollments.created",
    "allocation enrollments.created",
    "sessions allocations.approved",
}


@pytest.fixture
async def traced(engine: AsyncEngine) -> AsyncIterator[Traced]:
    """The actors, with their spans in memory."""
    world = Traced(engine)
    yield world
    await world.spans.stop()


async def test_the_trace_of_a_payment_shows_every_hop_as_a_child_of_upstreams_span(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, addresses: Addresses
) -> None:
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(exporting, "OTLPSpanExporter", lambda: exporter)
    payment = a_payment(coinsRedeemed=5)
    traces = settings.model_copy(update={"traces": True})

    async def directory_has_read_all() -> bool:
        return await committed(addresses.kafka, settings, "directory") == 3

    async with upstream(addresses.kafka, settings) as sender, running(traces, addresses) as service:
        await service.wait_until_ready()
        await sender.send("students.changed", a_student(payment["studentId"]), key=b"student")
        await sender.send("trainers.changed", a_trainer(), key=b"trainer")
        await sender.send("coins.credited", a_credit(payment["studentId"], 100))
        await until(directory_has_read_all)
        await sender.send("payments.succeeded", payment, headers=SAMPLED)
        for topic in ("sessions.scheduled", "coins.redeemed", "carts.cleared"):
            await read(addresses.kafka, settings, topic, 1)

    spans = [span for span in exporter.get_finished_spans() if of(span) == TRACE]
    assert {span.name for span in spans} >= HOPS
    assert {parent_of(span) for span in spans} == {PARENT}
    assert {span.kind for span in spans} == {SpanKind.CONSUMER}
    first = next(span for span in spans if span.name == "enrollment payments.succeeded")
    assert values(first) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": settings.topic_prefix + "firstbell.enrollment",
        "messaging.destination.name": settings.topic_prefix + "payments.succeeded",
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 0,
        "firstbell.actor": "enrollment",
        "firstbell.parked": False,
    }
    assert first.resource.attributes["service.name"] == "firstbell"


async def test_a_batch_is_a_span_that_links_to_its_records(traced: Traced) -> None:
    traced.send("payments.succeeded", a_payment(), headers=SAMPLED)
    traced.send("payments.succeeded", a_payment(), b"garbage", headers=UNSAMPLED)

    await traced.turn("enrollment")

    batch, record = by_name(traced.told(), "enrollment process", "enrollment payments.succeeded")
    assert batch.parent is None
    assert [(f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") for link in batch.links] == [
        (TRACE, PARENT)
    ]
    assert values(batch) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "firstbell.enrollment",
        "messaging.destination.name": "payments.succeeded",
        "messaging.batch.message_count": 3,
        "firstbell.actor": "enrollment",
        "firstbell.batch.published": 2,
        "firstbell.batch.parked": 1,
    }
    assert [link.context.span_id for link in record.links] == [context_of(batch).span_id]
    assert (record.start_time, record.end_time) == (batch.start_time, batch.end_time)
    assert (record.end_time or 0) > (record.start_time or 0) > 0


async def test_a_payment_that_upstream_does_not_sample_leaves_no_span_at_any_hop(traced: Traced) -> None:
    payment = await everything_for_a_payment(traced)

    traced.send("payments.succeeded", payment, headers=UNSAMPLED)
    await traced.settle()

    assert await traced.count("sessions") == 10
    assert traced.told() == []


async def test_without_a_trace_from_upstream_the_first_hop_is_the_root_of_the_others(traced: Traced) -> None:
    payment = await everything_for_a_payment(traced)

    traced.send("payments.succeeded", payment, payment)
    await traced.settle()
    traced.send("payments.succeeded", payment)
    await traced.settle()
    traced.spans._begun.clear()  # as in a new process
    traced.send("payments.refunded", a_refund(payment))
    await traced.settle()

    trace_id, span_id = trace_of((), payment["paymentId"]).split("-")[1:3]
    spans = [span for span in traced.told() if of(span) == trace_id]
    roots = [span for span in spans if span.parent is None]
    assert [root.name for root in roots] == ["enrollment payments.succeeded"]
    assert f"{context_of(roots[0]).span_id:016x}" == span_id
    assert {parent_of(span) for span in spans if span.parent} == {span_id}
    assert {span.name for span in spans} >= HOPS | {"enrollment payments.refunded"}
    assert len({context_of(span).span_id for span in spans}) == len(spans)


async def test_what_is_parked_says_why(traced: Traced) -> None:
    traced.send("payments.succeeded", a_payment(purchaseTier="many"), b"garbage", headers=SAMPLED)

    await traced.settle(names=["enrollment", "allocation"])

    told = [(span.name, values(span)["firstbell.parked"], reason_of(span)) for span in records_of(traced.told())]
    assert sorted(told, key=str) == [
        ("allocation enrollments.created", True, "session_count_invalid"),
        ("enrollment payments.succeeded", False, None),
        ("enrollment payments.succeeded", True, "unreadable"),
    ]


async def test_a_batch_that_has_to_come_again_is_told_once_with_the_class_of_its_cause(traced: Traced) -> None:
    async def fail(_: AsyncConnection, records: Sequence[Record]) -> Outcome:
        raise Transient("08006", f"secret {len(records)}")

    live = traced.deliveries["enrollment"]
    traced.deliveries["enrollment"] = traced.delivery(replace(enrollment.ACTOR, handle=fail))
    traced.send("payments.succeeded", a_payment(), headers=SAMPLED)

    failed = [await traced.try_turn("enrollment") for _ in range(3)]
    spans = traced.told()
    traced.deliveries["enrollment"] = live
    await traced.turn("enrollment")

    assert failed == ["Transient"] * 3
    batch, record = by_name(spans, "enrollment process", "enrollment payments.succeeded")
    for span in (batch, record):
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "Transient")
        assert values(span)["error.type"] == "Transient"
        assert not span.events
    assert [span.status.status_code for span in traced.told()] == [StatusCode.UNSET] * 2


async def test_a_root_is_what_went_through_and_a_failed_try_its_child(traced: Traced) -> None:
    traced.send("payments.succeeded", a_payment())
    traced.broker_is_away = True
    await traced.try_turn("enrollment")
    traced.broker_is_away = False

    await traced.turn("enrollment")

    failed, done = records_of(traced.told())
    assert failed.status.status_code is StatusCode.ERROR
    assert parent_of(failed) == f"{context_of(done).span_id:016x}"
    assert done.parent is None


async def test_a_publish_that_fails_is_named_by_what_was_raised(traced: Traced) -> None:
    traced.send("payments.succeeded", a_payment(), headers=SAMPLED)
    traced.broker_is_away = True

    assert await traced.try_turn("enrollment") == "publish"

    assert {span.status.description for span in traced.told()} == {"ConnectionError"}


async def test_spans_hold_no_values_of_messages(traced: Traced) -> None:
    private = {"phone": "+91 98765 43210", "courseId": "crs_secret_therapy"}
    payment = await everything_for_a_payment(traced)
    traced.send("payments.succeeded", payment | {"metadata": payment["metadata"] | private}, headers=SAMPLED)
    traced.send("payments.succeeded", a_payment(studentId="stu_secret", purchaseTier="x", **private), headers=SAMPLED)
    traced.send("payments.succeeded", b'{"phone": "+91 98765 43210"', key=b"crs_secret", headers=SAMPLED)
    await traced.settle()

    spans = traced.told()
    everything = "".join(span.to_json() for span in spans)
    assert len(spans) > len(HOPS)
    assert {key for span in spans for key in values(span)} <= ATTRIBUTES
    assert [said for said in (*private.values(), "secret", "pay_", "stu_") if said in everything] == []


async def test_events_are_the_same_bytes_with_traces_and_without(world: World, engine: AsyncEngine) -> None:
    payment = await everything_for_a_payment(world)
    world.send("payments.succeeded", payment, headers=SAMPLED)
    await world.settle()
    before = {topic: [record[4:7] for record in records] for topic, records in world.log.items()}
    traced = Traced(engine)
    traced.log = world.log

    await traced.settle()
    await traced.spans.stop()

    again = {topic: {record[4:7] for record in records} for topic, records in traced.log.items()}
    assert again == {topic: set(records) for topic, records in before.items()}
    assert len(traced.log["sessions.scheduled"]) == 2 * len(before["sessions.scheduled"])


async def test_metrics_is_no_hop_and_tells_its_batches_only(traced: Traced) -> None:
    traced.send("payments.succeeded", a_payment(), headers=SAMPLED)
    await traced.settle(names=["enrollment"])
    traced.told()

    await traced.turn("metrics")

    assert [span.name for span in traced.told()] == ["metrics process"]
