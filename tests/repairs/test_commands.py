"""Each command does what an admin expects, through the very steps of the actors."""

from typing import Any

import pytest

from tests.builders import a_payment, a_student, a_trainer, soon
from tests.repairs.asking import a_command, repaired
from tests.world import World


async def repairs_of(world: World, command_id: str) -> int:
    (row,) = await world.rows("SELECT count(*) AS n FROM repairs WHERE command_id = :id", id=command_id)
    return int(row["n"])


async def parked_id(world: World) -> str:
    (row,) = await world.rows("SELECT id FROM parked WHERE status = 'open'")
    return str(row["id"])


async def allocation_id(world: World) -> str:
    (row,) = await world.rows("SELECT allocation_id FROM allocations")
    return str(row["allocation_id"])


async def enrollment_id(world: World) -> str:
    (row,) = await world.rows("SELECT enrollment_id FROM enrollments")
    return str(row["enrollment_id"])


@pytest.fixture
async def purchase(world: World) -> dict[str, Any]:
    """A purchase of ten sessions, by a student with everything; nothing is read yet."""
    payment = a_payment(purchaseTier=10)
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("payments.succeeded", payment)
    return payment


async def test_retry_does_the_parked_step_and_everything_behind_it(world: World, purchase: dict[str, Any]) -> None:
    await world.settle()
    world.send("trainers.changed", a_trainer())
    await world.settle(names=["directory"])
    world.log["repairs.requested"].clear()  # the wake-up that comes by itself

    answer = await repaired(world, a_command("retry", parkedId=await parked_id(world)))

    assert answer.outcome == "applied"
    assert {(e.table, e.operation, e.count) for e in answer.effects} == {
        ("allocations", "insert", 1),
        ("bookings", "insert", 1),
        ("purchases", "update", 1),
        ("parked", "update", 1),
    }
    assert await world.count("sessions") == 10
    assert await world.offenders() == {}


async def test_retry_of_what_still_cannot_be_done_is_refused_with_the_reason(
    world: World, purchase: dict[str, Any]
) -> None:
    await world.settle()

    answer = await repaired(world, a_command("retry", parkedId=await parked_id(world)))

    assert (answer.outcome, answer.refusal and answer.refusal.code) == ("refused", "no_trainer_available")
    (row,) = await world.rows("SELECT attempts, status FROM parked")
    assert (row["attempts"], row["status"]) == (1, "open")


async def test_assign_trainer_sets_aside_the_distance_and_keeps_what_was_given(
    world: World, purchase: dict[str, Any]
) -> None:
    world.send("trainers.changed", a_trainer("trn_far", latitude=13.4))
    await world.settle()
    assert await world.parked() == ["no_trainer_available"]

    refused = await repaired(
        world, a_command("assignTrainer", enrollmentId=await enrollment_id(world), trainerId="trn_far")
    )
    answer = await repaired(
        world,
        a_command(
            "assignTrainer",
            enrollmentId=await enrollment_id(world),
            trainerId="trn_far",
            force=["distance"],
            sessionCount=20,
            timeSlot="17:00",
        ),
    )

    assert refused.refusal is not None
    assert refused.refusal.facts is not None
    assert refused.refusal.facts["causes"] == ["distance"]
    (offer,) = refused.refusal.facts["offers"]
    assert offer["command"]["force"] == ["distance"]
    assert answer.outcome == "applied"
    assert await world.count("sessions") == 20
    (row,) = await world.rows("SELECT metadata FROM allocations")
    assert row["metadata"]["sessionCountSource"] == "repair"
    assert row["metadata"]["repaired"] == {"sessionCount": 20, "timeSlot": "17:00", "force": ["distance"]}
    assert await world.parked() == []
    assert await world.offenders() == {}


