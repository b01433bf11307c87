"""Every invariant finds its offender, and is silent where nothing is wrong."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.engine import transaction
from storage.invariants import INVARIANTS, offenders
from tests.builders import a_cart_change, a_credit, a_payment, a_refund, a_student, a_trainer, soon
from tests.world import World

# How to make an offender of each invariant by hand, where a sound purchase pay_1 stands beside another.
OFFENCES = {
    "paid_not_enrolled": """
        INSERT INTO purchases (payment_id, student_id, course_id, amount_minor, currency, succeeded_at, payload,
                               fingerprint, state)
        VALUES ('pay_lost', 'stu_1', 'crs_1', 1, 'INR', now(), '{}', '', 'enrolled')""",
    "enrolled_not_allocated": """
        DELETE FROM allocations WHERE payment_id = 'pay_1'""",
    "approved_not_scheduled": """
        UPDATE allocations SET scheduled_at = NULL WHERE payment_id = 'pay_1'""",
    "cart_not_cleared": """
        DELETE FROM cart_clearances WHERE payment_id = 'pay_1'""",
    "coins_not_redeemed": """
        DELETE FROM coin_ledger WHERE kind = 'redemption' AND payment_id = 'pay_1'""",
    "sessions_missing": """
        DELETE FROM series_sessions s USING allocations a
         WHERE a.allocation_no = s.allocation_no AND a.payment_id = 'pay_1' AND s.number = 3""",
    "sessions_out_of_order": """
        UPDATE series_sessions s SET starts_at = starts_at - interval '3 days'
          FROM allocations a
         WHERE a.allocation_no = s.allocation_no AND a.payment_id = 'pay_1' AND s.number = 5""",
    "sessions_orphaned": """
        UPDATE series_sessions s SET trainer_no = 999999
          FROM allocations a WHERE a.allocation_no = s.allocation_no AND a.payment_id = 'pay_1'""",
    "sessions_not_booked": """
        UPDATE bookings b SET active = false
          FROM allocations a WHERE a.allocation_id = b.allocation_id AND a.payment_id = 'pay_1'""",
    "trainer_booked_twice": """
        UPDATE bookings b SET trainer_no = (SELECT max(trainer_no) FROM trainers)""",
    "student_booked_twice": """
        UPDATE bookings b SET student_no = (SELECT max(student_no) FROM students)""",
    "approved_not_booked": """
        DELETE FROM bookings b USING allocations a
         WHERE a.allocation_id = b.allocation_id AND a.payment_id = 'pay_1'""",
    "refunded_not_revoked": """
        UPDATE enrollments SET status = 'active', revoked_at = NULL WHERE payment_id = 'pay_refunded'""",
    "revoked_not_released": """
        UPDATE allocations SET status = 'approved', released_at = NULL, effective_at = NULL
         WHERE payment_id = 'pay_refunded'""",
    "released_not_parked": """
        UPDATE allocations SET status = 'released', released_at = now() - interval '1 hour', effective_at = now()
         WHERE payment_id = 'pay_1'""",
    "released_still_booked": """
        UPDATE allocations SET effective_at = effective_at - interval '2 days' WHERE payment_id = 'pay_refunded'""",
    "released_not_cancelled": """
        UPDATE series_sessions s SET cancelled = false
          FROM allocations a
         WHERE a.allocation_no = s.allocation_no AND a.payment_id = 'pay_refunded' AND s.number = 10""",
    "coins_not_returned": """
        DELETE FROM coin_ledger WHERE kind = 'return' AND payment_id = 'pay_refunded'""",
    "coins_out_of_balance": """
        UPDATE students SET coins = coins + 1 WHERE student_id = 'stu_1'""",
    "state_wrong": """
        UPDATE purchases SET state = 'allocated' WHERE payment_id = 'pay_1'""",
}

# Further ways to break those that say several things: the name, and what is done.
MORE = (
    (
        "refunded_not_revoked",
        "UPDATE enrollments SET status = 'revoked', revoked_at = now() WHERE payment_id = 'pay_1'",
    ),
    (
        "revoked_not_released",
        "UPDATE allocations SET effective_at = effective_at + interval '2 days' WHERE payment_id = 'pay_refunded'",
    ),
    ("coins_not_returned", "UPDATE coin_ledger SET coins = 4 WHERE kind = 'return'"),
    ("coins_not_returned", "UPDATE coin_ledger SET coins = 6 WHERE kind = 'return'"),
    ("coins_not_returned", "UPDATE refunds SET coins_returned = 4"),
    ("sessions_missing", "DELETE FROM series_sessions WHERE cancelled AND number = 10"),
    ("sessions_not_booked", "UPDATE bookings SET active = false WHERE session_count = 3"),
    ("paid_not_enrolled", "DELETE FROM enrollments WHERE payment_id = 'pay_refunded'"),
    ("state_wrong", "UPDATE purchases SET refunded_at = refunded_at - interval '1 second' WHERE state = 'refunded'"),
    ("state_wrong", "DELETE FROM refunds"),
    ("state_wrong", "UPDATE refunds SET payment_id = 'pay_1'"),
)

_LIFT = (
    "ALTER TABLE bookings DROP CONSTRAINT bookings_trainer_once, DROP CONSTRAINT bookings_student_once",
    "SET LOCAL session_replication_role = replica",
)


async def two_purchases(world: World) -> None:
    """Two purchases that went all the way, beside a parked one and one that was refunded."""
    payments = [
        a_payment(paymentId=f"pay_{n}", studentId=f"stu_{n}", coinsRedeemed=5, cartItemId=f"itm_{n}") for n in (1, 2)
    ]
    refunded = a_payment(paymentId="pay_refunded", studentId="stu_refunded", courseId="crs_chess", coinsRedeemed=5)
    world.send("students.changed", *(a_student(p["studentId"]) for p in (*payments, refunded)))
    world.send("trainers.changed", *(a_trainer(f"trn_{n}") for n in range(2)))
    world.send("trainers.changed", a_trainer("trn_chess", courses=["crs_chess"]))
    world.send("carts.changed", *(a_cart_change(f"stu_{n}", f"itm_{n}") for n in (1, 2)))
    world.send("coins.credited", *(a_credit(p["studentId"], 10) for p in (*payments, refunded)))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", *payments, refunded, a_payment(paymentId="pay_parked", purchaseTier="many"))
    await world.settle()
    # After the third session of it.
    world.send("payments.refunded", a_refund(refunded, refundedAt=f"{soon(10)}T00:00:00Z"))
    await world.settle()


def test_every_invariant_has_an_offence_here() -> None:
    assert [invariant.name for invariant in INVARIANTS] == list(OFFENCES)
    assert all(invariant.meaning for invariant in INVARIANTS)


async def test_all_are_silent_where_nothing_is_wrong(world: World, engine: AsyncEngine) -> None:
    await two_purchases(world)

    async with transaction(engine) as db:
        found = await offenders(db, datetime.now(UTC))

    assert found == {}
    assert await world.rows("SELECT status, count(*) AS n FROM sessions GROUP BY 1 ORDER BY 1") == [
        {"status": "cancelled", "n": 7},
        {"status": "scheduled", "n": 23},
    ]


@pytest.mark.parametrize("name", OFFENCES)
async def test_an_invariant_finds_its_offender(world: World, engine: AsyncEngine, name: str) -> None:
    await two_purchases(world)

    async with transaction(engine) as db:
        for statement in (*_LIFT, OFFENCES[name]):
            await db.execute(text(statement))
        found = await offenders(db, datetime.now(UTC))
        await db.rollback()

    expected = 3 if name.endswith("booked_twice") else 1
    assert len(found[name]) == expected, found


@pytest.mark.parametrize(("name", "statement"), MORE)
async def test_an_invariant_finds_every_kind_of_offender(
    world: World, engine: AsyncEngine, name: str, statement: str
) -> None:
    await two_purchases(world)

    async with transaction(engine) as db:
        for each in (*_LIFT, statement):
            await db.execute(text(each))
        found = await offenders(db, datetime.now(UTC))
        await db.rollback()

    assert found[name]


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        ([], {"revoked_not_released", "coins_not_returned"}),
        (["coins"], {"revoked_not_released"}),
        (["allocation"], {"released_not_cancelled", "coins_not_returned"}),
        (["coins", "allocation", "sessions"], set()),
    ],
)
async def test_a_refund_that_waits_in_line_is_no_offender_and_one_that_is_stuck_is(
    world: World, engine: AsyncEngine, read: list[str], expected: set[str]
) -> None:
    before = await _refunded(world)
    await world.settle(names=["enrollment", *read])

    async with transaction(engine) as db:
        earlier = await offenders(db, before)
        later = await offenders(db, datetime.now(UTC) + timedelta(seconds=1))

    assert earlier == {}
    assert set(later) == expected


@pytest.mark.parametrize("status", ["open", "dismissed"])
@pytest.mark.parametrize(
    ("actor", "subject"), [("allocation", "enrollment_id"), ("coins", "enrollment_id"), ("sessions", "allocation_id")]
)
async def test_a_step_of_a_refund_that_is_parked_is_no_offender(
    world: World, engine: AsyncEngine, actor: str, subject: str, status: str
) -> None:
    await _refunded(world)
    await world.settle(names=["enrollment"] + [name for name in ("coins", "allocation", "sessions") if name != actor])
    async with transaction(engine) as db:
        before = set(await offenders(db, datetime.now(UTC) + timedelta(seconds=1)))
        await db.execute(
            text(f"""
                INSERT INTO parked (id, kind, actor, subject, reason, topic, partition, "offset", headers, facts)
                SELECT gen_random_uuid(), 'step', :actor, {subject}, 'unexpected_error', 't', 0, 0, '[]', '{{}}'
                  FROM allocations"""),  # noqa: S608
            {"actor": actor},
        )
    await _close_as(engine, status)

    async with transaction(engine) as db:
        after = set(await offenders(db, datetime.now(UTC) + timedelta(seconds=1)))

    excused = {
        "allocation": "revoked_not_released",
        "coins": "coins_not_returned",
        "sessions": "released_not_cancelled",
    }
    assert before - after == {excused[actor]}


async def _refunded(world: World) -> datetime:
    """A purchase that went all the way, and its refund, which nobody has read; and when it was not sent yet."""
    payment = a_payment(coinsRedeemed=5)
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("trainers.changed", a_trainer())
    world.send("coins.credited", a_credit(payment["studentId"], 10))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", payment)
    await world.settle()
    before = datetime.now(UTC)
    world.send("payments.refunded", a_refund(payment))
    return before


async def test_a_purchase_that_waits_in_line_is_no_offender(world: World, engine: AsyncEngine) -> None:
    world.send("payments.succeeded", a_payment(coinsRedeemed=5))
    await world.settle(names=["enrollment"])

    async with transaction(engine) as db:
        earlier = await offenders(db, datetime.now(UTC) - timedelta(minutes=1))
        later = await offenders(db, datetime.now(UTC) + timedelta(seconds=1))

    assert earlier == {}
    assert set(later) == {"enrolled_not_allocated", "cart_not_cleared", "coins_not_redeemed"}


@pytest.mark.parametrize("status", ["open", "dismissed"])
async def test_what_is_parked_or_dismissed_is_no_offender(world: World, engine: AsyncEngine, status: str) -> None:
    world.send("payments.succeeded", a_payment(purchaseTier="many", coinsRedeemed=5))
    await world.settle()
    await _close_as(engine, status)

    async with transaction(engine) as db:
        found = await offenders(db, datetime.now(UTC) + timedelta(seconds=1))

    assert found == {}


async def test_what_was_resolved_and_is_not_done_is_an_offender_again(world: World, engine: AsyncEngine) -> None:
    world.send("payments.succeeded", a_payment(purchaseTier="many"))
    await world.settle()
    await _close_as(engine, "resolved")

    async with transaction(engine) as db:
        found = await offenders(db, datetime.now(UTC) + timedelta(seconds=1))

    assert set(found) == {"enrolled_not_allocated", "state_wrong"}


async def _close_as(engine: AsyncEngine, status: str) -> None:
    if status == "open":
        return
    async with transaction(engine) as db:
        await db.execute(
            text("UPDATE parked SET status = :status, closed_at = now() WHERE status = 'open'"), {"status": status}
        )
