"""Choosing trainers for a batch of purchases, and explaining why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple

from domain.directory import Candidate, Directory, Trainer, Wish
from domain.hours import outside_hours
from domain.occupancy import Occupancy
from errors import NoTrainerAvailable, Parked, StudentAlreadyBooked

_MOST_SHOWN: Final = 10

Outcome = Candidate | type[Parked]


@dataclass(frozen=True)
class Weights:
    """What a kilometre and an already booked series cost, in one unit of any size."""

    per_km: float
    per_series: float


class _NearMiss(NamedTuple):
    trainer: Trainer
    causes: list[str]
    km: float | None


@dataclass(slots=True)
class _Line:
    wish: Wish
    fitting: list[Candidate]  # free before the batch began
    bits: int
    chosen: Candidate | None = None


@dataclass(slots=True)
class _Board:
    trainers: Occupancy
    students: Occupancy
    weights: Weights
    placed: dict[int, list[_Line]] = field(default_factory=dict)  # by trainer


def choose(
    wishes: Sequence[tuple[Wish, list[Candidate]]], trainers: Occupancy, students: Occupancy, weights: Weights
) -> dict[str, Outcome]:
    """Give each wish, by its key, its trainer, or the class of the reason why it has none.

    Who has the fewest to choose from goes first; the cheapest free trainer wins, at a tie the
    smallest id. Each choice occupies trainer and student, in both occupancies, for the next.
    Neither the order of the wishes nor that of the candidates matters. Raises ValueError for
    two wishes of one key, or for a series that an occupancy does not cover.
    """
    board = _Board(trainers, students, weights)
    lines = sorted([_line(board, *pair) for pair in wishes], key=lambda line: (len(line.fitting), line.wish.key))
    if len({line.wish.key for line in lines}) < len(lines):
        message = "two wishes have one key"
        raise ValueError(message)
    refused: dict[str, type[Parked]] = {}
    for line in lines:
        if not students.is_free(line.wish.student_no, line.wish.series):
            refused[line.wish.key] = StudentAlreadyBooked
        elif (best := _cheapest(board, line)) is not None or (best := _room_made(board, line)) is not None:
            _take(board, line, best)
            students.book(line.wish.student_no, line.wish.series)
        else:
            refused[line.wish.key] = NoTrainerAvailable
    return {line.wish.key: line.chosen or refused[line.wish.key] for line in lines}


def explain(directory: Directory, wish: Wish, trainers: Occupancy) -> dict[str, object]:
    """Facts for NoTrainerAvailable, as JSON values: how many fell out for which first cause, and who nearly fits.

    `nearest` is the trainer of the course with the fewest causes, then the smallest distance, then
    the smallest id; `sessions` are numbers from 1, at most ten of them.
    """
    fell_out = dict.fromkeys(("course", "inactive", "hours", "busy", "distance"), 0)
    bits, busy = trainers.wanted(wish.series), trainers.busy.get
    teaching = 0
    nearest: tuple[int, float, str, _NearMiss] | None = None
    for trainer, causes, km in directory.judged(wish):
        teaching += 1
        if busy(trainer.no, 0) & bits:
            causes.append("busy")
        if not causes:
            continue
        fell_out[next(cause for cause in fell_out if cause in causes)] += 1
        miss = (len(causes), inf if km is None else km, trainer.id, _NearMiss(trainer, causes, km))
        if nearest is None or miss[:3] < nearest[:3]:
            nearest = miss
    fell_out["course"] = len(directory) - teaching
    return {"fellOut": fell_out, "nearest": None if nearest is None else _told(nearest[3], wish, trainers)}


def _told(miss: _NearMiss, wish: Wish, trainers: Occupancy) -> dict[str, object]:
    trainer = miss.trainer
    facts: dict[str, object] = {"trainerId": trainer.id, "causes": miss.causes}
    if miss.km is not None:
        facts |= {"km": round(miss.km, 1), "radiusKm": trainer.radius_km}
    missed = set(outside_hours(wish.series, trainer.hours, trainer.zone))
    missed.update(trainers.clashes(trainer.no, wish.series))
    if missed:
        facts |= {"sessionsMissed": len(missed), "sessions": [index + 1 for index in sorted(missed)[:_MOST_SHOWN]]}
    return facts


def _line(board: _Board, wish: Wish, candidates: list[Candidate]) -> _Line:
    bits, busy = board.trainers.wanted(wish.series), board.trainers.busy.get
    return _Line(wish, [one for one in candidates if not busy(one.trainer.no, 0) & bits], bits)


def _cheapest(board: _Board, line: _Line) -> Candidate | None:
    # The costs first: whether one is free costs more to find out, and few are cheaper than the best so far.
    busy, loads, bits = board.trainers.busy.get, board.trainers.loads.get, line.bits
    per_km, per_series = board.weights.per_km, board.weights.per_series
    best, least = None, inf
    for candidate in line.fitting:
        trainer, km = candidate
        cost = per_km * km + per_series * loads(trainer.no, 0)
        if best is not None and (cost > least or (cost == least and trainer.id > best.trainer.id)):
            continue
        if not busy(trainer.no, 0) & bits:
            best, least = candidate, cost
    return best


def _cost(board: _Board, candidate: Candidate) -> tuple[float, str]:
    trainer, weights = candidate.trainer, board.weights
    return weights.per_km * candidate.km + weights.per_series * board.trainers.load(trainer.no), trainer.id


def _room_made(board: _Board, line: _Line) -> Candidate | None:
    # Moves one neighbour, placed in this batch and alone in the way, to another trainer that fits it.
    for candidate in sorted(line.fitting, key=lambda one: _cost(board, one)):
        neighbours = board.placed.get(candidate.trainer.no, ())
        in_the_way = [neighbour for neighbour in neighbours if neighbour.bits & line.bits]
        if len(in_the_way) == 1 and (elsewhere := _cheapest(board, in_the_way[0])) is not None:
            _leave(board, in_the_way[0], candidate)
            _take(board, in_the_way[0], elsewhere)
            return candidate
    return None


def _take(board: _Board, line: _Line, candidate: Candidate) -> None:
    line.chosen = candidate
    board.trainers.book(candidate.trainer.no, line.wish.series)
    board.placed.setdefault(candidate.trainer.no, []).append(line)


def _leave(board: _Board, line: _Line, candidate: Candidate) -> None:
    board.trainers.release(candidate.trainer.no, line.wish.series)
    board.placed[candidate.trainer.no].remove(line)
