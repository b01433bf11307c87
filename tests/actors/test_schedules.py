"""From a slot and a date, as written, to instants: the wall clock is the student's, the rows are in UTC."""

import json
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from settings import Settings
from tests.builders import EVERY_DAY, a_payment, a_student, a_trainer, soon
from tests.world import World

KOLKATA = ZoneInfo("Asia/Kolkata")
ZONES_WITH_CHANGES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Antarctica/Troll",
    "Africa/Casablanca",
]
Times = list[tuple[datetime, datetime]]


async def test_every_written_form_of_a_slot_is_the_same_time(world: World) -> None:
    forms = {
        "16:00": ("16:00", 60),
        "16:00-17:00": ("16:00", 60),
        "16:00 - 17:30": ("16:00", 90),
        "16:00\u201317:00": ("16:00", 60),
        "16:00 \u2014 17:00": ("16:00", 60),
        "16:00\u201017:00": ("16:00", 60),
        "16:00 \u2212 17:00": ("16:00", 60),
        "4:00 PM": ("16:00", 60),
        "4:00 pm": ("16:00", 60),
        "4:00PM": ("16:00", 60),
        "04:00 pM": ("16:00", 60),
        "4:00 PM - 5:00 PM": ("16:00", 60),
        "4:00pm-5:30pm": ("16:00", 90),
        "4:00 Pm \u2013 5:00 pM": ("16:00", 60),
        "11:30 AM - 12:30 PM": ("11:30", 60),
        "12:00 AM": ("00:00", 60),
        "12:30 am - 1:00 am": ("00:30", 30),
        "12:00 PM": ("12:00", 60),
        "00:00": ("00:00", 60),
        "23:59": ("23:59", 60),
        "07:15-07:30": ("07:15", 15),
        "08:00-20:00": ("08:00", 720),
        "23:30-00:30": ("23:30", 60),
        "11:30 PM - 12:30 AM": ("23:30", 60),
        "20:00-08:00": ("20:00", 720),
    }
    payments = {form: a_payment(timeSlot=form) for form in forms}

    times = await _times(world, *payments.values())

    for form, (start, minutes) in forms.items():
        expected = _series(_days(soon(), 10), time.fromisoformat(start), minutes, KOLKATA)
        assert times.get(payments[form]["paymentId"]) == expected, form
    assert await world.parked() == []


async def test_every_written_form_of_a_date_is_the_day_meant(world: World) -> None:
    day, before = soon(9).isoformat(), soon(8).isoformat()
    cases = {
        (day, "Asia/Kolkata"): day,
        (f"{day}T00:00:00", "Asia/Kolkata"): day,
        (f"{day}T00:00:00Z", "Asia/Kolkata"): day,
        (f"{day}T00:00:00.000Z", "America/New_York"): day,
        (f"{day}T00:00:00+05:30", "America/New_York"): day,
        (f"{day}T00:00:00-08:00", "Asia/Kolkata"): day,
        (f"{day}T23:30:00", "America/New_York"): day,
        (f"{day}T23:30:00.000", "Asia/Kolkata"): day,
        (f"{before}T18:30:00.000Z", "Asia/Kolkata"): day,
        (f"{before}T18:29:59.999Z", "Asia/Kolkata"): before,
        (f"{day}T01:00:00Z", "America/New_York"): before,
        (f"{day}T13:00:00+09:00", "America/New_York"): before,
        (f"{before}T23:00:00-05:00", "Asia/Kolkata"): day,
        (f"{before}T14:00:00Z", "Pacific/Kiritimati"): day,
    }
    payments = {case: a_payment(date=case[0]) for case in cases}
    zones: dict[str, str | None] = {payments[case]["studentId"]: case[1] for case in cases}

    times = await _times(world, *payments.values(), zones=zones)

    for case, expected in cases.items():
        (first, _), *_ = times[payments[case]["paymentId"]]
        assert first.astimezone(ZoneInfo(case[1])).isoformat()[:16] == f"{expected}T16:00", case


