"""The composition root: what one process of Firstbell consists of, and the order of its start and stop.

Start: HTTP (so that /healthz answers at once), database, topics, consumers. Stop: not ready,
consumers (the batch at hand ends, its offset is committed), HTTP, and the database last.
"""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from faststream.kafka import KafkaBroker
from sqlalchemy.ext.asyncio import AsyncEngine
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

import metrics
from actors import inspection, reconciler
from actors.connection import admin_client, broker_of, producer_of
from actors.consumers import Consumers
from actors.fuse import Fuse
from actors.lag import oldest_unread, unread_by_actor
from actors.publishing import Publisher
from actors.runtime import Delivery
from actors.topics import create_topics, differing_topics
from actors.tracing import spans_of
from console.exposition import Watched, expose
from console.health import health_app
from console.obstacles import database_obstacle, kafka_obstacle
from console.server import HttpServer
from contracts.repairs import COMMANDS, OUTCOMES, REJECTIONS
from errors import FirstbellError, Transient
from roster import ACTORS, FULFILLING, actors_of
from settings import Settings
from storage.engine import MIGRATE_ROLE, open_engine, transaction, undurable_settings
from storage.schema import migrate, needed_version

_log = structlog.get_logger("firstbell.service")


class UnsafeDatabase(FirstbellError):
    """The database may lose what it has committed, so nothing may be acknowledged against it."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the two servers are: `host:port` of Kafka, and a postgresql:// address."""

    kafka: str
    database_url: str


async def prepare_database(engine: AsyncEngine, database_url: str) -> None:
    """Bring the schema up to this release.

    Raises: UnsafeDatabase when the server's settings would let a committed transaction be lost.
    """
    async with transaction(engine) as db:
        if undurable := await undurable_settings(db):
            raise UnsafeDatabase(f"PostgreSQL runs with {', '.join(undurable)} off; Firstbell needs them on")
    # Migrations may take longer than a handler's statement is allowed to.
    migrator = open_engine(database_url, pool_size=1, role=MIGRATE_ROLE, statement_timeout="0", lock_timeout="60s")
    try:
        await migrate(migrator)
    finally:
        await migrator.dispose()


