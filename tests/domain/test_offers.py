"""What is offered where nobody can take a wish: it works, and nothing of its kind lies nearer."""

from collections.abc import Sequence
from datetime import date, timedelta
from math import nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.directory import Directory, Trainer, Wish
from domain.hours import Window, outside_hours
from domain.occupancy import Occupancy
from domain.offers import Offer, alternatives, offers
from domain.places import Place, distance_km
from domain.schedule import Series, first_start, last_day, series_of, session_starts
from domain.slots import Slot

Times = Sequence[tuple[int, int, int]]  # who, from and to in epoch minutes

HOME = Place(12.97, 77.59)
KM_NORTH = 1 / 111.195  # degrees
STUDENT = 9
FIRST_DAY = date(2026, 12, 1)  # a Tuesday
KOLKATA = "Asia/Kolkata"
ALWAYS = (Window(127, 0, 1440),)
ONLY_AT_16 = (Window(127, 960, 1020),)
LONG_AGO = 0


def a_series(
    at: int = 960, *, days: int = 127, count: int = 3, day: date = FIRST_DAY, minutes: int = 60, zone: str = KOLKATA
) -> Series:
    return series_of(day, days, count, Slot(at, minutes), zone)


def a_trainer(no: int, km: float = 1.0, **changes: Any) -> Trainer:
    default: dict[str, Any] = {"no": no, "id": f"trn_{no}", "active": True, "courses": frozenset({"yoga"}),
                               "zone": KOLKATA, "hours": ALWAYS, "radius_km": 12.0,
                               "place": Place(HOME.latitude + km * KM_NORTH, HOME.longitude)}  # fmt: skip
    return Trainer(**(default | changes))


def a_wish(series: Series | None = None, place: Place | None = HOME, *, at_home: bool = True) -> Wish:
    return Wish("pay_1", "yoga", series or a_series(), STUDENT, place, at_home)


def during(who: int, series: Series) -> list[tuple[int, int, int]]:
    return [(who, start, start + series.minutes) for start in session_starts(series)]


def offered(
    trainers: Sequence[Trainer], wish: Wish, *, taken: Times = (), met: Times = (), now: int = LONG_AGO
) -> list[Offer]:
    covered = alternatives(wish.series)
    busy, students = Occupancy(covered), Occupancy(covered)
    for occupancy, times in ((busy, taken), (students, met)):
        for who, begin, end in times:
            occupancy.block(who, begin * 60, end * 60)
    return offers(Directory(trainers), wish, busy, students, now)


def told(found: Sequence[Offer]) -> list[tuple[str, str, object]]:
    """Kind and trainer, with what differs from the wish of 16:00 from 1 December on."""
    differs = {"trainer": lambda one: one.force, "time": lambda one: one.start_minute / 60,
               "date": lambda one: one.first_day.day}  # fmt: skip
    return [(one.kind, one.trainer_id, differs[one.kind](one)) for one in found]


def test_the_nearest_of_each_kind_is_offered() -> None:
    near, far = a_trainer(1), a_trainer(2, km=20)

    found = offered([far, near], a_wish(), taken=during(1, a_series(count=1)))

    slot = {"minutes": 60, "days": 127}
    assert [round(one.km or 0) for one in found] == [20, 1, 1]
    assert found == [
        Offer("trainer", "trn_2", found[0].km, FIRST_DAY, 960, **slot, force=("distance",)),
        Offer("time", "trn_1", found[1].km, FIRST_DAY, 1020, **slot, force=()),
        Offer("date", "trn_1", found[2].km, date(2026, 12, 2), 960, **slot, force=()),
    ]


def test_a_kind_that_has_none_leaves_its_place_to_the_next_nearest() -> None:
    far = [a_trainer(no, km=km) for no, km in ((2, 20), (3, 15), (4, 40), (5, 49))]

    one_kind = offered(far, a_wish())
    two_kinds = offered([a_trainer(1, hours=ONLY_AT_16), *far], a_wish(), taken=during(1, a_series(count=1)))
    no_other_trainer = offered([a_trainer(1)], a_wish(), taken=during(1, a_series(count=1)))

    assert told(one_kind) == [("trainer", f"trn_{no}", ("distance",)) for no in (3, 2, 4)]
    assert told(two_kinds) == [("trainer", "trn_3", ("distance",)), ("date", "trn_1", 2),
                               ("trainer", "trn_2", ("distance",))]  # fmt: skip
    assert told(no_other_trainer) == [("time", "trn_1", 17), ("date", "trn_1", 2), ("time", "trn_1", 15)]


