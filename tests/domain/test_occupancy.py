"""Bitmaps say what intervals say."""

from collections.abc import Sequence
from datetime import date

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.occupancy import Occupancy
from domain.schedule import Series, series_of, session_starts
from domain.slots import Slot

ZONES = ("Asia/Kolkata", "Europe/London", "Australia/Lord_Howe", "America/New_York")


def series(*, grain: int = 1, last: date = date(2027, 1, 20)) -> st.SearchStrategy[Series]:
    return st.builds(
        lambda day, days, count, at, minutes, zone: series_of(
            day, days, count, Slot(at * grain, minutes * grain), zone
        ),
        st.dates(date(2026, 12, 1), last),
        st.sampled_from([127, 127, 1, 5, 0b1010100]),
        st.integers(1, 40),
        st.integers(0, 1439 // grain),
        st.integers(-(-15 // grain), 720 // grain),
        st.sampled_from(ZONES),
    )


any_series = st.one_of(series(grain=5), series(), series(grain=30))
far_series = st.one_of(any_series, series(grain=5, last=date(2999, 1, 1)))


def intervals(series: Series) -> list[tuple[float, float]]:
    return [(start, start + series.minutes) for start in session_starts(series)]


def overlapping(series: Series, taken: Sequence[tuple[float, float]]) -> list[int]:
    """Session by session, interval by interval."""
    return [
        index
        for index, (start, end) in enumerate(intervals(series))
        if any(start < other_end and other_start < end for other_start, other_end in taken)
    ]


def a_series(text: str = "16:00", minutes: int = 60, day: date = date(2026, 12, 1), count: int = 3) -> Series:
    hour, minute = map(int, text.split(":"))
    return series_of(day, 127, count, Slot(hour * 60 + minute, minutes), "Asia/Kolkata")


@settings(max_examples=300)
@given(
    st.lists(any_series, min_size=1, max_size=4),
    st.lists(far_series, max_size=4),
    st.lists(st.tuples(st.integers(0, 90 * 86400), st.integers(-60, 5 * 86400)), max_size=3),
)
@example([a_series("16:03")], [a_series("17:03")], [])
def test_who_is_free_and_which_sessions_clash_is_what_intervals_say(
    asked: list[Series], booked: list[Series], absences: list[tuple[int, int]]
) -> None:
    occupancy = Occupancy(asked)
    origin = 1_796_000_000
    for one in booked:
        occupancy.book(1, one)
    for start, length in absences:
        occupancy.block(1, origin + start, origin + start + length)

    clashes = [occupancy.clashes(1, one) for one in asked]

    taken = [pair for one in booked for pair in intervals(one)]
    taken += [((origin + start) / 60, (origin + start + length) / 60) for start, length in absences if length > 0]
    assert clashes == [overlapping(one, taken) for one in asked]
    assert [occupancy.is_free(1, one) for one in asked] == [not found for found in clashes]
    assert all(occupancy.is_free(2, one) for one in asked)
    assert (occupancy.load(1), occupancy.load(2)) == (len(booked), 0)


@settings(max_examples=100)
@given(st.lists(any_series, min_size=1, max_size=6))
def test_a_released_booking_leaves_everything_as_it_was(asked: list[Series]) -> None:
    occupancy, other = Occupancy(asked), Occupancy(asked)
    first, *rest = asked
    for one in rest:
        if other.is_free(1, one) and not overlapping(one, intervals(first)):
            other.book(1, one)
            occupancy.book(1, one)

    if occupancy.is_free(1, first):
        occupancy.book(1, first)
        occupancy.release(1, first)

    assert [occupancy.clashes(1, one) for one in asked] == [other.clashes(1, one) for one in asked]
    assert occupancy.load(1) == other.load(1)


def test_the_grain_is_five_minutes_only_where_every_series_lies_on_it() -> None:
    grains = [
        Occupancy(asked).grain for asked in ([a_series()], [a_series(), a_series("16:03")], [a_series(minutes=61)], [])
    ]

    assert grains == [5, 1, 1, 5]


@pytest.mark.parametrize(
    ("asked", "booked", "free"),
    [
        (a_series("17:03"), a_series("16:03"), True),
        (a_series("17:00"), a_series("16:03"), False),
        (a_series("17:00"), a_series("16:00"), True),
        (a_series("17:00"), a_series("15:57"), True),
        (a_series("16:00"), a_series("17:01"), True),
        (a_series("16:00"), a_series("16:58"), False),
    ],
)
def test_neighbours_off_the_grain_are_told_apart_to_the_minute(asked: Series, booked: Series, free: bool) -> None:  # noqa: FBT001
    occupancy = Occupancy([asked])

    occupancy.book(7, booked)

    assert occupancy.is_free(7, asked) is free


def test_an_absence_takes_the_seconds_it_touches() -> None:
    asked = a_series(count=1)
    start = session_starts(asked)[0] * 60
    answers = []

    for begins, ends in [(start - 10, start), (start - 10, start + 1), (start + 3600, start + 9999), (start, start)]:
        occupancy = Occupancy([asked])
        occupancy.block(1, begins, ends)
        answers.append(occupancy.is_free(1, asked))

    assert answers == [True, False, True, True]


def test_an_absence_of_centuries_and_a_purchase_for_the_year_9000_stay_small() -> None:
    near, far = a_series(), a_series(day=date(9000, 1, 1))
    occupancy = Occupancy([near, far])

    occupancy.block(1, -(10**12), 10**12)
    occupancy.book(2, far)

    assert not occupancy.is_free(1, near)
    assert not occupancy.is_free(1, far)
    assert occupancy.is_free(2, near)
    assert max(bits.bit_length() for bits in occupancy.busy.values()) < 2000


def test_what_runs_out_of_one_stretch_of_time_does_not_run_into_the_next() -> None:
    near, far = a_series(), a_series(day=date(2027, 12, 1))
    occupancy = Occupancy([near, far])

    occupancy.book(1, a_series("18:00", count=60))

    assert occupancy.is_free(1, near)
    assert occupancy.is_free(1, far)
    assert not occupancy.busy[1] & occupancy.wanted(far)
    assert occupancy.busy[1].bit_length() <= 2 * (48 + 1) * 12


def test_a_series_that_was_not_announced_cannot_be_asked_about() -> None:
    occupancy = Occupancy([a_series()])

    with pytest.raises(ValueError, match="covers"):
        occupancy.is_free(1, a_series("18:00"))
