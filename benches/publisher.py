"""Publishes a range of a workload's payments as fast as it can, from a process of its own.

`python -m benches.publisher FIRST LAST`: says ready when everything is made and connected, publishes at
the next line of stdin, then prints the epoch seconds before the first and after the last.
"""

import asyncio
import os
import sys
import time
from datetime import date

from aiokafka import AIOKafkaProducer

from actors.connection import client_security
from benches.child import READY, line_from_stdin, run, say
from benches.workload import Workload
from settings import Settings

_IN_FLIGHT = 5000


async def _publish() -> None:
    settings = Settings()
    workload = Workload(int(os.environ["BENCH_PURCHASES"]), date.fromisoformat(os.environ["BENCH_FIRST_DAY"]))
    first, last = int(sys.argv[1]), int(sys.argv[2])
    records = [(workload.payment_id(n).encode(), workload.payment(n)) for n in range(first, last)]
    topic = f"{settings.topic_prefix}payments.succeeded"
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers or "",
        acks="all",
        max_batch_size=256 * 1024,
        **client_security(settings),
    )
    async with producer:
        await producer.partitions_for(topic)
        say(READY)
        await line_from_stdin()
        started = time.time()
        for start in range(0, len(records), _IN_FLIGHT):
            futures = [await producer.send(topic, value, key) for key, value in records[start : start + _IN_FLIGHT]]
            await asyncio.gather(*futures)
        say(f"{started} {time.time()}")


if __name__ == "__main__":
    run(_publish)
