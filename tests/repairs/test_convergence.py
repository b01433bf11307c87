"""Purchases that are refunded, moved and repaired while everything comes twice and in any order: one end.

What is compared is what people see: whether the student is enrolled, what is on the calendar, whose
time is taken, coins, cart, and what waits for a person. When a lesson takes place may depend on which
of two admins came first, and a refund that comes before its payment never gets a trainer at all.
"""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from contracts.base import derived_id
from tests.builders import a_cart_change, a_credit, a_payment, a_refund, a_student, a_trainer, soon
from tests.repairs.asking import a_command
from tests.world import World

Message = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Story:
    """One purchase: what happens to it in order, and how it is told otherwise."""

    tier: int
    coins: int
    refunds: tuple[int | None, ...]
    commands: tuple[str, ...]
    seed: int
    batch: int


stories = st.builds(
    Story,
    tier=st.sampled_from([1, 5, 10]),
    coins=st.sampled_from([0, 50]),
    refunds=st.lists(st.sampled_from([None, 0, 20, 60]), max_size=2).map(tuple),
    commands=st.lists(st.sampled_from(["slot", "date", "trainer", "resume", "create", "assign"]), max_size=4).map(
        tuple
    ),
    seed=st.integers(0, 2**32),
    batch=st.sampled_from([1, 2, 7, 100]),
)


@given(stories)
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_any_order_of_purchase_refund_move_and_repair_ends_as_the_orderly_one(world: World, story: Story) -> None:
    orderly, disorderly = _messages(story), _messages(story)

    for message in orderly:
        _send(world, message)
        await world.settle()
    draw = random.Random(story.seed)
    shuffled = draw.sample(disorderly * 2, 2 * len(disorderly))
    early = [message for message in shuffled if message[0] == "coins.credited"]
    for message in early:
        _send(world, message)
    await world.settle()
    for message in shuffled:
        _send(world, message)
        if draw.random() < 0.3:
            await world.turn(draw.choice([actor.name for actor in world.actors]), batch=story.batch)
    await world.settle(shuffle=draw, batch=story.batch)
    await world.settle()

    expected, found = await _state(world, orderly), await _state(world, disorderly)
    event(f"{len(story.refunds)} refunds, {len(story.commands)} commands")
    assert found == expected
    assert expected["state"] == ("refunded" if story.refunds else "scheduled")
    assert expected["scheduled"] == (0 if story.refunds else story.tier)
    assert expected["parked"] == []
    assert await world.offenders() == {}


def _messages(story: Story) -> list[Message]:
    """All that is told of one purchase of its own student and course, in order."""
    payment = a_payment(purchaseTier=story.tier, coinsRedeemed=story.coins or None)
    name = payment["paymentId"]
    payment["metadata"] |= {"courseId": f"crs_{name}", "cartItemId": f"itm_{name}"}
    student = payment["studentId"]
    trainers = [a_trainer(f"trn_{name}_{n}", courses=[f"crs_{name}"]) for n in range(2)]
    return [
        ("coins.credited", a_credit(student, 100)),
        *(("trainers.changed", trainer) for trainer in trainers),
        ("students.changed", a_student(student)),
        ("carts.changed", a_cart_change(student, f"itm_{name}", courseId=f"crs_{name}")),
        ("payments.succeeded", payment),
        *(("repairs.requested", _command(kind, name)) for kind in story.commands),
        *(
            ("payments.refunded", a_refund(payment, **({} if coins is None else {"coinsReturned": coins})))
            for coins in story.refunds
        ),
    ]


def _command(kind: str, payment_id: str) -> dict[str, Any]:
    enrollment = derived_id("enrollment", payment_id)
    allocation = str(derived_id("allocation", enrollment))
    return {
        "slot": lambda: a_command("rescheduleSessions", allocationId=allocation, timeSlot="18:00"),
        "date": lambda: a_command("rescheduleSessions", allocationId=allocation, date=soon(20).isoformat()),
        "trainer": lambda: a_command("rescheduleSessions", allocationId=allocation, trainerId=f"trn_{payment_id}_1"),
        "resume": lambda: a_command("resume", paymentId=payment_id, step="allocation"),
        "create": lambda: a_command("createSessions", allocationId=allocation),
        "assign": lambda: a_command("assignTrainer", enrollmentId=str(enrollment), timeSlot="09:00"),
    }[kind]()


def _send(world: World, message: Message) -> None:
    world.send(message[0], message[1])


