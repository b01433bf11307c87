"""The inspection: what offends is told to whoever watches, by one process at a time, and not more often than asked."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from aiokafka.errors import KafkaConnectionError
from sqlalchemy import text

from actors import inspection
from storage import figures, invariants, observing
from storage.engine import open_engine, transaction
from tests.builders import a_payment, a_student, a_trainer
from tests.world import World

NEVER_MIND = timedelta(0)
HALF_AN_HOUR = timedelta(minutes=30)


async def nothing_unread() -> dict[str, datetime]:
    return {}


async def inspect(
    world: World, *, every: float = 0, unread: Any = nothing_unread, grace: timedelta = NEVER_MIND
) -> bool:
    return await inspection.inspect(world.engine, unread, grace, every)


async def told(world: World) -> dict[str, int]:
    async with transaction(world.engine) as db:
        return {check.name: check.offenders for check in await observing.last_checks(db) if check.offenders}


async def scheduled(world: World) -> None:
    payment = a_payment()
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("trainers.changed", a_trainer())
    world.send("payments.succeeded", payment)
    await world.settle()


async def test_every_invariant_is_told_whether_it_holds_or_not(world: World) -> None:
    await scheduled(world)
    await world.rows("DELETE FROM series_sessions WHERE number = 3 RETURNING 1 AS n")

    assert await inspect(world)

    assert await told(world) == {"sessions_missing": 1}
    assert await world.count("invariant_checks") == len(invariants.INVARIANTS)


async def test_what_is_mended_is_told_as_mended(world: World) -> None:
    await scheduled(world)
    await world.rows("UPDATE students SET coins = 7 RETURNING 1 AS n")
    await inspect(world)
    before = await told(world)
    await world.rows("UPDATE students SET coins = 0 RETURNING 1 AS n")

    await inspect(world)

    assert (before, await told(world)) == ({"coins_out_of_balance": 1}, {})


async def test_what_waits_in_line_or_is_young_does_not_offend(world: World) -> None:
    async def unread_for_a_minute() -> dict[str, datetime]:
        return {"allocation": datetime.now(UTC) - timedelta(minutes=1)}

    world.send("payments.succeeded", a_payment())
    await world.settle(names=["enrollment"])

    await inspect(world, unread=unread_for_a_minute)
    in_line = await told(world)
    await inspect(world, grace=timedelta(minutes=1))
    young = await told(world)
    await inspect(world)

    assert (in_line, young) == ({}, {})
    assert await told(world) == {"cart_not_cleared": 1, "enrolled_not_allocated": 1}


async def test_invariants_are_not_checked_again_before_they_are_due(world: World) -> None:
    assert await inspect(world, every=60)
    assert not await inspect(world, every=60)
    await world.rows("UPDATE invariant_checks SET checked_at = checked_at - interval '61 s' RETURNING 1 AS n")

    assert await inspect(world, every=60)


async def test_one_check_that_fails_does_not_keep_the_others_from_being_told_and_grows_old(world: World) -> None:
    await scheduled(world)
    await inspect(world)
    await world.rows("UPDATE invariant_checks SET checked_at = checked_at - interval '1 hour' RETURNING 1 AS n")
    nonsense = """UPDATE allocations SET metadata = metadata || '{"sessionCount": "ten"}' RETURNING 1 AS n"""
    await world.rows(nonsense)
    await world.rows("UPDATE students SET coins = 7 RETURNING 1 AS n")

    await inspect(world)

    assert await told(world) == {"coins_out_of_balance": 1}
    async with transaction(world.engine) as db:
        old = [check.name for check in await observing.last_checks(db) if check.at < datetime.now(UTC) - HALF_AN_HOUR]
    assert old == ["sessions_missing"]


async def test_an_invariant_that_there_is_no_more_is_forgotten(world: World) -> None:
    await world.rows(
        "INSERT INTO invariant_checks VALUES ('of_an_earlier_release', 3, now() - interval '30 days') RETURNING 1 AS n"
    )

    await inspect(world)

    assert await told(world) == {}
    assert await world.count("invariant_checks") == len(invariants.INVARIANTS)


async def test_a_broken_invariant_is_logged_by_its_name_and_number_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = structlog.testing.CapturingLogger()
    monkeypatch.setattr(inspection, "_log", log)
    await scheduled(world)
    await world.rows("UPDATE students SET coins = 7 RETURNING 1 AS n")

    await inspect(world)

    (call,) = log.calls
    assert call == ("error", ("invariant broken",), {"invariant": "coins_out_of_balance", "offenders": 1})


async def test_a_server_that_is_away_does_not_end_the_inspection(world: World) -> None:
    async def away() -> dict[str, datetime]:
        raise KafkaConnectionError

    await inspection.inspect_quietly(world.engine, away, NEVER_MIND, 0)

    assert await world.count("invariant_checks") == 0


async def test_one_process_at_a_time_checks(world: World) -> None:
    async with transaction(world.engine) as db:
        assert await observing.turn_to_check(db, 0)
        assert not await inspect(world)

    assert await inspect(world)


async def test_the_turn_outlives_checks_that_take_longer_than_a_transaction_may_idle(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = text("SELECT 'nobody' AS id FROM (SELECT pg_sleep(0.8)) AS slept WHERE false IS NOT NULL")
    monkeypatch.setattr(invariants, "INVARIANTS", (invariants.Invariant("slow", "takes its time", slow),))
    engine = open_engine(database_url, pool_size=2, idle_in_transaction_session_timeout="200ms")
    try:
        assert await inspection.inspect(engine, nothing_unread, NEVER_MIND, 0)

        async with transaction(engine) as db:
            assert [(check.name, check.offenders) for check in await observing.last_checks(db)] == [("slow", 1)]
    finally:
        await engine.dispose()


async def test_purchases_that_no_event_has_led_to_the_figures_are_counted(world: World) -> None:
    world.send("payments.succeeded", a_payment(), a_payment())
    await world.settle(names=["enrollment"])
    await world.rows("UPDATE purchases SET received_at = received_at - interval '1 hour' RETURNING 1 AS n")

    await inspect(world)

    async with transaction(world.engine) as db:
        assert ("purchases", "enrolled", 2.0) in await figures.read(db)
        assert (await db.execute(text("SELECT count(*) FROM counted_purchases"))).scalar_one() == 2