@pytest.mark.parametrize(
    ("changes", "goes"),
    [
        ({"km": 49.9, "radius_km": 0.0}, True),
        ({"km": 50.1, "radius_km": 12.0}, False),
        ({"km": 99.0, "radius_km": 25.0}, True),
        ({"km": 101.0, "radius_km": 25.0}, False),
        ({"radius_km": None}, False),
        ({"radius_km": nan}, False),
        ({"radius_km": -1.0}, False),
        ({"place": None}, False),
    ],
)
def test_nobody_is_sent_much_too_far_or_anywhere_who_teaches_online_only(changes: dict[str, Any], goes: bool) -> None:  # noqa: FBT001
    found = offered([a_trainer(1, **changes)], a_wish())

    assert told(found) == ([("trainer", "trn_1", ("distance",))] if goes else [])


def test_a_trainer_within_his_radius_comes_before_any_who_is_nearer_but_beyond_his() -> None:
    crew = [(1, 5.0, 2.0), (3, 9.0, 12.0), (2, 9.0, 12.0)]
    trainers = [a_trainer(no, km, radius_km=radius, hours=ONLY_AT_16) for no, km, radius in crew]
    after_it = (STUDENT, first_start(a_series()) + 3 * 1440, 2**31)

    found = offered(trainers, a_wish(), met=[after_it])

    assert told(found) == [("trainer", "trn_2", ()), ("trainer", "trn_3", ()), ("trainer", "trn_1", ("distance",))]


@pytest.mark.parametrize("changes", [{"active": False}, {"courses": frozenset({"chess"})}, {"hours": ()}])
def test_only_the_radius_is_ever_set_aside(changes: dict[str, Any]) -> None:
    assert offered([a_trainer(1, **changes)], a_wish()) == []


def test_hours_decide_on_the_day_of_every_session() -> None:
    short_wednesday = (Window(0b1111011, 0, 1440), Window(0b0000100, 0, 1020))
    trainer = a_trainer(1, hours=short_wednesday)

    found = offered([trainer], a_wish(), taken=during(1, a_series(count=1)))

    assert told(found) == [("time", "trn_1", 15), ("date", "trn_1", 2), ("time", "trn_1", 14)]


def test_of_two_times_as_near_the_later_comes_first() -> None:
    times = [series.start_minute / 60 for series in alternatives(a_series())[1:7]]

    assert times == [17, 15, 18, 14, 19, 13]


@pytest.mark.parametrize(
    ("at", "minutes", "hours"),
    [(1320, 60, [23, 21, 20, 19]), (60, 60, [2, 0, 3, 4]), (1380, 120, [22, 21, 20]), (30, 60, [1.5, 2.5, 3.5])],
)
def test_a_shifted_session_begins_and_ends_on_the_same_day(at: int, minutes: int, hours: list[float]) -> None:
    shifted = [one for one in alternatives(a_series(at, minutes=minutes)) if one.start_minute != at]

    assert [one.start_minute / 60 for one in shifted] == hours


def test_another_first_day_is_one_of_the_days_of_the_week_within_two_weeks() -> None:
    tuesdays = [one.first_day.day for one in alternatives(a_series(days=0b10))[7:]]
    daily = [one.first_day.day for one in alternatives(a_series())[7:]]

    assert (tuesdays, daily) == ([8, 15], list(range(2, 16)))


def test_no_series_is_offered_that_runs_past_the_end_of_the_calendar() -> None:
    series = a_series(days=0b11, count=2, day=date(9999, 12, 20))

    days = [one.first_day for one in alternatives(series)]

    assert days[0] == date(9999, 12, 20)
    assert max(days) == date(9999, 12, 27)
    assert alternatives(a_series(day=date(9999, 12, 27)))[-1].first_day == date(9999, 12, 27)


