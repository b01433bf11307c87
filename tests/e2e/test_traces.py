"""Traces of a real process at a real collector, and a start without what they need."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from contracts.cloudevents import trace_of
from tests.builders import a_payment
from tests.e2e.deployment import ROOT, Deployment, message


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP, and keeps it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[str, str | None, bytes]] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> list[tuple[str, Span]]:
        """Every span received, with the name of its service."""
        found = []
        for _, _, body in self.received:
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = {attribute.key: attribute.value.string_value for attribute in group.resource.attributes}
                found += [(names["service.name"], span) for scope in group.scope_spans for span in scope.spans]
        return found


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((self.path, self.headers["content-type"], body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: the test reads what came."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        serving = threading.Thread(target=collector.serve_forever)
        serving.start()
        yield collector
        collector.shutdown()
        serving.join()


async def test_a_collector_receives_the_spans_of_a_real_process(deployment: Deployment, collector: Collector) -> None:
    await deployment.create_topics()
    process = await deployment.start(FIRSTBELL_TRACES="true", OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
    payment = a_payment()

    await deployment.publish([message("payments.succeeded", payment["paymentId"], payment)])
    await deployment.settled(1)
    code = await deployment.terminate(process)

    assert code == 0
    assert {(path, kind) for path, kind, _ in collector.received} == {("/v1/traces", "application/x-protobuf")}
    trace_id = trace_of((), payment["paymentId"]).split("-")[1]
    spans = {span.name: span for _, span in collector.spans() if span.trace_id.hex() == trace_id}
    root = spans["enrollment payments.succeeded"]
    assert root.parent_span_id == b""
    assert {name for name, span in spans.items() if span.parent_span_id == root.span_id} >= {
        "cart enrollments.created",
        "coins enrollments.created",
        "allocation enrollments.created",
    }
    assert {service for service, _ in collector.spans()} == {"firstbell"}


async def test_a_start_without_the_extra_ends_with_one_sentence(deployment: Deployment, tmp_path: Path) -> None:
    (tmp_path / "opentelemetry.py").write_text("raise ModuleNotFoundError('gone', name='opentelemetry')\n")

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "app.py",
        "run",
        cwd=ROOT,
        env=deployment.environment | {"FIRSTBELL_TRACES": "true", "PYTHONPATH": str(tmp_path)},
        stderr=asyncio.subprocess.PIPE,
    )
    _, complained = await process.communicate()

    assert process.returncode == 1
    assert complained.decode() == ("FIRSTBELL_TRACES needs the extra `tracing`, whose opentelemetry is not installed\n")


async def test_switched_off_nothing_of_it_is_imported() -> None:
    # FastStream looks by itself whether `opentelemetry.semconv` is there.
    costly = "'opentelemetry.sdk', 'opentelemetry.trace', 'opentelemetry.exporter', 'requests'"
    program = f"import sys, app; print([name for name in ({costly}) if name in sys.modules])"

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()

    assert printed.decode() == "[]\n"
