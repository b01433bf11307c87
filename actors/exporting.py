"""The OpenTelemetry SDK of one process: its name, its ids, its exporter, and the last call when it stops.

Needs the extra `tracing`. Exporter, sampler and limits are those of the OTEL_* variables; the provider is
ours alone and never the global one.
"""

import asyncio
import logging
import time
from threading import Thread

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext

import metrics
from logs import OncePerTemplate

_log = structlog.get_logger("firstbell.tracing")

# Seconds that the last spans may take to go out when the service stops.
_LAST_CALL = 5.0

# While the collector is away its exporter has something to say every few seconds.
_SELDOM = OncePerTemplate(time.monotonic, seconds=300)
_TALKATIVE = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")


class Ids(RandomIdGenerator):
    """Random ids, unless the next span begins a trace whose ids are `told` already."""

    told: SpanContext | None = None

    def generate_trace_id(self) -> int:
        return self.told.trace_id if self.told else super().generate_trace_id()

    def generate_span_id(self) -> int:
        return self.told.span_id if self.told else super().generate_span_id()


def provider_of(ids: Ids, exporter: SpanExporter | None = None) -> TracerProvider:
    """A provider that sends in a thread of its own, by OTLP/HTTP unless another exporter is given.

    Spans that do not fit into its queue are dropped. Raises: ValueError for an OTEL_* variable that cannot
    be understood.
    """
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_SELDOM)
    provider = TracerProvider(resource=_resource(), id_generator=ids, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    return provider


async def last_call(provider: TracerProvider) -> None:
    """Send what is left; a collector that does not answer within five seconds is left behind."""
    # A thread of the executor would be waited for, without a bound, at the end of the event loop.
    sending = Thread(target=provider.shutdown, name="last-spans", daemon=True)
    sending.start()
    await asyncio.to_thread(sending.join, _LAST_CALL)
    if sending.is_alive():
        _log.warning("the collector of traces does not answer, leaving the last spans", seconds=_LAST_CALL)


def _resource() -> Resource:
    """What the environment says of this process, under our name where it gives none."""
    ours = {"service.name": "firstbell", "service.version": metrics.release()}
    return Resource.create(ours | dict(OTELResourceDetector().detect().attributes))
