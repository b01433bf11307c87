"""Places on the globe: distance, and the cells of a grid that a circle touches."""

import math
from functools import lru_cache
from typing import Final, NamedTuple

_DIAMETER_KM: Final = 2 * 6371.0088  # mean radius of the earth, IUGG
_CELLS_A_DEGREE: Final = 4
_COLUMNS: Final = 360 * _CELLS_A_DEGREE
# A circle over more cells than this is cheaper to test than to index.
_MOST_CELLS: Final = 64
_ROUNDING_KM: Final = 1e-4

Cell = tuple[int, int]
Vector = tuple[float, float, float]


class Place(NamedTuple):
    """A point in degrees: latitude -90 to 90, longitude -180 to 180."""

    latitude: float
    longitude: float


def is_place(latitude: object, longitude: object) -> bool:
    """Whether both are finite numbers in range; 0,0 is what a missing position looks like, so it is none."""
    # NaN fails every comparison.
    return _is_degrees(latitude, 90) and _is_degrees(longitude, 180) and (latitude, longitude) != (0, 0)


def distance_km(a: Place, b: Place) -> float:
    """Great-circle distance in kilometres; by the chord, which is exact for near points too."""
    return arc_km(math.dist(vector(a), vector(b)))


def arc_km(chord: float) -> float:
    """Great-circle distance in kilometres of two points whose unit vectors lie this far apart."""
    return _DIAMETER_KM * math.asin(chord / 2 if chord < 2 else 1.0)  # noqa: PLR2004  the diameter


def chord_of(radius_km: float | None) -> float:
    """How far apart two unit vectors are at a distance of so many kilometres; negative where there is no radius."""
    if radius_km is None or not radius_km >= 0:
        return -1.0
    angle = radius_km / _DIAMETER_KM
    return math.inf if angle >= math.pi / 2 else 2 * math.sin(angle)


@lru_cache(maxsize=65536)
def vector(place: Place) -> Vector:
    """Return the unit vector from the centre of the earth."""
    north, east = math.radians(place.latitude), math.radians(place.longitude)
    return math.cos(north) * math.cos(east), math.cos(north) * math.sin(east), math.sin(north)


def cell_of(place: Place) -> Cell:
    """Return the cell of a quarter of a degree that holds a place; -180 and 180 degrees are one meridian."""
    return _row(place.latitude), _column(place.longitude) % _COLUMNS


def cells_within(place: Place, radius_km: float) -> list[Cell] | None:
    """All cells that a circle may touch, or None where there are too many to list (huge, or near a pole)."""
    angle = 2 * (radius_km + _ROUNDING_KM) / _DIAMETER_KM
    north = math.radians(place.latitude)
    if not (angle < math.pi / 2 and abs(north) + angle < math.pi / 2):
        return None
    high = math.degrees(angle)
    wide = math.degrees(math.asin(min(1.0, math.sin(angle) / math.cos(north))))
    rows = range(_row(place.latitude - high), _row(place.latitude + high) + 1)
    columns = range(_column(place.longitude - wide), _column(place.longitude + wide) + 1)
    if len(rows) * len(columns) > _MOST_CELLS:
        return None
    return [(row, column % _COLUMNS) for row in rows for column in columns]


def _is_degrees(value: object, most: int) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -most <= value <= most


def _row(latitude: float) -> int:
    return math.floor((latitude + 90) * _CELLS_A_DEGREE)


def _column(longitude: float) -> int:
    return math.floor((longitude + 180) * _CELLS_A_DEGREE)
