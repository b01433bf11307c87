"""What a dry run shows is what the apply then writes, and a dry run writes nothing at all.

The situations and the commands are generated; the oracle reads every table whole, before and after.
"""

import json
import random
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import asyncpg
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from contracts.base import derived_id
from contracts.repairs import RepairCompleted
from storage.engine import transaction
from tests.builders import a_credit, a_payment, a_refund, a_student, a_trainer, an_absence, soon
from tests.repairs.asking import a_command, answer_to, repaired
from tests.world import World

Rows = dict[str, dict[str, dict[str, Any]]]

# What a row is known by, and what is no business of an admin's: numbers of our own, clocks, bytes, transactions.
KEYS = {
    "purchases": ("payment_id",),
    "enrollments": ("enrollment_id",),
    "allocations": ("allocation_id",),
    "bookings": ("booking_no",),
    "series_sessions": ("allocation_no", "number"),
    "former_sessions": ("allocation_no", "number", "version"),
    "coin_ledger": ("kind", "reference"),
    "cart_clearances": ("payment_id",),
    "students": ("student_id",),
    "parked": ("id",),
}
TOLD_AS = {"series_sessions": "sessions", "former_sessions": "session_history"}
CLOCKS = {
    "approved_at", "released_at", "effective_at", "cancelled_at", "scheduled_at", "enrolled_at", "revoked_at",
    "received_at", "published_at", "booked_at", "cleared_at", "closed_at", "closed_by", "replaced_at", "seen", "freed",
    "ends_at", "booked", "headers", "payload",
}  # fmt: skip


@dataclass(frozen=True)
class Situation:
    """How far one purchase has come, what it lacks, and what an admin asks for."""

    tier: Any
    slot: str
    place: str
    trainer: str
    coins: int
    before: tuple[str, ...]
    asked: str
    seed: int


def a_situation(seed: int) -> Situation:
    """Drawn evenly: a strategy for each field would prefer the first of everything."""
    draw = random.Random(seed)
    what = ("refund", "absence", "leave", "move", "dismiss", "profile", "coins", "hire", "hire")
    asked = ("retry", "resume", "createSessions", "assignTrainer", "rescheduleSessions", "dismiss", "restore")
    return Situation(
        tier=draw.choice([1, 5, 10, 20, "many"]),
        slot=draw.choice(["16:00", "17:30-18:15", "6 pm", "whenever"]),
        place=draw.choice(["home", "home", "home", "nowhere", "unknown"]),
        trainer=draw.choice(["near", "near", "far", "none"]),
        coins=draw.choice([0, 0, 50]),
        before=tuple(draw.choices(what, k=draw.randint(0, 3))),
        asked=draw.choice([*asked, *["what fits"] * len(asked)]),
        seed=draw.randrange(2**32),
    )


situations = st.integers(0, 2**64).map(a_situation)


@given(situations)
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_the_rows_of_a_dry_run_are_those_of_the_apply(world: World, situation: Situation) -> None:
    payment = await _arrange(world, situation)
    command = await _command(world, situation, payment)
    before = await _whole(world)

    dry = await repaired_alone(world, {**command, "commandId": f"dry_{payment['paymentId']}", "dryRun": True})
    after_dry = await _whole(world)
    applied = await repaired_alone(world, {**command, "expectedDigest": dry.digest})
    after = await _whole(world)

    assert after_dry == before
    event(f"{situation.asked}: {applied.outcome} {applied.refusal.code if applied.refusal else ''}")
    assert applied.effects == dry.effects
    assert applied.digest == dry.digest
    assert (applied.outcome == "refused") == (dry.outcome == "refused")
    assert _told(applied) == _counted(before, after, attempts=applied.outcome == "refused" and not applied.effects)
    await world.settle()
    assert await world.offenders() == {}


async def repaired_alone(world: World, command: dict[str, Any]) -> RepairCompleted:
    """Let nobody work but repair, and on nothing else: what follows from its events is not its effect."""
    world.send("repairs.requested", command)
    await world.turn("repair", batch=1)
    return answer_to(world, command["commandId"])


async def _arrange(world: World, situation: Situation) -> dict[str, Any]:
    """A purchase of its own student and course, as far as it comes, and what happened to it afterwards."""
    payment = a_payment(purchaseTier=situation.tier, timeSlot=situation.slot, coinsRedeemed=situation.coins or None)
    name, student = payment["paymentId"], payment["studentId"]
    payment["metadata"]["courseId"] = f"crs_{name}"
    far = {"far": {"latitude": 13.3}, "near": {}}
    if situation.trainer in far:
        for number in range(2):
            trainer = a_trainer(f"trn_{name}_{number}", courses=[f"crs_{name}"], **far[situation.trainer])
            world.send("trainers.changed", trainer)
    if situation.place == "home":
        world.send("students.changed", a_student(student))
    if situation.place == "nowhere":
        world.send("students.changed", a_student(student, latitude=0, longitude=0))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", payment)
    await world.settle()
    for what in situation.before:
        await _happen(world, what, payment)
    return payment


