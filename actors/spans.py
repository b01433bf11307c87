"""Spans: what each actor did with a payment, as a child of the span that upstream sent with it.

Needs the extra `tracing`; imported only when traces are switched on. Spans are made once a batch is over,
with the times it had: nothing is measured while it runs, and no context is carried through the code.
"""

import time
from collections.abc import Iterable, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

import metrics
from actors.batch import Actor
from actors.consumers import group_of
from actors.exporting import Ids, last_call, provider_of
from actors.tracing import trace_of_record
from contracts.cloudevents import trace_of
from contracts.payments import PaymentRefunded
from contracts.record import Record
from settings import Settings
from storage.parking import ParkedItem

# What a span may tell. No payloads, keys or ids: whoever sees traces need not be one who may see purchases.
_SYSTEM = "messaging.system"
_OPERATION = "messaging.operation.name"
_OPERATION_TYPE = "messaging.operation.type"
_GROUP = "messaging.consumer.group.name"
_TOPIC = "messaging.destination.name"
_PARTITION = "messaging.destination.partition.id"
_OFFSET = "messaging.kafka.offset"
_COUNT = "messaging.batch.message_count"
_ERROR = "error.type"
_ACTOR = "firstbell.actor"
_PUBLISHED = "firstbell.batch.published"
_PARKED_COUNT = "firstbell.batch.parked"
_PARKED = "firstbell.parked"
_REASON = "firstbell.reason"

ATTRIBUTES = frozenset(
    {_SYSTEM, _OPERATION, _OPERATION_TYPE, _GROUP, _TOPIC, _PARTITION, _OFFSET, _COUNT, _ERROR}
    | {_ACTOR, _PUBLISHED, _PARKED_COUNT, _PARKED, _REASON}
)
"""Every attribute that a span of ours may have."""

# A span keeps no more than that many, unless the environment says otherwise.
_MOST_LINKS = 128

# The beginnings of traces that are remembered, so that a payment that comes again does not begin it again.
_MOST_BEGUN = 10_000

# What a record without a traceparent of its own gets, when it is asked for none of its ids.
_NOT_CARRIED = trace_of((), None)


class Spans:
    """Makes the spans of all actors of one process."""

    def __init__(self, settings: Settings, exporter: SpanExporter | None = None) -> None:
        """Raises ValueError where an OTEL_* variable cannot be understood."""
        self._settings = settings
        self._ids = Ids()
        self._provider = provider_of(self._ids, exporter)
        self._tracer = self._provider.get_tracer("firstbell", metrics.release())
        self._begun: dict[int, None] = {}

    def __call__(
        self,
        actor: Actor,
        records: Sequence[Record],
        seconds: float,
        *,
        published: int = 0,
        parked: Sequence[tuple[Record, ParkedItem]] = (),
        failure: str | None = None,
    ) -> None:
        """Tell of decoded records that were done within the last `seconds`, or failed: `failure` names the cause.

        Where no record of the batch has the sampled flag, nothing is made.
        """
        sampled = [(record, *found) for record in records if (found := _sampled(record))]
        if not sampled:
            return
        ended = time.time_ns()
        started = ended - int(seconds * 1e9)
        topics = {record.topic for record in records}
        batch = self._start(
            f"{actor.name} process",
            actor,
            started,
            topic=topics.pop() if len(topics) == 1 else None,
            links=(context for _, context, _ in sampled[:_MOST_LINKS]),
        )
        batch.set_attributes({_COUNT: len(records), _PUBLISHED: published, _PARKED_COUNT: len(parked)})
        # Nobody waits for an actor that takes its time: it is no hop, and would only seem to hold things up.
        if not actor.unhurried:
            reasons = {_place(record): item.reason for record, item in parked}
            for record, context, carried in sampled:
                begins = not carried and failure is None and self._begins(record, context)
                span = self._record_span(actor, record, context, started, batch, begins=begins)
                _tell_record(span, record, reasons.get(_place(record)))
                _end(span, ended, failure)
        _end(batch, ended, failure)

    async def stop(self) -> None:
        """Send what is left, for five seconds at most."""
        await last_call(self._provider)

    def _begins(self, record: Record, context: SpanContext) -> bool:
        """Whether this record is the first of a trace that we made: a refund is not, it belongs to its payment's."""
        if record.topic == PaymentRefunded.TOPIC or context.span_id in self._begun:
            return False
        if len(self._begun) >= _MOST_BEGUN:
            del self._begun[next(iter(self._begun))]
        self._begun[context.span_id] = None
        return True

    def _record_span(
        self, actor: Actor, record: Record, context: SpanContext, started: int, batch: Span, *, begins: bool
    ) -> Span:
        """The span of one record: a child of what its traceparent names, or that very span where it `begins` there."""
        links = [batch.get_span_context()] if batch.is_recording() else []
        name = f"{actor.name} {record.topic}"
        if not begins:
            return self._start(name, actor, started, topic=record.topic, links=links, parent=context)
        self._ids.told = context
        try:
            return self._start(name, actor, started, topic=record.topic, links=links)
        finally:
            self._ids.told = None

    def _start(
        self,
        name: str,
        actor: Actor,
        started: int,
        *,
        topic: str | None,
        links: Iterable[SpanContext],
        parent: SpanContext | None = None,
    ) -> Span:
        attributes = {
            _SYSTEM: "kafka",
            _OPERATION: "process",
            _OPERATION_TYPE: "process",
            _GROUP: group_of(actor.name, self._settings),
            _ACTOR: actor.name,
        }
        if topic is not None:
            attributes[_TOPIC] = self._settings.topic_prefix + topic
        # An empty context: whatever span the process may be in is none of this matter.
        context = set_span_in_context(NonRecordingSpan(parent), Context()) if parent else Context()
        return self._tracer.start_span(
            name,
            context=context,
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=[Link(link) for link in links],
            start_time=started,
        )


def _sampled(record: Record) -> tuple[SpanContext, bool] | None:
    """The context that a record belongs to, and whether it carries it itself; None without the sampled flag."""
    traceparent = trace_of(record.headers, None)
    carried = traceparent != _NOT_CARRIED
    if not carried:
        traceparent = trace_of_record(record)
    _, trace_id, span_id, flags = traceparent.split("-")
    if not int(flags, 16) & TraceFlags.SAMPLED:
        return None
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(1)), carried


def _place(record: Record) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


def _tell_record(span: Span, record: Record, reason: str | None) -> None:
    span.set_attributes({_PARTITION: str(record.partition), _OFFSET: record.offset, _PARKED: reason is not None})
    if reason is not None:
        span.set_attribute(_REASON, reason)


def _end(span: Span, ended: int, failure: str | None) -> None:
    if failure is not None:
        span.set_attribute(_ERROR, failure)
        span.set_status(StatusCode.ERROR, failure)
    span.end(ended)
