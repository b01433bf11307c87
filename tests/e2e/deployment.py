"""A deployment of its own on the shared servers: real processes of the service, and an outsider's producer."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from aiokafka import AIOKafkaProducer, TopicPartition

from actors.connection import admin_client
from actors.lag import read_offsets
from actors.topics import create_topics
from roster import ACTORS, actors_of
from service import Addresses
from settings import Settings

ROOT = Path(__file__).parents[2]

Message = tuple[str, str, bytes | None]
"""Topic, key, value."""


class Deployment:
    """Processes of the service that share a topic prefix and a database; `http` is where the last one answers."""

    def __init__(self, settings: Settings, addresses: Addresses) -> None:
        self.settings = settings
        self.addresses = addresses
        self.processes: list[asyncio.subprocess.Process] = []
        self.http = ""
        self._logs = settings.home / "service.log"

    @property
    def environment(self) -> dict[str, str]:
        """What a process of this deployment finds in its environment."""
        return {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": self.addresses.kafka,
            "DATABASE_URL": self.addresses.database_url,
            "FIRSTBELL_TOPIC_PREFIX": self.settings.topic_prefix,
            "FIRSTBELL_PARTITIONS": str(self.settings.partitions),
            "FIRSTBELL_HOME": str(self.settings.home),
            "FIRSTBELL_SESSION_TIMEOUT_MS": "6000",
            "PORT": "0",
            "LOG_FORMAT": "json",
        }

    async def start(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        """Start `app.py run` and return when it is ready."""
        with self._logs.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "app.py",
                "run",
                *arguments,
                cwd=ROOT,
                env=self.environment | environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        self.processes.append(process)
        await self._ready(process)
        return process

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Run another command of app.py to its end; its exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "app.py", *arguments, cwd=ROOT, env=self.environment, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()
        return process.returncode or 0, printed.decode()

    async def create_topics(self) -> None:
        """So that an outsider can publish before the service has ever run."""
        async with admin_client(self.settings, self.addresses.kafka) as admin:
            await create_topics(admin, self.settings)

    async def publish(self, messages: Iterable[Message]) -> None:
        """Publish as an outsider would, and return when all are acknowledged."""
        producer = AIOKafkaProducer(bootstrap_servers=self.addresses.kafka, acks="all")
        await producer.start()
        try:
            futures = [
                await producer.send(self.settings.topic_prefix + topic, value, key=key.encode())
                for topic, key, value in messages
            ]
            await asyncio.gather(*futures)
        finally:
            await producer.stop()

    async def rows(self, query: str, *binds: Any) -> list[Any]:
        connection = await asyncpg.connect(self.addresses.database_url)
        try:
            return [tuple(row) for row in await connection.fetch(query, *binds)]
        finally:
            await connection.close()

    async def until(self, query: str, done: Callable[[Any], bool], patience: float = 60) -> Any:
        """Poll one value until it is as expected; what it was last is in the error otherwise."""
        connection = await asyncpg.connect(self.addresses.database_url)
        value = None
        try:
            async with asyncio.timeout(patience):
                while not done(value := await connection.fetchval(query)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{query!r} was {value!r} to the end") from None
        finally:
            await connection.close()
        return value

    async def settled(self, purchases: int) -> None:
        """Wait until so many purchases are scheduled or parked."""
        await self.until(
            "SELECT count(*) FROM purchases WHERE state IN ('scheduled', 'parked')", lambda n: n == purchases
        )

    async def all_read(self, patience: float = 200) -> None:
        """Wait until no actor has anything left to read: what was sent twice has been met twice by then."""
        unread: dict[tuple[str, TopicPartition], int] = {}
        try:
            async with asyncio.timeout(patience):
                while unread := await self._unread():
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(f"unread to the end: {unread}") from None

    async def _unread(self) -> dict[tuple[str, TopicPartition], int]:
        """How many records each actor has not done yet, where there are any."""
        offsets = await read_offsets(self.settings, self.addresses.kafka, actors_of(self.settings, ACTORS))
        return {key: lag for key in offsets.done if (lag := offsets.lag(*key))}

    async def kill(self, process: asyncio.subprocess.Process) -> None:
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async def terminate(self, process: asyncio.subprocess.Process) -> int:
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        return process.returncode or 0

    async def close(self) -> None:
        """End what still runs."""
        for process in self.processes:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._logs.read_text().splitlines() if line.startswith("{")]

    async def _ready(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout
        async with asyncio.timeout(60):
            async for line in process.stdout:
                if line.startswith(b"http"):
                    self.http = address = line.split()[-1].decode()
                    break
            else:
                raise AssertionError(f"the service ended: {self._logs.read_text()[-2000:]}")
            async with httpx.AsyncClient() as client:
                while (await client.get(f"{address}/readyz")).status_code != httpx.codes.OK:
                    await asyncio.sleep(0.05)


def message(topic: str, key: str, body: dict[str, Any]) -> Message:
    return topic, key, json.dumps(body).encode()
