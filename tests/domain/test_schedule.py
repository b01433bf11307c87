"""All sessions, in order, at the wall time."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from domain.clocks import to_wall, zone_names
from domain.schedule import Series, first_start, last_day, series_of, session_starts
from domain.slots import Slot
from errors import ScheduleInvalid

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RESTLESS = ("Europe/London", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia",
            "America/Sao_Paulo", "Asia/Gaza", "Antarctica/Troll", "Asia/Kolkata",
            "America/St_Johns", "UTC")  # fmt: skip
zones = st.one_of(st.sampled_from(RESTLESS), st.sampled_from(sorted(zone_names())))
slots = st.builds(Slot, st.integers(0, 1439), st.integers(15, 720))
days_of_life = st.dates(date(1975, 1, 1), date(2090, 12, 31))
masks = st.one_of(st.just(127), st.integers(1, 127))


def at(starts: Iterable[int]) -> list[datetime]:
    return [EPOCH + timedelta(minutes=start) for start in starts]


def walked(day: date, days: int, count: int, start_minute: int, zone: str) -> list[datetime]:
    """Day by day, one zoneinfo look-up each: the slow and obvious way."""
    found: list[datetime] = []
    while len(found) < count:
        if days >> day.weekday() & 1:
            wall = datetime.combine(day, datetime.min.time(), ZoneInfo(zone)) + timedelta(minutes=start_minute)
            found.append(wall.astimezone(UTC))
        day += timedelta(days=1)
    return found


@settings(max_examples=400)
@given(days_of_life, masks, st.integers(1, 365), slots, zones)
@example(date(2011, 12, 28), 127, 5, Slot(960, 60), "Pacific/Apia")
@example(date(2026, 12, 30), 127, 30, Slot(0, 60), "Pacific/Kiritimati")
def test_all_sessions_come_in_order_at_the_wall_time(day: date, days: int, count: int, slot: Slot, zone: str) -> None:
    series = series_of(day, days, count, slot, zone)

    starts = at(session_starts(series))

    assert starts == walked(day, days, count, slot.start_minute, zone)
    assert starts == sorted(starts)
    assert first_start(series) == session_starts(series)[0]
    assert last_day(series) >= series.first_day >= day


@settings(max_examples=300)
@given(days_of_life, masks, st.integers(2, 60), slots, zones)
def test_the_wall_shows_the_slot_on_the_right_days_unless_the_clocks_skip_it(
    day: date, days: int, count: int, slot: Slot, zone: str
) -> None:
    series = series_of(day, days, count, slot, zone)

    walls = [start.astimezone(ZoneInfo(zone)) for start in at(session_starts(series))]

    for wall in walls:
        written = wall.hour * 60 + wall.minute
        skipped = (wall - timedelta(days=1)).utcoffset() != wall.utcoffset()
        assert skipped or (written == slot.start_minute and days >> wall.weekday() & 1)


@pytest.mark.parametrize(
    ("zone", "day", "minute", "first_starts"),
    [
        # 16:00 stays 16:00 across both changes
        ("Europe/London", date(2027, 3, 27), 960, ["2027-03-27T16:00Z", "2027-03-28T15:00Z", "2027-03-29T15:00Z"]),
        ("Europe/London", date(2026, 10, 24), 960, ["2026-10-24T15:00Z", "2026-10-25T16:00Z", "2026-10-26T16:00Z"]),
        # 02:30 does not exist on 14 March: it is 03:30 then, and only then
        ("America/New_York", date(2027, 3, 13), 150, ["2027-03-13T07:30Z", "2027-03-14T07:30Z", "2027-03-15T06:30Z"]),
        # 01:30 comes twice on 7 November: it is the first
        ("America/New_York", date(2027, 11, 6), 90, ["2027-11-06T05:30Z", "2027-11-07T05:30Z", "2027-11-08T06:30Z"]),
        # half an hour: 02:15 on 4 October is 02:45 of the new time
        (
            "Australia/Lord_Howe",
            date(2026, 10, 3),
            135,
            ["2026-10-02T15:45Z", "2026-10-03T15:45Z", "2026-10-04T15:15Z"],
        ),
        ("Australia/Lord_Howe", date(2027, 4, 3), 105, ["2027-04-02T14:45Z", "2027-04-03T14:45Z", "2027-04-04T15:15Z"]),
        # 30 December 2011 was skipped: a day of no hours moves forward by a day
        ("Pacific/Apia", date(2011, 12, 29), 960, ["2011-12-30T02:00Z", "2011-12-31T02:00Z", "2011-12-31T02:00Z"]),
        # midnight itself skipped
        ("America/Sao_Paulo", date(2018, 11, 3), 0, ["2018-11-03T03:00Z", "2018-11-04T03:00Z", "2018-11-05T02:00Z"]),
    ],
)
def test_changes_of_clocks(zone: str, day: date, minute: int, first_starts: list[str]) -> None:
    starts = at(session_starts(series_of(day, 127, 3, Slot(minute, 60), zone)))

    assert [f"{start:%Y-%m-%dT%H:%MZ}" for start in starts] == first_starts


def test_the_first_day_moves_to_the_first_day_of_the_week_that_is_asked_for() -> None:
    series = series_of(date(2026, 12, 1), 0b0000101, 3, Slot(960, 60), "Asia/Kolkata")

    assert series == Series(date(2026, 12, 2), 0b101, 3, 960, 60, "Asia/Kolkata")
    assert last_day(series) == date(2026, 12, 9)


@settings(max_examples=60)
@given(st.dates(date(1, 1, 1), date(1900, 1, 1)) | st.dates(date(9990, 1, 1)), masks, st.integers(1, 365), slots, zones)
def test_at_the_ends_of_the_calendar_a_series_is_refused_or_all_its_times_can_be_held(
    day: date, days: int, count: int, slot: Slot, zone: str
) -> None:
    try:
        series = series_of(day, days, count, slot, zone)
    except ScheduleInvalid:
        reject()

    ends = at(start + series.minutes for start in session_starts(series))

    assert all(end.astimezone(ZoneInfo(zone)) for end in ends)
    assert len(ends) == count


@pytest.mark.parametrize("day", [date(1, 1, 1), date(1, 1, 2), date(9999, 12, 28), date(9999, 12, 30), date.max])
def test_a_series_over_an_end_of_the_calendar_is_refused(day: date) -> None:
    with pytest.raises(ScheduleInvalid) as refused:
        series_of(day, 127, 3, Slot(960, 60), "UTC")

    assert refused.value.facts["value"] == day.isoformat()


@pytest.mark.parametrize(("days", "count"), [(0, 1), (127, 0), (128, 1), (127, -1)])
def test_a_series_of_nothing_is_a_mistake_of_the_caller(days: int, count: int) -> None:
    with pytest.raises(ValueError, match="no series"):
        series_of(date(2026, 12, 1), days, count, Slot(960, 60), "UTC")


@settings(max_examples=200)
@given(st.datetimes(datetime(1972, 1, 1), datetime(2100, 1, 1)), zones)  # noqa: DTZ001
def test_the_wall_of_any_instant_is_that_of_zoneinfo(naive: datetime, zone: str) -> None:
    instant = naive.replace(second=0, microsecond=0, tzinfo=UTC)
    minute = (instant - EPOCH) // timedelta(minutes=1)
    changes, shifts = to_wall(zone, instant.year, instant.year)

    shift = next(shift for change, shift in zip(changes[::-1], shifts[::-1], strict=True) if change <= minute)

    offset = instant.astimezone(ZoneInfo(zone)).utcoffset()
    assert offset is not None
    assert shift == offset // timedelta(minutes=1)


@pytest.mark.parametrize("zone", RESTLESS)
def test_no_change_of_clocks_is_missed(zone: str) -> None:
    info = ZoneInfo(zone)
    hours = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(24 * 366 * 9)]
    expected = [hours[0].astimezone(info).utcoffset()]
    for hour in hours:
        offset = hour.astimezone(info).utcoffset()
        if offset != expected[-1]:
            expected.append(offset)

    _, shifts = to_wall(zone, 2020, 2028)

    assert [timedelta(minutes=shift) for shift in shifts][: len(expected)] == expected
