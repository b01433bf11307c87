"""/metrics: what this process counted, and what PostgreSQL and Kafka say at the moment they are asked.

The latter is the same on every replica, so whoever adds up takes the maximum. A server that does
not answer in time leaves its metrics out, and `firstbell_up_...` at 0.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import REGISTRY, Collector
from sqlalchemy import QueuePool
from sqlalchemy.ext.asyncio import AsyncEngine

from actors.batch import Actor
from actors.connection import admin_client
from actors.lag import oldest_unread_of, read_offsets
from actors.topics import least_retention
from console.database_families import families as database_families
from console.kafka_families import families as kafka_families
from errors import FirstbellError
from settings import Settings
from storage import figures, observing
from storage.engine import transaction

_log = structlog.get_logger("firstbell.metrics")

# Prometheus gives up after ten.
_PATIENCE = 4.0


@dataclass(frozen=True, slots=True)
class Watched:
    """What is looked at for one scrape.

    `pool` is the engine that the actors use; `engine` another one, which answers when that one is exhausted.
    """

    settings: Settings
    kafka: str
    actors: Sequence[Actor]
    engine: AsyncEngine
    pool: AsyncEngine
    ready: Callable[[], Awaitable[dict[str, str]]]


async def expose(watched: Watched) -> bytes:
    """Everything, in Prometheus' text format."""
    database, kafka, obstacles = await asyncio.gather(_database(watched), _kafka(watched), watched.ready())
    found = [
        *(database or ()),
        *(kafka or ()),
        _gauge("firstbell_up_database", "1 when PostgreSQL answered this scrape.", database is not None),
        _gauge("firstbell_up_kafka", "1 when Kafka answered this scrape.", kafka is not None),
        _gauge("firstbell_ready", "1 when /readyz finds no obstacle.", not obstacles),
        *_pool(watched.pool),
    ]
    registry = CollectorRegistry()
    registry.register(_Found(found))
    return generate_latest(REGISTRY) + generate_latest(registry)


async def _database(watched: Watched) -> list[Metric] | None:
    try:
        async with asyncio.timeout(_PATIENCE), transaction(watched.engine) as db:
            return database_families(
                await figures.read(db), await observing.parked_now(db), await observing.last_checks(db)
            )
    except (FirstbellError, TimeoutError) as error:
        _log.warning("figures not read", cause=type(error).__name__)
        return None


async def _kafka(watched: Watched) -> list[Metric] | None:
    try:
        async with asyncio.timeout(_PATIENCE):
            offsets = await read_offsets(watched.settings, watched.kafka, watched.actors, whole=False)
            unread = await oldest_unread_of(watched.settings, watched.kafka, offsets)
            async with admin_client(watched.settings, watched.kafka) as admin:
                kept = await least_retention(admin, watched.settings)
            return kafka_families(watched.settings, offsets, unread, kept)
    except (KafkaError, TimeoutError, OSError) as error:
        _log.warning("lag not read", cause=type(error).__name__)
        return None


def _pool(engine: AsyncEngine) -> list[Metric]:
    """The connections of this process to PostgreSQL."""
    pool = engine.pool
    if not isinstance(pool, QueuePool):
        return []
    used = GaugeMetricFamily(
        "firstbell_database_connections",
        "Connections to PostgreSQL, by what they do.",
        labels=["state"],
    )
    used.add_metric(["in_use"], pool.checkedout())
    used.add_metric(["idle"], pool.checkedin())
    most = pool.size() + pool._max_overflow  # noqa: SLF001  it is told nowhere else
    return [used, _gauge("firstbell_database_connections_limit", "Connections that this process may open.", most)]


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=float(value))


class _Found(Collector):
    """Hands over what one scrape found."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families