async def test_the_preferred_slot_and_date_stand_in_for_missing_ones_only(world: World) -> None:
    day, other = soon(), soon(11)
    missing = a_payment(timeSlot=None, date=None, preferredTimeSlot="9:00 AM", preferredDate=other.isoformat())
    empty = a_payment(timeSlot="", date="", preferredTimeSlot="09:00-10:00", preferredDate=other.isoformat())
    both = a_payment(preferredTimeSlot="09:00", preferredDate=other.isoformat())
    half = a_payment(timeSlot=None, preferredTimeSlot="09:00", preferredDate=other.isoformat())
    wrong = a_payment(timeSlot="soon", preferredTimeSlot="09:00")

    times = await _times(world, missing, empty, both, half, wrong)

    nine, four = time(9), time(16)
    assert times == {
        missing["paymentId"]: _series(_days(other, 10), nine, 60, KOLKATA),
        empty["paymentId"]: _series(_days(other, 10), nine, 60, KOLKATA),
        both["paymentId"]: _series(_days(day, 10), four, 60, KOLKATA),
        half["paymentId"]: _series(_days(day, 10), nine, 60, KOLKATA),
    }
    assert await world.parked() == ["schedule_invalid"]


async def test_days_of_the_week_limit_the_days_and_none_means_every_day(world: World) -> None:
    tuesday = next(day for day in _days(soon(), 7) if day.weekday() == 1)
    cases: list[tuple[Any, set[int]]] = [
        (["mon", "wed"], {0, 2}),
        (["wed", "mon", "wed"], {0, 2}),
        (["sun"], {6}),
        (["tue"], {1}),
        (EVERY_DAY, set(range(7))),
        ([], set(range(7))),
        ("", set(range(7))),
        (None, set(range(7))),
    ]
    payments = [a_payment(date=tuesday.isoformat()) for _ in cases]
    for payment, (written, _) in zip(payments, cases, strict=True):
        payment["metadata"]["daysOfWeek"] = written

    times = await _times(world, *payments)

    for payment, (written, weekdays) in zip(payments, cases, strict=True):
        days = [day for day in _days(tuesday, 70) if day.weekday() in weekdays][:10]
        assert times.get(payment["paymentId"]) == _series(days, time(16), 60, KOLKATA), written


async def test_the_zone_is_the_profiles_then_the_metadatas_then_the_default(world: World) -> None:
    default = Settings().default_timezone
    profile, metadata, neither, empty = (
        a_payment(timezone="Europe/Berlin"),
        a_payment(timezone="Europe/Berlin"),
        a_payment(),
        a_payment(timezone=""),
    )
    unused = a_payment(timezone="Mars/Olympus")
    zones = {
        profile["studentId"]: "America/New_York",
        metadata["studentId"]: None,
        neither["studentId"]: None,
        empty["studentId"]: "",
        unused["studentId"]: "America/New_York",
    }

    times = await _times(world, profile, metadata, neither, empty, unused, zones=zones)

    expected = {
        profile["paymentId"]: "America/New_York",
        metadata["paymentId"]: "Europe/Berlin",
        neither["paymentId"]: default,
        empty["paymentId"]: default,
        unused["paymentId"]: "America/New_York",
    }
    assert times == {id_: _series(_days(soon(), 10), time(16), 60, ZoneInfo(zone)) for id_, zone in expected.items()}
    rows = await world.rows("SELECT payment_id, metadata->>'timezone' AS zone FROM allocations")
    assert {row["payment_id"]: row["zone"] for row in rows} == expected