def test_a_time_at_which_the_student_is_busy_is_not_offered() -> None:
    last_at_17 = during(STUDENT, a_series(at=1020 + 45, count=1, day=date(2026, 12, 3)))

    found = offered([a_trainer(1)], a_wish(), taken=during(1, a_series(count=1)), met=last_at_17)
    nothing = offered([a_trainer(1), a_trainer(2, km=20)], a_wish(), met=[(STUDENT, LONG_AGO, 2**32)])

    assert told(found) == [("time", "trn_1", 15), ("date", "trn_1", 2), ("time", "trn_1", 14)]
    assert nothing == []


def test_a_student_who_is_busy_then_is_offered_other_times_but_no_other_trainer() -> None:
    found = offered([a_trainer(1), a_trainer(2)], a_wish(), met=during(STUDENT, a_series()))

    assert told(found) == [("time", "trn_1", 17), ("date", "trn_1", 4), ("time", "trn_1", 15)]


def test_nothing_is_offered_that_would_begin_in_the_past() -> None:
    trainers, at_16 = [a_trainer(1), a_trainer(2, km=20)], first_start(a_series())
    busy = during(1, a_series(count=1))

    on_time = offered(trainers, a_wish(), taken=busy, now=at_16)
    too_late = offered(trainers, a_wish(), taken=busy, now=at_16 + 1)
    much_too_late = offered(trainers, a_wish(), taken=busy, now=at_16 + 14 * 1440 + 1)

    assert told(on_time) == [("trainer", "trn_2", ("distance",)), ("time", "trn_1", 17), ("date", "trn_1", 2)]
    assert told(too_late) == [("time", "trn_1", 17), ("date", "trn_1", 2), ("time", "trn_1", 18)]
    assert much_too_late == []


@pytest.mark.parametrize("wish", [a_wish(at_home=False), a_wish(place=None)])
def test_without_a_distance_every_trainer_is_as_near_and_none_is_too_far(wish: Wish) -> None:
    trainers = [a_trainer(2, km=4000), a_trainer(1, place=None, radius_km=None)]

    other = offered(trainers, wish, taken=during(1, a_series()))
    nobody = offered(trainers, wish, taken=[*during(1, a_series(count=1)), *during(2, a_series())])

    assert told(other) == [("trainer", "trn_2", ()), ("time", "trn_1", 17), ("date", "trn_2", 2)]
    assert told(nobody) == [("time", "trn_1", 17), ("date", "trn_1", 2), ("time", "trn_1", 15)]
    assert {one.km for one in other + nobody} == {None}


def test_an_occupancy_that_does_not_cover_the_alternatives_is_a_mistake() -> None:
    asked_only = Occupancy([a_series()])

    with pytest.raises(ValueError, match="covers"):
        offers(Directory([a_trainer(1)]), a_wish(), asked_only, asked_only, LONG_AGO)


series_asked = st.builds(
    a_series,
    at=st.sampled_from([0, 45, 600, 961, 1290, 1410]),
    days=st.sampled_from([127, 127, 0b10, 0b0110110]),
    count=st.integers(1, 4),
    day=st.dates(date(2026, 10, 19), date(2026, 10, 26)),
    minutes=st.sampled_from([30, 60, 600]),
    zone=st.sampled_from([KOLKATA, "Europe/London"]),
)
wishes = st.builds(a_wish, series_asked, st.just(HOME), at_home=st.sampled_from([True, True, True, False]))
crews = st.lists(
    st.builds(
        a_trainer,
        no=st.integers(1, 8),
        km=st.sampled_from([1.0, 1.0, 8.0, 20.0, 45.0, 70.0]),
        active=st.sampled_from([True, True, True, True, False]),
        courses=st.sampled_from([frozenset({"yoga"})] * 4 + [frozenset({"chess"})]),
        zone=st.sampled_from([KOLKATA, "Europe/London"]),
        hours=st.sampled_from([ALWAYS, ALWAYS, ALWAYS, (Window(127, 540, 1260),), (Window(0b0111110, 1020, 1560),)]),
        radius_km=st.sampled_from([None, 0.0, 5.0, 12.0, 30.0]),
    ),
    min_size=2,
    max_size=7,
    unique_by=lambda trainer: trainer.no,
)
# From the first start on in minutes, and how long: hours around a session, or days.
some_times = st.tuples(
    st.integers(0, 16).map(lambda day: day * 1440),
    st.integers(-24, 24).map(lambda quarters: quarters * 15),
    st.sampled_from([1, 45, 90, 240, 1440]),
)
absences = st.lists(st.tuples(st.integers(1, 8), some_times), max_size=14)
meetings = st.lists(st.tuples(st.just(STUDENT), some_times), max_size=2)
ages = st.sampled_from([LONG_AGO, LONG_AGO, LONG_AGO, LONG_AGO, -61, -60, 0, 1, 60, 61, 1440, 5000])


