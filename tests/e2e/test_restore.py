"""What is lost of the two servers comes back: from the other one, from upstream, and nothing twice."""

import asyncio
import json
import random
import shutil
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import eq
from pathlib import Path
from typing import Any

import pytest

import embedded
from embedded import postgres
from service import Addresses
from settings import Settings
from tests.builders import a_payment
from tests.e2e.admin import a_command
from tests.e2e.business import what_counts
from tests.e2e.deployment import Deployment, Message, message
from tests.e2e.test_whole import TIERS, a_world, directory_done

PROGRAMS = postgres.programs()


async def program(name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's own programs to its end."""
    process = await asyncio.create_subprocess_exec(
        PROGRAMS / name, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, complained = await process.communicate()
    assert process.returncode == 0, complained.decode()


@pytest.mark.timeout(300)
async def test_after_a_restore_and_a_replay_everything_since_is_there_again_and_nothing_twice(
    deployment: Deployment, tmp_path: Path
) -> None:
    feeds, payments = a_world(1000, own_courses=True)
    process = await deployment.start()
    await deployment.publish(feeds)
    await directory_done(deployment, feeds)
    await deployment.publish(payments[:500])
    await deployment.settled(500)
    dumped_at = datetime.now(UTC)
    dump = str(tmp_path / "dump")
    await program("pg_dump", "--format=custom", f"--file={dump}", deployment.addresses.database_url)
    await deployment.publish(payments[500:])
    await deployment.settled(1000)
    await _repair_and_refund(deployment)
    await deployment.all_read()
    before = await what_counts(deployment)
    assert await deployment.terminate(process) == 0

    await deployment.rows("DROP SCHEMA public CASCADE")
    await deployment.rows("CREATE SCHEMA public")
    await program("pg_restore", "--no-owner", f"--dbname={deployment.addresses.database_url}", dump)
    assert await deployment.rows("SELECT count(*) FROM purchases") == [(500,)]
    code, told = await deployment.run("replay", "--since", (dumped_at - timedelta(seconds=5)).isoformat(), "--yes")
    assert code == 0, told
    await deployment.start()

    await deployment.until("SELECT count(*) FROM purchases WHERE state <> 'enrolled'", lambda n: n == 1002)
    await deployment.until("SELECT count(*) FROM repairs WHERE requested_by = 'asha@example.org'", lambda n: n == 2)
    await deployment.until("SELECT count(*) FROM parked WHERE status = 'open'", lambda n: n == 0)
    await deployment.until("SELECT count(*) FROM purchases WHERE state = 'scheduled'", lambda n: n == 1000)
    await deployment.until("SELECT count(*) FROM sessions WHERE status = 'cancelled'", lambda n: n == TIERS[300 % 3])
    await deployment.all_read()
    assert await what_counts(deployment) == before
    code, printed = await deployment.run("check", "--json")
    assert (code, json.loads(printed)) == (0, {})


async def _repair_and_refund(deployment: Deployment) -> None:
    """A purchase repaired by an admin, one dismissed, one refunded: these are lost with the database too."""
    repaired, dismissed = (
        a_payment(
            paymentId=f"pay_{what}", studentId=f"stu_{n}", courseId=f"crs_{n}", purchaseTier="many", timeSlot="20:00"
        )
        for n, what in ((0, "repaired"), (1, "dismissed"))
    )
    await deployment.publish(message("payments.succeeded", p["paymentId"], p) for p in (repaired, dismissed))
    await deployment.until("SELECT count(*) FROM parked WHERE reason = 'session_count_invalid'", lambda n: n == 2)
    enrollment = "SELECT enrollment_id::text FROM enrollments WHERE payment_id = 'pay_repaired'"
    parked = "SELECT id::text FROM parked WHERE payment_id = 'pay_dismissed'"
    commands = [
        a_command("assignTrainer", enrollmentId=(await deployment.rows(enrollment))[0][0], sessionCount=5),
        a_command("dismiss", parkedId=(await deployment.rows(parked))[0][0]),
    ]
    refund = {"refundId": "ref_1", "paymentId": "pay_300", "refundedAt": datetime.now(UTC).isoformat()}
    await deployment.publish(
        [
            *(message("repairs.requested", command["commandId"], command) for command in commands),
            message("payments.refunded", "pay_300", refund),
        ]
    )
    await deployment.until("SELECT count(*) FROM repairs WHERE requested_by = 'asha@example.org'", lambda n: n == 2)
    await deployment.until("SELECT count(*) FROM sessions WHERE payment_id = 'pay_repaired'", lambda n: n == 5)
    await deployment.until("SELECT count(*) FROM sessions WHERE status = 'cancelled'", lambda n: n == TIERS[300 % 3])


def _sessions_of(purchases: int) -> int:
    return sum(TIERS[n % 3] for n in range(purchases))


DONE: dict[str, Callable[[int], int]] = {
    "sessions": _sessions_of,
    "allocations": int,
    "coin_ledger WHERE kind = 'redemption'": lambda purchases: purchases // 4,
    "cart_clearances": int,
    "enrollments": int,
}
"""What every step leaves behind, and how much of it after so many purchases; the last step first."""

RESUMED = """
    SELECT step, count(DISTINCT payment_id) FROM repairs WHERE requested_by = 'system:reconciler' GROUP BY step
"""


@pytest.fixture
async def fragile(settings: Settings, database_url: str, tmp_path: Path) -> AsyncIterator[tuple[Deployment, Any]]:
    """A deployment on a Kafka of its own, and what loses all that this Kafka holds."""
    home = tmp_path / "kafka"
    broker = embedded.servers(home, postgres=False)
    deployment = Deployment(settings, Addresses((await asyncio.to_thread(broker.__enter__)).kafka or "", database_url))

    async def wipe() -> None:
        nonlocal broker
        await asyncio.to_thread(broker.__exit__, None, None, None)
        await asyncio.to_thread(shutil.rmtree, home)
        broker = embedded.servers(home, postgres=False)
        kafka = (await asyncio.to_thread(broker.__enter__)).kafka or ""
        deployment.addresses = Addresses(kafka, database_url)

    yield deployment, wipe
    await deployment.close()
    await asyncio.to_thread(broker.__exit__, None, None, None)


@pytest.mark.timeout(600)
async def test_after_kafka_has_lost_everything_what_the_database_knows_of_is_completed(
    fragile: tuple[Deployment, Any],
) -> None:
    deployment, wipe = fragile
    feeds, payments = a_world(500, own_courses=True)
    await deployment.create_topics()
    await _get_half_way(deployment, feeds, payments)
    assert await _done(deployment) == [expected(100 * n) for n, expected in enumerate(DONE.values(), 1)]

    await wipe()
    await deployment.start(FIRSTBELL_SWEEP_SECONDS="1", FIRSTBELL_STUCK_AFTER="2")

    for rows, expected in DONE.items():
        await deployment.until(f"SELECT count(*) FROM {rows}", partial(eq, expected(500)), patience=200)  # noqa: S608
    await deployment.all_read()
    assert await _done(deployment) == [expected(500) for expected in DONE.values()]
    resumed = dict(await deployment.rows(RESUMED))
    assert (resumed["cart"], resumed["coins"], resumed["allocation"]) == (100, 50, 300)
    assert resumed["sessions"] >= 100  # what was allocated by now may have looked stuck as well
    before = await what_counts(deployment)
    assert (before["cart_items"], before["parked"]) == ([], [])

    await deployment.publish(_shuffled(payments + feeds))
    await deployment.all_read()
    assert await what_counts(deployment) == before
    code, printed = await deployment.run("check", "--json")
    assert (code, json.loads(printed)) == (0, {})


async def _get_half_way(deployment: Deployment, feeds: list[Message], payments: list[Message]) -> None:
    """Five hundred purchases, of which every hundred lacks one step more than those before: its actor has died."""
    names = ("sessions", "allocation", "coins", "cart", "directory,enrollment")
    dying = await asyncio.gather(*(deployment.start("--actors", name) for name in names))
    await deployment.publish(feeds)
    await directory_done(deployment, feeds)
    for n, process in enumerate(dying):
        await deployment.publish(payments[100 * n : 100 * (n + 1)])
        for rows, expected in list(DONE.items())[n:]:
            await deployment.until(f"SELECT count(*) FROM {rows}", partial(eq, expected(100 * (n + 1))))  # noqa: S608
        await deployment.kill(process)


async def _done(deployment: Deployment) -> list[int]:
    """How much every step has left behind."""
    return [(await deployment.rows(f"SELECT count(*) FROM {rows}"))[0][0] for rows in DONE]  # noqa: S608


def _shuffled(messages: list[Message]) -> list[Message]:
    return random.Random(5).sample(messages, len(messages))
