"""`app.py parked`: what waits for somebody, by cause, and one item with everything that is known."""

import json
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from storage.engine import transaction
from tests.builders import a_payment, a_trainer
from tests.commands.calling import Caller
from tests.world import World

HOSTILE = b'{"paymentId": "pay_1", "note": "\x1b[2J[red]gone[/red]\xe2\x80\xae"}'

_CHANGE = text("UPDATE parked SET facts = CAST(:facts AS jsonb) WHERE id = :id")
_DISMISS = text("UPDATE parked SET status = 'dismissed', closed_at = now(), closed_by = 'asha' WHERE id = :id")
_REPAIR = text("""
    INSERT INTO repairs (command_id, value_hash, accepted, command, requested_by, reason, parked_id, request, outcome,
                         refusal_code, answer, events, requested_at, completed_at)
    VALUES (:id, '', true, 'retry', 'asha@example.org', 'said by phone', :parked_id, '{}', 'refused', 'still_so',
            '{"refusal": {"message": "There is still nobody."}}', '[]', now(), now())
""")


async def troubled(world: World) -> list[dict[str, Any]]:
    """Three payments without a trainer for their courses, one without a count, and a record that nobody can read."""
    payments = [
        a_payment(courseId="crs_chess"),
        a_payment(courseId="crs_chess"),
        a_payment(courseId="crs_yoga"),
        a_payment(courseId="crs_yoga", purchaseTier="many"),
    ]
    for payment in payments:
        world.send("payments.succeeded", payment)
        await world.settle()
    world.send("payments.succeeded", HOSTILE, key=b"\xff\x1b")
    await world.settle()
    return payments


async def rows(world: World) -> list[dict[str, Any]]:
    return await world.rows("SELECT * FROM parked WHERE status = 'open' ORDER BY parked_at, id")


async def test_the_list_shows_what_is_open_the_oldest_first(world: World, call: Caller) -> None:
    payments = await troubled(world)

    printed = await call("parked", "--json")
    shown = await call("parked")

    assert [row["id"] for row in printed.json] == [str(row["id"]) for row in await rows(world)]
    first = printed.json[0]
    assert (first["reason"], first["course_id"], first["payment_id"], first["waits_for"]) == (
        "no_trainer_available",
        "crs_chess",
        payments[0]["paymentId"],
        "trainer",
    )
    assert shown.code == 0
    assert "a trainer who fits" in shown.out
    assert all(str(row["id"]) in shown.out for row in await rows(world))


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--reason", "no_trainer_available"], 3),
        (["--reason", "no_trainer_available", "--course", "crs_chess"], 2),
        (["--actor", "enrollment"], 1),
        (["--waits-for", "trainer", "--course", "crs_yoga"], 1),
        (["--waits-for", "nothing"], 2),
        (["--limit", "2"], 2),
        (["--status", "dismissed"], 1),
        (["--status", "resolved"], 0),
    ],
)
async def test_the_list_is_narrowed_by_what_is_asked_for(
    world: World, call: Caller, options: list[str], count: int
) -> None:
    await troubled(world)
    world.send("payments.succeeded", a_payment(courseId="crs_go"))
    await world.settle()
    await execute(world, _DISMISS, id=(await rows(world))[-1]["id"])

    printed = await call("parked", *options, "--json")

    assert len(printed.json) == count


async def test_what_was_left_out_of_the_list_is_counted(world: World, call: Caller) -> None:
    await troubled(world)

    shown = await call("parked", "--limit", "2")

    assert "3 items more" in shown.out


async def test_grouped_by_cause_the_most_frequent_comes_first(world: World, call: Caller) -> None:
    await troubled(world)

    printed = await call("parked", "--group", "--json")
    shown = await call("parked", "--group")

    causes = [(row["reason"], row["course_id"], row["actor"], row["items"]) for row in printed.json]
    assert causes[0] == ("no_trainer_available", "crs_chess", "allocation", 2)
    assert sorted(causes[1:], key=str) == [
        ("no_trainer_available", "crs_yoga", "allocation", 1),
        ("session_count_invalid", "crs_yoga", "allocation", 1),
        ("unreadable", None, "enrollment", 1),
    ]
    assert printed.json[0]["oldest"].endswith("Z")
    assert "No trainer of this course is free" in shown.out


