"""Sample worlds: the same from the same seed, readable, and possible."""

import json
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from uuid import uuid4

import pytest

from actors.request import Request, request_of
from contracts.decode import decode
from contracts.feeds import StudentChanged, TrainerChanged
from contracts.payments import PaymentSucceeded
from domain.directory import Candidate, Directory, Trainer
from domain.hours import parse_hours
from domain.matching import Weights, choose
from domain.occupancy import Occupancy
from domain.places import Place
from domain.schedule import session_starts
from storage.allocations import Order
from storage.directory import Student
from traffic.messages import Message, payment_message, stamping
from traffic.spellings import date_spellings, slot_spellings
from traffic.world import World, sample_world

NOW = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)
SEEDS = [1, 2, 7, 42, 1234]


def requests_of(world: World) -> list[Request]:
    """What the allocation step makes of the world's purchases, in a fresh database."""
    people = {
        profile.student_id: Student(
            number, profile.student_id, True, profile.timezone, profile.latitude, profile.longitude
        )
        for number, profile in enumerate(world.students, 1)
    }
    return [
        request_of(
            Order(
                purchase.payment_id,
                uuid4(),
                purchase.student_id,
                purchase.metadata["courseId"],
                purchase.metadata,
                refunded=False,
                now=NOW,
            ),
            people[purchase.student_id],
            "Asia/Kolkata",
        )
        for purchase in world.purchases
    ]


def as_trainer(number: int, trainer: TrainerChanged) -> Trainer:
    assert trainer.latitude is not None
    assert trainer.longitude is not None
    return Trainer(
        number,
        trainer.trainer_id,
        trainer.active,
        frozenset(trainer.courses),
        trainer.timezone or "",
        parse_hours([hours.model_dump(by_alias=True) for hours in trainer.working_hours]),
        Place(trainer.latitude, trainer.longitude),
        trainer.radius_km,
    )


def test_the_same_seed_gives_the_same_world() -> None:
    first = sample_world(7, NOW, 40, tag="k3f9x2")

    again = sample_world(7, NOW, 40, tag="k3f9x2")

    assert again == first


def test_another_seed_gives_another_world() -> None:
    first = sample_world(7, NOW, 40)

    other = sample_world(8, NOW, 40)

    assert other.purchases != first.purchases
    assert other.students != first.students


def test_two_tags_have_no_id_in_common() -> None:
    worlds = [sample_world(7, NOW, 40, tag=tag) for tag in ("aaa", "bbb")]

    keys = [{(message.topic, message.key) for message in all_messages(world)} for world in worlds]

    assert not keys[0] & keys[1]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_message_of_a_world_is_valid(seed: int) -> None:
    world = sample_world(seed, NOW, 120)

    decoded = [decode(message.topic, message.key, message.value) for message in all_messages(world)]

    assert Counter(type(event) for event in decoded)[PaymentSucceeded] == 120


