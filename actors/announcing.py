"""Telling of what a batch led to: its events, the items it parked, and a line in the log for each of those."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

import metrics
from actors.batch import News, Outcome
from actors.tracing import correlation_id, trace_of_record, traced
from contracts.base import Event
from contracts.parking import FulfilmentParked
from contracts.record import Record
from contracts.repairs import REJECTIONS, RepairCompleted
from storage.parking import ParkedItem

_log = structlog.get_logger("firstbell.actors")


class Publish(Protocol):
    """Publishes events with their traceparents; returns when every one is acknowledged, else raises."""

    async def __call__(self, events: Sequence[tuple[Event, str]]) -> None: ...


@dataclass(slots=True)
class Committed:
    """What is committed of one batch so far, and has to be told."""

    events: list[Event] = field(default_factory=list)
    parked: list[tuple[Record, ParkedItem]] = field(default_factory=list)
    news: list[News] = field(default_factory=list)

    def take(self, outcome: Outcome, parked: list[tuple[Record, ParkedItem]]) -> None:
        """Add what one transaction led to."""
        self.events += outcome.publish
        self.parked += parked
        if outcome.news:
            self.news.append(outcome.news)


async def announce(publish: Publish, committed: Committed, records: Sequence[Record], deadline: float) -> None:
    """Publish everything within `deadline` seconds, or raise whatever kept it from being acknowledged."""
    told = [(announcement(item), trace_of_record(record)) for record, item in committed.parked]
    pairs = traced(committed.events, records) + told
    if not pairs:
        return
    async with asyncio.timeout(deadline):
        await publish(pairs)
    for event in committed.events:
        if isinstance(event, RepairCompleted):
            _count_answer(event)
    for (_, item), (_, traceparent) in zip(committed.parked, told, strict=True):
        metrics.PARKED.labels(item.actor, item.reason).inc()
        _log.warning(
            "parked",
            actor=item.actor,
            reason=item.reason,
            parked_id=str(item.id),
            payment_id=item.payment_id,
            correlation_id=correlation_id(traceparent),
        )


def _count_answer(answer: RepairCompleted) -> None:
    metrics.REPAIRS.labels(answer.command, answer.outcome).inc()
    if answer.refusal is not None and answer.refusal.code in REJECTIONS:
        metrics.COMMANDS_REJECTED.labels(answer.refusal.code).inc()


def announcement(item: ParkedItem) -> FulfilmentParked:
    """The event that tells of a parked row."""
    return FulfilmentParked(
        parked_id=item.id,
        actor=item.actor,
        reason=item.reason,
        facts=item.facts,
        payment_id=item.payment_id,
        enrollment_id=item.enrollment_id,
        allocation_id=item.allocation_id,
        student_id=item.student_id,
        topic=item.topic,
        waits_for=item.waits_for,
        version=item.episode,
        parked_at=item.parked_at,
    )
