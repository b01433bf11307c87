"""An admin with a Kafka client that is not ours: publishes commands, reads their answers."""

import asyncio
import json
import time
from typing import Any
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition

from tests.e2e.deployment import Deployment

Json = dict[str, Any]


class Admin:
    """confluent-kafka on the topics of one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._prefix = deployment.settings.topic_prefix
        self._partitions = deployment.settings.partitions
        self._producer = Producer({"bootstrap.servers": deployment.addresses.kafka, "linger.ms": 20})
        self._consumer = Consumer({"bootstrap.servers": deployment.addresses.kafka, "group.id": f"{self._prefix}admin"})
        self._answers: dict[str, Json] = {}

    async def send(self, topic: str, *messages: Json | bytes) -> None:
        """Publish to any topic, keyed by the first field of each message; returns when all are acknowledged."""
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failures.append(error)

        for message in messages:
            value = json.dumps(message).encode() if isinstance(message, dict) else message
            key = str(next(iter(message.values()))) if isinstance(message, dict) else None
            self._producer.produce(self._prefix + topic, value, key, on_delivery=delivered)
        assert await asyncio.to_thread(self._producer.flush, 30) == 0
        assert failures == []

    async def command(self, command: str, **fields: Any) -> Json:
        """Publish one command, and return its answer."""
        message = a_command(command, **fields)
        await self.send("repairs.requested", message)
        return await self.answer(message["commandId"])

    async def answer(self, command_id: str, patience: float = 60) -> Json:
        """The answer to a command, whenever it came."""
        if not self._consumer.assignment():
            topic = f"{self._prefix}repairs.completed"
            self._consumer.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in range(self._partitions)])
        until = time.monotonic() + patience
        while command_id not in self._answers:
            assert time.monotonic() < until, f"no answer to {command_id}"
            for message in await asyncio.to_thread(self._consumer.consume, 500, 0.1):
                assert message.error() is None, message.error()
                answer = json.loads(message.value() or b"")
                self._answers[answer["commandId"]] = answer
        return self._answers[command_id]

    def close(self) -> None:
        self._consumer.close()


def a_command(command: str, **fields: Any) -> Json:
    return {
        "commandId": str(uuid4()),
        "command": command,
        "requestedBy": "asha@example.org",
        "reason": "agreed by phone",
        **fields,
    }
