from collections import defaultdict
from datetime import date

import asyncpg
import pytest

from benches import peer_steps
from benches.baseline import departures
from benches.counts import counted
from benches.drain import expected, totals
from benches.seeding import seed
from benches.workload import Workload

WORKLOAD = Workload(501, date(2027, 2, 1))


@pytest.fixture
async def seeded_url(database_url: str) -> str:
    connection = await asyncpg.connect(database_url)
    await seed(connection, WORKLOAD)
    await connection.close()
    return database_url


async def test_firstbell_runs_the_statements_and_writes_the_rows_of_the_baseline(seeded_url: str) -> None:
    counts = await counted(seeded_url, WORKLOAD)

    assert departures(counts) == []


async def test_the_peer_ends_with_the_totals_that_firstbell_must_end_with_also_when_all_comes_twice(
    seeded_url: str,
) -> None:
    connection = await asyncpg.connect(seeded_url)
    await _through_the_peer(connection)
    await _through_the_peer(connection)

    found = await totals(connection)

    await connection.close()
    assert found == expected(WORKLOAD.purchases)


async def _through_the_peer(db: asyncpg.Connection) -> None:
    trainers = await db.fetch("SELECT trainer_id, trainer_no FROM trainers")
    allocate = peer_steps.Allocator(WORKLOAD.assigned, {row[0]: row[1] for row in trainers})
    values = defaultdict(list, {"payments.succeeded": [WORKLOAD.payment(n) for n in range(WORKLOAD.purchases)]})
    for topic, step in (
        ("payments.succeeded", peer_steps.enroll),
        ("enrollments.created", peer_steps.clear_cart),
        ("enrollments.created", peer_steps.redeem),
        ("enrollments.created", allocate),
        ("allocations.approved", peer_steps.schedule),
    ):
        for published, _, event in await step(db, values[topic]):
            values[published].append(peer_steps.encoded(event))