async def test_the_zone_of_a_deleted_profile_is_no_longer_known(world: World) -> None:
    payment = a_payment(timezone="Europe/Berlin")
    world.send("students.changed", a_student(payment["studentId"], timezone="America/New_York"))
    await world.settle(names=["directory"])
    later = datetime.now(UTC) + timedelta(minutes=1)
    world.send("students.changed", None, key=payment["studentId"].encode(), at=later)
    always = [{"days": EVERY_DAY, "from": "00:00", "to": "24:00"}]
    world.send("trainers.changed", a_trainer(workingHours=always))
    await world.settle(names=["directory"])

    world.send("payments.succeeded", payment)
    await world.settle()

    (row,) = await world.rows("SELECT metadata->>'timezone' AS zone, provisional FROM allocations")
    assert row == {"zone": "Europe/Berlin", "provisional": True}
    (row,) = await world.rows("SELECT timezone, lower(booked) AS first FROM bookings")
    assert row == {"timezone": "Europe/Berlin", "first": datetime.combine(soon(), time(16), ZoneInfo("Europe/Berlin"))}


async def test_the_wall_time_stays_across_both_changes_of_clocks(world: World) -> None:
    changes = {zone: _next_changes(ZoneInfo(zone)) for zone in ZONES_WITH_CHANGES}
    payments = {
        (zone, gains): a_payment(date=(change.date() - timedelta(days=4)).isoformat(), timeSlot="16:00-17:30")
        for zone, both in changes.items()
        for gains, (change, _, _) in both.items()
    }

    times = await _times(world, *payments.values(), zones={p["studentId"]: key[0] for key, p in payments.items()})

    for (zone, _), payment in payments.items():
        local = [start.astimezone(ZoneInfo(zone)) for start, _ in times[payment["paymentId"]]]
        assert {start.time() for start in local} == {time(16)}
        assert len({start.utcoffset() for start in local}) == 2, zone
        assert {end - start for start, end in times[payment["paymentId"]]} == {timedelta(minutes=90)}


async def test_a_wall_time_that_does_not_exist_moves_forward_by_the_gap(world: World) -> None:
    payments, expected = {}, {}
    for zone in ZONES_WITH_CHANGES:
        change, before, after = _next_changes(ZoneInfo(zone))["forward"]
        missing = (change + before + (after - before) / 2).replace(tzinfo=None)
        payments[zone] = a_payment(date=missing.date().isoformat(), timeSlot=f"{missing:%H:%M}", purchaseTier=1)
        moved = missing + (after - before)
        expected[zone] = (moved - after).replace(tzinfo=UTC)

    times = await _times(world, *payments.values(), zones={p["studentId"]: zone for zone, p in payments.items()})

    for zone, payment in payments.items():
        assert times[payment["paymentId"]] == [(expected[zone], expected[zone] + timedelta(hours=1))], zone


async def test_a_wall_time_that_comes_twice_is_the_first(world: World) -> None:
    payments, expected = {}, {}
    for zone in ZONES_WITH_CHANGES:
        change, before, after = _next_changes(ZoneInfo(zone))["back"]
        twice = (change + after + (before - after) / 2).replace(tzinfo=None)
        # The day before is there too: its session lies in the old regime, and the series is one booking.
        day_before = twice.date() - timedelta(days=1)
        payments[zone] = a_payment(date=day_before.isoformat(), timeSlot=f"{twice:%H:%M}", purchaseTier=2)
        expected[zone] = (twice - before).replace(tzinfo=UTC)

    times = await _times(world, *payments.values(), zones={p["studentId"]: zone for zone, p in payments.items()})

    for zone, payment in payments.items():
        _, second = times[payment["paymentId"]]
        assert second == (expected[zone], expected[zone] + timedelta(hours=1)), zone


