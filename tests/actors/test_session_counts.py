"""How many sessions a purchase has: the tier, then the metadata, then thirty; never a guess past a wrong value."""

from typing import Any

import pytest

from contracts.allocations import AllocationApproved
from tests.builders import a_payment, a_student, a_trainer
from tests.world import World


async def test_every_written_form_of_a_count_is_read_from_either_source(world: World) -> None:
    forms = {
        10: 10,
        "20": 20,
        "30 sessions": 30,
        1: 1,
        "1": 1,
        "1 sessions": 1,
        7: 7,
        365: 365,
        "365": 365,
        "365 sessions": 365,
    }
    payments = [(_counted(purchaseTier=form), count) for form, count in forms.items()]
    payments += [(_counted(sessionCount=form), count) for form, count in forms.items()]

    await _buy(world, [payment for payment, _ in payments])

    assert await _sessions(world) == {payment["paymentId"]: count for payment, count in payments}
    assert await world.parked() == []


async def test_the_tier_comes_first_then_the_metadata_then_thirty(world: World) -> None:
    tier, metadata, default = _counted(purchaseTier=10, sessionCount=20), _counted(sessionCount=20), _counted()

    await _buy(world, [tier, metadata, default])

    assert await _sessions(world) == {tier["paymentId"]: 10, metadata["paymentId"]: 20, default["paymentId"]: 30}
    told = {event.payment_id: event for event in world.published(AllocationApproved)}
    stored = {row["payment_id"]: row["metadata"] for row in await world.rows("SELECT * FROM allocations")}
    sources = [told[payment["paymentId"]].session_count_source for payment in (tier, metadata, default)]
    assert sources[0] == "purchaseTier"
    assert len(set(sources)) == 3
    for payment_id, event in told.items():
        assert stored[payment_id]["sessionCount"] == event.session_count
        assert stored[payment_id]["sessionCountSource"] == event.session_count_source


async def test_the_allocation_keeps_schedule_and_zone_beside_the_count(world: World) -> None:
    payment = a_payment(purchaseTier="10 sessions", timeSlot="4:00 PM - 5:00 PM", daysOfWeek=["mon", "wed"])

    await _buy(world, [payment])

    (row,) = await world.rows("SELECT metadata FROM allocations")
    assert row["metadata"]["sessionCount"] == 10
    assert row["metadata"]["timezone"] == "Asia/Kolkata"
    assert {"date", "timeSlot", "daysOfWeek"} <= row["metadata"].keys()


@pytest.mark.parametrize("nothing", [None, ""])
async def test_null_and_empty_count_as_missing(world: World, nothing: str | None) -> None:
    to_metadata, to_default, to_default_too = _counted(sessionCount=20), _counted(), _counted()
    to_metadata["metadata"]["purchaseTier"] = nothing
    to_default["metadata"] |= {"purchaseTier": nothing, "sessionCount": nothing}
    to_default_too["metadata"]["sessionCount"] = nothing

    await _buy(world, [to_metadata, to_default, to_default_too])

    assert await _sessions(world) == {
        to_metadata["paymentId"]: 20,
        to_default["paymentId"]: 30,
        to_default_too["paymentId"]: 30,
    }


async def test_an_invalid_count_parks_and_never_falls_through(world: World) -> None:
    wrong: list[Any] = [
        0,
        -1,
        366,
        10.5,
        10**30,
        True,
        False,
        "0",
        "-10",
        "366",
        "10.5",
        "ten",
        "sessions",
        "30 lessons",
        "30 sessions more",
        "1e1",
        "9" * 400,
        [30],
        {"count": 30},
    ]
    tiers = [_counted(purchaseTier=value, sessionCount=20) for value in wrong]
    counts = [_counted(sessionCount=value) for value in wrong]
    good = _counted(purchaseTier=10, sessionCount="nonsense that nobody needs")

    await _buy(world, [*tiers, good, *counts])

    rows = await world.rows("SELECT actor, reason, payment_id, student_id, enrollment_id FROM parked")
    assert {row["reason"] for row in rows} == {"session_count_invalid"}
    assert sorted(row["payment_id"] for row in rows) == sorted(p["paymentId"] for p in tiers + counts)
    assert all(row["student_id"] and row["enrollment_id"] and row["actor"] == "allocation" for row in rows)
    assert await world.count("allocations") == 1
    assert (await world.journey(good["paymentId"]))["state"] == "scheduled"
    assert (await world.journey(tiers[0]["paymentId"]))["state"] == "parked"
    assert (await world.journey(tiers[0]["paymentId"]))["parked_reason"] == "session_count_invalid"
    assert await world.offenders() == {}


def _counted(**counts: Any) -> dict[str, Any]:
    payment = a_payment(purchaseTier=None)
    payment["metadata"] |= counts
    return payment


async def _buy(world: World, payments: list[dict[str, Any]]) -> None:
    world.send("students.changed", *(a_student(p["studentId"]) for p in payments))
    world.send("trainers.changed", *(a_trainer(f"trn_{number}") for number in range(len(payments))))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", *payments)
    await world.settle()


async def _sessions(world: World) -> dict[str, int]:
    rows = await world.rows("SELECT payment_id, count(*) AS n FROM sessions GROUP BY payment_id")
    return {row["payment_id"]: row["n"] for row in rows}
