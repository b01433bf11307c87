"""One correlation id through all hops: the trace id that upstream sent, or one made from the payment id."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from actors.batch import Actor
from contracts.base import Event
from contracts.cloudevents import trace_of
from contracts.record import Record
from errors import FirstbellError
from settings import Settings
from storage.parking import ParkedItem, record_subject

if TYPE_CHECKING:
    from actors.spans import Spans


class Trace(Protocol):
    """Makes the spans of a batch that took `seconds`: done, or failed for the cause that `failure` names."""

    def __call__(
        self,
        actor: Actor,
        records: Sequence[Record],
        seconds: float,
        *,
        published: int = 0,
        parked: Sequence[tuple[Record, ParkedItem]] = (),
        failure: str | None = None,
    ) -> None: ...


class TracesUnavailable(FirstbellError):
    """Traces are switched on, and cannot be made."""


def spans_of(settings: Settings) -> "Spans | None":
    """What makes the spans of this process; None while traces are switched off, and then nothing is imported.

    Raises: TracesUnavailable without the extra, or when an OTEL_* variable cannot be understood.
    """
    if not settings.traces:
        return None
    try:
        from actors.spans import Spans  # noqa: PLC0415  (an optional extra)
    except ModuleNotFoundError as error:
        raise TracesUnavailable(
            f"FIRSTBELL_TRACES needs the extra `tracing`, whose {error.name} is not installed"
        ) from error
    try:
        return Spans(settings)
    except ValueError as error:
        raise TracesUnavailable(f"FIRSTBELL_TRACES: an OTEL_* variable is not as expected: {error}") from error


def traced(events: Sequence[Event], records: Sequence[Record]) -> list[tuple[Event, str]]:
    """Each event with the traceparent of the record of its purchase; one that is about none has a trace of its own."""
    carriers = {payment_of(record): record for record in records}
    pairs = []
    for event in events:
        payment_id = getattr(event, "payment_id", None)
        carrier = carriers.get(payment_id)
        pairs.append((event, trace_of(carrier.headers if carrier else (), payment_id or event.subject)))
    return pairs


def correlation_ids(records: Sequence[Record], most: int = 10) -> list[str]:
    """The ids of the first few: enough to follow a purchase in light traffic, no flood in heavy."""
    return [correlation_id(trace_of_record(record)) for record in records[:most]]


def trace_of_record(record: Record) -> str:
    """The traceparent of a record; one that is about no payment has a trace of its own, made from its bytes."""
    return trace_of(record.headers, payment_of(record) or record_subject(record))


def correlation_id(traceparent: str) -> str:
    """The trace id of a traceparent: what logs and the header `correlation_id` carry."""
    return traceparent.split("-")[1]


def payment_of(record: Record) -> str | None:
    """The payment that a record is about, None where it tells none."""
    payment_id: str | None = getattr(record.event, "payment_id", None)
    return payment_id
