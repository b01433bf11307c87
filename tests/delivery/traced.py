"""A world that keeps its spans, and how a test reads one."""

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy.ext.asyncio import AsyncEngine

from actors.batch import Actor
from actors.runtime import Delivery, Patience
from actors.spans import Spans
from settings import Settings
from tests.builders import a_credit, a_payment, a_student, a_trainer
from tests.world import IMPATIENT, World

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SAMPLED = (("traceparent", f"00-{TRACE}-{PARENT}-01".encode()),)
UNSAMPLED = (("traceparent", f"00-{TRACE}-{PARENT}-00".encode()),)


class Traced(World):
    """A world whose deliveries make spans."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.exporter = InMemorySpanExporter()
        self.spans = Spans(Settings(), self.exporter)
        super().__init__(engine)

    def delivery(self, actor: Actor, patience: Patience = IMPATIENT) -> Delivery:
        delivery = super().delivery(actor, patience)
        delivery._trace = self.spans
        return delivery

    def told(self) -> list[ReadableSpan]:
        """The spans since the last call."""
        self.spans._provider.force_flush()
        found = self.exporter.get_finished_spans()
        self.exporter.clear()
        return list(found)


async def everything_for_a_payment(world: World) -> dict[str, Any]:
    """A payment for which everything is there; what was told of that is forgotten."""
    payment = a_payment(coinsRedeemed=5)
    world.send("students.changed", a_student(payment["studentId"]), headers=UNSAMPLED)
    world.send("trainers.changed", a_trainer(), headers=UNSAMPLED)
    world.send("coins.credited", a_credit(payment["studentId"], 100), headers=UNSAMPLED)
    await world.settle()
    return payment


def of(span: ReadableSpan) -> str:
    return f"{context_of(span).trace_id:032x}"


def parent_of(span: ReadableSpan) -> str | None:
    return f"{span.parent.span_id:016x}" if span.parent else None


def context_of(span: ReadableSpan) -> Any:
    assert span.context
    return span.context


def values(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def reason_of(span: ReadableSpan) -> Any:
    return values(span).get("firstbell.reason")


def records_of(spans: list[ReadableSpan]) -> list[ReadableSpan]:
    return [span for span in spans if not span.name.endswith(" process")]


def by_name(spans: list[ReadableSpan], *names: str) -> list[ReadableSpan]:
    """One span for each of the names, and no others."""
    assert sorted(span.name for span in spans) == sorted(names)
    return [next(span for span in spans if span.name == name) for name in names]
