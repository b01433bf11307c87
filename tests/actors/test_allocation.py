"""Who teaches a purchase: only a trainer who fits all of it, the cheapest of them, and nobody twice."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from contracts.allocations import AllocationApproved
from errors import FirstbellError
from tests.builders import EVERY_DAY, HOME, a_payment, a_student, a_trainer, an_absence, soon
from tests.world import World

KOLKATA = ZoneInfo("Asia/Kolkata")
KM = 1 / 111.195
"""Degrees of latitude in a kilometre."""


async def test_only_an_active_trainer_of_the_course_teaches_it(world: World) -> None:
    payment = a_payment(courseId="crs_chess")

    await _known(
        world,
        [payment],
        [
            a_trainer("trn_1", courses=["crs_yoga"]),
            a_trainer("trn_2", courses=["crs_chess"], active=False),
            a_trainer("trn_3", courses=[]),
            a_trainer("trn_4", courses=["crs_yoga", "crs_chess"], latitude=HOME[0] + 10 * KM),
            a_trainer("trn_deleted", courses=["crs_chess"]),
        ],
    )
    world.send("trainers.changed", None, key=b"trn_deleted", at=datetime.now(UTC) + timedelta(minutes=1))
    await world.settle(names=["directory"])
    await _buy(world, payment)

    assert await _trainers(world) == {payment["paymentId"]: "trn_4"}


async def test_a_trainer_removed_between_two_purchases_gets_no_second_one_until_he_is_back(world: World) -> None:
    first, second, third = a_payment(), a_payment(timeSlot="10:00"), a_payment(timeSlot="12:00")
    await _known(world, [first, second, third], [a_trainer("trn_1")])

    await _buy(world, first)
    world.send("trainers.changed", None, key=b"trn_1", at=datetime.now(UTC) + timedelta(minutes=1))
    await world.settle()
    await _buy(world, second)
    while_he_was_away = await world.parked()
    world.send("trainers.changed", a_trainer("trn_1", changedAt=_later(5)), at=datetime.now(UTC) + timedelta(minutes=5))
    await world.settle()
    await _buy(world, third)

    assert while_he_was_away == ["no_trainer_available", "trainer_unavailable"]
    assert await _trainers(world) == {p["paymentId"]: "trn_1" for p in (first, second, third)}
    assert await world.parked() == []


_HOURS: list[tuple[list[tuple[list[str], str, str]], list[str] | None, str, bool]] = [
    ([(EVERY_DAY, "06:00", "21:00")], None, "20:00-21:00", True),
    ([(EVERY_DAY, "06:00", "21:00")], None, "20:01-21:01", False),
    ([(EVERY_DAY, "06:00", "21:00")], None, "05:59-06:59", False),
    ([(EVERY_DAY, "06:00", "21:00")], None, "06:00-07:00", True),
    ([(EVERY_DAY[:6], "06:00", "21:00")], None, "10:00", False),
    ([(EVERY_DAY[:6], "06:00", "21:00")], ["mon", "sat"], "10:00", True),
    ([(["mon"], "06:00", "21:00"), (["sat"], "09:00", "11:00")], ["mon", "sat"], "10:00", True),
    ([(["mon"], "06:00", "21:00"), (["sat"], "09:00", "10:30")], ["mon", "sat"], "10:00", False),
    ([(EVERY_DAY, "06:00", "10:30"), (EVERY_DAY, "10:30", "14:00")], None, "10:00", True),
    ([(EVERY_DAY, "06:00", "10:30"), (EVERY_DAY, "10:31", "14:00")], None, "10:00", False),
    ([(EVERY_DAY, "20:00", "24:00")], None, "23:00-00:00", True),
    ([(EVERY_DAY, "20:00", "24:00")], None, "23:30-00:30", False),
    ([(EVERY_DAY, "00:00", "24:00")], None, "23:30-00:30", True),
    ([(EVERY_DAY, "22:00", "02:00")], None, "23:30-00:30", True),
    ([(EVERY_DAY, "22:00", "02:00")], None, "01:00-02:00", True),
    ([(EVERY_DAY, "22:00", "02:00")], None, "01:30-02:30", False),
    ([(EVERY_DAY, "22:00", "00:00")], None, "23:00-00:00", True),
    ([(["sun"], "22:00", "02:00")], ["sun"], "23:30-00:30", True),
    ([(["sun"], "22:00", "02:00")], ["mon"], "00:30-01:30", True),
    ([(["sun"], "22:00", "02:00")], ["sun"], "00:30-01:30", False),
    ([(["sun"], "22:00", "24:00"), (["mon"], "00:00", "02:00")], ["sun"], "23:30-00:30", True),
    ([(["sat"], "22:00", "24:00"), (["mon"], "00:00", "02:00")], ["sun"], "23:30-00:30", False),
    ([], None, "10:00", False),
    ([(EVERY_DAY, "06:00", "12:00"), (EVERY_DAY, "10:00", "18:00")], None, "11:00-13:00", True),
    ([(EVERY_DAY, "20:00", "08:00")], None, "20:00-08:00", True),
    ([(EVERY_DAY, "22:00", "06:00")], None, "20:00-08:00", False),
    ([(["sun"], "18:00", "24:00"), (["mon"], "00:00", "06:00")], ["sun"], "18:00-06:00", True),
    ([(["sun"], "18:00", "24:00"), (["mon"], "00:00", "05:59")], ["sun"], "18:00-06:00", False),
    ([(["sun"], "12:00", "06:00"), (["mon"], "06:00", "12:00")], ["mon"], "05:00-07:00", True),
]
"""Working hours, days of the week, slot, and whether they fit."""


async def test_a_trainer_teaches_only_in_working_hours(world: World) -> None:
    payments = [
        a_payment(courseId=f"crs_{number}", timeSlot=slot, daysOfWeek=days)
        for number, (_, days, slot, _) in enumerate(_HOURS)
    ]
    trainers = [
        a_trainer(
            f"trn_{number}",
            courses=[f"crs_{number}"],
            workingHours=[{"days": on, "from": start, "to": end} for on, start, end in hours],
        )
        for number, (hours, _, _, _) in enumerate(_HOURS)
    ]
    await _known(world, payments, trainers)

    await _buy(world, *payments)

    chosen = await _trainers(world)
    for payment, case in zip(payments, _HOURS, strict=True):
        assert (payment["paymentId"] in chosen) is case[3], case


async def test_hours_are_the_trainers_wall_clock_and_the_slot_the_students(world: World) -> None:
    payment = a_payment(timeSlot="09:00", learningMode="online", purchaseTier=3)
    hour = datetime.combine(soon(), time(9), KOLKATA).astimezone(ZoneInfo("America/Phoenix"))
    nine_there = {"days": EVERY_DAY, "from": "09:00", "to": "10:00"}
    nine_here = {"days": EVERY_DAY, "from": f"{hour:%H:%M}", "to": f"{hour + timedelta(hours=1):%H:%M}"}

    await _known(
        world,
        [payment],
        [
            a_trainer("trn_1", timezone="America/Phoenix", workingHours=[nine_there]),
            a_trainer("trn_2", timezone="America/Phoenix", workingHours=[nine_here]),
        ],
    )
    await _buy(world, payment)

    assert await _trainers(world) == {payment["paymentId"]: "trn_2"}


async def test_hours_count_on_every_day_also_beyond_a_change_of_the_trainers_clocks(world: World) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    change = next(day for day in (soon(n) for n in range(10, 400)) if _offset(day, berlin) != _offset(soon(9), berlin))
    first = change - timedelta(days=5)
    hour = datetime.combine(first, time(16), KOLKATA).astimezone(berlin)
    exact = {"days": EVERY_DAY, "from": f"{hour:%H:%M}", "to": f"{hour + timedelta(hours=1):%H:%M}"}
    before, across = a_payment(date=first.isoformat(), purchaseTier=4), a_payment(date=first.isoformat())
    same_clock = a_payment(date=first.isoformat(), timeSlot=f"{hour:%H:%M}", courseId="crs_chess", purchaseTier=20)
    await _known(world, [before, across], [a_trainer(timezone="Europe/Berlin", workingHours=[exact])], online=True)
    world.send("students.changed", a_student(same_clock["studentId"], timezone="Europe/Berlin"))
    chess = a_trainer("trn_chess", timezone="Europe/Berlin", courses=["crs_chess"], workingHours=[exact])
    world.send("trainers.changed", chess)
    await world.settle(names=["directory"])

    await _buy(world, across, same_clock)
    await _buy(world, before)

    assert await _trainers(world) == {before["paymentId"]: "trn_1", same_clock["paymentId"]: "trn_chess"}


async def test_the_whole_series_must_be_free_and_not_only_its_first_session(world: World) -> None:
    starts = datetime.combine(soon(), time(16), KOLKATA)
    last = starts + timedelta(days=9)
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    absences = [
        an_absence("trn_1", last + hour - minute, last + 2 * hour),
        an_absence("trn_2", last - hour, last + minute),
        an_absence("trn_3", starts + timedelta(days=4, minutes=20), starts + timedelta(days=4, minutes=21)),
        an_absence("trn_4", starts + timedelta(days=4) + hour, starts + timedelta(days=5)),
        an_absence("trn_4", last - timedelta(days=1) + hour, last),
        an_absence("trn_4", last + hour, last + timedelta(days=30)),
        an_absence("trn_4", starts - timedelta(days=30), starts),
        an_absence("trn_4", starts, last, action="removed"),
    ]
    payment = a_payment()
    await _known(world, [payment], [a_trainer(f"trn_{number}") for number in range(1, 5)])
    world.send("trainers.busy", *absences)

    await world.settle(names=["directory"])
    await _buy(world, payment)

    assert await _trainers(world) == {payment["paymentId"]: "trn_4"}


async def test_a_series_that_meets_another_in_one_session_goes_to_another_trainer(world: World) -> None:
    first, touching = a_payment(), a_payment(date=soon(17).isoformat())
    overlapping = a_payment(date=soon(16).isoformat(), timeSlot="16:30", purchaseTier=30)
    beside = a_payment(timeSlot="17:00")
    payments = [first, touching, overlapping, beside]
    await _known(world, payments, [a_trainer("trn_1"), a_trainer("trn_2", latitude=HOME[0] + 11 * KM)], online=False)

    await _buy(world, first)
    await _buy(world, touching)
    await _buy(world, overlapping)
    await _buy(world, beside)

    trainers = await _trainers(world)
    assert trainers == {p["paymentId"]: "trn_1" for p in payments} | {overlapping["paymentId"]: "trn_2"}


async def test_lessons_at_home_need_the_radius_and_online_ones_do_not(world: World) -> None:
    home, inside, online = a_payment(), a_payment(timeSlot="10:00"), a_payment(learningMode="OnLine")
    hybrid = a_payment(learningMode="hybrid")
    await _known(
        world,
        [],
        [
            a_trainer("trn_1", latitude=HOME[0] + 12.1 * KM, radiusKm=12),
            a_trainer("trn_2", latitude=HOME[0] + 11.9 * KM, radiusKm=12, courses=["crs_chess"]),
        ],
    )
    inside["metadata"]["courseId"] = "crs_chess"
    world.send("students.changed", *(a_student(p["studentId"]) for p in (home, inside, online, hybrid)))
    await world.settle()

    await _buy(world, home, inside, online, hybrid)

    assert await _trainers(world) == {inside["paymentId"]: "trn_2", online["paymentId"]: "trn_1"}
    assert await world.parked() == ["no_trainer_available"] * 2


async def test_online_lessons_do_not_look_at_distance_when_they_choose(world: World) -> None:
    payments = [a_payment(learningMode="online"), a_payment(learningMode="online"), a_payment(learningMode="online")]
    await _known(
        world,
        payments,
        [
            a_trainer("trn_3"),
            a_trainer("trn_2", latitude=None, longitude=None, radiusKm=None),
            a_trainer("trn_1", latitude=52.5, longitude=13.4, radiusKm=1),
        ],
    )

    for payment in payments:
        await _buy(world, payment)

    assert list((await _trainers(world)).values()) == ["trn_1", "trn_2", "trn_3"]


async def test_trainers_of_whom_little_is_known_are_in_nobodys_way(world: World) -> None:
    home, online = a_payment(), a_payment(learningMode="online")
    await _known(
        world,
        [home, online],
        [
            a_trainer("trn_1", active=False, timezone=None, latitude=None, longitude=None, workingHours=None),
            a_trainer("trn_2", latitude=None, longitude=None),
            a_trainer("trn_3", courses=None),
            a_trainer("trn_4", workingHours=None),
            a_trainer("trn_5"),
        ],
    )
    world.send("trainers.changed", None, key=b"trn_nobody_ever_saw")
    world.send("trainers.busy", None, key=b"busy_nobody_ever_saw")
    await world.settle(names=["directory"])

    await _buy(world, home)
    await _buy(world, online)

    assert await _trainers(world) == {home["paymentId"]: "trn_5", online["paymentId"]: "trn_2"}


async def test_time_that_was_given_back_is_free_for_trainer_and_student(world: World) -> None:
    first, second = a_payment(studentId="stu_a"), a_payment(studentId="stu_a")
    await _known(world, [first], [a_trainer("trn_1")])
    await _buy(world, first)
    await world.rows("UPDATE bookings SET active = false RETURNING 1")

    await _buy(world, second)

    assert await _trainers(world) == {first["paymentId"]: "trn_1", second["paymentId"]: "trn_1"}
    assert await world.rows("SELECT active, count(*) AS n FROM bookings GROUP BY 1 ORDER BY 1") == [
        {"active": False, "n": 1},
        {"active": True, "n": 1},
    ]


async def test_distance_is_measured_on_a_round_earth(world: World) -> None:
    near = [
        ((10.0, 179.995), (10.0, -179.995), 2),
        ((-17.0, -179.99), (-17.0, 179.99), 3),
        ((89.99, 0.0), (89.99, 180.0), 3),
        ((-89.999, 45.0), (-89.999, -90.0), 1),
        ((60.0, 10.0), (60.0, 10.17), 10),
        ((12.97, 77.59), (28.61, 77.2), 1800),
        ((12.97, 77.59), (-12.97, -102.41), 30_000),
    ]
    far = [
        ((60.0, 10.0), (60.0, 10.19), 10),
        ((12.97, 77.59), (28.61, 77.2), 1700),
        ((10.0, 179.9), (10.0, -179.9), 20),
    ]
    payments = [a_payment(courseId=f"crs_{number}") for number in range(len(near) + len(far))]
    for number, (home, there, radius) in enumerate(near + far):
        world.send("students.changed", a_student(payments[number]["studentId"], latitude=home[0], longitude=home[1]))
        place = {"latitude": there[0], "longitude": there[1], "radiusKm": radius}
        world.send("trainers.changed", a_trainer(f"trn_{number}", courses=[f"crs_{number}"], **place))
    await world.settle(names=["directory"])

    await _buy(world, *payments)

    chosen = await _trainers(world)
    for number, (payment, case) in enumerate(zip(payments, near + far, strict=True)):
        assert (payment["paymentId"] in chosen) is (number < len(near)), case


async def test_times_that_touch_do_not_overlap_whatever_the_minute(world: World) -> None:
    slots = ["16:00-16:17", "16:17-16:32", "16:32-16:48", "15:43-16:00", "17:01-17:59"]
    payments = [a_payment(timeSlot=slot, studentId="stu_a") for slot in slots]
    overlapping = [
        a_payment(timeSlot="16:47-17:02"),
        a_payment(timeSlot="16:16-16:31"),
        a_payment(timeSlot="17:58-18:13"),
    ]
    exact = a_trainer("trn_1", workingHours=[{"days": EVERY_DAY, "from": "15:43", "to": "18:13"}])
    await _known(world, [payments[0], *overlapping], [exact])
    starts = datetime.combine(soon(), time(16), KOLKATA)
    second = timedelta(seconds=1)
    world.send("trainers.busy", an_absence("trn_1", starts + timedelta(minutes=48), starts + timedelta(minutes=61)))
    world.send("trainers.busy", an_absence("trn_1", starts - timedelta(hours=9), starts - timedelta(minutes=17)))
    await world.settle(names=["directory"])

    for payment in payments:
        await _buy(world, payment)
    await _buy(world, *overlapping)

    assert set(await _trainers(world)) == {payment["paymentId"] for payment in payments}
    assert await world.parked() == ["no_trainer_available"] * 3

    late = a_payment(timeSlot="15:43-16:00", courseId="crs_chess")
    await _known(world, [late], [a_trainer("trn_chess", courses=["crs_chess"])])
    world.send("trainers.busy", an_absence("trn_chess", starts - second, starts))
    await world.settle(names=["directory"])
    await _buy(world, late)

    assert late["paymentId"] not in await _trainers(world)


@pytest.mark.parametrize("reaches", ["into the first minute", "into the last minute"])
async def test_an_absence_that_overlaps_by_a_fraction_of_a_second_is_an_absence(world: World, reaches: str) -> None:
    payment = a_payment()
    starts, fraction = datetime.combine(soon(), time(16), KOLKATA), timedelta(milliseconds=400)
    ends = starts + timedelta(hours=1)
    times = (starts - timedelta(hours=2), starts + fraction) if "first" in reaches else (ends - fraction, ends)
    await _known(world, [payment], [a_trainer("trn_1")])
    world.send("trainers.busy", an_absence("trn_1", *times))
    await world.settle(names=["directory"])

    await _buy(world, payment)

    assert await _trainers(world) == {}
    assert await world.parked() == ["no_trainer_available"]


async def test_a_weekday_is_the_students_and_may_be_another_day_for_the_trainer(world: World) -> None:
    auckland = a_payment(timeSlot="08:00", daysOfWeek=["mon"], learningMode="online", purchaseTier=3)
    day = next(day for day in (soon(n) for n in range(7, 15)) if day.weekday() == 0)
    sunday = datetime.combine(day, time(8), ZoneInfo("Pacific/Auckland")).astimezone(ZoneInfo("America/New_York"))
    assert sunday.weekday() == 6
    hours = {"from": f"{sunday:%H:%M}", "to": f"{sunday + timedelta(hours=1):%H:%M}"}
    world.send("students.changed", a_student(auckland["studentId"], timezone="Pacific/Auckland"))
    world.send(
        "trainers.changed",
        *(
            a_trainer(f"trn_{name}", timezone="America/New_York", workingHours=[{"days": [name], **hours}])
            for name in EVERY_DAY
        ),
    )
    await world.settle(names=["directory"])

    await _buy(world, auckland)

    assert await _trainers(world) == {auckland["paymentId"]: "trn_sun"}


async def test_only_the_present_load_counts_and_not_what_was_taught_long_ago(world: World) -> None:
    old = [a_payment(timeSlot=slot) for slot in ("06:00", "07:00", "08:00")]
    new = a_payment()
    await _known(world, [*old, new], [a_trainer("trn_1")])
    await _buy(world, *old)
    await world.rows("""
        UPDATE bookings SET first_day = first_day - 400,
               booked = (SELECT range_agg(tstzrange(lower(r) - interval '400 days', upper(r) - interval '400 days'))
                           FROM unnest(booked) AS r)
        RETURNING 1
    """)
    world.send("trainers.changed", a_trainer("trn_2", latitude=HOME[0] + 2 * KM))
    await world.settle(names=["directory"])

    await _buy(world, new)

    assert (await _trainers(world))[new["paymentId"]] == "trn_1"


async def test_a_trainer_whose_transaction_ends_after_a_younger_one_is_seen_all_the_same(world: World) -> None:
    first, second = a_payment(), a_payment()
    await _known(world, [first, second], [a_trainer("trn_2", active=False)])
    async with world.engine.connect() as slow, slow.begin():
        await slow.execute(text("UPDATE trainers SET active = true, xact = pg_current_xact_id()"))
        world.send("trainers.changed", a_trainer("trn_1"))
        await world.settle(names=["directory"])
        await _buy(world, first)

    await _buy(world, second)

    assert await _trainers(world) == {first["paymentId"]: "trn_1", second["paymentId"]: "trn_2"}


async def test_the_cheapest_by_distance_and_load_wins_and_ties_go_to_the_smallest_id(world: World) -> None:
    slots = ["06:00", "07:00", "08:00", "09:00", "10:00"]
    payments = [a_payment(timeSlot=slot) for slot in slots]
    chess = [a_payment(courseId="crs_chess"), a_payment(courseId="crs_chess")]
    await _known(
        world,
        [*payments, *chess],
        [
            a_trainer("trn_b", latitude=HOME[0] + 1 * KM),
            a_trainer("trn_a", latitude=HOME[0] + 4.5 * KM),
            a_trainer("trn_9", courses=["crs_chess"]),
            a_trainer("trn_10", courses=["crs_chess"]),
            a_trainer("trn_11", courses=["crs_chess"], latitude=HOME[0] + 0.02),
        ],
    )

    for payment in (*payments, *chess):
        await _buy(world, payment)

    # A series costs as much as two kilometres: 1, 3, then 5 against 4.5.
    trainers = await _trainers(world)
    assert [trainers[p["paymentId"]] for p in payments] == ["trn_b", "trn_b", "trn_a", "trn_b", "trn_a"]
    assert [trainers[p["paymentId"]] for p in chess] == ["trn_10", "trn_9"]


async def test_two_purchases_of_one_batch_do_not_get_the_same_time(world: World) -> None:
    payments = [a_payment() for _ in range(5)]
    await _known(world, payments, [a_trainer("trn_1"), a_trainer("trn_2"), a_trainer("trn_3")])

    await _buy(world, *payments)

    assert sorted((await _trainers(world)).values()) == ["trn_1", "trn_2", "trn_3"]
    assert await world.parked() == ["no_trainer_available"] * 2
    assert await world.offenders() == {}


async def test_a_student_is_never_in_two_lessons_at_once(world: World) -> None:
    first, same = a_payment(studentId="stu_a"), a_payment(studentId="stu_a")
    later = a_payment(studentId="stu_a", date=soon(16).isoformat(), timeSlot="15:30", courseId="crs_chess")
    other_time = a_payment(studentId="stu_a", timeSlot="17:00")
    online = a_payment(studentId="stu_a", learningMode="online")
    trainers = [a_trainer(f"trn_{number}", courses=["crs_yoga", "crs_chess"]) for number in range(6)]
    await _known(world, [first], trainers)

    await _buy(world, first, same, other_time)
    await _buy(world, later)
    await _buy(world, online)

    rows = await world.rows("SELECT payment_id, reason, actor, student_id, waits_for FROM parked")
    assert len(await _trainers(world)) == 2
    assert other_time["paymentId"] in await _trainers(world)
    assert {row["reason"] for row in rows} == {"student_already_booked"}
    assert {row["waits_for"] for row in rows} == {"studentTime"}
    assert {later["paymentId"], online["paymentId"]} < {row["payment_id"] for row in rows}
    assert await world.offenders() == {}


async def test_the_facts_say_how_many_fell_out_for_which_cause_and_who_was_nearest(world: World) -> None:
    payment = a_payment()
    starts = datetime.combine(soon(), time(16), KOLKATA)
    await _known(
        world,
        [payment],
        [
            *(a_trainer(f"trn_course_{n}", courses=["crs_chess"]) for n in range(4)),
            *(a_trainer(f"trn_inactive_{n}", active=False) for n in range(3)),
            *(a_trainer(f"trn_far_{n}", latitude=HOME[0] + 20 * KM) for n in range(2)),
            a_trainer("trn_hours", workingHours=[{"days": ["mon"], "from": "06:00", "to": "07:00"}]),
            *(a_trainer(f"trn_busy_{n}", latitude=HOME[0] + (5 - n) * KM) for n in range(5)),
        ],
    )
    for n in range(5):
        world.send("trainers.busy", an_absence(f"trn_busy_{n}", starts, starts + timedelta(days=7 - n)))
    await world.settle(names=["directory"])

    await _buy(world, payment)

    (row,) = await world.rows("SELECT facts, actor, payment_id, student_id, enrollment_id, waits_for FROM parked")
    assert row["facts"]["fellOut"] == {"course": 4, "inactive": 3, "distance": 2, "hours": 1, "busy": 5}
    assert row["facts"]["nearest"]["trainerId"] == "trn_busy_4"
    assert row["facts"]["nearest"]["sessionsMissed"] == 3
    assert (row["actor"], row["waits_for"], row["payment_id"]) == ("allocation", "trainer", payment["paymentId"])


async def test_one_purchase_books_one_trainer_for_its_whole_group(world: World) -> None:
    sizes: list[Any] = [1, 8, 0, -3, "4", "many", 1.5, [2]]
    payments = [a_payment(groupSize=size) for size in sizes]
    await _known(world, payments, [a_trainer(f"trn_{number}") for number in range(len(sizes) + 3)])

    await _buy(world, *payments)

    assert len(await _trainers(world)) == len(sizes)
    assert await world.count("bookings") == len(sizes)


async def test_without_a_usable_profile_the_allocation_is_provisional_and_the_sessions_wait(world: World) -> None:
    unknown, online, no_place = a_payment(timezone="Europe/Berlin"), a_payment(learningMode="online"), a_payment()
    nowhere, beyond, deleted = a_payment(), a_payment(), a_payment()
    fine = a_payment(learningMode="online")
    world.send(
        "students.changed",
        a_student(no_place["studentId"], latitude=None, longitude=None),
        a_student(nowhere["studentId"], latitude=0, longitude=0),
        a_student(beyond["studentId"], latitude=91),
        a_student(deleted["studentId"]),
        a_student(fine["studentId"], latitude=None, longitude=None),
    )
    world.send("students.changed", None, key=deleted["studentId"].encode(), at=datetime.now(UTC) + timedelta(minutes=1))
    far = [a_trainer(f"trn_{number}", latitude=52.5, longitude=13.4, radiusKm=1) for number in range(7)]
    always = [{"days": EVERY_DAY, "from": "00:00", "to": "24:00"}]
    world.send("trainers.changed", *(trainer | {"workingHours": always} for trainer in far))
    await world.settle(names=["directory"])

    await _buy(world, unknown, online, no_place, nowhere, beyond, deleted, fine)

    reasons = {
        unknown["paymentId"]: "student_profile_missing",
        online["paymentId"]: "student_profile_missing",
        no_place["paymentId"]: "student_location_missing",
        nowhere["paymentId"]: "student_location_invalid",
        beyond["paymentId"]: "student_location_invalid",
        deleted["paymentId"]: "student_profile_missing",
    }
    approved = {event.payment_id: event for event in world.published(AllocationApproved)}
    assert {id_: event.provisional for id_, event in approved.items()} == dict.fromkeys(reasons, True) | {
        fine["paymentId"]: False
    }
    rows = await world.rows("SELECT payment_id, allocation_id, reason, actor FROM parked")
    assert {row["payment_id"]: row["reason"] for row in rows} == reasons
    assert {row["actor"] for row in rows} == {"sessions"}
    assert all(row["allocation_id"] == approved[row["payment_id"]].allocation_id for row in rows)
    stored = await world.rows("SELECT DISTINCT status, provisional FROM allocations WHERE scheduled_at IS NULL")
    assert stored == [{"status": "approved", "provisional": True}]
    (zone,) = await world.rows(
        "SELECT metadata->>'timezone' AS zone FROM allocations WHERE payment_id = :id", id=unknown["paymentId"]
    )
    assert zone == {"zone": "Europe/Berlin"}
    assert (await world.journey(unknown["paymentId"]))["state"] == "parked"
    assert (await world.rows("SELECT DISTINCT payment_id FROM sessions")) == [{"payment_id": fine["paymentId"]}]


async def test_a_provisional_allocation_gets_no_sessions_even_when_the_profile_is_there_by_then(world: World) -> None:
    at_once, afterwards = a_payment(), a_payment()
    world.send("trainers.changed", a_trainer("trn_1"), a_trainer("trn_2"))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", afterwards)
    await world.settle()
    world.send("payments.succeeded", at_once)
    await world.settle(names=["enrollment", "allocation"])

    world.send("students.changed", a_student(at_once["studentId"]), a_student(afterwards["studentId"]))
    await world.settle(names=["directory", "cart", "coins", "sessions"])
    world.rewind()
    await world.settle(names=["enrollment", "allocation", "sessions"])

    assert await world.count("sessions") == 0
    rows = await world.rows("SELECT payment_id, actor FROM parked WHERE status = 'open' ORDER BY 1")
    assert [row["actor"] for row in rows] == ["sessions", "sessions"]
    assert {row["payment_id"] for row in rows} == {at_once["paymentId"], afterwards["paymentId"]}
    (row,) = await world.rows("SELECT count(*) AS n FROM allocations WHERE provisional AND status = 'approved'")
    assert row == {"n": 2}


async def test_provisional_bookings_occupy_their_time(world: World) -> None:
    ghost, known = a_payment(), a_payment()
    await _known(world, [known], [a_trainer("trn_1")])

    await _buy(world, ghost)
    await _buy(world, known)

    assert await _trainers(world) == {ghost["paymentId"]: "trn_1"}
    assert await world.parked() == ["no_trainer_available", "student_profile_missing"]


async def test_an_allocation_is_decided_once(world: World) -> None:
    payment = a_payment()
    await _known(world, [payment], [a_trainer("trn_far", latitude=HOME[0] + 9 * KM)])
    await _buy(world, payment)
    world.send("trainers.changed", a_trainer("trn_near", latitude=HOME[0]))
    await world.settle(names=["directory"])

    world.rewind()
    await world.settle()

    assert await _trainers(world) == {payment["paymentId"]: "trn_far"}
    assert [event.trainer_id for event in world.published(AllocationApproved)] == ["trn_far"]


_COPY = """
    INSERT INTO bookings (allocation_id, trainer_no, student_no, booked, active, first_day, days_of_week,
                          session_count, start_minute, slot_minutes, timezone)
    SELECT allocation_id, {trainer}, {student}, {booked}, {active}, first_day, days_of_week,
           session_count, start_minute, slot_minutes, timezone
      FROM bookings WHERE trainer_no = (SELECT trainer_no FROM trainers WHERE trainer_id = 'trn_1') LIMIT 1
