"""What is lost of the two servers comes back: from the other one, from upstream, and nothing twice."""

import asyncio
import json
import random
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import lt
from pathlib import Path
from typing import Any

import pytest

import embedded
from embedded import postgres
from service import Addresses
from settings import Settings
from tests.builders import a_payment
from tests.e2e.admin import a_command
from tests.e2e.deployment import Deployment, Message, message
from tests.e2e.test_whole import TIERS, a_world, directory_done, everything

PROGRAMS = postgres.programs()

AUDIT = "SELECT command_id, command, outcome FROM repairs WHERE requested_by NOT LIKE 'system:%' ORDER BY 1"


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
    before = await _what_counts(deployment)
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
    assert await _what_counts(deployment) == before
    code, printed = await deployment.run("check", "--json")
    assert (code, json.loads(printed)) == (0, {})


async def _what_counts(deployment: Deployment) -> list[Any]:
    """All rows, but for what actors parked and resolved while they read in another order than the first time."""
    sessions, cart, _ = await everything(deployment)
    parked = (
        "SELECT id, reason, status FROM parked"
        " WHERE reason NOT IN ('enrollment_unknown', 'allocation_not_approved') ORDER BY 1"
    )
    return [sessions, cart, await deployment.rows(parked), await deployment.rows(AUDIT)]


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


@pytest.mark.timeout(300)
async def test_after_kafka_has_lost_everything_what_the_database_knows_of_is_completed(
    fragile: tuple[Deployment, Any],
) -> None:
    deployment, wipe = fragile
    feeds, payments = a_world(500, own_courses=True)
    await deployment.create_topics()
    process = await deployment.start("--actors", "directory,enrollment")
    await deployment.publish(feeds)
    await directory_done(deployment, feeds)
    await deployment.publish(payments)
    await deployment.until("SELECT count(*) FROM enrollments", lambda n: n == 500)
    await deployment.terminate(process)
    process = await deployment.start("--actors", "cart,coins,allocation,sessions")
    await deployment.until("SELECT count(*) FROM allocations", partial(lt, 50))
    await deployment.kill(process)

    await wipe()
    await deployment.start(FIRSTBELL_SWEEP_SECONDS="1", FIRSTBELL_STUCK_AFTER="2")

    await deployment.until("SELECT count(*) FROM purchases WHERE state = 'scheduled'", lambda n: n == 500, patience=120)
    await deployment.until("SELECT count(*) FROM cart_clearances", lambda n: n == 500)
    await deployment.until("SELECT count(*) FROM coin_ledger WHERE kind = 'redemption'", lambda n: n == 125)
    completed = await everything(deployment)
    assert len(completed[0]) == sum(TIERS[n % 3] for n in range(500))
    assert completed[1:] == ([], [])

    await deployment.publish(_shuffled(payments + feeds))
    await deployment.publish([message("payments.succeeded", "pay_last", a_payment(paymentId="pay_last"))])
    await deployment.until("SELECT count(*) FROM parked WHERE payment_id = 'pay_last'", lambda n: n == 1)
    assert [row for row in (await everything(deployment))[0] if row[0] != "pay_last"] == completed[0]
    code, printed = await deployment.run("check", "--json")
    assert (code, json.loads(printed)) == (0, {})


def _shuffled(messages: list[Message]) -> list[Message]:
    return random.Random(5).sample(messages, len(messages))