async def test_an_offer_of_a_parked_item_is_a_command_that_works(world: World, purchase: dict[str, Any]) -> None:
    world.send(
        "trainers.changed",
        a_trainer("trn_far", latitude=13.2),
        a_trainer(
            workingHours=[{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": "17:00", "to": "20:00"}]
        ),
    )
    await world.settle()
    (row,) = await world.rows("SELECT facts FROM parked")
    offers = row["facts"]["offers"]
    assert [offer["command"].get("trainerId") for offer in offers] == ["trn_far", "trn_1", "trn_1"]

    answer = await repaired(world, a_command(**offers[1]["command"]))

    assert answer.outcome == "applied"
    assert await world.count("sessions") == 10
    assert await world.offenders() == {}


async def test_reschedule_moves_the_rest_and_keeps_its_history(world: World, purchase: dict[str, Any]) -> None:
    world.send("trainers.changed", a_trainer())
    await world.settle()
    before = await world.rows("SELECT number, starts_at, trainer_id FROM sessions ORDER BY number")

    answer = await repaired(
        world,
        a_command(
            "rescheduleSessions",
            allocationId=await allocation_id(world),
            timeSlot="18:00-19:00",
            date=soon(9).isoformat(),
        ),
    )

    assert answer.outcome == "applied", answer
    after = await world.rows("SELECT number, starts_at, version FROM sessions ORDER BY number")
    assert len(after) == 10
    assert {row["version"] for row in after} == {2}
    assert all(a["starts_at"] > b["starts_at"] for a, b in zip(after, before, strict=True))
    history = await world.rows("SELECT number, starts_at, trainer_id FROM session_history ORDER BY number")
    assert history == before
    assert await world.offenders() == {}


async def test_a_dry_run_writes_nothing_and_shows_what_the_apply_then_writes(
    world: World, purchase: dict[str, Any]
) -> None:
    world.send("trainers.changed", a_trainer("trn_far", latitude=13.2))
    await world.settle()
    command = {"enrollmentId": await enrollment_id(world), "trainerId": "trn_far", "force": ["distance"]}

    dry = await repaired(world, a_command("assignTrainer", dryRun=True, **command))
    nothing = (await world.count("allocations"), await repairs_of(world, dry.command_id))
    applied = await repaired(world, a_command("assignTrainer", expectedDigest=dry.digest, **command))
    stale = await repaired(
        world,
        a_command(
            "rescheduleSessions", allocationId=await allocation_id(world), timeSlot="18:00", expectedDigest=dry.digest
        ),
    )

    assert (dry.outcome, nothing) == ("dryRun", (0, 0))
    assert applied.effects == dry.effects
    assert (stale.outcome, stale.refusal and stale.refusal.code) == ("refused", "world_changed")
    assert {row["version"] for row in await world.rows("SELECT version FROM sessions")} == {1}


async def test_the_same_command_twice_is_answered_as_the_first_time(world: World, purchase: dict[str, Any]) -> None:
    world.send("trainers.changed", a_trainer("trn_far", latitude=13.2))
    await world.settle()
    command = a_command(
        "assignTrainer", enrollmentId=await enrollment_id(world), trainerId="trn_far", force=["distance"]
    )

    first = await repaired(world, command)
    second = await repaired(world, command)

    assert second == first
    assert await repairs_of(world, command["commandId"]) == 1


async def test_rules_set_aside_for_one_trainer_are_not_set_aside_for_the_next(
    world: World, purchase: dict[str, Any]
) -> None:
    world.send("trainers.changed", a_trainer("trn_far", latitude=13.2))
    await world.settle()
    forced = a_command(
        "assignTrainer", enrollmentId=await enrollment_id(world), trainerId="trn_far", force=["distance"]
    )
    await repaired(world, forced)
    (before,) = await world.rows("SELECT metadata FROM allocations")
    world.send("trainers.changed", a_trainer("trn_near"))
    await world.settle()

    answer = await repaired(
        world,
        a_command("rescheduleSessions", allocationId=await allocation_id(world), trainerId="trn_near"),
    )

    assert before["metadata"]["repaired"]["force"] == ["distance"]
    assert answer.outcome == "applied"
    (after,) = await world.rows("SELECT trainer_id, metadata FROM allocations")
    assert (after["trainer_id"], "force" in after["metadata"].get("repaired", {})) == ("trn_near", False)


async def test_rules_set_aside_for_a_trainer_stay_so_while_his_sessions_move(
    world: World, purchase: dict[str, Any]
) -> None:
    world.send("trainers.changed", a_trainer("trn_far", latitude=13.2))
    await world.settle()
    await repaired(
        world,
        a_command("assignTrainer", enrollmentId=await enrollment_id(world), trainerId="trn_far", force=["distance"]),
    )

    answer = await repaired(
        world, a_command("rescheduleSessions", allocationId=await allocation_id(world), timeSlot="18:00")
    )

    assert answer.outcome == "applied"
    (after,) = await world.rows("SELECT trainer_id, metadata FROM allocations")
    assert (after["trainer_id"], after["metadata"]["repaired"]["force"]) == ("trn_far", ["distance"])
