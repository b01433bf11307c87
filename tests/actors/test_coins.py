"""Coins: a ledger that redeems once a payment, never below zero, and holds back nothing else."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.coins import CoinsRedeemed
from contracts.parking import FulfilmentParked
from tests.builders import a_credit, a_payment, a_student, a_trainer
from tests.world import World

MOST = 2**63 - 1


async def test_a_payment_redeems_once_however_often_it_comes(world: World) -> None:
    payment, free = a_payment(studentId="stu_a", coinsRedeemed=120), a_payment(studentId="stu_a", coinsRedeemed=0)
    nothing = a_payment(studentId="stu_a")
    world.send("coins.credited", a_credit("stu_a", 500))
    await world.settle()

    world.send("payments.succeeded", payment, free, payment, nothing)
    await world.settle()
    world.send("payments.succeeded", payment)
    await world.settle(batch=1)
    world.rewind()
    await world.settle()

    assert await _balances(world) == {"stu_a": 380}
    assert await world.rows("SELECT kind, reference, coins FROM coin_ledger WHERE kind <> 'credit'") == [
        {"kind": "redemption", "reference": payment["paymentId"], "coins": -120}
    ]
    (told,) = world.published(CoinsRedeemed)
    assert (told.payment_id, told.student_id, told.coins) == (payment["paymentId"], "stu_a", 120)
    assert await _ledger_differs(world) == []


async def test_payments_of_one_student_redeem_in_the_order_of_their_success(world: World) -> None:
    for number, order in enumerate(itertools.permutations(range(3))):
        student = f"stu_{number}"
        world.send("coins.credited", a_credit(student, 500))
        # The ids run against the times, so that no other order looks like that of success.
        payments = [_paid(student, coins, minutes=m) for coins, m in ((100, 3), (200, 2), (400, 1))]
        world.send("payments.succeeded", *(payments[index] for index in order))
    await world.settle(names=["directory"])

    await world.settle()

    assert await _balances(world) == {f"stu_{number}": 0 for number in range(6)}
    redeemed = await world.rows("SELECT coins FROM coin_ledger WHERE kind = 'redemption'")
    assert sorted(row["coins"] for row in redeemed) == [-400] * 6 + [-100] * 6
    assert (await _parked(world)).count("insufficient_coins") == 6
    assert await _ledger_differs(world) == []


async def test_the_balance_is_never_below_zero_also_for_redemptions_apart(world: World) -> None:
    exact, one_more = _paid("stu_a", 300, minutes=1), _paid("stu_a", 1, minutes=2)
    unknown, huge = _paid("stu_ghost", 1, minutes=1), _paid("stu_b", MOST, minutes=1)
    world.send("coins.credited", a_credit("stu_a", 300), a_credit("stu_b", 10))
    await world.settle()

    world.send("payments.succeeded", exact, one_more, unknown, huge)
    await world.settle(batch=1)

    balances = await _balances(world)
    assert (balances["stu_a"], balances["stu_b"], balances["stu_ghost"]) == (0, 10, 0)
    rows = await world.rows("SELECT payment_id, actor, waits_for FROM parked WHERE reason = 'insufficient_coins'")
    assert {row["payment_id"] for row in rows} == {p["paymentId"] for p in (one_more, unknown, huge)}
    assert {(row["actor"], row["waits_for"]) for row in rows} == {("coins", "coins")}


async def test_too_few_coins_hold_back_nothing_else_and_a_replay_closes_the_row_when_coins_came(world: World) -> None:
    payment = a_payment(coinsRedeemed=120)
    student = payment["studentId"]
    world.send("students.changed", a_student(student))
    world.send("trainers.changed", a_trainer())
    world.send("coins.credited", a_credit(student, 119))
    await world.settle(names=["directory"])

    world.send("payments.succeeded", payment)
    await world.settle()
    world.rewind()
    await world.settle()

    assert await _parked(world) == ["insufficient_coins"]
    journey = await world.journey(payment["paymentId"])
    assert (journey["state"], journey["sessions"], journey["parked_reason"]) == ("scheduled", 10, None)
    assert await _balances(world) == {student: 119}
    (told,) = world.published(FulfilmentParked)
    assert (told.reason, told.payment_id, told.student_id) == ("insufficient_coins", payment["paymentId"], student)

    world.send("coins.credited", a_credit(student, 1))
    await world.settle()
    world.rewind()
    await world.settle()

    assert await world.rows("SELECT status, reason FROM parked") == [
        {"status": "resolved", "reason": "insufficient_coins"}
    ]
    assert await _balances(world) == {student: 0}
    assert [event.coins for event in world.published(CoinsRedeemed)] == [120]
    assert await world.offenders() == {}


async def test_one_students_lack_of_coins_is_no_other_students(world: World) -> None:
    poor, rich = _paid("stu_poor", 50, minutes=1), _paid("stu_rich", 50, minutes=2)
    world.send("coins.credited", a_credit("stu_rich", 50))
    await world.settle()

    world.send("payments.succeeded", poor, rich)
    await world.settle()

    assert [event.payment_id for event in world.published(CoinsRedeemed)] == [rich["paymentId"]]


async def test_a_credit_counts_once_however_often_and_however_it_is_written(world: World) -> None:
    at = datetime(2026, 11, 22, 7, tzinfo=UTC)
    credit = a_credit("stu_a", 500, creditedAt="2026-11-22T07:00:00Z")
    same = [
        credit,
        credit | {"creditedAt": "2026-11-22T12:30:00+05:30"},
        credit | {"creditedAt": at.isoformat()},
        credit | {"creditedAt": "2026-11-22T07:00:00.000Z", "note": "sent again"},
    ]

    world.send("coins.credited", *same)
    await world.settle()
    world.send("coins.credited", *reversed(same))
    await world.settle(batch=1)

    assert await _balances(world) == {"stu_a": 500}
    assert await world.parked() == []


async def test_a_credit_that_contradicts_an_earlier_one_parks_and_counts_for_nothing(world: World) -> None:
    credit, neighbour = a_credit("stu_a", 500), a_credit("stu_a", 3)
    contradictions = [credit | {"coins": 501}, credit | {"studentId": "stu_b"}, credit | {"coins": 1, "note": "less"}]

    world.send("coins.credited", credit, contradictions[0])
    await world.settle()
    world.send("coins.credited", *contradictions, neighbour, contradictions[0])
    await world.settle()
    world.rewind()
    await world.settle(batch=1)

    assert (await _balances(world))["stu_a"] == 503
    assert (await _balances(world)).get("stu_b", 0) == 0
    assert await world.parked() == ["conflicting_duplicate"] * 3
    rows = await world.rows("SELECT kind, topic, actor, status FROM parked")
    assert {tuple(row.values()) for row in rows} == {("record", "coins.credited", "directory", "open")}


async def test_coins_may_come_before_the_profile_and_are_no_profile(world: World) -> None:
    payment = a_payment(coinsRedeemed=5)
    world.send("coins.credited", a_credit(payment["studentId"], 7))
    world.send("trainers.changed", a_trainer())
    await world.settle(names=["directory"])

    world.send("payments.succeeded", payment)
    await world.settle()
    world.send("students.changed", a_student(payment["studentId"]))
    await world.settle(names=["directory"])

    assert await _balances(world) == {payment["studentId"]: 2}
    assert await world.parked() == ["student_profile_missing"]


async def test_a_balance_beyond_all_numbers_parks_its_credit_and_no_other(world: World) -> None:
    good = [a_credit(f"stu_{number}", 10) for number in range(5)]
    first, too_much = a_credit("stu_rich", MOST), a_credit("stu_rich", MOST)

    world.send("coins.credited", *good[:3], first, too_much, *good[3:])
    await world.settle()

    assert await _balances(world) == {f"stu_{number}": 10 for number in range(5)} | {"stu_rich": MOST}
    assert await world.parked() == ["refused_by_database"]
    assert await _ledger_differs(world) == []


async def test_a_hundred_credits_that_the_database_refuses_hold_up_no_good_one(world: World) -> None:
    good = [a_credit(f"stu_{number}", 10) for number in range(100)]
    refused = [a_credit("stu_rich", MOST) for _ in range(100)]

    world.send("coins.credited", a_credit("stu_rich", MOST))
    for one, other in zip(good, refused, strict=True):
        world.send("coins.credited", one, other)
    await world.settle()

    assert await _balances(world) == {f"stu_{number}": 10 for number in range(100)} | {"stu_rich": MOST}
    assert await world.parked() == ["refused_by_database"] * 100


async def test_a_deletion_means_nothing_to_a_ledger(world: World) -> None:
    credit = a_credit("stu_a", 10)
    world.send("coins.credited", credit)
    world.send("coins.credited", None, key=credit["creditId"].encode())
    wrong = [a_credit("stu_a", 0), a_credit("stu_a", -5), a_credit("stu_a", 5) | {"coins": "5"}]
    world.send("coins.credited", *wrong)

    await world.settle()

    assert await _balances(world) == {"stu_a": 10}
    assert await world.parked() == ["unreadable"] * 4


def _paid(student_id: str, coins: int, *, minutes: int) -> dict[str, Any]:
    at = datetime(2026, 11, 20, 8, tzinfo=UTC) + timedelta(minutes=minutes)
    return a_payment(studentId=student_id, coinsRedeemed=coins, succeededAt=at.isoformat())


async def _balances(world: World) -> dict[str, int]:
    return {row["student_id"]: row["coins"] for row in await world.rows("SELECT student_id, coins FROM students")}


async def _parked(world: World) -> list[str]:
    """What is parked and open of the coins."""
    rows = await world.rows("SELECT reason FROM parked WHERE status = 'open' AND actor = 'coins'")
    return [row["reason"] for row in rows]


async def _ledger_differs(world: World) -> list[dict[str, Any]]:
    """The students whose balance is not the sum of their ledger."""
    return await world.rows("""
        SELECT s.student_id, s.coins, sum(l.coins)
          FROM students s LEFT JOIN coin_ledger l USING (student_id)
         GROUP BY s.student_id, s.coins HAVING s.coins <> coalesce(sum(l.coins), 0)
    """)