class Service:
    """One process: some actors, and HTTP."""

    def __init__(self, settings: Settings, addresses: Addresses, actors: Sequence[str] = ACTORS) -> None:
        self.settings = settings
        self.addresses = addresses
        self.engine = open_engine(addresses.database_url)
        # What is wrong with the other one must be seen all the same.
        self._observer = open_engine(addresses.database_url, pool_size=2)
        self.port: int | None = None
        self._names = actors
        self._consumers: Consumers | None = None
        self._broker: KafkaBroker | None = None
        self._producer: AIOKafkaProducer | None = None
        self._http: HttpServer | None = None
        self._starting: asyncio.Task[None] | None = None
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self._spans = spans_of(settings)

    async def start(self) -> None:
        """Serve HTTP at once, and bring up the rest in the background."""
        metrics.begin(list(self._names))
        if "repair" in self._names:
            metrics.begin_commands(COMMANDS, OUTCOMES, REJECTIONS)
        metrics.BUILD.info({"version": metrics.release(), "schema": needed_version()})
        self._http = HttpServer(self.settings, health_app(self._alive, self._ready, partial(expose, self._watched())))
        self.port = await self._http.start()
        self._starting = asyncio.create_task(self._bring_up())
        # What lives as long as the process is not worth looking at again at every collection of garbage,
        # and a batch makes tens of thousands of objects that all end with it.
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)

    async def wait_until_ready(self) -> None:
        """Return when every actor has joined its group.

        Raises: what made the start fail for good, such as UnsafeDatabase.
        """
        if self._starting is None:
            msg = "start() comes first"
            raise RuntimeError(msg)
        await asyncio.shield(self._starting)

    async def stop(self) -> None:
        """Drain, commit, close; the database last, since batches still need it."""
        self._stopping = True
        if self._starting:
            # A client that is cancelled while it connects leaves its connection behind: the step at hand may end.
            await asyncio.wait({self._starting}, timeout=5)
            self._starting.cancel()
            with suppress(asyncio.CancelledError, Exception):  # whoever waits for the start is told
                await self._starting
        for timer in self._timers.values():
            timer.cancel()
        if self._timers:
            await asyncio.wait(self._timers.values())
        if self._consumers:
            await self._consumers.stop()
        last_spans = asyncio.ensure_future(self._spans.stop()) if self._spans else None
        if self._producer:
            # The consumers have published all they had; a broker that is away is not waited for.
            await asyncio.wait({asyncio.ensure_future(self._producer.stop())}, timeout=5)
        if self._http:
            await self._http.stop()
        if last_spans:
            await last_spans
        await self.engine.dispose()
        await self._observer.dispose()

    async def _bring_up(self) -> None:
        await self._insist(partial(prepare_database, self.engine, self.addresses.database_url), Transient, OSError)
        await self._insist(self._create_topics, KafkaError, OSError)
        self._broker = broker_of(self.settings, self.addresses.kafka)
        self._producer = producer_of(self.settings, self.addresses.kafka)
        publish = Publisher(self._producer, self.settings.topic_prefix, self.settings.signing_keys)
        deliveries = [
            Delivery(
                actor,
                self.engine,
                publish,
                fuse=Fuse(asyncio.get_running_loop().time, probe_after=self.settings.probe_after),
                trace=self._spans,
            )
            for actor in actors_of(self.settings, self._names, behind=self._behind)
        ]
        self._consumers = Consumers(self._broker, deliveries, self.settings)
        await self._insist(self._producer.start, KafkaError, OSError)
        await self._broker.connect()
        with _quiet_coordinator():
            await self._insist(self._consumers.start, KafkaError, OSError)
            await self._consumers.wait_until_joined()
        if "repair" in self._names:
            self._timers["reconciler"] = asyncio.create_task(self._sweep(publish))
        if "metrics" in self._names:
            self._timers["inspection"] = asyncio.create_task(self._inspect())
        _log.info("started", actors=self._names, kafka=self.addresses.kafka, port=self.port)

    async def _insist(self, attempt: Callable[[], Awaitable[object]], *passing: type[Exception]) -> None:
        """Try for as long as the fault may pass by itself: a server that is not up yet is no reason to exit."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(passing),
            wait=wait_random_exponential(multiplier=0.2, max=10),
            stop=lambda _: self._stopping,
            before_sleep=lambda state: _log.warning(
                "not up yet", cause=repr(state.outcome and state.outcome.exception()), tries=state.attempt_number
            ),
            reraise=True,
        )
        async for again in retrying:
            with again:
                await attempt()
        if self._stopping:
            raise asyncio.CancelledError

    async def _create_topics(self) -> None:
        async with admin_client(self.settings, self.addresses.kafka) as admin:
            await create_topics(admin, self.settings)
            for topic, found in (await differing_topics(admin, self.settings)).items():
                _log.warning("topic has other settings than ours", topic=topic, found=found)

    async def _behind(self, at: datetime) -> bool:
        """Whether another actor than repair has records to read from before this instant.

        What follows from those is written now, so nobody who lags at all has caught up.
        """
        others = [name for name in FULFILLING if name != "repair"]
        oldest = await oldest_unread(self.settings, self.addresses.kafka, actors_of(self.settings, others))
        return oldest is not None and oldest < max(at, datetime.now(UTC) - timedelta(seconds=2))

    async def _unread(self) -> dict[str, datetime]:
        return await unread_by_actor(self.settings, self.addresses.kafka, actors_of(self.settings, FULFILLING))

    async def _sweep(self, publish: Publisher) -> None:
        """Look for what is stuck, again and again."""
        grace = timedelta(seconds=self.settings.stuck_after)
        while True:
            await asyncio.sleep(self.settings.sweep_seconds)
            await reconciler.sweep_quietly(self.engine, publish, self._unread, grace)

    async def _inspect(self) -> None:
        """Check every invariant, again and again; several processes take turns."""
        grace = timedelta(seconds=self.settings.stuck_after)
        every = self.settings.check_seconds
        while True:
            await inspection.inspect_quietly(self._observer, self._unread, grace, every)
            await asyncio.sleep(every / 5)

    def _watched(self) -> Watched:
        actors = actors_of(self.settings)
        return Watched(self.settings, self.addresses.kafka, actors, self._observer, self.engine, self._ready)

    async def _alive(self) -> dict[str, str]:
        if self._starting and self._starting.done() and not self._starting.cancelled() and self._starting.exception():
            return {"start": str(self._starting.exception())}
        dead = self._consumers.dead if self._consumers else []
        obstacles = dict.fromkeys(dead, "its consumer has ended")
        ended = [name for name, timer in self._timers.items() if timer.done() and not self._stopping]
        return obstacles | dict.fromkeys(ended, "has ended")

    async def _ready(self) -> dict[str, str]:
        if self._stopping:
            return {"service": "stopping"}
        database, kafka = await asyncio.gather(database_obstacle(self.engine), kafka_obstacle(self._producer))
        obstacles = await self._alive() | database
        if self._consumers is None:
            return obstacles | {"service": "starting"}
        obstacles |= dict.fromkeys(self._consumers.not_joined, "has not joined its group")
        obstacles |= {name: f"blocked: {cause}" for name, cause in self._consumers.blocked.items()}
        return obstacles | kafka


@contextmanager
def _quiet_coordinator() -> Iterator[None]:
    """A new broker makes its offsets topic at the first join, and aiokafka calls that an error."""
    logger = logging.getLogger("aiokafka.consumer.group_coordinator")
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(logging.NOTSET)


@asynccontextmanager
async def running(settings: Settings, addresses: Addresses, actors: Sequence[str] = ACTORS) -> AsyncIterator[Service]:
    """A service that has joined its groups; stopped in order at the end of the block."""
    service = Service(settings, addresses, actors)
    try:
        await service.start()
        yield service
    finally:
        await service.stop()