"""


_REFUSED: list[tuple[dict[str, str], str]] = [
    ({"student": "student_no + 1"}, "bookings_trainer_once"),
    ({"trainer": "trainer_no + 1"}, "bookings_student_once"),
    ({"booked": "NULL"}, "booked"),
    ({"booked": "'{}'::tstzmultirange"}, "violates"),
    (
        {
            "student": "student_no + 1",
            "booked": "tstzmultirange(tstzrange(upper(booked) - interval '1s', upper(booked) + interval '1h'))",
        },
        "bookings_trainer_once",
    ),
]


async def test_the_database_itself_refuses_a_double_booking(world: World) -> None:
    payment, other = a_payment(), a_payment(timeSlot="09:00")
    await _known(world, [payment, other], [a_trainer("trn_1"), a_trainer("trn_2", latitude=HOME[0] + 11 * KM)])
    await _buy(world, payment)
    columns = {"trainer": "trainer_no", "student": "student_no", "booked": "booked", "active": "true"}

    for changes, constraint in _REFUSED:
        with pytest.raises((DBAPIError, FirstbellError)) as refused:
            await world.rows(_COPY.format(**(columns | changes)))
        assert constraint in f"{refused.value!r} {refused.value.__cause__!r}"

    assert await world.count("bookings") == 1
    assert await world.rows(_COPY.format(**(columns | {"active": "false"})) + " RETURNING 1")


async def test_times_that_are_booked_count_even_where_the_recipe_no_longer_tells_them(world: World) -> None:
    first, second, third = a_payment(), a_payment(), a_payment()
    neighbour, students_own = a_payment(timeSlot="08:00"), a_payment(studentId=first["studentId"], courseId="crs_chess")
    payments = [first, second, third, neighbour]
    await _known(world, payments, [a_trainer("trn_1"), a_trainer("trn_chess", courses=["crs_chess"])])
    await _buy(world, first)
    await world.rows("UPDATE bookings SET first_day = first_day + 400 RETURNING booking_no")

    await _buy(world, second, neighbour, students_own)
    world.send("trainers.changed", a_trainer("trn_2", latitude=HOME[0] + 11 * KM))
    await world.settle(names=["directory"])
    await _buy(world, third)

    assert await _trainers(world) == {
        first["paymentId"]: "trn_1",
        neighbour["paymentId"]: "trn_1",
        third["paymentId"]: "trn_2",
    }
    rows = await world.rows("SELECT payment_id, reason FROM parked")
    assert {row["payment_id"]: row["reason"] for row in rows} == {
        second["paymentId"]: "no_trainer_available",
        students_own["paymentId"]: "student_already_booked",
    }


async def test_nobody_is_refused_for_a_time_that_only_a_wrong_recipe_tells(world: World) -> None:
    first, second = a_payment(), a_payment(date=soon(60).isoformat())
    await _known(world, [first, second], [a_trainer("trn_1")])
    await _buy(world, first)
    await world.rows("UPDATE bookings SET first_day = :day RETURNING booking_no", day=soon(400))

    await _buy(world, second)

    assert await _trainers(world) == {first["paymentId"]: "trn_1", second["paymentId"]: "trn_1"}


def _later(minutes: int) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


def _offset(day: date, zone: ZoneInfo) -> timedelta | None:
    return datetime.combine(day, time(12), zone).utcoffset()


async def _known(
    world: World, payments: list[dict[str, Any]], trainers: list[dict[str, Any]], *, online: bool = False
) -> None:
    """The directory knows the trainers, and the students of these payments."""
    for payment in payments:
        if online:
            payment["metadata"]["learningMode"] = "online"
    world.send("students.changed", *(a_student(payment["studentId"]) for payment in payments))
    world.send("trainers.changed", *trainers)
    await world.settle(names=["directory"])


async def _buy(world: World, *payments: dict[str, Any]) -> None:
    world.send("payments.succeeded", *payments)
    await world.settle()


async def _trainers(world: World) -> dict[str, str]:
    rows = await world.rows("SELECT payment_id, trainer_id FROM allocations ORDER BY approved_at, allocation_no")
    return {row["payment_id"]: row["trainer_id"] for row in rows}