def absolute(times: Sequence[tuple[int, tuple[int, int, int]]], series: Series) -> Times:
    at = first_start(series)
    return [(who, at + day + minute, at + day + minute + length) for who, (day, minute, length) in times]


def is_free(who: int, series: Series, times: Times) -> bool:
    return not any(
        who == one and start < end and begin < start + series.minutes
        for start in session_starts(series)
        for one, begin, end in times
    )


def searched(trainers: Sequence[Trainer], wish: Wish, taken: Times, met: Times, now: int) -> list[Offer]:
    """Session by session, every trainer at every time: slow, and plain."""
    asked = wish.series
    kinds: dict[str, Any] = {"trainer": [], "time": [], "date": []}
    others = [("trainer", (0, 0), asked)]
    for hours in (-3, -2, -1, 1, 2, 3):
        start = asked.start_minute + 60 * hours
        if start >= 0 and (hours < 0 or start + asked.minutes <= 1440):
            others.append(("time", (abs(hours), -hours), asked._replace(start_minute=start)))
    for later in range(1, 15):
        day = asked.first_day + timedelta(days=later)
        if asked.days >> day.weekday() & 1:
            others.append(("date", (later, 0), asked._replace(first_day=day)))
    for kind, rank, series in others:
        if session_starts(series)[0] < now or not is_free(STUDENT, series, met):
            continue
        fitting = []
        for one in trainers:
            km = distance_km(one.place, HOME) if wish.at_home and one.place else None
            radius = one.radius_km
            near = km is None or (radius is not None and km <= radius)
            may_come = near or (radius is not None and km is not None and km <= max(4 * radius, 50))
            works = one.active and "yoga" in one.courses and not outside_hours(series, one.hours, one.zone)
            if works and is_free(one.no, series, taken) and (near or (kind == "trainer" and may_come)):
                how = Offer(kind, one.id, km, series.first_day, series.start_minute, series.minutes, series.days,
                            () if near else ("distance",))  # fmt: skip
                fitting.append((rank, not near, km or 0, one.id, how))
        kinds[kind] += sorted(fitting) if kind == "trainer" else sorted(fitting)[:1]
    ranked = [[offer for *_, offer in sorted(found)] for found in kinds.values()]
    return [found[rank] for rank in range(3) for found in ranked if rank < len(found)][:3]


@settings(max_examples=600)
@given(crews, wishes, absences, meetings, ages)
def test_every_offer_works_and_none_of_its_kind_lies_nearer(
    trainers: list[Trainer],
    wish: Wish,
    absences: list[tuple[int, tuple[int, int, int]]],
    meetings: list[tuple[int, tuple[int, int, int]]],
    age: int,
) -> None:
    taken, met = absolute(absences, wish.series), absolute(meetings, wish.series)
    now = age if age == LONG_AGO else first_start(wish.series) + age

    found = offered(trainers, wish, taken=taken, met=met, now=now)
    shuffled = offered(trainers[::-1], wish, taken=taken[::-1], met=met, now=now)

    assert found == searched(trainers, wish, taken, met, now)
    assert shuffled == found


@given(series_asked)
def test_the_alternatives_begin_with_what_was_asked_and_keep_count_length_and_zone(series: Series) -> None:
    found = alternatives(series)

    assert found[0] == series
    assert len(set(found)) == len(found)
    assert {one[1:3] + one[4:] for one in found} == {series[1:3] + series[4:]}
    assert all(one.first_day == series.first_day or one.start_minute == series.start_minute for one in found)
    assert all(last_day(one) >= last_day(series) for one in found)
