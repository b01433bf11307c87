"""Contender B: the same pipeline written by hand on bare aiokafka and asyncpg, in one process on uvloop.

The same topics, groups, batches, transactions and rows; the same derived events, published before the
offset is committed; a record that comes again writes nothing twice. Left out: validation and
contradictions, the choice of a trainer (each payment knows its own), working hours and absences,
refunds and the locks against them, the read-back of what was decided first (a replay publishes new
times), parking, retries, the fuse, CloudEvents headers and traces, metrics, logs, HTTP.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import date
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from actors.connection import client_security
from benches import peer_steps
from benches.child import run, serve_until_told
from benches.peer_steps import Events
from benches.workload import Workload
from settings import Settings

Step = Callable[[asyncpg.Connection, Sequence[bytes]], Awaitable[Events]]

_BATCH = 1000

# Custom plans: one made while the tables were empty scans them whole once they are full.
_SESSION = {"timezone": "UTC", "jit": "off", "plan_cache_mode": "force_custom_plan"}


async def _serve(settings: Settings, workload: Workload) -> None:
    async with AsyncExitStack() as stack:
        producer = AIOKafkaProducer(acks="all", max_batch_size=256 * 1024, **_client(settings))
        await stack.enter_async_context(producer)
        hops = []
        for group, topic, step in await _steps(settings, workload):
            consumer = AIOKafkaConsumer(
                settings.topic_prefix + topic,
                group_id=f"{settings.topic_prefix}peer.{group}",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                **_client(settings),
            )
            await stack.enter_async_context(consumer)
            # A connection for each hop: none waits for another, and each prepares its few statements once.
            db = await _connect(settings)
            stack.push_async_callback(db.close)
            hops.append(asyncio.create_task(_hop(consumer, db, producer, step, settings.topic_prefix)))
        told = asyncio.create_task(serve_until_told())
        done, _ = await asyncio.wait({told, *hops}, return_when=asyncio.FIRST_COMPLETED)
        for hop in hops:
            hop.cancel()
        await asyncio.gather(*hops, return_exceptions=True)
        for task in done:
            task.result()


async def _steps(settings: Settings, workload: Workload) -> list[tuple[str, str, Step]]:
    db = await _connect(settings)
    trainer_nos = {row[0]: row[1] for row in await db.fetch("SELECT trainer_id, trainer_no FROM trainers")}
    await db.close()
    return [
        ("enrollment", "payments.succeeded", peer_steps.enroll),
        ("cart", "enrollments.created", peer_steps.clear_cart),
        ("coins", "enrollments.created", peer_steps.redeem),
        ("allocation", "enrollments.created", peer_steps.Allocator(workload.assigned, trainer_nos)),
        ("sessions", "allocations.approved", peer_steps.schedule),
    ]


async def _hop(
    consumer: AIOKafkaConsumer, db: asyncpg.Connection, producer: AIOKafkaProducer, step: Step, prefix: str
) -> None:
    while True:
        batches = await consumer.getmany(timeout_ms=1000, max_records=_BATCH)
        values = [record.value for records in batches.values() for record in records]
        if not values:
            continue
        futures = [
            await producer.send(prefix + topic, peer_steps.encoded(event), payment_id.encode())
            for topic, payment_id, event in await step(db, values)
        ]
        await asyncio.gather(*futures)
        await consumer.commit()


async def _connect(settings: Settings) -> asyncpg.Connection:
    if settings.database_url is None:
        sys.exit("KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL are needed")
    return await asyncpg.connect(settings.database_url.get_secret_value(), server_settings=_SESSION)


def _client(settings: Settings) -> dict[str, Any]:
    return {"bootstrap_servers": settings.kafka_bootstrap_servers or "", **client_security(settings)}


if __name__ == "__main__":
    _workload = Workload(int(os.environ["BENCH_PURCHASES"]), date.fromisoformat(os.environ["BENCH_FIRST_DAY"]))
    run(lambda: _serve(Settings(), _workload), Path(sys.argv[1]) if len(sys.argv) > 1 else None)
