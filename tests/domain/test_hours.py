"""Working hours, minute by minute, on the trainer's own wall."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.hours import Window, closed_week, needed_week, outside_hours, parse_hours
from domain.schedule import Series, series_of, session_starts
from domain.slots import Slot

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = (
    "Asia/Kolkata",
    "Europe/London",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Africa/Casablanca",
)
windows = st.builds(
    lambda days, start, length: Window(days, start, min(start + length, start + 1439)),
    st.integers(1, 127), st.integers(0, 1439), st.integers(1, 1440),
)  # fmt: skip


def a_series(
    *,
    day: date = date(2026, 12, 1),
    days: int = 127,
    count: int = 7,
    at: int = 960,
    minutes: int = 60,
    zone: str = "Asia/Kolkata",
) -> Series:
    return series_of(day, days, count, Slot(at, minutes), zone)


def works(windows: Sequence[Window], wall: datetime) -> bool:
    """Whether a wall minute lies in a window of its day, or in one of the day before that runs over midnight."""
    minute = wall.hour * 60 + wall.minute
    today, yesterday = wall.weekday(), (wall.weekday() - 1) % 7
    return any(
        (window.days >> today & 1 and window.start_minute <= minute < window.end_minute)
        or (window.days >> yesterday & 1 and window.start_minute <= minute + 1440 < window.end_minute)
        for window in windows
    )


@settings(max_examples=150)
@given(
    st.lists(windows, max_size=5).map(tuple),
    st.dates(date(2026, 1, 1), date(2028, 12, 31)),
    st.integers(1, 127),
    st.integers(1, 20),
    st.integers(0, 1439),
    st.integers(15, 720),
    st.sampled_from(ZONES),
    st.sampled_from(ZONES),
)
@example((Window(127, 0, 1440),), date(2027, 3, 27), 127, 3, 1410, 240, "Europe/London", "Europe/London")
def test_a_session_fits_where_every_minute_of_it_is_worked_on_the_wall_of_the_trainer(  # noqa: PLR0917
    hours: tuple[Window, ...], day: date, days: int, count: int, at: int, minutes: int, zone: str, own_zone: str
) -> None:
    series = series_of(day, days, count, Slot(at, minutes), zone)

    outside = outside_hours(series, hours, own_zone)

    expected = [
        index
        for index, start in enumerate(session_starts(series))
        if not all(
            works(hours, (EPOCH + timedelta(minutes=minute)).astimezone(ZoneInfo(own_zone)))
            for minute in range(start, start + minutes)
        )
    ]
    assert outside == expected
    assert bool(closed_week(hours) & needed_week(series, own_zone)) == bool(expected)


@pytest.mark.parametrize(
    ("hours", "at", "minutes", "fits"),
    [
        ([{"from": "16:00", "to": "17:00"}], 960, 60, True),
        ([{"from": "16:00", "to": "17:00"}], 960, 61, False),
        ([{"from": "16:01", "to": "18:00"}], 960, 60, False),
        ([{"from": "06:00", "to": "16:30"}, {"from": "16:30", "to": "21:00"}], 960, 60, True),
        ([{"from": "06:00", "to": "16:30"}, {"from": "16:31", "to": "21:00"}], 960, 60, False),
        ([{"from": "18:00", "to": "24:00"}, {"from": "00:00", "to": "02:00"}], 1410, 60, True),
        ([{"from": "18:00", "to": "02:00"}], 1410, 60, True),
        ([{"from": "18:00", "to": "00:00"}], 1380, 60, True),
        ([{"from": "18:00", "to": "24:00"}], 1410, 60, False),
        ([{"from": "00:00", "to": "24:00"}], 1410, 720, True),
        ([], 960, 60, False),
    ],
)
def test_windows_join_where_they_touch_also_over_midnight_and_from_sunday_to_monday(
    hours: list[dict[str, object]],
    at: int,
    minutes: int,
    fits: bool,  # noqa: FBT001
) -> None:
    series = a_series(count=14, at=at, minutes=minutes)

    outside = outside_hours(series, parse_hours(hours), "Asia/Kolkata")

    assert (outside == []) == fits


def test_monday_evening_and_tuesday_night_hold_a_lesson_over_midnight_of_monday_only() -> None:
    hours = parse_hours(
        [{"days": ["mon"], "from": "18:00", "to": "24:00"}, {"days": ["tue"], "from": "00:00", "to": "02:00"}]
    )
    week = a_series(day=date(2026, 11, 30), count=7, at=1410)

    outside = outside_hours(week, hours, "Asia/Kolkata")

    assert outside == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("end", "outside"), [("24:00", [0]), ("00:30", []), ("00:29", [0])])
def test_sunday_night_ends_on_monday(end: str, outside: list[int]) -> None:
    hours = parse_hours([{"days": ["sun"], "from": "18:00", "to": end}])
    sunday = a_series(day=date(2026, 12, 6), count=1, at=1410)

    assert outside_hours(sunday, hours, "Asia/Kolkata") == outside
    assert bool(closed_week(hours) & needed_week(sunday, "Asia/Kolkata")) == bool(outside)


def test_a_trainer_in_another_zone_is_asked_at_his_own_time_on_both_sides_of_a_change() -> None:
    hours = parse_hours([{"from": "10:30", "to": "11:30"}])
    series = a_series(day=date(2027, 3, 26), count=4, at=960, zone="Asia/Kolkata")

    outside = outside_hours(series, hours, "Europe/London")

    assert outside == [2, 3]


def test_hours_are_read() -> None:
    read = parse_hours([
        {"days": ["mon", "Tue"], "from": "06:00", "to": "21:00"},
        {"days": None, "from": "22:00", "to": "02:00"},
        {"from": "6 pm", "to": "24:00"},
    ])  # fmt: skip

    assert read == (Window(3, 360, 1260), Window(127, 1320, 1560), Window(127, 1080, 1440))
    assert parse_hours(None) == ()


@pytest.mark.parametrize(
    ("window", "field"),
    [
        ({"days": ["moon"], "from": "06:00", "to": "21:00"}, "workingHours[1].days"),
        ({"days": ["mon"], "from": "6", "to": "21:00"}, "workingHours[1].from"),
        ({"days": ["mon"], "to": "21:00"}, "workingHours[1].from"),
        ({"days": ["mon"], "from": "24:00", "to": "02:00"}, "workingHours[1].from"),
        ({"days": ["mon"], "from": "06:00", "to": "25:00"}, "workingHours[1].to"),
        ({"days": ["mon"], "from": "06:00", "to": 2100}, "workingHours[1].to"),
        ({"days": ["mon"], "from": "06:00", "to": "06:00"}, "workingHours[1].to"),
    ],
)
def test_unreadable_hours_are_refused_with_the_name_of_the_field(window: dict[str, object], field: str) -> None:
    good = {"days": ["mon"], "from": "06:00", "to": "21:00"}

    with pytest.raises(ValueError, match="workingHours") as refused:
        parse_hours([good, window])

    assert str(refused.value).startswith(field + ":")