async def test_the_end_is_the_start_plus_the_length_also_over_a_change(world: World) -> None:
    payments = {}
    for zone in ZONES_WITH_CHANGES:
        for which, (change, before, _) in _next_changes(ZoneInfo(zone)).items():
            start = (change + before - timedelta(minutes=30)).replace(tzinfo=None)
            end = start + timedelta(hours=4)
            slot = f"{start:%H:%M}-{end:%H:%M}"
            payments[zone, which] = a_payment(date=start.date().isoformat(), timeSlot=slot, purchaseTier=1)

    times = await _times(world, *payments.values(), zones={p["studentId"]: key[0] for key, p in payments.items()})

    for (zone, which), payment in payments.items():
        change, _, _ = _next_changes(ZoneInfo(zone))[which]
        start = change - timedelta(minutes=30)
        assert times[payment["paymentId"]] == [(start, start + timedelta(hours=4))], (zone, which)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        (
            "timeSlot",
            [
                *[None, "soon", "25:00", "24:00", "16:60", "16", "13:00 PM", "0:00 AM", "16:00-", "-17:00"],
                *["16:00-16:14", "16:00-16:00", "08:00-20:01", "16:00-17:00-18:00", "16:00 17:00"],
                *[1600, True, ["16:00"], {"from": 16}],
            ],
        ),
        (
            "date",
            [
                *[None, "tomorrow", "2027-13-01", "2027-02-30", "01/12/2027", "2027-12-01T25:00:00Z", "9999-12-31"],
                *[20271201, True, ["2027-12-01"], "2027-12-01Tnoon", "99999-01-01"],
            ],
        ),
        ("daysOfWeek", [["funday"], [1], ["mon", "funday"], {"mon": True}, 3, True]),
        (
            "timezone",
            [
                *["Mars/Olympus", 530, True, ["Asia/Kolkata"], "../../etc/passwd", "A" * 3000, "+05:30"],
                # Files of the database, and no zones: this machine's, an error on purpose, and one with leap seconds.
                *["localtime", "Factory", "right/Asia/Kolkata", "posixrules", "tzdata.zi"],
            ],
        ),
    ],
)
async def test_what_is_missing_or_unreadable_is_named(world: World, field: str, values: list[Any]) -> None:
    payments = [a_payment(**{field: value}) for value in values]
    good = a_payment()

    times = await _times(world, *payments, good, zones={p["studentId"]: None for p in payments})

    rows = await world.rows("SELECT payment_id, actor, reason, facts FROM parked WHERE kind = 'step'")
    parked = {row["payment_id"]: row for row in rows}
    for payment, value in zip(payments, values, strict=True):
        row = parked[payment["paymentId"]]
        assert (row["actor"], row["reason"]) == ("allocation", "schedule_invalid"), value
        named = {field} if value is not None else {field, f"preferred{field[0].upper()}{field[1:]}"}
        assert row["facts"]["field"].removeprefix("metadata.") in named, (value, row["facts"])
        assert len(json.dumps(row["facts"])) < 5000
    assert list(times) == [good["paymentId"]]