async def _happen(world: World, what: str, payment: dict[str, Any]) -> None:
    name, student = payment["paymentId"], payment["studentId"]
    if what == "refund":
        world.send("payments.refunded", a_refund(payment))
    if what == "absence":
        away = (datetime.combine(soon(day), datetime.min.time(), UTC) for day in (1, 40))
        world.send("trainers.busy", an_absence(f"trn_{name}_0", *away))
    if what == "leave":
        world.send("trainers.changed", a_trainer(f"trn_{name}_0", courses=[f"crs_{name}"], active=False))
    if what == "hire":  # without a word to anybody, so that nothing heals
        await world.rows(
            """
            INSERT INTO trainers (trainer_id, active, courses, timezone, latitude, longitude, radius_km, working_hours,
                                  changed_at, payload_hash)
            SELECT :id, true, ARRAY[CAST(:course AS text)], 'Asia/Kolkata', 12.98, 77.59, 12,
                   '[{"from": "06:00", "to": "21:00"}]', now(), ''
            ON CONFLICT DO NOTHING RETURNING trainer_id
            """,
            id=f"trn_{name}_2",
            course=f"crs_{name}",
        )
    if what == "profile":
        world.send("students.changed", a_student(student))
    if what == "coins":
        world.send("coins.credited", a_credit(student, 50))
    if what == "move":
        allocation = derived_id("allocation", derived_id("enrollment", name))
        await repaired(world, a_command("rescheduleSessions", allocationId=str(allocation), timeSlot="12:00"))
    if what == "dismiss":
        rows = await world.rows("SELECT id FROM parked WHERE payment_id = :id AND status = 'open' ORDER BY id", id=name)
        for row in rows:
            await repaired(world, a_command("dismiss", parkedId=str(row["id"])))
    await world.settle()


async def _fitting(world: World, payment_id: str) -> dict[str, Any]:
    """What a sensible admin would ask for, by what he sees."""
    allocation = derived_id("allocation", derived_id("enrollment", payment_id))
    enrollment = str(derived_id("enrollment", payment_id))
    rows = await world.rows("SELECT id, actor, status FROM parked WHERE payment_id = :id ORDER BY id", id=payment_id)
    by_actor = {row["actor"]: row for row in rows if row["status"] == "open"}
    dismissed = [row for row in rows if row["status"] == "dismissed"]
    if "allocation" in by_actor:
        trainer = {"trainerId": f"trn_{payment_id}_0", "force": ["distance"]}
        fields = {"sessionCount": 6, "timeSlot": "11:00", "date": soon(5).isoformat(), "daysOfWeek": ["mon", "sat"]}
        return a_command("assignTrainer", enrollmentId=enrollment, **fields, **trainer)
    if "sessions" in by_actor:
        return a_command("createSessions", allocationId=str(allocation), latitude=12.97, longitude=77.59)
    if dismissed:
        return a_command("restore", parkedId=str(dismissed[0]["id"]))
    if by_actor:
        return a_command("retry", parkedId=str(next(iter(by_actor.values()))["id"]))
    return a_command("rescheduleSessions", allocationId=str(allocation), timeSlot="12:30", date=soon(4).isoformat())


async def _command(world: World, situation: Situation, payment: dict[str, Any]) -> dict[str, Any]:
    if situation.asked == "what fits":
        return await _fitting(world, payment["paymentId"])
    draw = random.Random(situation.seed)
    name = payment["paymentId"]
    enrollment = derived_id("enrollment", name)
    allocation = derived_id("allocation", enrollment)
    rows = await world.rows("SELECT id FROM parked WHERE payment_id = :id ORDER BY id", id=name)
    parked = str(draw.choice(rows)["id"]) if rows else "0b5cc1f2-9d3a-5c1e-8f60-6f7a2f4b9f11"
    count = {"sessionCount": draw.choice([3, 7, "20 sessions", "none"])} if draw.random() < 0.6 else {}
    schedule = {
        name: value
        for name, value in {
            "timeSlot": draw.choice(["10:00", "12:00", "18:30-19:15", "4 pm", "never"]),
            "date": draw.choice([soon(day).isoformat() for day in (3, 9, 30, 60, -3)]),
            "daysOfWeek": draw.choice([["mon"], ["tue", "fri"]]),
        }.items()
        if draw.random() < 0.4
    }
    place = {"latitude": 12.97, "longitude": 77.59} if draw.random() < 0.5 else {}
    trainer: dict[str, Any] = {"trainerId": f"trn_{name}_{draw.randint(0, 2)}"} if draw.random() < 0.6 else {}
    if trainer and draw.random() < 0.6:
        trainer["force"] = ["distance", "hours"]
    fields: dict[str, dict[str, Any]] = {
        "retry": {"parkedId": parked},
        "dismiss": {"parkedId": parked},
        "restore": {"parkedId": parked},
        "resume": {"paymentId": name, "step": draw.choice(["enrollment", "cart", "coins", "allocation", "sessions"])},
        "createSessions": {"allocationId": str(allocation), **count, **schedule, **place},
        "assignTrainer": {"enrollmentId": str(enrollment), **count, **schedule, **trainer},
        "rescheduleSessions": {
            "allocationId": str(allocation), **schedule,
            **{key: value for key, value in trainer.items() if key == "trainerId"},
        },
    }  # fmt: skip
    return a_command(situation.asked, **fields[situation.asked])


