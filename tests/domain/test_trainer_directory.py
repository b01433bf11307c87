"""The index of the trainers finds who a scan of all would find."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.directory import Directory, Trainer, Wish
from domain.hours import Window, outside_hours
from domain.places import Place, distance_km
from domain.schedule import series_of
from domain.slots import Slot

ALWAYS = (Window(127, 0, 1440),)
EVENINGS = series_of(date(2026, 12, 1), 127, 30, Slot(960, 60), "Asia/Kolkata")
NIGHTS = series_of(date(2026, 12, 1), 0b10101, 10, Slot(1410, 60), "Asia/Kolkata")
corners = st.sampled_from([-180.0, -179.9, 179.9, 180.0, 77.5, 77.6, 0.1])
places = st.one_of(
    st.builds(Place, st.floats(12.5, 13.5), st.floats(77, 78)),
    st.builds(Place, st.sampled_from([-90.0, -89.9, 0.0, 60.0, 89.9, 90.0]), corners),
)
trainers = st.builds(
    Trainer,
    no=st.integers(1, 8),
    id=st.just(""),
    active=st.sampled_from([True, True, True, False]),
    courses=st.frozensets(st.sampled_from(["yoga", "chess", "piano"])),
    zone=st.sampled_from(["Asia/Kolkata", "Europe/London"]),
    hours=st.sampled_from([ALWAYS, (Window(127, 360, 1260),), (Window(127, 1080, 1560),), ()]),
    place=st.none() | places,
    radius_km=st.sampled_from([None, 0.0, 5.0, 12.0, 60.0, 400.0, 30_000.0, -1.0]),
).map(lambda trainer: a_trainer(trainer, id=f"trn_{9 - trainer.no}"))
wishes = st.builds(
    Wish,
    key=st.just("alc_1"),
    course=st.sampled_from(["yoga", "chess", "knitting"]),
    series=st.sampled_from([EVENINGS, NIGHTS]),
    student_no=st.just(1),
    place=st.none() | places,
    at_home=st.booleans(),
)


def a_trainer(like: Trainer | None = None, **changes: Any) -> Trainer:
    default: dict[str, Any] = {"no": 1, "id": "trn_1", "active": True, "courses": frozenset({"yoga"}),
                               "zone": "Asia/Kolkata",
               "hours": ALWAYS, "place": Place(12.98, 77.6), "radius_km": 12.0}  # fmt: skip
    if like is not None:
        default = {name: getattr(like, name) for name in default}
    return Trainer(**(default | changes))


def a_wish(**changes: Any) -> Wish:
    default: dict[str, Any] = {"key": "alc_1", "course": "yoga", "series": EVENINGS, "student_no": 1,
                               "place": Place(12.97, 77.59),
                    "at_home": True}  # fmt: skip
    return Wish(**(default | changes))


def scanned(trainers: Iterable[Trainer], wish: Wish) -> list[tuple[Trainer, float]]:
    found = []
    for trainer in sorted(trainers, key=lambda one: one.id):
        counts = wish.at_home and wish.place is not None
        km = distance_km(trainer.place, wish.place) if wish.at_home and wish.place and trainer.place else 0.0
        near = not counts or (trainer.place is not None and trainer.radius_km is not None and km <= trainer.radius_km)
        works = not outside_hours(wish.series, trainer.hours, trainer.zone)
        if trainer.active and wish.course in trainer.courses and works and near:
            found.append((trainer, km))
    return found


@settings(max_examples=400)
@given(st.lists(trainers, max_size=20), st.lists(wishes, min_size=1, max_size=3))
def test_the_grid_finds_what_a_scan_finds_also_after_replacements(changes: list[Trainer], asked: list[Wish]) -> None:
    directory = Directory(changes)
    current = {trainer.no: trainer for trainer in changes}

    found = [directory.candidates(wish) for wish in asked]

    by_id = [sorted(some, key=lambda one: one.trainer.id) for some in found]
    assert [[tuple(one) for one in some] for some in by_id] == [scanned(current.values(), wish) for wish in asked]
    assert len(directory) == len(current)
    for wish, some in zip(asked, found, strict=True):
        fitting = {one.trainer.no for one in some}
        assert {trainer.no for trainer, causes, _ in directory.judged(wish) if not causes} == fitting


@pytest.mark.parametrize(
    ("changes", "causes"),
    [
        ({}, []),
        ({"courses": frozenset({"chess"})}, ["course"]),
        ({"active": False}, ["inactive"]),
        ({"hours": (Window(127, 0, 960),)}, ["hours"]),
        ({"place": Place(14.0, 77.6)}, ["distance"]),
        ({"place": None}, ["distance"]),
        ({"radius_km": nan}, ["distance"]),
        ({"radius_km": None}, ["distance"]),
        ({"radius_km": inf, "place": Place(-40.0, -100.0)}, []),
        ({"active": False, "radius_km": 0.0, "hours": ()}, ["inactive", "hours", "distance"]),
    ],
)
def test_a_trainer_is_told_why_he_does_not_fit(changes: dict[str, Any], causes: list[str]) -> None:
    trainer = a_trainer(**changes)

    directory = Directory([trainer])
    judged = [causes for _, causes, _ in directory.judged(a_wish())]

    assert judged == ([] if causes == ["course"] else [causes])
    assert bool(Directory([trainer]).candidates(a_wish())) is (causes == [])


@pytest.mark.parametrize("wish", [a_wish(at_home=False), a_wish(place=None), a_wish(at_home=False, place=None)])
def test_distance_counts_only_for_a_lesson_at_home_of_a_known_place(wish: Wish) -> None:
    far = a_trainer(place=Place(-40.0, -100.0))

    found = Directory([far]).candidates(wish)

    assert [(one.trainer, one.km) for one in found] == [(far, 0.0)]


@settings(max_examples=300)
@given(st.lists(trainers, max_size=8), wishes)
def test_one_trainer_is_judged_alone_as_among_all_who_teach_the_course(crew: list[Trainer], wish: Wish) -> None:
    directory = Directory(crew)
    taught = {trainer.no: (causes, km) for trainer, causes, km in directory.judged(wish)}
    everything = Directory([replace(one, courses=one.courses | {wish.course}) for one in crew])
    untaught = {trainer.no: (["course", *causes], km) for trainer, causes, km in everything.judged(wish)}

    alone = {trainer.no: directory.misfit(wish, trainer.no) for trainer in crew}

    assert alone == untaught | taught


def test_a_trainer_whom_nobody_knows_cannot_be_judged() -> None:
    with pytest.raises(KeyError):
        Directory([a_trainer()]).misfit(a_wish(), 2)


def test_asking_about_a_trainer_of_another_course_does_not_make_him_teach_it() -> None:
    directory = Directory([a_trainer(courses=frozenset({"chess"}), place=Place(14.0, 77.6))])

    causes, km = directory.misfit(a_wish(), 1)

    assert causes == ["course", "distance"]
    assert km == pytest.approx(114.5, abs=0.1)
    assert [*directory.judged(a_wish()), *directory.teachers(a_wish())] == []


@settings(max_examples=300)
@given(st.lists(trainers, max_size=12, unique_by=lambda trainer: trainer.no), wishes)
def test_the_active_teachers_are_those_who_are_judged_near_and_working(crew: list[Trainer], wish: Wish) -> None:
    directory = Directory(crew)

    works = directory.works(wish.series)
    teachers = {one.trainer.no: (one.near, works[one.rota], one.km) for one in directory.teachers(wish)}

    assert teachers == {
        trainer.no: ("distance" not in causes, "hours" not in causes, km)
        for trainer, causes, km in directory.judged(wish)
        if "inactive" not in causes
    }


def test_a_trainer_who_moves_leaves_nothing_behind() -> None:
    directory = Directory([a_trainer()])

    directory.put(a_trainer(place=Place(28.6, 77.2), courses=frozenset({"chess"})))

    assert directory.candidates(a_wish()) == []
    assert directory.candidates(a_wish(at_home=False)) == []
    assert list(directory.judged(a_wish())) == []
    assert len(directory.candidates(a_wish(course="chess", place=Place(28.6, 77.2)))) == 1
