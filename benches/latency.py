"""Idle latency: single purchases, one after the other, from before the publish to all sessions committed.

Two looks at the same purchase: the database, asked every millisecond for its state (the sessions and the
state are committed together), and the topic `sessions.scheduled`, which is written after that commit.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import quantiles

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from actors.connection import client_security
from benches.stage import Stage

_SHORTEST_GAP = 0.005
_LONGEST_GAP = 0.05
_PATIENCE = 30
_STATE = "SELECT state = 'scheduled' FROM purchases WHERE payment_id = $1"


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from publish until the commit was seen, and until the event was."""

    committed: Sequence[float]
    announced: Sequence[float]


async def latency(stage: Stage, samples: int) -> Latency:
    """Publish the first `samples` purchases one by one. Raises: TimeoutError when one takes half a minute."""
    gaps = random.Random(samples)  # the same gaps for both contenders
    async with AsyncExitStack() as stack:
        security = client_security(stage.settings)
        producer = AIOKafkaProducer(bootstrap_servers=stage.arena.kafka, acks="all", **security)
        await stack.enter_async_context(producer)
        consumer = AIOKafkaConsumer(
            f"{stage.settings.topic_prefix}sessions.scheduled",
            bootstrap_servers=stage.arena.kafka,
            auto_offset_reset="earliest",
            **security,
        )
        await stack.enter_async_context(consumer)
        found = []
        for number in range(samples):
            await asyncio.sleep(gaps.uniform(_SHORTEST_GAP, _LONGEST_GAP))
            async with asyncio.timeout(_PATIENCE):
                found.append(await _one(stage, producer, consumer, number))
    return Latency([committed for committed, _ in found], [announced for _, announced in found])


async def _one(
    stage: Stage, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, number: int
) -> tuple[float, float]:
    workload = stage.arena.workload
    payment_id = workload.payment_id(number)
    topic = f"{stage.settings.topic_prefix}payments.succeeded"
    started = time.perf_counter()
    await producer.send(topic, workload.payment(number), payment_id.encode())
    committed, announced = await asyncio.gather(_committed(stage, payment_id), _announced(consumer, payment_id))
    return (committed - started) * 1000, (announced - started) * 1000


async def _committed(stage: Stage, payment_id: str) -> float:
    while not await stage.db.fetchval(_STATE, payment_id):  # noqa: ASYNC110  another process commits it
        await asyncio.sleep(0.001)
    return time.perf_counter()


async def _announced(consumer: AIOKafkaConsumer, payment_id: str) -> float:
    async for record in consumer:
        if record.key == payment_id.encode():
            break
    return time.perf_counter()


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """The median and the 99th percentile, in the unit given."""
    cuts = quantiles(milliseconds, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98]}
