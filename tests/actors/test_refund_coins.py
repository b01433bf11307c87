"""Coins that refunds give back: what was redeemed, once, whichever event comes first."""

from typing import Any

import pytest

from actors import coins
from contracts.coins import CoinsRedeemed, CoinsReturned
from contracts.decode import decode
from storage.engine import transaction
from tests.builders import a_credit, a_payment, a_refund
from tests.world import World


@pytest.mark.parametrize(
    ("asked", "returned"),
    [
        ([None], [100]),
        ([""], [100]),
        ([0], []),
        ([30], [30]),
        ([100], [100]),
        ([101], [100]),
        ([2**63 - 1], [100]),
        ([30, 30], [30, 30]),
        ([80, 30], [80, 20]),
        ([80, None], [80, 20]),
        ([None, None], [100]),
        ([None, 5], [100]),
        ([0, 30, None, 10], [30, 70]),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
async def test_refunds_return_what_they_ask_for_and_together_never_more_than_was_redeemed(
    world: World, asked: list[Any], returned: list[int], *, apart: bool
) -> None:
    payment = await _paid(world, 100, balance=150)
    await world.settle()
    refunds = [
        a_refund(payment, coinsReturned=coins_, refundedAt=f"2026-11-2{day}T10:00:00Z")
        for day, coins_ in enumerate(asked)
    ]

    for refund in refunds:
        world.send("payments.refunded", refund)
        if apart:
            await world.settle()
    await world.settle()
    world.rewind()
    await world.settle()

    rows = await world.rows("SELECT coins, reference FROM coin_ledger WHERE kind = 'return' ORDER BY at")
    assert [row["coins"] for row in rows] == returned
    told = {event.refund_id: event.coins for event in world.published(CoinsReturned)}
    assert told == {row["reference"]: row["coins"] for row in rows}
    assert await _balance(world) == 50 + sum(returned)
    assert await world.offenders() == {}


async def test_a_payment_without_coins_returns_none_whatever_its_refund_asks_for(world: World) -> None:
    payment = await _paid(world, 0, balance=10)

    world.send("payments.refunded", a_refund(payment), a_refund(payment, coinsReturned=5))
    await world.settle()

    assert await _balance(world) == 10
    assert world.log["coins.returned"] == []
    assert await world.offenders() == {}


@pytest.mark.parametrize("first", ["enrollments.created", "enrollments.revoked", "both"])
async def test_the_ledger_is_the_same_in_whatever_order_the_two_topics_are_read(world: World, first: str) -> None:
    payment = await _paid(world, 100, balance=100)
    refund = a_refund(payment, coinsReturned=40)
    world.send("payments.refunded", refund)
    await world.settle(names=["enrollment"])

    if first != "both":
        second = ({"enrollments.created", "enrollments.revoked"} - {first}).pop()
        held_back, world.log[second] = world.log[second], []
        await world.settle(names=["coins"])
        world.log[second] = held_back
    await world.settle(names=["coins"])

    ledger = await world.rows("SELECT kind, reference, coins FROM coin_ledger WHERE kind <> 'credit' ORDER BY kind")
    assert [tuple(row.values()) for row in ledger] == [
        ("redemption", payment["paymentId"], -100),
        ("return", refund["refundId"], 40),
    ]
    assert await _balance(world) == 40
    assert [event.coins for event in world.published(CoinsRedeemed)] == [100]
    assert [event.coins for event in world.published(CoinsReturned)] == [40]


async def test_the_created_event_of_a_refunded_purchase_redeems_and_parks_nothing(world: World) -> None:
    payment = await _paid(world, 100, balance=100)
    poor = a_payment(studentId="stu_poor", coinsRedeemed=100)
    world.send("payments.succeeded", poor)
    world.send("payments.refunded", a_refund(payment), a_refund(poor))
    await world.settle(names=["enrollment"])
    world.log["enrollments.revoked"].clear()

    await world.settle(names=["coins"])

    assert await _balance(world) == 100
    assert world.log["coins.redeemed"] == []
    assert await world.parked() == []


async def test_too_few_coins_for_a_refunded_purchase_are_neither_redeemed_nor_parked(world: World) -> None:
    payment = await _paid(world, 100, balance=99)

    world.send("payments.refunded", a_refund(payment, coinsReturned=30))
    await world.settle()

    assert await _balance(world) == 99
    assert await world.count("coin_ledger") == 1
    assert await world.count("parked") == 0
    assert world.log["coins.redeemed"] == world.log["coins.returned"] == []
    assert await world.offenders() == {}


@pytest.mark.parametrize("parked_before", [False, True])
async def test_coins_that_come_after_the_refund_are_never_taken_for_it(world: World, *, parked_before: bool) -> None:
    payment = await _paid(world, 100, balance=99)
    if parked_before:
        await world.settle()
        assert await world.parked() == ["insufficient_coins", "no_trainer_available"]
    world.send("payments.refunded", a_refund(payment, coinsReturned=30))
    await world.settle()

    world.send("coins.credited", a_credit("stu_a", 500))
    await world.settle()
    world.rewind()
    await world.settle(batch=1)

    assert await _balance(world) == 599
    assert world.log["coins.redeemed"] == []
    assert await world.parked() == []
    assert await world.offenders() == {}


async def test_coins_spent_before_the_refund_was_read_are_not_redeemed_by_a_later_replay(world: World) -> None:
    refunded = await _paid(world, 100, balance=100)
    world.send("payments.refunded", a_refund(refunded, coinsReturned=0))
    await world.settle(names=["enrollment"])
    revoked, world.log["enrollments.revoked"] = world.log["enrollments.revoked"], []
    world.send("payments.succeeded", a_payment(studentId="stu_a", coinsRedeemed=60))
    await world.settle()
    assert await _balance(world) == 40
    world.log["enrollments.revoked"] = revoked
    await world.settle()

    world.send("coins.credited", a_credit("stu_a", 500))
    await world.settle()
    world.rewind()
    await world.settle()

    assert await _balance(world) == 540
    assert [event.coins for event in world.published(CoinsRedeemed)] == [60]


async def test_coins_returned_in_a_batch_pay_for_a_later_purchase_of_it(world: World) -> None:
    earlier = await _paid(world, 100, balance=100)
    later = a_payment(studentId="stu_a", coinsRedeemed=100)
    world.send("payments.succeeded", later)
    world.send("payments.refunded", a_refund(earlier))

    await world.settle()

    assert await _balance(world) == 0
    assert {event.payment_id for event in world.published(CoinsRedeemed)} == {
        earlier["paymentId"],
        later["paymentId"],
    }
    assert "insufficient_coins" not in await world.parked()
    assert await world.offenders() == {}


async def test_returned_coins_are_news_for_their_student_on_every_delivery(world: World) -> None:
    payment = await _paid(world, 100, balance=100)
    other = a_payment(studentId="stu_b")
    world.send("payments.succeeded", other)
    world.send("payments.refunded", a_refund(payment), a_refund(other))
    await world.settle(names=["enrollment"])
    records = [
        record._replace(event=decode(record.topic, record.key, record.value))
        for record in world.log["enrollments.revoked"]
    ]

    news = []
    for _ in range(2):
        async with transaction(world.engine) as db:
            news.append((await coins.book(db, records)).news)

    assert [n.students for n in news] == [frozenset(["stu_a"])] * 2
    assert [dict(n.courses) for n in news] == [{}, {}]


async def test_a_revocation_of_an_unknown_enrolment_parks_and_closes_when_it_is_known(world: World) -> None:
    payment = await _paid(world, 100, balance=100)
    world.send("payments.refunded", a_refund(payment))
    await world.settle()
    known = World(world.engine)
    known.log["enrollments.revoked"] = world.log["enrollments.revoked"]
    async with world.engine.begin() as db:
        await db.exec_driver_sql("TRUNCATE purchases, enrollments, coin_ledger, parked CASCADE")

    await known.settle(names=["coins", "allocation"])
    rows = await world.rows("SELECT actor, reason, status FROM parked ORDER BY actor")
    assert [tuple(row.values()) for row in rows] == [
        ("allocation", "enrollment_unknown", "open"),
        ("coins", "enrollment_unknown", "open"),
    ]
    world.rewind()
    await world.settle()

    assert await world.parked() == []
    assert await world.rows("SELECT DISTINCT state FROM purchases") == [{"state": "refunded"}]


async def _paid(world: World, redeemed: int, *, balance: int) -> dict[str, Any]:
    """A payment of stu_a, sent and not read yet, and the coins that he has."""
    world.send("coins.credited", a_credit("stu_a", balance))
    await world.settle(names=["directory"])
    payment = a_payment(studentId="stu_a", coinsRedeemed=redeemed)
    world.send("payments.succeeded", payment)
    return payment


async def _balance(world: World) -> int:
    (row,) = await world.rows("SELECT coins FROM students WHERE student_id = 'stu_a'")
    return int(row["coins"])
