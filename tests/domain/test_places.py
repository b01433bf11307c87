"""Distances, and a grid that misses nobody."""

import math

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from domain.places import Place, cell_of, cells_within, distance_km, is_place

places = st.builds(
    Place,
    st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, -89.99, 0.0, 89.999, 90.0])),
    st.one_of(st.floats(-180, 180), st.sampled_from([-180.0, -179.999, 0.0, 179.999, 180.0])),
)


def haversine(a: Place, b: Place) -> float:
    north, east = math.radians(b.latitude - a.latitude), math.radians(b.longitude - a.longitude)
    middle = math.cos(math.radians(a.latitude)) * math.cos(math.radians(b.latitude)) * math.sin(east / 2) ** 2
    return 2 * 6371.0088 * math.asin(min(1, math.sqrt(math.sin(north / 2) ** 2 + middle)))


@given(places, places)
def test_the_distance_is_the_great_circle(a: Place, b: Place) -> None:
    km = distance_km(a, b)

    assert km == pytest.approx(haversine(a, b), rel=1e-6, abs=1e-5)
    assert km == distance_km(b, a)
    assert distance_km(a, a) == 0


def test_known_distances() -> None:
    bengaluru, chennai = Place(12.9716, 77.5946), Place(13.0827, 80.2707)

    assert distance_km(bengaluru, chennai) == pytest.approx(290.2, abs=0.2)
    assert distance_km(Place(0, 179.95), Place(0, -179.95)) == pytest.approx(11.12, abs=0.01)
    assert distance_km(Place(0, 0), Place(0, 180)) == pytest.approx(math.pi * 6371.0088)


@settings(max_examples=600)
@given(places, st.floats(0, 400), st.floats(0, 2 * math.pi), st.floats(0, 1))
@example(Place(10.0, 179.99), 30.0, math.pi / 2, 1.0)
@example(Place(88.0, 0.0), 12.0, math.pi / 2, 1.0)
@example(Place(12.25, 77.25), 0.0, 0.0, 0.0)
def test_a_student_in_the_circle_stands_in_one_of_its_cells(
    centre: Place, radius: float, bearing: float, share: float
) -> None:
    cells = cells_within(centre, radius)
    assume(cells is not None)
    angle, north = share * radius / 6371.0088, math.radians(centre.latitude)
    sine = math.sin(north) * math.cos(angle) + math.cos(north) * math.sin(angle) * math.cos(bearing)
    turn = math.atan2(math.sin(bearing) * math.sin(angle) * math.cos(north), math.cos(angle) - math.sin(north) * sine)
    east = (centre.longitude + math.degrees(turn) + 540) % 360 - 180
    student = Place(math.degrees(math.asin(max(-1, min(1, sine)))), east)

    assert distance_km(centre, student) > radius or cell_of(student) in (cells or ())


@pytest.mark.parametrize("meridian", [-180.0, 180.0])
@pytest.mark.parametrize("longitude", [-180.0, 180.0, 179.95, -179.95])
def test_both_ends_of_the_map_are_one_meridian(longitude: float, meridian: float) -> None:
    student = Place(0.1, meridian)

    cells = cells_within(Place(0.1, longitude), 12.0)

    assert cell_of(student) in (cells or ())


@pytest.mark.parametrize(
    ("centre", "radius"),
    [(Place(12.0, 77.0), 5000.0), (Place(12.0, 77.0), 1e300), (Place(12.0, 77.0), math.inf), (Place(89.95, 10.0), 12.0),
     (Place(-90.0, 0.0), 1.0), (Place(0.0, 0.0), 15_000.0)],
)  # fmt: skip
def test_a_huge_circle_and_one_at_a_pole_are_not_listed(centre: Place, radius: float) -> None:
    assert cells_within(centre, radius) is None


def test_an_ordinary_circle_touches_few_cells() -> None:
    assert 1 <= len(cells_within(Place(12.97, 77.59), 12.0) or ()) <= 9


@pytest.mark.parametrize(
    ("latitude", "longitude", "valid"),
    [(12.97, 77.59, True), (90, 180, True), (-90, -180, True), (0, 77.5, True), (12.9, 0, True), (0, 0, False),
     (0.0, -0.0, False), (90.01, 0, False), (0, -180.01, False), (math.nan, 77, False), (12, math.inf, False),
     (None, 77, False), (12, None, False), ("12.97", "77.59", False), (True, True, False), (10**400, 0, False)],
)  # fmt: skip
def test_a_place_is_on_earth_and_not_the_null_island(latitude: object, longitude: object, valid: bool) -> None:  # noqa: FBT001
    assert is_place(latitude, longitude) is valid
