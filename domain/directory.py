"""The trainers in memory, indexed by course and grid cell, and who of them could take a purchase."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import dist
from typing import Final, NamedTuple

from domain.hours import Window, closed_week, needed_week
from domain.places import Cell, Place, Vector, arc_km, cell_of, cells_within, chord_of, vector
from domain.schedule import Series


@dataclass(frozen=True, slots=True)
class Trainer:
    """A trainer; `no` is our own number, `zone` that of the hours. Without place or radius he teaches online only."""

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


class Wish(NamedTuple):
    """What a purchase asks for; distance counts only for lessons at home of a student whose place is known."""

    key: str
    course: str
    series: Series
    student_no: int
    place: Place | None
    at_home: bool


class Teacher(NamedTuple):
    """Who teaches the course of a wish, his hours aside; `km` is None where it does not count or is not known."""

    trainer: Trainer
    km: float | None
    near: bool  # within his radius, or distance does not count
    rota: int  # his hours: a key of `Directory.works`


class _Entry(NamedTuple):
    rota: int  # trainers of the same hours and zone share one
    point: Vector | None
    reach: float  # the chord of the radius, on the unit sphere; negative where nobody is near enough
    candidate: Candidate  # as for a wish without distance


_Entries = dict[int, _Entry]


class Directory:
    """The trainers by number; `put` one after the other, ask as often as you like."""

    def __init__(self, trainers: Iterable[Trainer] = ()) -> None:
        """Start with these trainers."""
        self._trainers: Final[dict[int, Trainer]] = {}
        self._teaching: Final[dict[str, _Entries]] = {}  # the inactive too
        self._active: Final[dict[str, _Entries]] = {}
        self._near: Final[dict[tuple[str, Cell], _Entries]] = {}
        self._far: Final[dict[str, _Entries]] = {}  # whose circle is too wide for the grid
        self._rotas: Final[list[tuple[int, str]]] = []  # minutes closed in a week, and the zone of that week
        self._rota_numbers: Final[dict[tuple[tuple[Window, ...], str], int]] = {}
        for trainer in trainers:
            self.put(trainer)

    def __len__(self) -> int:
        """Return the number of trainers, the inactive too."""
        return len(self._trainers)

    def get(self, no: int) -> Trainer | None:
        """Return the trainer of a number."""
        return self._trainers.get(no)

    def named(self, trainer_id: str) -> Trainer | None:
        """Return the trainer of an id; it looks at one after the other."""
        return next((trainer for trainer in self._trainers.values() if trainer.id == trainer_id), None)

    def judged(self, wish: Wish) -> Iterator[tuple[Trainer, list[str], float | None]]:
        """Yield all who teach the course, why each cannot take the wish even when free, and how far away he is.

        The reasons are `inactive`, `hours`, `distance`, in this order; the distance in km is None
        where it does not count or is not known.
        """
        return self._judgements(self._teaching.get(wish.course, {}).values(), wish)

    def misfit(self, wish: Wish, trainer_no: int) -> tuple[list[str], float | None]:
        """Return the same of this trainer alone, with `course` first where he does not teach it.

        Raises KeyError for a number that no trainer has.
        """
        trainer = self._trainers[trainer_no]
        ((_, causes, km),) = self._judgements([self._entry(trainer)], wish)
        return causes if wish.course in trainer.courses else ["course", *causes], km

    def teachers(self, wish: Wish) -> Iterator[Teacher]:
        """Yield the active who teach the course, at whatever hours and distance."""
        here = _here(wish)
        for rota, point, reach, (trainer, _) in self._active.get(wish.course, {}).values():
            chord = None if here is None or point is None else dist(point, here)
            near = here is None or (chord is not None and chord <= reach)
            yield Teacher(trainer, None if chord is None else arc_km(chord), near, rota)

    def works(self, series: Series) -> Mapping[int, bool]:
        """Return who works at every session, by `Teacher.rota`: to be subscripted, worked out when asked."""
        return _Verdicts(self._rotas, series)

    def put(self, trainer: Trainer) -> None:
        """Insert a trainer, or replace the one of that number."""
        before = self._trainers.get(trainer.no)
        if before is not None:
            self._forget(before)
        self._trainers[trainer.no] = trainer
        entry = self._entry(trainer)
        for course in trainer.courses:
            self._teaching.setdefault(course, {})[trainer.no] = entry
        if not trainer.active:
            return
        cells = _cells(trainer)
        for course in trainer.courses:
            self._active.setdefault(course, {})[trainer.no] = entry
            if cells is None:
                self._far.setdefault(course, {})[trainer.no] = entry
            for cell in cells or ():
                self._near.setdefault((course, cell), {})[trainer.no] = entry

    def candidates(self, wish: Wish) -> list[Candidate]:
        """Return the active who teach the course, work at every session and are near enough, free or not."""
        if wish.at_home and wish.place is not None:
            return self._within(wish, wish.place)
        works = _Verdicts(self._rotas, wish.series)
        return [entry.candidate for entry in self._active.get(wish.course, {}).values() if works[entry.rota]]

    def _judgements(self, entries: Iterable[_Entry], wish: Wish) -> Iterator[tuple[Trainer, list[str], float | None]]:
        here, works = _here(wish), self.works(wish.series)
        for rota, point, reach, (trainer, _) in entries:
            causes = [] if trainer.active else ["inactive"]
            if not works[rota]:
                causes.append("hours")
            chord = None if here is None or point is None else dist(point, here)
            if here is not None and (chord is None or chord > reach):
                causes.append("distance")
            yield trainer, causes, None if chord is None else arc_km(chord)

    def _within(self, wish: Wish, place: Place) -> list[Candidate]:
        # The inner loop of everything: look-ups and one distance a trainer.
        here, works = vector(place), _Verdicts(self._rotas, wish.series)
        found = []
        for entries in (self._near.get((wish.course, cell_of(place)), {}), self._far.get(wish.course, {})):
            for rota, point, reach, candidate in entries.values():
                if works[rota] and point is not None and (chord := dist(point, here)) <= reach:
                    found.append(Candidate(candidate.trainer, arc_km(chord)))
        return found

    def _entry(self, trainer: Trainer) -> _Entry:
        rota = self._rota_numbers.setdefault((trainer.hours, trainer.zone), len(self._rotas))
        if rota == len(self._rotas):
            self._rotas.append((closed_week(trainer.hours), trainer.zone))
        point = None if trainer.place is None else vector(trainer.place)
        return _Entry(rota, point, chord_of(trainer.radius_km), Candidate(trainer, 0.0))

    def _forget(self, trainer: Trainer) -> None:
        cells = _cells(trainer) or ()
        for course in trainer.courses:
            self._teaching[course].pop(trainer.no, None)
            for index in (self._active, self._far):
                index.get(course, {}).pop(trainer.no, None)
            for cell in cells:
                self._near.get((course, cell), {}).pop(trainer.no, None)


def _here(wish: Wish) -> Vector | None:
    # None where distance does not count.
    return vector(wish.place) if wish.at_home and wish.place is not None else None


def _cells(trainer: Trainer) -> list[Cell] | None:
    # Without a place or a radius nobody is near enough.
    if trainer.place is None or trainer.radius_km is None or not trainer.radius_km >= 0:
        return []
    return cells_within(trainer.place, trainer.radius_km)


class _Verdicts(dict[int, bool]):
    """Whether a rota covers every session of a series: worked out once for all who share the rota."""

    def __init__(self, rotas: Sequence[tuple[int, str]], series: Series) -> None:
        super().__init__()
        self._rotas = rotas
        self._series = series
        self._needed: dict[str, int] = {}

    def __missing__(self, rota: int) -> bool:
        closed, zone = self._rotas[rota]
        needed = self._needed.get(zone)
        if needed is None:
            needed = self._needed[zone] = needed_week(self._series, zone)
        verdict = self[rota] = not closed & needed
        return verdict