@pytest.mark.parametrize("purchases", [1, 2, 20, 500])
def test_a_world_has_as_many_purchases_as_asked_for_and_ids_of_their_own(purchases: int) -> None:
    world = sample_world(1, NOW, purchases)

    keys = Counter((message.topic, message.key) for message in all_messages(world))

    assert len(world.purchases) == purchases
    assert set(keys.values()) == {1}
    assert len(world.trainers) == max(20, -(-purchases // 3))


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_buys_two_series_at_one_time(seed: int) -> None:
    world = sample_world(seed, NOW, 200, students=60)
    series = defaultdict(list)
    for request in requests_of(world):
        series[request.wish.student_no].append(request.wish.series)

    overlaps = [
        (one, other)
        for bought in series.values()
        for one, other in combinations(bought, 2)
        if any(
            start < begin + other.minutes and begin < start + one.minutes
            for start in session_starts(one)
            for begin in session_starts(other)
        )
    ]

    assert max(map(len, series.values())) >= 3
    assert overlaps == []


def test_more_purchases_than_a_students_days_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="more students are needed"):
        sample_world(1, NOW, 100, students=1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("purchases", [20, 60, 200, 1000])
def test_practically_every_purchase_finds_a_trainer(seed: int, purchases: int) -> None:
    world = sample_world(seed, NOW, purchases)
    wishes = [request.wish for request in requests_of(world)]
    directory = Directory(as_trainer(number, trainer) for number, trainer in enumerate(world.trainers, 1))
    trainers, students = (Occupancy(wish.series for wish in wishes) for _ in range(2))

    chosen: dict[str, object] = {}
    for wish in wishes:  # one after the other, as they are paid
        chosen |= choose([(wish, directory.candidates(wish))], trainers, students, Weights(1, 2))

    placed = [outcome for outcome in chosen.values() if isinstance(outcome, Candidate)]
    assert len(placed) >= 0.98 * purchases


def test_first_lessons_lie_two_days_ahead_or_more() -> None:
    world = sample_world(3, NOW, 300)

    starts = [session_starts(request.wish.series)[0] * 60 for request in requests_of(world)]

    assert min(starts) > (NOW + timedelta(days=1)).timestamp()


def test_a_world_has_every_variety() -> None:
    world = sample_world(1, NOW, 500)

    requests = requests_of(world)
    metadata = [purchase.metadata for purchase in world.purchases]

    assert {request.metadata["sessionCount"] for request in requests} == {10, 20, 30}
    assert {request.metadata["sessionCountSource"] for request in requests} == {
        "purchaseTier",
        "sessionCount",
        "default",
    }
    assert {request.metadata["timezone"] for request in requests} == {"Asia/Kolkata", "Europe/London"}
    assert {request.wish.at_home for request in requests} == {True, False}
    assert {"daysOfWeek" in one for one in metadata} == {True, False}
    assert {bool(one.get("timeSlot")) for one in metadata} == {True, False}
    assert {field for one in metadata for field in ("cartItemId", "processingItemId") if one.get(field)} == {
        "cartItemId",
        "processingItemId",
    }
    assert any(purchase.coins_redeemed for purchase in world.purchases)
    assert {purchase.cloudevents for purchase in world.purchases} == {True, False}
    assert any(request.wish.series.start_minute + request.wish.series.minutes > 1440 for request in requests)
    assert not any(request.provisional for request in requests)


def test_nobody_redeems_more_coins_than_he_was_given() -> None:
    world = sample_world(5, NOW, 200, students=80)
    balance = Counter[str]()

    for credit in world.credits:
        balance[credit.student_id] += credit.coins
    for purchase in world.purchases:
        balance[purchase.student_id] -= purchase.coins_redeemed

    assert min(balance.values()) >= 0


def test_some_items_stay_in_their_carts() -> None:
    world = sample_world(5, NOW, 100)
    sold = {purchase.metadata["courseId"] for purchase in world.purchases}

    kept = [item for item in world.cart if item.course_id not in sold]

    assert 0 < len(kept) < len(world.cart) / 2


def test_a_payment_is_dated_when_it_is_sent_and_its_copies_are_the_same_bytes() -> None:
    purchase = sample_world(1, NOW, 1).purchases[0]
    clock = iter([NOW, NOW + timedelta(seconds=1)])
    stamp = stamping(lambda: next(clock))

    first, copy, other = stamp(purchase), stamp(purchase), stamp(replace(purchase, payment_id="pay_other"))

    assert copy == first
    assert json.loads(first.value or b"")["succeededAt"] == "2026-11-25T09:30:00.000Z"
    assert json.loads(other.value or b"")["succeededAt"] == "2026-11-25T09:30:01.000Z"


@pytest.mark.parametrize(("minutes", "shortest"), [(60, "16:00"), (90, "16:00-17:30")])
def test_a_slot_without_an_end_means_an_hour(minutes: int, shortest: str) -> None:
    written = slot_spellings(16 * 60, minutes)

    assert min(written, key=len) == shortest


def test_a_date_is_also_written_as_a_browsers_midnight() -> None:
    written = date_spellings(datetime(2026, 12, 1, tzinfo=UTC).date(), "Asia/Kolkata")

    assert "2026-12-01" in written
    assert "2026-11-30T18:30:00.000Z" in written


def all_messages(world: World) -> list[Message]:
    return [*world.feeds(), *(payment_message(purchase, NOW) for purchase in world.purchases)]


def test_students_without_coordinates_learn_online() -> None:
    world = sample_world(1, NOW, 300)
    nowhere = {student.student_id for student in world.students if not has_place(student)}

    modes = {str(p.metadata.get("learningMode")).lower() for p in world.purchases if p.student_id in nowhere}

    assert modes == {"online"}


def has_place(student: StudentChanged) -> bool:
    return student.latitude is not None