@pytest.mark.parametrize("name", ["id", "payment_id", "enrollment_id", "student_id"])
async def test_one_item_is_shown_by_any_of_its_ids(world: World, call: Caller, name: str) -> None:
    await troubled(world)
    row = (await rows(world))[0]

    printed = await call("parked", str(row[name]), "--json")

    assert [shown["id"] for shown in printed.json] == [str(row["id"])]
    assert json.loads(printed.json[0]["payload"])["paymentId"] == row["payment_id"]
    assert printed.json[0]["facts"] == row["facts"]


async def test_an_allocations_id_shows_whatever_is_parked_of_its_purchase(world: World, call: Caller) -> None:
    payment = a_payment(coinsRedeemed=10)
    world.send("trainers.changed", a_trainer())
    await world.settle()
    world.send("payments.succeeded", payment)
    await world.settle()
    (allocation,) = await world.rows("SELECT allocation_id FROM allocations")

    printed = await call("parked", str(allocation["allocation_id"]), "--json")
    shown = await call("parked", str(allocation["allocation_id"]))

    assert {row["reason"] for row in printed.json} == {"insufficient_coins", "student_profile_missing"}
    assert "app.py parked ID" in shown.out


async def test_an_item_tells_what_is_wrong_what_would_mend_it_and_what_was_tried(world: World, call: Caller) -> None:
    await troubled(world)
    row = (await rows(world))[0]
    command = {"command": "assignTrainer", "enrollmentId": str(row["enrollment_id"]), "trainerId": "trn_9"}
    offers = [{"says": "trn_9, 14.0 km away", "command": {**command, "force": ["distance"]}}]
    await execute(world, _CHANGE, id=row["id"], facts=json.dumps({"candidates": 3, "offers": offers}))
    await execute(world, _REPAIR, id="cmd_1", parked_id=row["id"])

    shown = await call("parked", str(row["id"]))

    assert shown.code == 0
    for said in (
        "no_trainer_available: No trainer of this course is free",
        "Take one of the offers",
        "candidates: 3",
        f"app.py repair assign-trainer {row['enrollment_id']} --trainer-id trn_9 --force distance --reason 'trn_9, 14",
        "There is still nobody.",
        "asha@example.org",
    ):
        assert said in shown.out


async def test_a_hostile_payload_cannot_steer_the_terminal(world: World, call: Caller) -> None:
    await troubled(world)
    row = (await rows(world))[-1]

    shown = await call("parked", str(row["id"]))
    printed = await call("parked", str(row["id"]), "--json")

    assert r"\x1b[2J[red]gone[/red]\u202e" in shown.out
    assert all(character.isprintable() or character == "\n" for character in shown.out + printed.out)
    assert printed.json[0]["payload"] == HOSTILE.decode()
    assert printed.json[0]["key"] == {"base64": "/xs="}


@pytest.mark.parametrize("unknown", [str(UUID(int=1)), "pay_nobody", "[red]\x1b"])
async def test_an_id_that_nobody_has_is_told_in_one_sentence(call: Caller, unknown: str) -> None:
    printed = await call("parked", unknown)

    assert printed.code == 1
    assert "Nothing is parked by the id" in printed.err
    assert "\x1b" not in printed.err
    assert "Traceback" not in printed.err


async def test_a_status_that_there_is_not_is_refused(call: Caller) -> None:
    printed = await call("parked", "--status", "done")

    assert printed.code == 2
    assert "open, dismissed or resolved" in printed.err


async def execute(world: World, statement: Any, **binds: UUID | str) -> None:
    async with transaction(world.engine) as db:
        await db.execute(statement, binds)