async def _state(world: World, messages: list[Message]) -> dict[str, Any]:
    """What people see of the purchase."""
    (payment,) = [body for topic, body in messages if topic == "payments.succeeded"]
    ids = {"id": payment["paymentId"], "student": payment["studentId"]}
    (row,) = await world.rows(
        """
        SELECT p.state, e.status, s.coins,
               (SELECT count(*) FROM sessions x
                 WHERE x.payment_id = p.payment_id AND x.status = 'scheduled') AS scheduled,
               (SELECT coalesce(sum(b.session_count), 0) FROM bookings b JOIN allocations a USING (allocation_id)
                 WHERE a.payment_id = p.payment_id AND b.active) AS booked,
               (SELECT count(*) FROM cart_items c WHERE c.student_id = p.student_id) AS cart,
               ARRAY(SELECT reason FROM parked k WHERE k.payment_id = p.payment_id AND k.status = 'open') AS parked
          FROM purchases p JOIN enrollments e USING (payment_id) JOIN students s ON s.student_id = p.student_id
         WHERE p.payment_id = :id AND p.student_id = :student
        """,
        **ids,
    )
    return row


async def test_time_that_a_refund_or_a_move_gives_back_is_taken_by_whoever_waited_and_by_the_next(world: World) -> None:
    first, waiting, late = (a_payment(purchaseTier=5) for _ in range(3))
    world.send("trainers.changed", a_trainer())
    world.send("students.changed", *(a_student(p["studentId"]) for p in (first, waiting, late)))
    await world.settle()
    world.send("payments.succeeded", first)
    await world.settle()
    world.send("payments.succeeded", waiting)
    await world.settle()
    assert await world.parked() == ["no_trainer_available"]

    world.send("payments.refunded", a_refund(first))
    await world.settle()
    after_the_refund = await world.parked()
    enrollment = derived_id("enrollment", waiting["paymentId"])
    moved = a_command("rescheduleSessions", allocationId=str(derived_id("allocation", enrollment)), timeSlot="10:00")
    world.send("payments.succeeded", late)
    await world.settle()
    before_the_move = await world.parked()
    world.send("repairs.requested", moved)
    await world.settle()

    assert after_the_refund == []
    assert before_the_move == ["no_trainer_available"]
    assert await world.parked() == []
    states = {p["paymentId"]: (await world.journey(p["paymentId"]))["state"] for p in (first, waiting, late)}
    assert list(states.values()) == ["refunded", "scheduled", "scheduled"]
    assert await world.offenders() == {}


async def test_a_session_that_has_begun_stays_where_it_is_when_the_rest_is_moved(world: World) -> None:
    payment = a_payment(purchaseTier=5)
    world.send("trainers.changed", a_trainer(), a_trainer("trn_2", latitude=13.0))
    world.send("students.changed", a_student(payment["studentId"]))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", payment)
    await world.settle()
    days = (datetime.now(UTC).date() - soon()).days - 2
    await _shift(world, timedelta(days=days))
    before = await world.rows("SELECT number, starts_at, trainer_id FROM sessions ORDER BY number")
    allocation = str(derived_id("allocation", derived_id("enrollment", payment["paymentId"])))

    for number in range(3):
        world.send(
            "repairs.requested",
            a_command(
                "rescheduleSessions",
                allocationId=allocation,
                date=soon(3 + number).isoformat(),
                trainerId=f"trn_{1 + number % 2}",
            ),
        )
        await world.settle()

    after = await world.rows("SELECT number, starts_at, trainer_id, version FROM sessions ORDER BY number")
    begun = [row for row in before if row["starts_at"] < datetime.now(UTC)]
    assert 0 < len(begun) < 5
    assert [row["number"] for row in after] == [1, 2, 3, 4, 5]
    assert [{k: r[k] for k in ("number", "starts_at", "trainer_id")} for r in after[: len(begun)]] == begun
    assert [row["starts_at"] for row in after] == sorted(row["starts_at"] for row in after)
    history = await world.rows("SELECT number, version FROM session_history ORDER BY 1, 2")
    assert history == [
        {"number": row["number"], "version": version}
        for row in after[len(begun) :]
        for version in range(1, row["version"])
    ]
    assert {row["version"] for row in after[: len(begun)]} == {1}
    assert await world.offenders() == {}


async def _shift(world: World, by: timedelta) -> None:
    """As if everything had been booked so much earlier."""
    await world.rows(
        "UPDATE bookings SET first_day = first_day + CAST(:days AS integer), booked = (SELECT range_agg(tstzrange("
        "lower(r) + :by, upper(r) + :by)) FROM unnest(booked) r) RETURNING 1 AS n",
        by=by,
        days=by.days,
    )
    await world.rows(
        "UPDATE series_sessions SET starts_at = starts_at + :by, ends_at = ends_at + :by RETURNING 1 AS n", by=by
    )
