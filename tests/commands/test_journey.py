"""`app.py journey`: one purchase across all actors, by any id."""

from typing import Any

import pytest
from sqlalchemy import text

from storage.engine import transaction
from tests.builders import a_credit, a_payment, a_student, a_trainer
from tests.commands.calling import Caller
from tests.world import World

# What only repair and refund write.
_LATER = (
    """
    INSERT INTO refunds (refund_id, payment_id, refunded_at, payload, fingerprint)
    VALUES ('ref_1', :payment_id, now(), '{}', '')
    """,
    """
    INSERT INTO repairs (command_id, value_hash, accepted, command, requested_by, reason, payment_id, request, outcome,
                         refusal_code, answer, events, requested_at, completed_at)
    VALUES ('cmd_1', '', true, 'rescheduleSessions', 'asha@example.org', 'ill', :payment_id, '{}', 'refused', 'taken',
            '{"refusal": {"message": "That time is taken."}}', '[]', now(), now())
    """,
    """
    INSERT INTO former_sessions (allocation_no, trainer_no, starts_at, ends_at, number, version, cancelled)
    SELECT allocation_no, trainer_no, starts_at - interval '1 day', ends_at - interval '1 day', number, version, false
      FROM series_sessions WHERE number IN (9, 10)
    """,
)


async def bought(world: World) -> dict[str, Any]:
    """A purchase with everything: cart, coins, sessions, a refund, a refused repair, two sessions that were moved."""
    payment = a_payment(cartItemId="itm_1", coinsRedeemed=10, timezone="Asia/Kolkata")
    student = payment["studentId"]
    world.send("students.changed", a_student(student))
    world.send("trainers.changed", a_trainer())
    world.send("coins.credited", a_credit(student, coins=50))
    await world.settle()
    world.send("payments.succeeded", payment)
    await world.settle()
    async with transaction(world.engine) as db:
        for statement in _LATER:
            await db.execute(text(statement), {"payment_id": payment["paymentId"]})
    return payment


async def ids_of(world: World) -> dict[str, str]:
    (row,) = await world.rows("SELECT payment_id, enrollment_id, allocation_id FROM purchase_journey")
    return {**{name: str(value) for name, value in row.items()}, "refund": "ref_1", "command": "cmd_1"}


async def test_any_id_of_a_purchase_tells_the_same_story(world: World, call: Caller) -> None:
    await bought(world)

    stories = [(await call("journey", any_id, "--json")).json for any_id in (await ids_of(world)).values()]

    assert all(story == stories[0] for story in stories)
    assert {happening["what"] for happening in stories[0]["timeline"]} == {
        *("paid", "received", "enrolled", "cart cleared", "coins redeemed", "allocated", "scheduled"),
        *("refunded", "repair", "changed"),
    }
    assert [session["number"] for session in stories[0]["sessions"]] == list(range(1, 11))
    assert [session["number"] for session in stories[0]["former"]] == [9, 10]


async def test_the_timeline_stands_in_its_order(world: World, call: Caller) -> None:
    payment = await bought(world)

    timeline = (await call("journey", payment["paymentId"], "--json")).json["timeline"]

    assert [happening["at"] for happening in timeline] == sorted(happening["at"] for happening in timeline)
    assert [happening["what"] for happening in timeline][:3] == ["paid", "received", "enrolled"]


async def test_the_story_is_told_in_words_with_sessions_on_the_wall_clock(world: World, call: Caller) -> None:
    payment = await bought(world)

    shown = await call("journey", payment["paymentId"])

    assert shown.code == 0
    for said in (
        "1499900 INR",
        "of itm_1",
        "rescheduleSessions by asha@example.org (ill): That time is taken.",
        "2 sessions moved or cancelled",
        "Sessions, in the time of Asia/Kolkata",
        "Former times",
        " 16:00",
    ):
        assert said in shown.out


async def test_what_is_parked_is_a_part_of_the_story_and_leads_to_it(world: World, call: Caller) -> None:
    payment = a_payment(courseId="crs_nobody")
    world.send("payments.succeeded", payment)
    await world.settle()
    (parked,) = await world.rows("SELECT id FROM parked")

    story = (await call("journey", str(parked["id"]), "--json")).json
    async with transaction(world.engine) as db:
        await db.execute(text("UPDATE parked SET status = 'dismissed', closed_at = now(), closed_by = 'asha'"))
    shown = await call("journey", payment["paymentId"])

    assert story["payment_id"] == payment["paymentId"]
    assert story["timeline"][-1]["what"] == "parked"
    assert story["timeline"][-1]["reason"] == "no_trainer_available"
    assert "dismissed" in shown.out
    assert "by asha" in shown.out


async def test_a_students_id_lists_what_he_has_bought(world: World, call: Caller) -> None:
    payments = [a_payment(studentId="stu_1", courseId="crs_nobody") for _ in range(2)]
    world.send("payments.succeeded", *payments, a_payment())
    await world.settle()

    printed = await call("journey", "stu_1", "--json")
    shown = await call("journey", "stu_1")

    assert {row["payment_id"] for row in printed.json["purchases"]} == {p["paymentId"] for p in payments}
    assert "app.py journey PAYMENT" in shown.out


@pytest.mark.parametrize("options", [[], ["--json"]])
async def test_what_nobody_knows_is_told_in_one_sentence(call: Caller, options: list[str]) -> None:
    printed = await call("journey", "pay_nobody", *options)

    assert (printed.code, printed.out) == (1, "")
    assert "No purchase here has the id pay_nobody." in printed.err


async def test_without_a_schema_the_command_that_mends_it_is_named(call: Caller) -> None:
    server, _, _ = call.addresses.database_url.partition("?")
    other = call.addresses.database_url.replace(server, server.rsplit("/", 1)[0] + "/postgres")

    printed = await call("journey", "pay_1", DATABASE_URL=other)

    assert printed.code == 1
    assert "app.py migrate" in printed.err
