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


async def _serve(settings: Settings, workload: Workload) -> None:
    servers, prefix = settings.kafka_bootstrap_servers or "", settings.topic_prefix
    security = client_security(settings)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            asyncpg.create_pool(_database(settings), min_size=5, max_size=8, server_settings={"timezone": "UTC", "jit": "off"})
        )
        producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", max_batch_size=256 * 1024, **security)
        await stack.enter_async_context(producer)
        hops = []
        for group, topic, step in await _steps(pool, workload):
            consumer = AIOKafkaConsumer(
                prefix + topic,
                bootstrap_servers=servers,
                group_id=f"{prefix}peer.{group}",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                **security,
            )
            await stack.enter_async_context(consumer)
            hops.append(asyncio.create_task(_hop(consumer, pool, producer, step, prefix)))
        told = asyncio.create_task(serve_until_told())
        done, _ = await asyncio.wait({told, *hops}, return_when=asyncio.FIRST_COMPLETED)
        for hop in hops:
            hop.cancel()
        for task in done:
            task.result()


async def _steps(pool: asyncpg.Pool, workload: Workload) -> list[tuple[str, str, Step]]:
    trainer_nos = dict(await pool.fetch("SELECT trainer_id, trainer_no FROM trainers"))
    return [
        ("enrollment", "payments.succeeded", peer_steps.enroll),
        ("cart", "enrollments.created", peer_steps.clear_cart),
        ("coins", "enrollments.created", peer_steps.redeem),
        ("allocation", "enrollments.created", peer_steps.Allocator(workload.assigned, trainer_nos)),
        ("sessions", "allocations.approved", peer_steps.schedule),
    ]


async def _hop(
    consumer: AIOKafkaConsumer, pool: asyncpg.Pool, producer: AIOKafkaProducer, step: Step, prefix: str
) -> None:
    while True:
        batches = await consumer.getmany(timeout_ms=1000, max_records=_BATCH)
        values = [record.value for records in batches.values() for record in records]
        if not values:
            continue
        async with pool.acquire() as db:
            events = await step(db, values)
        futures = [
            await producer.send(prefix + topic, peer_steps.encoded(event), payment_id.encode())
            for topic, payment_id, event in events
        ]
        await asyncio.gather(*futures)
        await consumer.commit()


def _database(settings: Settings) -> str:
    if settings.database_url is None:
        sys.exit("KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL are needed")
    return settings.database_url.get_secret_value()


if __name__ == "__main__":
    _workload = Workload(int(os.environ["BENCH_PURCHASES"]), date.fromisoformat(os.environ["BENCH_FIRST_DAY"]))
    run(lambda: _serve(Settings(), _workload), Path(sys.argv[1]) if len(sys.argv) > 1 else None)
