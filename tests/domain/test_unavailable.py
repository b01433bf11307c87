"""Which booked sessions a trainer cannot give any more."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from domain.directory import Trainer
from domain.hours import parse_hours
from domain.schedule import Series, session_starts
from domain.unavailable import Missed, Stretch, missed

KOLKATA = "Asia/Kolkata"
SERIES = Series(date(2026, 12, 1), 0b1111111, 10, 16 * 60, 60, KOLKATA)
LONG_AGO = 0


def a_trainer(**changes: Any) -> Trainer:
    known: dict[str, Any] = {
        "no": 1,
        "id": "trn_1",
        "active": True,
        "courses": frozenset(["crs_yoga"]),
        "zone": KOLKATA,
        "hours": parse_hours([{"from": "06:00", "to": "21:00"}]),
        "place": None,
        "radius_km": None,
    }
    return Trainer(**known | changes)


def a_stretch(**changes: Any) -> Stretch:
    known: dict[str, Any] = {"series": SERIES, "first_number": 1, "course": "crs_yoga"}
    return Stretch(**known | changes)


def at(day: int, hour: int, minute: int = 0) -> int:
    """Epoch seconds of a time in December 2026, on the wall of Kolkata."""
    return int(datetime(2026, 12, day, hour, minute, tzinfo=ZoneInfo(KOLKATA)).timestamp())


def test_a_trainer_who_is_there_misses_nothing() -> None:
    assert missed(a_stretch(), a_trainer(), [], LONG_AGO) == []


def test_an_absence_hits_the_sessions_that_it_overlaps_and_no_neighbour() -> None:
    away = [(at(3, 17), at(4, 16)), (at(5, 16, 59), at(6, 16, 1))]

    found = missed(a_stretch(), a_trainer(), away, LONG_AGO)

    assert found == [
        Missed(5, "absent", at(5, 16), at(5, 17)),
        Missed(6, "absent", at(6, 16), at(6, 17)),
    ]


def test_who_left_misses_everything_and_so_does_who_no_longer_teaches_the_course() -> None:
    gone = missed(a_stretch(), a_trainer(active=False, courses=frozenset()), [], LONG_AGO)
    other = missed(a_stretch(), a_trainer(courses=frozenset(["crs_chess"])), [], LONG_AGO)

    assert [miss.cause for miss in gone] == ["left"] * 10
    assert [miss.cause for miss in other] == ["course"] * 10


def test_hours_that_no_longer_contain_a_session_hit_it() -> None:
    hours = parse_hours([{"days": ["tue", "wed"], "from": "06:00", "to": "16:30"}, {"from": "06:00", "to": "21:00"}])
    fewer = parse_hours([{"days": ["tue", "wed"], "from": "06:00", "to": "21:00"}])

    assert missed(a_stretch(), a_trainer(hours=hours), [], LONG_AGO) == []
    found = missed(a_stretch(), a_trainer(hours=fewer), [], LONG_AGO)
    assert [miss.number for miss in found] == [3, 4, 5, 6, 7, 10]
    assert {miss.cause for miss in found} == {"hours"}


def test_what_was_set_aside_when_he_was_booked_does_not_count() -> None:
    trainer = a_trainer(hours=parse_hours([{"from": "06:00", "to": "07:00"}]), courses=frozenset())

    assert missed(a_stretch(set_aside=["hours", "course"]), trainer, [], LONG_AGO) == []
    assert len(missed(a_stretch(set_aside=["hours"]), trainer, [], LONG_AGO)) == 10
    assert len(missed(a_stretch(set_aside=["course"]), trainer, [], LONG_AGO)) == 10
    assert len(missed(a_stretch(set_aside=["hours", "course"]), a_trainer(active=False), [], LONG_AGO)) == 10


def test_sessions_that_have_begun_do_not_count() -> None:
    gone = a_trainer(active=False)

    assert [miss.number for miss in missed(a_stretch(), gone, [], at(4, 16))] == [4, 5, 6, 7, 8, 9, 10]
    assert [miss.number for miss in missed(a_stretch(), gone, [], at(4, 16) + 1)] == [5, 6, 7, 8, 9, 10]
    assert missed(a_stretch(), gone, [], at(20, 0)) == []


def test_a_later_stretch_goes_on_counting() -> None:
    found = missed(a_stretch(first_number=21), a_trainer(), [(at(2, 0), at(3, 0))], LONG_AGO)

    assert [miss.number for miss in found] == [22]


_SECONDS = st.integers(min_value=at(1, 0) - 86400, max_value=at(12, 0))


@given(away=st.lists(st.tuples(_SECONDS, _SECONDS).map(sorted).map(tuple), max_size=4), now=_SECONDS)
def test_absences_hit_what_the_definition_of_overlap_says(away: list[tuple[int, int]], now: int) -> None:
    found = missed(a_stretch(), a_trainer(), away, now)

    expected = [
        number
        for number, start in enumerate(session_starts(SERIES), 1)
        if start * 60 >= now and _overlaps(start * 60, start * 60 + 3600, away)
    ]
    assert [miss.number for miss in found] == expected
    assert all(
        datetime.fromtimestamp(m.ends_at, UTC) - datetime.fromtimestamp(m.starts_at, UTC) == timedelta(hours=1)
        for m in found
    )


def _overlaps(start: int, end: int, away: Iterable[tuple[int, int]]) -> bool:
    return any(begins < end and start < ends for begins, ends in away)
