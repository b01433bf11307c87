"""Infrastructure only: one Kafka and one PostgreSQL for the whole run, a database of its own for each test.

With the two variables set, the suite runs against those servers instead of its own.
"""

import asyncio
import logging
import os
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import hypothesis
import pytest
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

import embedded
from service import Addresses, prepare_database
from settings import Settings
from storage.engine import open_engine
from tests.world import World

# A machine that is busy with something else is no reason to fail.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

_ADDRESSES = pytest.StashKey[Addresses]()
_SERVERS = pytest.StashKey[ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the servers where the run starts; the workers of xdist find their addresses in the environment."""
    # Unconfigured, structlog paints every traceback; tests of the logs configure them as the service does.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    stack = config.stash[_SERVERS] = ExitStack()
    kafka, database = os.environ.get("KAFKA_BOOTSTRAP_SERVERS"), os.environ.get("DATABASE_URL")
    if not kafka or not database:
        home = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="firstbell-tests-", ignore_cleanup_errors=True))
        )
        servers = stack.enter_context(embedded.servers(home, kafka=not kafka, postgres=not database))
        kafka, database = kafka or servers.kafka, database or servers.database_url
    template = asyncio.run(_make_template(database or ""))
    stack.callback(lambda: asyncio.run(_execute(database or "", f"DROP DATABASE {template} (FORCE)")))
    os.environ |= {
        "FIRSTBELL_TEST_KAFKA": kafka or "",
        "FIRSTBELL_TEST_DATABASE": database or "",
        "FIRSTBELL_TEST_TEMPLATE": template,
    }
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL"):
        os.environ.pop(name, None)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what was started."""
    if stack := config.stash.get(_SERVERS, None):
        stack.close()


@pytest.fixture(scope="session")
def kafka() -> str:
    """host:port of the broker."""
    return os.environ["FIRSTBELL_TEST_KAFKA"]


@pytest.fixture
async def database_url() -> AsyncIterator[str]:
    """A database of this test's own, with the schema of this release."""
    async with a_database() as url:
        yield url


@pytest.fixture
async def second_database_url() -> AsyncIterator[str]:
    """Another one, for what is compared."""
    async with a_database() as url:
        yield url


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on this test's database."""
    engine = open_engine(database_url, pool_size=8)
    yield engine
    await engine.dispose()


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    """The actors, on this test's database, with a log in memory."""
    return World(engine)


@pytest.fixture
def addresses(kafka: str, database_url: str) -> Addresses:
    """The real broker, and this test's database."""
    return Addresses(kafka, database_url)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a deployment of its own on the shared broker: its topics and groups have a prefix."""
    return Settings(topic_prefix=f"t{uuid.uuid4().hex[:10]}.", home=tmp_path, port=0, partitions=3)


@asynccontextmanager
async def a_database() -> AsyncIterator[str]:
    """A copy of the template, dropped at the end."""
    server = os.environ["FIRSTBELL_TEST_DATABASE"]
    name = f"test_{uuid.uuid4().hex[:12]}"
    await _execute(server, f"CREATE DATABASE {name} TEMPLATE {os.environ['FIRSTBELL_TEST_TEMPLATE']}")
    yield database_named(server, name)
    await _execute(server, f"DROP DATABASE {name} (FORCE)")


def database_named(url: str, name: str) -> str:
    """The address of another database on the same server."""
    head, separator, query = url.partition("?")
    return head.rsplit("/", 1)[0] + "/" + name + separator + query


async def _make_template(server: str) -> str:
    name = f"template_{uuid.uuid4().hex[:12]}"
    await _execute(server, f"CREATE DATABASE {name}")
    url = database_named(server, name)
    engine = open_engine(url, pool_size=1)
    await prepare_database(engine, url)
    await engine.dispose()
    return name


async def _execute(server: str, statement: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
