"""Copies, another order, poison: as much of it as was asked for, and the same from the same seed."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.decode import decode
from contracts.payments import PaymentSucceeded
from errors import Unreadable
from traffic.disorder import ODD_HEADERS, POISON, poison, reordered, repeated, scattered

sizes = st.integers(0, 60)
shares = st.floats(0, 1)
seeds = st.integers(0, 1_000)


@given(sizes, shares, seeds)
def test_a_share_is_repeated_once_and_after_its_original(size: int, share: float, seed: int) -> None:
    items = list(range(size))

    result = repeated(Random(seed), items, share)

    counts = Counter(result)
    assert sum(count == 2 for count in counts.values()) == len(result) - size == round(size * share)
    assert list(dict.fromkeys(result)) == items


@given(sizes, shares, seeds)
def test_reordering_keeps_every_item_and_leaves_the_rest_in_place(size: int, share: float, seed: int) -> None:
    items = list(range(size))

    result = reordered(Random(seed), items, share)

    assert sorted(result) == items
    assert sum(place != item for place, item in enumerate(result)) <= round(size * share)


def test_a_whole_share_shuffles_everything() -> None:
    items = list(range(500))

    result = reordered(Random(1), items, 1)

    assert sum(place == item for place, item in enumerate(result)) < 10


@given(sizes, sizes, seeds)
def test_scattering_keeps_both_orders(strangers: int, others: int, seed: int) -> None:
    few, many = [("few", number) for number in range(strangers)], [("many", number) for number in range(others)]

    result = scattered(Random(seed), few, many)

    assert [item for item in result if item[0] == "few"] == few
    assert [item for item in result if item[0] == "many"] == many


@pytest.mark.parametrize("kind", POISON)
def test_poison_cannot_be_read(kind: str) -> None:
    with pytest.raises(Unreadable) as refusal:
        decode(PaymentSucceeded.TOPIC, b"poison", POISON[kind])

    assert refusal.value.facts["expected"]


def test_kinds_of_poison_are_different_values_that_a_broker_takes() -> None:
    values = list(POISON.values())

    assert len(set(values)) == len(values)
    assert max(len(value or b"") for value in values) < 900_000
    assert any(len(value or b"") > 256 * 1024 for value in values)


def test_enough_poison_has_every_kind_with_keys_of_its_own_and_some_odd_headers() -> None:
    records = poison(Random(1), 2 * len(POISON), "k3f9")

    assert Counter(record.value for record in records) == dict.fromkeys(POISON.values(), 2)
    assert len({record.key for record in records}) == len(records)
    assert {record.headers for record in records} == {(), ODD_HEADERS}


def test_the_same_seed_gives_the_same_disorder() -> None:
    items = list(range(100))

    runs = [
        (repeated(Random(4), items, 0.3), reordered(Random(4), items, 0.3), poison(Random(4), 9, "a")) for _ in range(2)
    ]

    assert runs[0] == runs[1]
