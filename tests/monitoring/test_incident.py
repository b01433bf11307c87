"""An incident rehearsed: PostgreSQL is stopped for two minutes under load, and whoever watches can tell."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

import embedded
from service import Addresses, prepare_database
from settings import Settings
from storage.engine import open_engine
from tests.e2e.deployment import Deployment, Message
from tests.e2e.test_cardinality import exposed
from tests.e2e.test_whole import a_world, directory_done
from tests.monitoring.prometheus import Prometheus, prometheus
from tests.storage.test_figures import TOTALS

pytestmark = [pytest.mark.prometheus, pytest.mark.timeout(900)]

PURCHASES, PER_SECOND = 900, 5
BEFORE, AWAY = 20, 120

DATABASE_DOWN, BUDGET = "FirstbellDatabaseDown", "FirstbellBudgetGoneInTwoDays"

# Where each total of the tables is in Prometheus; a label of its own is filled in.
FIGURES = {
    "purchases": 'firstbell_purchases{{state="{}"}}',
    "scheduled": "firstbell_purchases_scheduled_total",
    "sessions_created": 'firstbell_sessions_created_total{{tier="{}"}}',
    "sessions_cancelled": "firstbell_sessions_cancelled_total",
    "carts_cleared": "firstbell_carts_cleared_total",
    "coins_redeemed": "firstbell_coins_redeemed_total",
    "coins_returned": "firstbell_coins_returned_total",
}


@dataclass
class Stoppable:
    """A deployment on a PostgreSQL of its own, which keeps its data and its address while it is stopped."""

    settings: Settings
    kafka: str
    home: Path
    deployment: Deployment = field(init=False)
    _server: Any = None

    async def begin(self) -> None:
        self._server = embedded.servers(self.home, kafka=False)
        url = (await asyncio.to_thread(self._server.__enter__)).database_url or ""
        self.deployment = Deployment(self.settings, Addresses(self.kafka, url))

    async def stop(self) -> None:
        await asyncio.to_thread(self._server.__exit__, None, None, None)
        self._server = None

    async def start_again(self) -> None:
        self._server = embedded.servers(self.home, kafka=False)
        found = (await asyncio.to_thread(self._server.__enter__)).database_url
        assert found == self.deployment.addresses.database_url

    async def end(self) -> None:
        await self.deployment.close()
        if self._server:
            await self.stop()


@pytest.fixture
async def stoppable(settings: Settings, kafka: str, tmp_path: Path) -> AsyncIterator[Stoppable]:
    stoppable = Stoppable(settings, kafka, tmp_path / "postgres")
    await stoppable.begin()
    yield stoppable
    await stoppable.end()


@dataclass
class Story:
    """What was seen of one process and its Prometheus, second by second."""

    server: Prometheus
    http: str
    firing: dict[str, float] = field(default_factory=dict)
    silent: dict[str, float] = field(default_factory=dict)
    lag: float = 0
    oldest: float = 0
    obstacles: set[str] = field(default_factory=set)
    alive: set[int] = field(default_factory=set)
    began: float = field(default_factory=time.monotonic)

    async def look(self) -> None:
        """Note what is told now."""
        now = time.monotonic() - self.began
        found = await self.server.firing()
        for name in found - self.firing.keys():
            self.firing[name] = now
        for name in self.firing.keys() - found - self.silent.keys():
            self.silent[name] = now
        self.lag = max(self.lag, await self.server.value('sum(firstbell:lag:sum{actor="enrollment"})') or 0)
        age = await self.server.value('max(firstbell:oldest_unread_age_seconds:max{actor="enrollment"})')
        self.oldest = max(self.oldest, age or 0)
        async with httpx.AsyncClient(timeout=30) as http:
            self.obstacles |= set((await http.get(f"{self.http}/readyz")).json()["obstacles"])
            self.alive.add((await http.get(f"{self.http}/healthz")).status_code)


async def test_a_database_that_is_stopped_for_two_minutes_is_told_and_afterwards_all_is_scheduled_and_counted(
    stoppable: Stoppable, tmp_path: Path
) -> None:
    deployment = stoppable.deployment
    await _migrated(deployment)
    feeds, payments = a_world(PURCHASES, own_courses=True)
    await deployment.start(FIRSTBELL_CHECK_SECONDS="5")
    await deployment.publish(feeds)
    await directory_done(deployment, feeds)

    (tmp_path / "prometheus").mkdir()
    async with prometheus(tmp_path / "prometheus", deployment.http.removeprefix("http://")) as server:
        load = asyncio.create_task(_load(deployment, payments))
        healthy = await _watch(server, deployment, BEFORE)
        await stoppable.stop()
        away = await _watch(server, deployment, AWAY)
        await stoppable.start_again()
        await load
        await deployment.until("SELECT count(*) FROM purchases WHERE state = 'scheduled'", lambda n: n == PURCHASES)
        await deployment.all_read()
        after = await _watch(server, deployment, 1, until=BUDGET, but_not=DATABASE_DOWN)
        missed = await server.value("firstbell:purchases_missed:max")
        figures = await exposed(deployment)

    assert not healthy.firing.keys() & {DATABASE_DOWN, BUDGET}
    assert healthy.obstacles == set()
    assert DATABASE_DOWN in away.firing
    assert 60 <= away.firing[DATABASE_DOWN] < AWAY
    assert "database" in away.obstacles
    assert away.alive == {httpx.codes.OK}
    assert away.lag > AWAY * PER_SECOND / 2
    assert away.oldest > AWAY / 2
    assert {DATABASE_DOWN} <= away.firing.keys() <= {DATABASE_DOWN}
    assert BUDGET in after.firing
    # Whoever paid in the first minute of the outage waited longer than one; those of the last did not have to.
    assert missed is not None
    assert (AWAY - 70) * PER_SECOND < missed < (AWAY + 30) * PER_SECOND
    await _agree(deployment, figures)
    assert (await deployment.run("check"))[0] == 0


async def _migrated(deployment: Deployment) -> None:
    """The topics and the schema, so that the outage begins with a service that is ready."""
    await deployment.create_topics()
    engine = open_engine(deployment.addresses.database_url, pool_size=1)
    await prepare_database(engine, deployment.addresses.database_url)
    await engine.dispose()


async def _load(deployment: Deployment, payments: list[Message]) -> None:
    """So many payments a second until all are published; upstream does not know of the outage."""
    began = time.monotonic()
    for n in range(0, len(payments), PER_SECOND):
        await deployment.publish(payments[n : n + PER_SECOND])
        await asyncio.sleep(max(0.0, began + n / PER_SECOND + 1 - time.monotonic()))


async def _watch(
    server: Prometheus, deployment: Deployment, seconds: float, *, until: str | None = None, but_not: str | None = None
) -> Story:
    """Look every second: for so long, or until one alert fires and the other does not."""
    story = Story(server, deployment.http)
    async with asyncio.timeout(seconds + 240):
        while True:
            await story.look()
            done = time.monotonic() - story.began >= seconds
            if until is None and done:
                return story
            firing = await server.firing()
            if until in firing and but_not not in firing:
                return story
            await asyncio.sleep(1)


async def _agree(deployment: Deployment, figures: str) -> None:
    """Every total that is exposed is that of the tables, to the row."""
    told = dict(line.rsplit(" ", 1) for line in figures.splitlines() if not line.startswith("#"))
    for name, label, value in await deployment.rows(f"SELECT * FROM ({TOTALS}) AS t (name, label, value)"):  # noqa: S608
        if value is not None:
            assert float(told[FIGURES[name].format(label)]) == float(value), (name, label)
    assert float(told["firstbell_purchases_paid_total"]) == PURCHASES
    assert float(told["firstbell_purchase_to_sessions_seconds_count"]) == PURCHASES
    connection = await asyncpg.connect(deployment.addresses.database_url)
    try:
        in_time = await connection.fetchval("""
            SELECT count(*) FROM allocations JOIN purchases USING (payment_id)
             WHERE scheduled_at - published_at <= interval '60 s'
        """)
    finally:
        await connection.close()
    assert float(told["firstbell_purchases_in_time_total"]) == in_time
