"""The stage of one contender's round: a fresh database, topics of its own, its process running."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from actors.connection import admin_client
from actors.topics import create_topics
from benches.processes import Child, child
from benches.seeding import seed
from benches.workload import Workload
from contracts.topics import TOPICS
from settings import Settings
from storage.engine import open_engine
from storage.schema import migrate

MODULES = {"firstbell": "benches.firstbell_process", "peer": "benches.peer"}


@dataclass(frozen=True, slots=True)
class Arena:
    """Where all contenders run: the addresses of the servers, the workload, a folder for logs and profiles."""

    kafka: str
    database_url: str
    workload: Workload
    folder: Path
    profile: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """One contender that is up and idle; `environment` is what a process of its world needs."""

    arena: Arena
    name: str
    settings: Settings
    environment: dict[str, str]
    db: asyncpg.Connection
    contender: Child

    @property
    def log(self) -> Path:
        """A log for a further process of this stage."""
        return self.arena.folder / f"{self.name}.publisher.log"


@asynccontextmanager
async def staged(arena: Arena, contender: str, number: int) -> AsyncIterator[Stage]:
    """Set the stage for a round of `firstbell` or `peer`; database and topics are dropped afterwards."""
    name = f"bench_{contender}_{number}"
    settings = Settings(kafka_bootstrap_servers=arena.kafka, topic_prefix=f"{name}.")
    async with fresh_database(arena.database_url, name, arena.workload) as url, _topics(arena.kafka, settings):
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": arena.kafka,
            "DATABASE_URL": url,
            "FIRSTBELL_TOPIC_PREFIX": settings.topic_prefix,
            "PORT": "0",
            "LOG_FORMAT": "json",
            "BENCH_PURCHASES": str(arena.workload.purchases),
            "BENCH_FIRST_DAY": arena.workload.first_day.isoformat(),
        }
        profile = (str(arena.folder / f"{name}.profile.txt"),) if arena.profile else ()
        log = arena.folder / f"{name}.log"
        connection = await asyncpg.connect(url)
        try:
            async with child(MODULES[contender], *profile, environment=environment, log=log) as process:
                yield Stage(arena, name, settings, environment, connection, process)
        finally:
            await connection.close()


@asynccontextmanager
async def fresh_database(server_url: str, name: str, workload: Workload) -> AsyncIterator[str]:
    """A database of this name with the schema and the workload's directory; its address. Dropped afterwards."""
    server = await asyncpg.connect(server_url)
    url = urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    try:
        await server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await server.execute(f"CREATE DATABASE {name}")
        await _fill(url, workload)
        # What filling left to write must not be written during the measurement.
        await server.execute("CHECKPOINT")
        yield url
        await server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        await server.close()


async def _fill(url: str, workload: Workload) -> None:
    engine = open_engine(url, pool_size=1, statement_timeout="0")
    try:
        await migrate(engine)
    finally:
        await engine.dispose()
    connection = await asyncpg.connect(url)
    try:
        await seed(connection, workload)
    finally:
        await connection.close()


@asynccontextmanager
async def _topics(kafka: str, settings: Settings) -> AsyncIterator[None]:
    names = [settings.topic_prefix + topic for topic in TOPICS]
    async with admin_client(settings, kafka) as admin:
        await create_topics(admin, settings)
    try:
        yield
    finally:
        async with admin_client(settings, kafka) as admin:
            await admin.delete_topics(names)
