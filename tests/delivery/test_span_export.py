"""Where spans go: the standard variables decide, and a collector that is away changes nothing."""

import logging
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import get_tracer_provider
from sqlalchemy.ext.asyncio import AsyncEngine

from actors import exporting
from actors.spans import Spans
from actors.tracing import TracesUnavailable, spans_of
from service import Addresses, running
from settings import Settings
from tests.builders import a_payment
from tests.delivery.kafka import answer, read, upstream
from tests.delivery.traced import SAMPLED, Traced, of, records_of
from tests.world import World


class Stuck(SpanExporter):
    """A collector that takes what it is given, and does not come back until it is let go."""

    def __init__(self) -> None:
        self.asked, self.let_go = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002
        self.asked.set()
        self.let_go.wait()
        return SpanExportResult.FAILURE


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    exporter = Stuck()
    yield exporter
    exporter.let_go.set()


async def test_a_collector_that_refuses_connections_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, settings: Settings, addresses: Addresses
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    traces = settings.model_copy(update={"traces": True})
    payments = [a_payment() for _ in range(20)]

    with caplog.at_level(logging.WARNING, "opentelemetry"):
        async with upstream(addresses.kafka, settings) as sender, running(traces, addresses) as service:
            await sender.send("payments.succeeded", *payments, headers=SAMPLED)
            created = await read(addresses.kafka, settings, "enrollments.created", len(payments))
            ready, obstacles = await answer(service, "/readyz")

    assert len(created) == len(payments)
    assert (ready, obstacles) == (200, {})
    templates = [(line.name, str(line.msg)) for line in caplog.records if line.name.startswith("opentelemetry")]
    assert len(templates) == len(set(templates))


async def test_stopping_does_not_wait_for_a_collector_that_hangs(
    monkeypatch: pytest.MonkeyPatch, stuck: Stuck, settings: Settings, addresses: Addresses
) -> None:
    monkeypatch.setattr(exporting, "OTLPSpanExporter", lambda: stuck)
    monkeypatch.setattr(exporting, "_LAST_CALL", 0.2)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    traces = settings.model_copy(update={"traces": True})

    async with upstream(addresses.kafka, settings) as sender, running(traces, addresses):
        await sender.send("payments.succeeded", a_payment(), headers=SAMPLED)
        await read(addresses.kafka, settings, "enrollments.created", 1)

    assert stuck.asked.is_set()
    assert "last-spans" in {thread.name for thread in threading.enumerate()}


async def test_more_spans_than_the_queue_holds_are_dropped_and_the_batches_go_on(
    monkeypatch: pytest.MonkeyPatch, stuck: Stuck, world: World
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    monkeypatch.setattr(exporting, "_LAST_CALL", 0.2)
    spans = Spans(Settings(), stuck)
    world.deliveries["enrollment"]._trace = spans
    world.send("payments.succeeded", *(a_payment() for _ in range(50)), headers=SAMPLED)

    await world.settle(names=["enrollment"])
    await spans.stop()

    assert await world.count("enrollments") == 50


async def test_a_fault_in_making_spans_does_not_touch_the_batch(world: World) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("bug")

    world.deliveries["enrollment"]._trace = broken
    world.send("payments.succeeded", a_payment(), headers=SAMPLED)

    assert await world.try_turn("enrollment") is None

    assert len(world.log["enrollments.created"]) == 1


async def test_the_environment_may_name_the_service(monkeypatch: pytest.MonkeyPatch, engine: AsyncEngine) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "bell-eu")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
    traced = Traced(engine)
    traced.send("payments.succeeded", a_payment(), headers=SAMPLED)

    await traced.turn("enrollment")
    told = traced.told()[0].resource.attributes
    await traced.spans.stop()

    assert (told["service.name"], told["deployment.environment.name"]) == ("bell-eu", "staging")


def test_switched_off_there_are_no_spans() -> None:
    assert spans_of(Settings()) is None


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "actors.spans")
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)

    with pytest.raises(TracesUnavailable, match="FIRSTBELL_TRACES needs the extra `tracing`"):
        spans_of(Settings(traces=True))


def test_a_variable_that_cannot_be_understood_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1000000")

    with pytest.raises(TracesUnavailable, match=r"an OTEL_\* variable is not as expected"):
        spans_of(Settings(traces=True))


async def test_sampling_by_the_standard_variable_decides_the_same_at_every_hop(
    monkeypatch: pytest.MonkeyPatch, engine: AsyncEngine
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    traced = Traced(engine)
    traced.send("payments.succeeded", *(a_payment() for _ in range(40)))

    await traced.settle(names=["enrollment", "cart"])

    spans = records_of(traced.told())
    await traced.spans.stop()
    first, second = ({of(span) for span in spans if span.name.startswith(name)} for name in ("enrollment", "cart"))
    assert first == second
    assert 0 < len(first) < 40


async def test_the_providers_of_other_code_are_left_alone(engine: AsyncEngine) -> None:
    before = get_tracer_provider()
    traced = Traced(engine)
    await traced.spans.stop()

    assert get_tracer_provider() is before


def closed_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
