"""The feeds of the directory: the newest change wins, in whatever order and however often it comes."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.builders import a_cart_change, a_payment, a_student, a_trainer, an_absence
from tests.world import World

NOW = datetime.now(UTC).replace(microsecond=0)
FEEDS = ["students.changed", "trainers.changed", "trainers.busy", "carts.changed"]
TABLES = {
    "students.changed": "students",
    "trainers.changed": "trainers",
    "trainers.busy": "trainer_absences",
    "carts.changed": "cart_changes",
}
IDS = {
    "students.changed": "student_id",
    "trainers.changed": "trainer_id",
    "trainers.busy": "busy_id",
    "carts.changed": "item_id",
}
Change = dict[str, Any] | None


@pytest.mark.parametrize("batch", [1, 1000])
async def test_the_newest_change_wins_in_any_order_of_arrival(world: World, batch: int) -> None:
    for topic in FEEDS:
        orders = list(itertools.permutations((-30, -20, -10)))
        for number, order in enumerate(orders):
            for minutes in order:
                world.send(topic, _change(topic, f"id_{number}", minutes, course=f"crs_{-minutes}"))

        await world.settle(batch=batch)
        world.rewind()
        await world.settle(batch=batch)

        rows = await _rows(world, topic)
        assert {id_: row["changed_at"] for id_, row in rows.items()} == {
            f"id_{number}": NOW - timedelta(minutes=10) for number in range(len(orders))
        }
        assert all(row["removed"] is False for row in rows.values())
        assert all(row["payload"]["mark"] == "crs_10" for row in rows.values())
        assert await world.parked() == []


async def test_tombstones_delete_what_is_older_and_nothing_that_is_newer(world: World) -> None:
    for topic in FEEDS:
        stories: dict[str, tuple[list[tuple[str, int]], bool]] = {
            "deleted": ([("change", -30), ("tombstone", -20)], True),
            "restored": ([("change", -30), ("tombstone", -20), ("change", -10)], False),
            "late_deletion": ([("change", -10), ("tombstone", -20)], False),
            "tie": ([("change", -20), ("tombstone", -20)], True),
            "unknown": ([("tombstone", -20)], True),
            "old_news": ([("tombstone", -20), ("change", -30)], True),
        }
        expected = {}
        for name, (story, removed) in stories.items():
            for number, order in enumerate(itertools.permutations(story)):
                id_ = f"{name}_{number}"
                expected[id_] = removed
                for kind, minutes in order:
                    at = NOW + timedelta(minutes=minutes)
                    value = None if kind == "tombstone" else _change(topic, id_, minutes)
                    world.send(topic, value, key=id_.encode(), at=at)

        await world.settle(batch=1)
        one_by_one = await _rows(world, topic)
        world.rewind()
        await world.settle()

        assert {id_: row["removed"] for id_, row in one_by_one.items()} == expected
        assert await _rows(world, topic) == one_by_one


async def test_at_a_tie_the_same_change_wins_in_either_order(world: World) -> None:
    for topic in FEEDS:
        courses = [f"crs_{number}" for number in range(4)]
        for number, order in enumerate(itertools.permutations(courses)):
            world.send(topic, *(_change(topic, f"id_{number}", -10, course=course) for course in order))
        # The hash covers the id as well, so only orders of one id can be compared: each order once more, by itself.
        await world.settle()
        together = {id_: row["payload"] for id_, row in (await _rows(world, topic)).items()}

        for number in range(24):
            world.send(topic, *(_change(topic, f"id_{number}", -10, course=course) for course in courses))
        await world.settle(batch=1)
        for number in range(24):
            world.send(topic, *(_change(topic, f"id_{number}", -10, course=course) for course in reversed(courses)))
        await world.settle(batch=1)

        assert {id_: row["payload"] for id_, row in (await _rows(world, topic)).items()} == together
        assert await world.parked() == []


async def test_a_tie_of_an_addition_and_a_removal_is_a_removal(world: World) -> None:
    start, end = NOW + timedelta(days=1), NOW + timedelta(days=2)
    for number, actions in enumerate([("added", "removed"), ("removed", "added")]):
        for action in actions:
            at = NOW.isoformat()
            world.send("carts.changed", a_cart_change("stu_a", f"itm_{number}", action=action, changedAt=at))
            absence = an_absence("trn_1", start, end, busyId=f"busy_{number}", action=action, changedAt=at)
            world.send("trainers.busy", absence)

    await world.settle(batch=1)

    assert {row["removed"] for row in (await _rows(world, "carts.changed")).values()} == {True}
    assert {row["removed"] for row in (await _rows(world, "trainers.busy")).values()} == {True}


async def test_a_change_ahead_of_its_record_parks_whatever_the_clock_says(world: World) -> None:
    for topic in FEEDS:
        day = timedelta(days=1)
        ahead: dict[str, tuple[datetime, timedelta]] = {
            "much": (NOW, 11 * timedelta(minutes=1)),
            "barely": (NOW, timedelta(minutes=10, seconds=1)),
            "long_ago": (NOW - 30 * day, 20 * day),
            "for_ever": (NOW, timedelta(days=2_000_000)),
        }
        fine: dict[str, tuple[datetime, timedelta]] = {
            "exactly": (NOW, timedelta(minutes=10)),
            "little": (NOW, timedelta(minutes=9)),
            "future_record": (NOW + 5 * day, timedelta(minutes=5)),
            "behind": (NOW, -300 * day),
        }
        for name, (at, lead) in (ahead | fine).items():
            moment = at + lead
            change = _change(topic, name, 0) | {"changedAt": moment.isoformat()}
            world.send(topic, change, at=at)
            world.send(topic, change, at=at)

        await world.settle()

        assert set(await _rows(world, topic)) == set(fine)
        rows = await world.rows("SELECT * FROM parked WHERE topic = :topic", topic=topic)
        assert {row["reason"] for row in rows} == {"changed_at_in_future"}
        assert {(row["kind"], row["topic"], row["actor"]) for row in rows} == {("record", topic, "directory")}
        assert len(rows) == len(ahead)


async def test_a_change_from_the_future_does_not_shadow_the_true_one(world: World) -> None:
    for topic in FEEDS:
        future = _change(topic, "id_1", 60 * 24 * 365, course="crs_2")
        true = _change(topic, "id_1", 0, course="crs_1")

        world.send(topic, future, true, future, at=NOW)
        await world.settle(batch=2)

        assert (await _rows(world, topic))["id_1"]["payload"]["mark"] == "crs_1"
    assert await world.parked() == ["changed_at_in_future"] * len(FEEDS)


async def test_the_key_is_not_needed_and_unknown_fields_are_kept(world: World) -> None:
    for topic in FEEDS:
        for number, key in enumerate([None, b"", b"\xff\x00", b"something else", b"id_0"]):
            world.send(topic, _change(topic, f"id_{number}", -1) | {"extra": {"deep": [1, "ü", None]}}, key=key)

        await world.settle()

        rows = await _rows(world, topic)
        assert set(rows) == {f"id_{number}" for number in range(5)}
        assert all(row["payload"]["extra"] == {"deep": [1, "ü", None]} for row in rows.values())


async def test_what_the_feeds_cannot_mean_parks_once_and_its_neighbours_go_through(world: World) -> None:
    poison: list[tuple[str, Any, bytes | None]] = [
        ("students.changed", None, None),
        ("students.changed", None, b"not an id \xff"),
        ("students.changed", a_student("stu_bad", timezone="Mars/Olympus"), None),
        ("students.changed", a_student("stu_bad", latitude="12.9"), None),
        ("trainers.changed", a_trainer("trn_bad", radiusKm=-1), None),
        ("trainers.changed", a_trainer("trn_bad", latitude=91), None),
        (
            "trainers.changed",
            a_trainer("trn_bad", workingHours=[{"days": ["mon"], "from": "25:00", "to": "26:00"}]),
            None,
        ),
        ("trainers.changed", a_trainer("trn_bad", courses="crs_yoga"), None),
        ("trainers.busy", an_absence("trn_bad", NOW, NOW), None),
        ("trainers.busy", an_absence("trn_bad", NOW, NOW - timedelta(hours=1)), None),
        ("carts.changed", a_cart_change("stu_bad", "itm_bad", action="bought"), None),
        ("carts.changed", a_cart_change("stu_bad", "itm bad"), None),
        ("carts.changed", b"\xff\xfe", None),
    ]
    for number, (topic, value, key) in enumerate(poison):
        world.send(topic, _change(topic, f"good_{number}", -1))
        world.send(topic, value, value, key=key)

    await world.settle()

    assert await world.parked() == ["unreadable"] * len(poison)
    good = [id_ for topic in FEEDS for id_ in await _rows(world, topic)]
    assert sorted(good) == sorted(f"good_{number}" for number in range(len(poison)))


async def test_an_absence_may_name_a_trainer_nobody_knows_yet(world: World) -> None:
    payment = a_payment()
    world.send("trainers.busy", an_absence("trn_1", NOW, NOW + timedelta(days=60)))
    world.send("students.changed", a_student(payment["studentId"]))
    await world.settle()
    world.send("trainers.changed", a_trainer("trn_1"))
    await world.settle()

    world.send("payments.succeeded", payment)
    await world.settle()

    assert await world.parked() == ["no_trainer_available"]


def _change(topic: str, id_: str, minutes: float, course: str = "crs_yoga") -> dict[str, Any]:
    """A change of this topic so many minutes from now; `mark` tells it from others with the same time."""
    at = (NOW + timedelta(minutes=minutes)).isoformat()
    made: dict[str, Callable[[], dict[str, Any]]] = {
        "students.changed": lambda: a_student(id_, changedAt=at),
        "trainers.changed": lambda: a_trainer(id_, courses=[course], changedAt=at),
        "trainers.busy": lambda: an_absence("trn_1", NOW, NOW + timedelta(days=1), busyId=id_, changedAt=at),
        "carts.changed": lambda: a_cart_change("stu_a", id_, courseId=course, changedAt=at),
    }
    return made[topic]() | {"mark": course}


async def _rows(world: World, topic: str) -> dict[str, dict[str, Any]]:
    columns = f"{IDS[topic]} AS id, changed_at, removed, payload_hash, payload"
    rows = await world.rows(f"SELECT {columns} FROM {TABLES[topic]} WHERE changed_at IS NOT NULL")  # noqa: S608
    return {row["id"]: row for row in rows}
