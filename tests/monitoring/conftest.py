"""A deployment for each test, and the names of everything that a process may expose."""

from collections.abc import AsyncIterator, Iterable

import pytest
from aiokafka import TopicPartition
from prometheus_client import Metric
from prometheus_client.registry import REGISTRY

import metrics
from actors.lag import Offsets
from console import database_families, kafka_families
from service import Addresses
from settings import Settings
from tests.e2e.deployment import Deployment

_SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "info": ("_info",),
    "gauge": ("",),
    "unknown": ("",),
}
# Made anew for each scrape, in console/exposition.py.
_OF_THE_SCRAPE = {
    "firstbell_up_database",
    "firstbell_up_kafka",
    "firstbell_ready",
    "firstbell_database_connections",
    "firstbell_database_connections_limit",
}


@pytest.fixture
async def deployment(settings: Settings, addresses: Addresses) -> AsyncIterator[Deployment]:
    """Nothing runs yet; whatever the test leaves running is ended."""
    deployment = Deployment(settings, addresses)
    yield deployment
    await deployment.close()


@pytest.fixture(scope="session")
def exposed() -> set[str]:
    """The names of all series that a process may expose."""
    assert metrics.RECORDS
    nowhere = Offsets({TopicPartition("t", 0): 0}, {TopicPartition("t", 0): 0}, {})
    found: Iterable[Metric] = [
        *REGISTRY.collect(),
        *database_families.families([], [], []),
        *kafka_families.families(Settings(), nowhere, {}),
    ]
    return _OF_THE_SCRAPE | {family.name + suffix for family in found for suffix in _SUFFIXES[family.type]}