async def _whole(world: World) -> Rows:
    """Every row of every table that a command may write, by its key, every column."""
    found: Rows = {}
    async with transaction(world.engine) as db:
        for table, key in KEYS.items():
            rows = (await db.execute(text(f"SELECT * FROM {table}"))).mappings().all()  # noqa: S608
            found[table] = {str([row[name] for name in key]): {n: _plain(v) for n, v in row.items()} for row in rows}
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, datetime | date | UUID | bytes | asyncpg.Range):
        return str(value)
    return value


def _counted(before: Rows, after: Rows, *, attempts: bool) -> dict[tuple[str, str], int]:
    """How many rows differ in a business column, by table and operation; `attempts`: but for a try that is counted."""
    counts: dict[tuple[str, str], int] = {}
    for table in KEYS:
        old, new = before[table], after[table]
        changed = sum(
            1 for key in old.keys() & new.keys() if _business(old[key], attempts) != _business(new[key], attempts)
        )
        for operation, count in (
            ("insert", len(new.keys() - old.keys())),
            ("delete", len(old.keys() - new.keys())),
            ("update", changed),
        ):
            if count:
                counts[TOLD_AS.get(table, table), operation] = count
    return counts


def _business(row: dict[str, Any], attempts: bool) -> str:  # noqa: FBT001
    left_out = CLOCKS | ({"attempts"} if attempts else set())
    told = {name: value for name, value in row.items() if name not in left_out or name == "starts_at"}
    # Whether there are sessions, and whether they were cancelled, is told; when is not.
    told |= {name: row[name] is not None for name in ("scheduled_at", "cancelled_at") if name in row}
    return json.dumps(told, sort_keys=True, default=str)


def _told(answer: RepairCompleted) -> dict[tuple[str, str], int]:
    assert all(effect.count == len(effect.rows) for effect in answer.effects)
    return {(effect.table, effect.operation): effect.count for effect in answer.effects}


async def test_an_apply_is_refused_when_the_world_has_changed_since_its_dry_run(world: World) -> None:
    payment = a_payment(purchaseTier="many")
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("trainers.changed", a_trainer("trn_1"), a_trainer("trn_2", latitude=13.05))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", payment)
    await world.settle()
    enrollment = str(derived_id("enrollment", payment["paymentId"]))
    fields = {"enrollmentId": enrollment, "sessionCount": 5}

    dry = await repaired(world, a_command("assignTrainer", dryRun=True, **fields))
    world.send("trainers.changed", a_trainer("trn_1", active=False))
    await world.settle()
    refused = await repaired(world, a_command("assignTrainer", expectedDigest=dry.digest, **fields))
    nothing = await world.count("allocations")
    again = await repaired(world, a_command("assignTrainer", dryRun=True, **fields))
    applied = await repaired(world, a_command("assignTrainer", expectedDigest=again.digest, **fields))

    assert (refused.outcome, refused.refusal and refused.refusal.code) == ("refused", "world_changed")
    assert nothing == 0
    assert (applied.outcome, applied.effects) == ("applied", again.effects)
    assert await world.count("sessions") == 5


async def test_what_a_dry_run_of_an_edited_record_shows_is_what_the_live_record_then_writes(world: World) -> None:
    payment = a_payment()
    world.send("payments.succeeded", b"garbage", key=b"pay_x")
    await world.settle()
    (row,) = await world.rows("SELECT id FROM parked")
    fields = {"parkedId": str(row["id"]), "payload": payment}

    dry = await repaired_alone(world, a_command("editAndRetry", dryRun=True, **fields))
    before = await _whole(world)
    applied = await repaired_alone(world, a_command("editAndRetry", expectedDigest=dry.digest, **fields))
    await world.settle(names=["enrollment"])

    assert (dry.outcome, applied.outcome) == ("dryRun", "republished")
    assert applied.effects == dry.effects
    assert _told(applied) == _counted(before, await _whole(world), attempts=False)
    assert await world.parked() == []
