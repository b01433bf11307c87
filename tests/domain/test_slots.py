"""Reading slots, dates, days and zones."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.dates import parse_date
from domain.slots import Slot, parse_days, parse_slot, parse_zone
from errors import ScheduleInvalid

DASHES = ("-", "\u2010", "\u2011", "\u2012", "\u2013", "\u2014", "\u2015", "\u2212", "\uff0d")
SPACES = ("", " ", "  ", "\u202f", "\u00a0", "\u2009", "\t")
NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
ZONES = (
    "Asia/Kolkata",
    "America/New_York",
    "Europe/London",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "Australia/Lord_Howe",
)
minutes_of_day = st.integers(0, 1439)
lengths = st.integers(15, 720)


def by_24_hours(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def by_halves(minute: int, half: str = "{}") -> str:
    hour, rest = divmod(minute % 1440, 60)
    return f"{hour % 12 or 12}:{rest:02}" + half.format("PM" if hour >= 12 else "AM")


@given(minutes_of_day, lengths, st.sampled_from(DASHES), st.sampled_from(SPACES), st.sampled_from(SPACES), st.data())
def test_a_slot_with_an_end_is_read_in_every_written_form(  # noqa: PLR0917
    start: int, minutes: int, dash: str, before: str, after: str, data: st.DataObject
) -> None:
    write = data.draw(st.sampled_from([by_24_hours, lambda minute: by_halves(minute, before + "{}")]))
    text = f"{after}{write(start)}{before}{dash}{after}{write((start + minutes) % 1440)}{before}"
    recased = data.draw(st.sampled_from([str.upper, str.lower, str.title]))(text)

    slot = parse_slot(recased)

    assert slot == Slot(start, minutes)


@given(minutes_of_day, st.sampled_from(SPACES))
def test_a_slot_without_an_end_lasts_an_hour(start: int, space: str) -> None:
    slots = {parse_slot(by_24_hours(start)), parse_slot(by_halves(start, space + "{}"))}

    assert slots == {Slot(start, 60)}


@pytest.mark.parametrize(
    ("text", "slot"),
    [
        ("16:00", Slot(960, 60)),
        ("16:00-17:00", Slot(960, 60)),
        ("4:00 PM", Slot(960, 60)),
        ("4:00 PM - 5:00 PM", Slot(960, 60)),
        ("4:00\u202fPM \u2013 5:30\u202fPM", Slot(960, 90)),
        ("4:00:00\u202fPM", Slot(960, 60)),
        ("\u200e4:00:00 PM\u200f", Slot(960, 60)),
        ("16:00:00 - 17:00:00", Slot(960, 60)),
        ("4 pm", Slot(960, 60)),
        ("4pm-5PM", Slot(960, 60)),
        ("4:00 p.m. \u2014 5:00 p.m.", Slot(960, 60)),
        ("4:00 p. m.", Slot(960, 60)),
        ("9:30", Slot(570, 60)),
        ("23:30-00:30", Slot(1410, 60)),
        ("11:30 PM - 12:30 AM", Slot(1410, 60)),
        ("23:00-24:00", Slot(1380, 60)),
        ("11:00 PM - 24:00", Slot(1380, 60)),
        ("11 PM - 12:00 AM", Slot(1380, 60)),
        ("23:00-00:00", Slot(1380, 60)),
        ("12:00 AM", Slot(0, 60)),
        ("12:00 PM", Slot(720, 60)),
        ("12:00 PM - 12:00 AM", Slot(720, 720)),
        ("00:00-12:00", Slot(0, 720)),
        ("16:00-16:15", Slot(960, 15)),
        ("23:55-00:10", Slot(1435, 15)),
    ],
)
def test_these_slots_are_read(text: str, slot: Slot) -> None:
    assert parse_slot(text) == slot


@pytest.mark.parametrize(
    "value",
    [None, "", " ", 16, 1600, True, ["16:00"], {"from": "16:00"}, "16", "16-17", "4", "24:00", "24:30", "25:00",
     "16:60",
     "16:00-16:00", "16:00-16:14", "08:00-20:01", "00:00-24:00", "13:00 PM", "0:30 AM", "16:00 PM", "4:00 - 5:00 PM",
     "4:00 PM - 5:00", "8:00 - 1:00 PM", "8:00 PM - 23:00",
     "16:00-", "-16:00", "16:00-17:00-18:00", "16:00--17:00", "16:00 17:00", "noon", "16:00:30",
     "16:00Z", "16.00",
     "\u0661\u0666:\u0660\u0660", "16:00" + " " * 100, "1" * 10_000, "\ud800", "16:00 to 17:00", "16:00-24:01"],
)  # fmt: skip
def test_these_are_no_slots(value: object) -> None:
    with pytest.raises(ScheduleInvalid) as refused:
        parse_slot(value, "preferredTimeSlot")

    assert refused.value.facts["field"] == "preferredTimeSlot"
    assert "16:00" in refused.value.facts["expected"]
    json.dumps(refused.value.facts, allow_nan=False, ensure_ascii=False).encode()


@given(st.one_of(st.text(), st.text("0123456789:-apmAPM. \u2013\u202f", max_size=20)))
def test_any_text_is_a_slot_within_the_limits_or_refused(text: str) -> None:
    try:
        slot = parse_slot(text)
    except ScheduleInvalid:
        return

    assert 0 <= slot.start_minute < 1440
    assert 15 <= slot.minutes <= 720


@given(
    st.dates(),
    st.sampled_from(["{}", " {} ", "{}T00:00:00", "{}T09:30", "{} 23:59:59.999", "{}T00:00:00Z", "{}t00:00z"]),
)
def test_a_date_and_a_time_without_offset_and_midnight_mean_the_date_as_written(day: date, written: str) -> None:
    days = {parse_date(written.format(day.isoformat()), zone) for zone in ZONES}

    assert days == {day}


@given(st.dates(), st.integers(-23, 23), st.sampled_from([":30", "30", "", ":00"]), st.sampled_from(ZONES))
def test_midnight_as_written_with_any_offset_means_the_date_as_written(
    day: date, hours: int, minutes: str, zone: str
) -> None:
    text = f"{day.isoformat()}T00:00:00.000{'-' if hours < 0 else '+'}{abs(hours):02}{minutes}"

    try:
        read = parse_date(text, zone)
    except ScheduleInvalid:
        assert day in {date.min, date.max}
        return

    assert read == day


@given(
    st.datetimes(datetime(1900, 1, 2), datetime(2200, 1, 1)),  # noqa: DTZ001
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(ZONES),
)
def test_any_other_instant_means_its_date_in_the_zone_of_the_student(local: datetime, offset: int, zone: str) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(minutes=offset)))

    read = parse_date(moment.isoformat(), zone)

    as_written = local.time().replace(tzinfo=None) == datetime.min.time()
    assert read == (local.date() if as_written else moment.astimezone(ZoneInfo(zone)).date())
    assert read == parse_date(moment, zone)


@pytest.mark.parametrize(
    ("text", "zone", "day"),
    [
        ("2026-11-30T18:30:00.000Z", "Asia/Kolkata", date(2026, 12, 1)),
        ("2026-11-30T18:29:59.999Z", "Asia/Kolkata", date(2026, 11, 30)),
        ("2026-12-01T05:00:00.000Z", "America/New_York", date(2026, 12, 1)),
        ("2026-12-01T00:00:00.000Z", "America/New_York", date(2026, 12, 1)),
        ("2026-12-01T00:00:00.500Z", "America/New_York", date(2026, 11, 30)),
        ("2026-12-01T00:00:00+05:30", "America/New_York", date(2026, 12, 1)),
        ("2026-12-01T23:00:00-08", "Asia/Kolkata", date(2026, 12, 2)),
        ("2026-12-01T23:00:00 +0000", "Asia/Kolkata", date(2026, 12, 2)),
        ("2024-02-29", "UTC", date(2024, 2, 29)),
    ],
)
def test_these_dates_are_read(text: str, zone: str, day: date) -> None:
    assert parse_date(text, zone) == day


@pytest.mark.parametrize(
    "value",
    [None, "", 20261201, 1764547200, True, [], "2026-02-29", "2026-13-01", "0000-01-01", "2026-1-1", "20261201",
     "2026-W49-2", "01/12/2026", "2026-12-01T", "2026-12-01T25:00", "2026-12-01T24:00", "2026-12-01T10:00:60Z",
     "2026-12-01T10:00:00+99:00", "2026-12-01T10:00:00+05:75", "0001-01-01T01:00:00+10:00", "9999-12-31T23:00:00-10:00",
     "9999-12-31T23:00:00Z", "tomorrow", "2026-12-01" * 50,
     "\u0662\u0660\u0662\u0666-\u0661\u0662-\u0660\u0661", "+002026-12-01"],
)  # fmt: skip
def test_these_are_no_dates(value: object) -> None:
    with pytest.raises(ScheduleInvalid) as refused:
        parse_date(value, "Asia/Kolkata", "preferredDate")

    assert refused.value.facts["field"] == "preferredDate"


def test_an_instant_in_an_unknown_zone_is_refused_for_the_zone() -> None:
    with pytest.raises(ScheduleInvalid) as refused:
        parse_date("2026-12-01T10:00:00Z", "Mars/Olympus")

    assert refused.value.facts["field"] == "timezone"


@given(st.lists(st.integers(0, 6), min_size=1, max_size=9), st.sampled_from([3, 99]), st.data())
def test_days_are_read_as_a_list_and_as_one_text(weekdays: list[int], letters: int, data: st.DataObject) -> None:
    recase = data.draw(st.sampled_from([str.upper, str.lower, str.title]))
    names = [recase(NAMES[weekday][:letters]) for weekday in weekdays]
    between = data.draw(st.sampled_from([",", ", ", " ", ";", "|"]))

    masks = {parse_days(names), parse_days(tuple(names)), parse_days(between.join(names))}

    assert masks == {sum(1 << weekday for weekday in set(weekdays))}


@pytest.mark.parametrize("missing", [None, "", "  ", [], [""], [None], (), ","])
def test_no_days_are_all_days(missing: object) -> None:
    assert parse_days(missing) == 127


@pytest.mark.parametrize(
    "value", [1, True, 0, [1], ["mo"], ["mon", "funday"], {"mon": True}, "weekdays", [["mon"]], 3.5]
)
def test_these_are_no_days(value: object) -> None:
    with pytest.raises(ScheduleInvalid) as refused:
        parse_days(value)

    assert refused.value.facts["field"] == "daysOfWeek"


@pytest.mark.parametrize(
    "name", ["Asia/Kolkata", "Asia/Calcutta", "UTC", " Europe/London ", "America/Argentina/Ushuaia", "Etc/GMT+5"]
)
def test_names_of_zones_are_taken(name: str) -> None:
    zone = parse_zone(name)

    assert datetime(2026, 1, 1, tzinfo=UTC).astimezone(ZoneInfo(zone))


@pytest.mark.parametrize(
    "value",
    [None, "", "../x", "../../etc/passwd", "/etc/localtime", "localtime", "posixrules", "Factory", "right/UTC",
     "posix/UTC", "Asia", "zone.tab", "tzdata.zi", "a\0b", "asia/kolkata", "Asia/Kolkata/", "./UTC", "IST+5", "+05:30",
     5,
     ["UTC"], "x" * 5000, "\ud800"],
)  # fmt: skip
def test_junk_is_no_zone(value: object) -> None:
    with pytest.raises(ScheduleInvalid) as refused:
        parse_zone(value)

    assert refused.value.facts["field"] == "timezone"
    json.dumps(refused.value.facts, ensure_ascii=False).encode()