async def test_the_longest_series_keeps_its_wall_time_for_years(world: World) -> None:
    sundays = a_payment(purchaseTier=365, daysOfWeek=["sun"], timeSlot="20:00-08:00")
    daily = a_payment(purchaseTier=365, timeSlot="02:30-02:45")
    zones: dict[str, str | None] = {p["studentId"]: "Europe/Berlin" for p in (sundays, daily)}

    times = await _times(world, sundays, daily, zones=zones)

    days = [day for day in _days(soon(), 365 * 7 + 7) if day.weekday() == 6][:365]
    assert times[sundays["paymentId"]] == _series(days, time(20), 720, ZoneInfo("Europe/Berlin"))
    assert times[daily["paymentId"]] == _series(_days(soon(), 365), time(2, 30), 15, ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize("year", [2099, 2500, 9998])
async def test_a_date_of_another_age_is_scheduled_or_parked_and_holds_up_nobody(world: World, year: int) -> None:
    far, good = a_payment(date=f"{year}-01-01"), a_payment()

    times = await _times(world, far, good)

    assert good["paymentId"] in times
    reasons = await world.parked()
    assert (far["paymentId"] in times) != (reasons == ["schedule_invalid"])


async def test_a_first_session_that_is_past_parks_and_one_that_only_follows_the_date_does_not(world: World) -> None:
    today = datetime.now(KOLKATA).date()
    in_three_days = today + timedelta(days=3)
    yesterday = a_payment(date=(today - timedelta(days=1)).isoformat())
    begun = a_payment(date=today.isoformat(), timeSlot="00:00-12:00")
    ancient = a_payment(date="1999-12-31")
    far_zone = a_payment(date=(today - timedelta(days=2)).isoformat(), timeSlot="23:00")
    follows = a_payment(date=(today - timedelta(days=1)).isoformat(), daysOfWeek=[EVERY_DAY[in_three_days.weekday()]])

    times = await _times(world, yesterday, begun, ancient, far_zone, follows, zones={})

    rows = await world.rows("SELECT payment_id, reason FROM parked")
    past = (yesterday, begun, ancient, far_zone)
    assert {r["payment_id"]: r["reason"] for r in rows} == {p["paymentId"]: "schedule_in_the_past" for p in past}
    assert times[follows["paymentId"]][0][0] == datetime.combine(in_three_days, time(16), KOLKATA)


async def test_the_clock_that_judges_the_past_is_the_students(world: World) -> None:
    # Somewhere it is later and somewhere earlier by almost a day: the same wall time is past or to come.
    now = datetime.now(UTC)
    wall = now.replace(tzinfo=None) + timedelta(hours=5)
    slot, day = f"{wall:%H:%M}", wall.date().isoformat()
    east, west = a_payment(date=day, timeSlot=slot), a_payment(date=day, timeSlot=slot)
    zones: dict[str, str | None] = {east["studentId"]: "Pacific/Kiritimati", west["studentId"]: "Pacific/Pago_Pago"}

    times = await _times(world, east, west, zones=zones)

    assert list(times) == [west["paymentId"]]
    assert await world.parked() == ["schedule_in_the_past"]


def _days(first: date, count: int) -> list[date]:
    return [first + timedelta(days=number) for number in range(count)]


def _series(days: list[date], start: time, minutes: int, zone: ZoneInfo) -> Times:
    starts = [datetime.combine(day, start, zone).astimezone(UTC) for day in days]
    return [(start, start + timedelta(minutes=minutes)) for start in starts]


def _next_changes(zone: ZoneInfo) -> dict[str, tuple[datetime, timedelta, timedelta]]:
    """The next change forward and back, ten days ahead or more: its instant, the offset before and after."""
    found: dict[str, tuple[datetime, timedelta, timedelta]] = {}
    moment = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(days=10)
    step = timedelta(minutes=30)
    offset = _offset(moment, zone)
    while len(found) < 2:
        moment += step
        if (later := _offset(moment, zone)) != offset:
            found.setdefault("forward" if later > offset else "back", (moment, offset, later))
            offset = later
    return found


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


async def _times(
    world: World, *payments: dict[str, Any], zones: dict[str, str | None] | None = None
) -> dict[str, Times]:
    """Buy, with a trainer for each who works day and night; the times of every purchase's sessions by number."""
    zones = zones or {}
    students = (a_student(p["studentId"], timezone=zones.get(p["studentId"], "Asia/Kolkata")) for p in payments)
    always = [{"days": EVERY_DAY, "from": "00:00", "to": "24:00"}]
    world.send("students.changed", *students)
    trainers = (a_trainer(f"trn_{number}", timezone="UTC", workingHours=always) for number in range(len(payments)))
    world.send("trainers.changed", *trainers)
    await world.settle(names=["directory"])
    world.send("payments.succeeded", *payments)
    await world.settle()
    rows = await world.rows("SELECT payment_id, starts_at, ends_at FROM sessions ORDER BY payment_id, number")
    times: dict[str, Times] = {}
    for row in rows:
        times.setdefault(row["payment_id"], []).append((row["starts_at"], row["ends_at"]))
    return times
