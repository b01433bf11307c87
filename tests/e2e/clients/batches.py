"""What travelled: the batches of a topic as the broker keeps them, which no consumer shows."""

import json
from dataclasses import dataclass

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords

from tests.e2e.clients.sendings import CODECS


@dataclass(frozen=True)
class Travelled:
    """How one message travelled: in which codec, in a batch of how many, under which key and headers."""

    codec: str
    size: int
    key: bytes | None
    headers: dict[str, bytes | None]


async def travelled(kafka: str, topic: str, partitions: int) -> dict[str, Travelled]:
    """For each payment id of a topic how it came. Fetches a partition in one answer: for small topics."""
    client = AIOKafkaClient(bootstrap_servers=kafka)
    await client.bootstrap()
    try:
        found: dict[str, Travelled] = {}
        for partition in range(partitions):
            found |= _read(await _fetch(client, topic, partition))
        return found
    finally:
        await client.close()


async def _fetch(client: AIOKafkaClient, topic: str, partition: int) -> bytes:
    most = 50 * 1024 * 1024
    node = client.cluster.brokers().copy().pop().nodeId
    answer = await client.send(node, FetchRequest(100, 0, most, 0, [(topic, [(partition, 0, most)])]))
    ((_, ((_, error, *_, records),)),) = answer.topics
    assert error == 0
    return bytes(records)


def _read(records: bytes) -> dict[str, Travelled]:
    batches = MemoryRecords(records)
    found: dict[str, Travelled] = {}
    while (batch := batches.next_batch()) is not None:
        codec = CODECS[batch.compression_type]
        together = list(batch)
        for record in together:
            how = Travelled(codec, len(together), record.key, dict(record.headers))
            found[json.loads(record.value)["paymentId"]] = how
    return found
