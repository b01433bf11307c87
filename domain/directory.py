"""The trainers in memory, indexed by course and grid cell, and who of them could take a purchase."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf
from operator import attrgetter
from typing import Final, NamedTuple

from domain.hours import Window, closed_week, needed_week
from domain.places import Cell, Place, Vector, cell_of, cells_within, vector, vector_km
from domain.schedule import Series

_BY_ID: Final = attrgetter("trainer.id")


@dataclass(frozen=True, slots=True)
class Trainer:
    """A trainer; `no` is our own number, `zone` that of the hours. Without a radius every distance is near enough."""

    no: int
    id: str
    active: bool
    courses: frozenset[str]
    zone: str
    hours: tuple[Window, ...]
    place: Place | None
    radius_km: float | None


class Candidate(NamedTuple):  # made forty times a purchase: a tuple costs a third of a frozen dataclass
    """A trainer who fits a wish, and the distance in km; 0 where distance does not count."""

    trainer: Trainer
    km: float


@dataclass(frozen=True, slots=True)
class Wish:
    """What a purchase asks for; distance counts only for lessons at home of a student whose place is known."""

    key: str
    course: str
    series: Series
    student_no: int
    place: Place | None
    at_home: bool


class _Entry(NamedTuple):
    closed: int
    zone: str
    point: Vector | None
    radius_km: float
    candidate: Candidate  # as for a wish without distance


_Entries = dict[int, _Entry]


class Directory:
    """The trainers by number; `put` one after the other, ask as often as you like."""

    def __init__(self, trainers: Iterable[Trainer] = ()) -> None:
        """Start with these trainers."""
        self._trainers: Final[dict[int, Trainer]] = {}
        self._teaching: Final[dict[str, dict[int, Trainer]]] = {}  # the inactive too
        self._active: Final[dict[str, _Entries]] = {}
        self._near: Final[dict[tuple[str, Cell], _Entries]] = {}
        self._far: Final[dict[str, _Entries]] = {}  # whose circle is too wide for the grid
        for trainer in trainers:
            self.put(trainer)

    def __len__(self) -> int:
        """Return the number of trainers, the inactive too."""
        return len(self._trainers)

    def get(self, no: int) -> Trainer | None:
        """Return the trainer of a number."""
        return self._trainers.get(no)

    def teaching(self, course: str) -> Iterator[Trainer]:
        """Yield all who teach a course, the inactive too."""
        return iter(self._teaching.get(course, {}).values())

    def put(self, trainer: Trainer) -> None:
        """Insert a trainer, or replace the one of that number."""
        before = self._trainers.get(trainer.no)
        if before is not None:
            self._forget(before)
        self._trainers[trainer.no] = trainer
        for course in trainer.courses:
            self._teaching.setdefault(course, {})[trainer.no] = trainer
        if not trainer.active:
            return
        entry = _entry(trainer)
        cells = _cells(trainer)
        for course in trainer.courses:
            self._active.setdefault(course, {})[trainer.no] = entry
            if cells is None:
                self._far.setdefault(course, {})[trainer.no] = entry
            for cell in cells or ():
                self._near.setdefault((course, cell), {})[trainer.no] = entry

    def candidates(self, wish: Wish) -> list[Candidate]:
        """Return, by id, the active who teach the course, work at every session and are near enough, free or not."""
        if wish.at_home and wish.place is not None:
            found = self._within(wish, wish.place)
        else:
            found = [entry.candidate for entry in _working(self._active.get(wish.course, {}).values(), wish.series)]
        found.sort(key=_BY_ID)
        return found

    def _within(self, wish: Wish, place: Place) -> list[Candidate]:
        here = vector(place)
        near = self._near.get((wish.course, cell_of(place)), {})
        far = self._far.get(wish.course)
        entries = _working([*near.values(), *far.values()] if far else near.values(), wish.series)
        return [
            Candidate(candidate.trainer, km)
            for _, _, point, radius_km, candidate in entries
            if point is not None and (km := vector_km(point, here)) <= radius_km
        ]

    def _forget(self, trainer: Trainer) -> None:
        cells = _cells(trainer) or ()
        for course in trainer.courses:
            self._teaching[course].pop(trainer.no, None)
            for index in (self._active, self._far):
                index.get(course, {}).pop(trainer.no, None)
            for cell in cells:
                self._near.get((course, cell), {}).pop(trainer.no, None)


def misfits(trainer: Trainer, wish: Wish) -> list[str]:
    """Why a trainer cannot take a wish even when free: of `course`, `inactive`, `hours`, `distance`, in this order."""
    causes = {
        "course": wish.course not in trainer.courses,
        "inactive": not trainer.active,
        "hours": bool(closed_week(trainer.hours) & needed_week(wish.series, trainer.zone)),
        "distance": not _reaches(trainer, wish),
    }
    return [cause for cause, holds in causes.items() if holds]


def km_between(trainer: Trainer, wish: Wish) -> float | None:
    """Return the distance in km where it counts and is known."""
    if not wish.at_home or wish.place is None or trainer.place is None:
        return None
    return vector_km(vector(trainer.place), vector(wish.place))


def _reaches(trainer: Trainer, wish: Wish) -> bool:
    if not wish.at_home or wish.place is None:
        return True
    km = km_between(trainer, wish)
    return km is not None and km <= _radius(trainer)


def _radius(trainer: Trainer) -> float:
    return inf if trainer.radius_km is None else trainer.radius_km


def _entry(trainer: Trainer) -> _Entry:
    point = None if trainer.place is None else vector(trainer.place)
    return _Entry(closed_week(trainer.hours), trainer.zone, point, _radius(trainer), Candidate(trainer, 0.0))


def _cells(trainer: Trainer) -> list[Cell] | None:
    # Without a place there is no distance, so nobody is near enough.
    if trainer.place is None or not _radius(trainer) >= 0:
        return []
    return cells_within(trainer.place, _radius(trainer))


def _working(entries: Iterable[_Entry], series: Series) -> list[_Entry]:
    needed: dict[str, int] = {}
    working = []
    for entry in entries:
        closed, zone = entry[:2]
        need = needed.get(zone)
        if need is None:
            need = needed[zone] = needed_week(series, zone)
        if not need & closed:
            working.append(entry)
    return working
