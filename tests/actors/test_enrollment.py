"""The door: a payment is new, a repetition, a contradiction, or nothing that anybody can read."""

import json
from typing import Any

import pytest

from contracts.enrollments import EnrollmentCreated
from contracts.parking import FulfilmentParked
from tests.builders import a_payment, a_student, a_trainer
from tests.world import World

DAY = "2027-03-01"
Payment = dict[str, Any]


def _full(**changes: Any) -> Payment:
    """A payment with every known field, at known values."""
    known: dict[str, Any] = {
        "succeededAt": "2026-11-22T08:02:55Z",
        "coinsRedeemed": 120,
        "purchaseTier": 30,
        "sessionCount": 30,
        "groupSize": 1,
        "learningMode": "home",
        "timeSlot": "16:00",
        "date": DAY,
        "daysOfWeek": ["mon", "wed"],
        "preferredTimeSlot": "16:00",
        "preferredDate": DAY,
        "timezone": "Asia/Kolkata",
        "cartItemId": "itm_4",
        "processingItemId": "itm_9",
    }
    return a_payment(**(known | changes))


def _changed(payment: Payment, **changes: Any) -> Payment:
    """The same payment with other values; in its metadata where it has them there."""
    copy = payment | {"metadata": dict(payment["metadata"])}
    for name, value in changes.items():
        (copy if name in payment else copy["metadata"])[name] = value
    return copy


CONTRADICTIONS: list[dict[str, Any]] = [
    {"studentId": "stu_other"},
    {"amountMinor": 1499901},
    {"currency": "USD"},
    {"succeededAt": "2026-11-22T08:02:56Z"},
    {"succeededAt": "2026-11-22T08:02:55.001Z"},
    {"coinsRedeemed": 121},
    {"coinsRedeemed": 0},
    {"courseId": "crs_chess"},
    {"purchaseTier": 20},
    {"purchaseTier": None},
    {"purchaseTier": "thirty"},
    {"sessionCount": "10 sessions"},
    {"groupSize": 2},
    {"learningMode": "online"},
    {"timeSlot": "16:30"},
    {"timeSlot": "16:00-17:30"},
    {"timeSlot": "4:00 AM"},
    {"date": "2027-03-02"},
    {"daysOfWeek": ["mon"]},
    {"daysOfWeek": ["mon", "tue"]},
    {"daysOfWeek": None},
    {"preferredTimeSlot": "17:00"},
    {"preferredDate": "2027-03-02"},
    {"timezone": "Europe/Berlin"},
    {"cartItemId": "itm_5"},
    {"cartItemId": ""},
    {"processingItemId": "itm_5"},
]
EQUIVALENTS: list[dict[str, Any]] = [
    {"purchaseTier": "30"},
    {"purchaseTier": "30 sessions"},
    {"sessionCount": "30"},
    {"sessionCount": "30 sessions", "purchaseTier": "30"},
    {"timeSlot": "16:00-17:00"},
    {"timeSlot": "4:00 PM"},
    {"timeSlot": "4:00 pm \u2013 5:00 pm", "preferredTimeSlot": "4:00PM-5:00PM"},
    {"date": f"{DAY}T00:00:00"},
    {"date": f"{DAY}T00:00:00.000Z", "preferredDate": f"{DAY}T00:00:00Z"},
    {"daysOfWeek": ["wed", "mon"]},
    {"daysOfWeek": ["mon", "wed", "mon"]},
    {"currency": "inr"},
    {"succeededAt": "2026-11-22T13:32:55+05:30"},
    {"succeededAt": "2026-11-22T08:02:55.000Z"},
    {"unknown": {"deep": [1, 2]}},
]


@pytest.mark.parametrize("apart", [False, True])
async def test_a_payment_that_contradicts_its_first_parks_and_changes_nothing(world: World, *, apart: bool) -> None:
    firsts = [_full() for _ in CONTRADICTIONS]
    seconds = [_changed(first, **changes) for first, changes in zip(firsts, CONTRADICTIONS, strict=True)]

    if apart:
        world.send("payments.succeeded", *firsts)
        await world.settle(names=["enrollment"])
        world.send("payments.succeeded", *seconds, *seconds)
    else:
        for first, second in zip(firsts, seconds, strict=True):
            world.send("payments.succeeded", first, second, second)
    await world.settle(names=["enrollment"])
    world.rewind()
    await world.settle(names=["enrollment"])

    rows = await world.rows("SELECT payment_id, reason, kind, actor, payload FROM parked")
    parked = {row["payment_id"]: json.loads(row["payload"]) for row in rows}
    for first, second, changes in zip(firsts, seconds, CONTRADICTIONS, strict=True):
        assert parked.get(first["paymentId"]) == second, changes
    assert {(r["reason"], r["kind"], r["actor"]) for r in rows} == {("conflicting_duplicate", "record", "enrollment")}
    assert len(rows) == len(firsts)
    assert {row["payment_id"]: row["payload"] for row in await world.rows("SELECT * FROM purchases")} == {
        first["paymentId"]: first for first in firsts
    }
    assert len(world.published(EnrollmentCreated)) == len(firsts)


@pytest.mark.parametrize("apart", [False, True])
async def test_the_same_payment_written_otherwise_is_no_contradiction(world: World, *, apart: bool) -> None:
    firsts = [_full() for _ in EQUIVALENTS]
    seconds = [_changed(first, **changes) for first, changes in zip(firsts, EQUIVALENTS, strict=True)]
    for second in seconds:
        second["trace"] = "unknown to us"

    world.send("payments.succeeded", *firsts)
    if apart:
        await world.settle(names=["enrollment"])
    world.send("payments.succeeded", *seconds)
    await world.settle(names=["enrollment"])

    rows = await world.rows("SELECT payment_id FROM parked")
    wrong = {row["payment_id"] for row in rows}
    contradicted = [c for first, c in zip(firsts, EQUIVALENTS, strict=True) if first["paymentId"] in wrong]
    assert contradicted == []
    assert len(world.published(EnrollmentCreated)) == len(firsts)


async def test_null_empty_and_missing_are_the_same_to_the_door(world: World) -> None:
    names = ["purchaseTier", "sessionCount", "groupSize", "learningMode", "daysOfWeek", "preferredTimeSlot"]
    names += ["preferredDate", "timezone", "cartItemId", "processingItemId", "timeSlot", "date"]
    payments = [_full(coinsRedeemed=None, **{name: None}) for name in names]

    for payment, name in zip(payments, names, strict=True):
        null, empty = _changed(payment), _changed(payment)
        null["metadata"][name], empty["metadata"][name] = None, ""
        world.send("payments.succeeded", payment, null | {"coinsRedeemed": None}, empty | {"coinsRedeemed": 0})
    await world.settle(names=["enrollment"])

    assert await world.parked() == []
    assert await world.count("enrollments") == len(names)


async def test_bytes_do_not_matter_to_a_repetition(world: World) -> None:
    payment = _full()
    backwards = {name: payment[name] for name in reversed(payment)}

    world.send("payments.succeeded", payment, json.dumps(backwards, indent=3).encode(), key=b"one")
    world.send("payments.succeeded", json.dumps(payment, ensure_ascii=False).encode() + b"\n", key=None)
    world.send("payments.succeeded", payment, key=b"\xff", headers=(("ce_id", b"1"), ("ce_id", b"2"), ("x", None)))
    await world.settle(names=["enrollment"])

    assert await world.parked() == []
    assert await world.count("purchases") == 1


async def test_a_contradiction_is_one_row_for_its_key_and_bytes(world: World) -> None:
    first = _full()
    second, third = first | {"amountMinor": 1}, first | {"amountMinor": 2}
    world.send("payments.succeeded", first, second, second, key=b"one")
    world.send("payments.succeeded", second, key=b"two")
    world.send("payments.succeeded", second, key=None)

    world.send("payments.succeeded", third, first, third)
    await world.settle(batch=1)
    world.rewind()
    await world.settle()

    rows = await world.rows("SELECT key, payload FROM parked WHERE kind = 'record'")
    assert sorted((row["key"] or b"", json.loads(row["payload"])["amountMinor"]) for row in rows) == [
        (b"", 1),
        (b"", 2),
        (b"one", 1),
        (b"two", 1),
    ]


async def test_a_contradiction_does_not_disturb_the_purchase(world: World) -> None:
    payment = a_payment()
    world.send("students.changed", a_student(payment["studentId"]))
    world.send("trainers.changed", a_trainer())
    await world.settle(names=["directory"])

    world.send("payments.succeeded", payment, _changed(payment, purchaseTier=365), _changed(payment, date="never"))
    await world.settle()

    journey = await world.journey(payment["paymentId"])
    assert (journey["state"], journey["sessions"], journey["parked_reason"]) == ("scheduled", 10, None)
    assert await world.parked() == ["conflicting_duplicate"] * 2
    assert await world.offenders() == {}


async def test_unknown_fields_are_kept_as_they_came(world: World) -> None:
    extra = {"list": [1, {"a": None}], "text": "ü \u2028 \U0001f600", "big": 2**70, "fine": 0.1, "no": False, "": ""}
    payment = _full() | {"gateway": extra, "payment_id": "not the id"}
    payment["metadata"]["utm"] = extra

    world.send("payments.succeeded", payment)
    await world.settle(names=["enrollment"])

    (row,) = await world.rows("SELECT payment_id, payload FROM purchases")
    assert row == {"payment_id": payment["paymentId"], "payload": payment}


async def test_every_poison_parks_once_with_its_original_bytes_and_its_neighbours_go_through(world: World) -> None:
    poison = _poison()
    good = [a_payment(coinsRedeemed=0) for _ in range(len(poison) + 1)]
    for number, value in enumerate(poison.values()):
        world.send("payments.succeeded", good[number])
        world.send("payments.succeeded", value, value, key=b"\xff key", headers=(("x", b"\x00\xfe"),))
    world.send("payments.succeeded", good[-1])

    await world.settle()
    world.rewind()
    await world.settle(batch=17)

    rows = await world.rows("SELECT * FROM parked WHERE kind = 'record'")
    stored = [row["payload"] for row in rows]
    for name, value in poison.items():
        assert stored.count(value) == 1, name
    assert len(rows) == len(poison)
    assert {(row["key"], row["topic"], row["actor"], row["status"]) for row in rows} == {
        (b"\xff key", "payments.succeeded", "enrollment", "open")
    }
    assert {row["reason"] for row in rows} <= {"unreadable", "refused_by_database"}
    assert all(row["facts"] for row in rows)
    told = [event for event in world.published(FulfilmentParked) if event.topic == "payments.succeeded"]
    assert {event.parked_id for event in told} == {row["id"] for row in rows}
    assert {row["payment_id"] for row in await world.rows("SELECT * FROM enrollments")} == {
        payment["paymentId"] for payment in good
    }


async def test_numbers_of_any_size_hold_up_nobody(world: World) -> None:
    numbers = [
        "1" + "0" * 4000,
        "1" + "0" * 5000,
        "-1" + "0" * 140_000,
        "1e-20000",
        "1E+400",
        "0." + "3" * 20_000,
        "-0",
    ]
    odd = []
    for field in ("purchaseTier", "groupSize", "timeSlot", "date", "unknown"):
        for number in numbers:
            payment = json.dumps(_changed(a_payment(), **{field: "@"})).replace('"@"', number)
            odd.append(payment.encode())
    good = [a_payment() for _ in range(3)]

    world.send("payments.succeeded", good[0], *odd[::2], good[1], *odd[1::2], good[2])
    await world.settle()
    world.rewind()
    await world.settle()

    enrolled = {row["payment_id"] for row in await world.rows("SELECT payment_id FROM enrollments")}
    assert {payment["paymentId"] for payment in good} <= enrolled
    rows = await world.rows("SELECT payload FROM parked WHERE kind = 'record'")
    assert len(enrolled) - len(good) + len(rows) == len(odd)
    assert "unexpected_error" not in await world.parked()
    assert await world.offenders() == {}


def _poison() -> dict[str, bytes | None]:
    """One payment of each kind that nobody can read, or the database cannot hold."""
    full = _full()

    def without(name: str) -> bytes:
        return json.dumps({key: value for key, value in full.items() if key != name}).encode()

    def having(**changes: Any) -> bytes:
        return json.dumps(_changed(full, **changes)).encode()

    text = json.dumps(full)
    return {
        "null": None,
        "empty": b"",
        "blank": b"  ",
        "no json": b"payment succeeded",
        "cut off": text[:-1].encode(),
        "two": (text + text).encode(),
        "list": b"[]",
        "text": b'"pay_1"',
        "number": b"7",
        "null literal": b"null",
        "not utf-8": b'{"paymentId": "\xff"}',
        "utf-16": text.encode("utf-16"),
        "byte order mark": b"\xef\xbb\xbf" + text.encode(),
        "binary": bytes(range(256)),
        "too large": having(note="x" * 300_000),
        "too deep": having(note=0).replace(b'"note": 0', b'"note": ' + b"[" * 500 + b"]" * 500),
        "far too deep": b"[" * 100_000,
        **{f"no {name}": without(name) for name in ("paymentId", "studentId", "amountMinor", "currency")},
        **{f"no {name}": without(name) for name in ("succeededAt", "metadata")},
        "no course": having(courseId=None),
        "empty course": having(courseId=""),
        "empty id": having(paymentId=""),
        "long id": having(paymentId="x" * 65),
        "id with a space": having(paymentId="pay 1"),
        "id with a newline": having(paymentId="pay_1\n"),
        "id of a number": having(paymentId=17),
        "id in other letters": having(studentId="stü_1"),
        "item id": having(cartItemId="itm 1"),
        "negative amount": having(amountMinor=-1),
        "amount of a fraction": having(amountMinor=1.5),
        "amount as text": having(amountMinor="100"),
        "amount too large": having(amountMinor=2**63),
        "coins too large": having(coinsRedeemed=2**63),
        "negative coins": having(coinsRedeemed=-1),
        "currency": having(currency="RUPEE"),
        "no offset": having(succeededAt="2026-11-22T08:02:55"),
        "no such day": having(succeededAt="2026-02-30T08:02:55Z"),
        "epoch": having(succeededAt=1_700_000_000),
        "metadata of a list": having(metadata=[]),
        "NUL": having(note="a\0b"),
        "NUL in a name": having(**{"a\0b": 1}),
        "NUL in the metadata": having(timeSlot="16:00\0"),
        "lone surrogate": having(note="\ud800"),
        "lone surrogate in the metadata": having(timeSlot="\udc00 16:00"),
        "NaN": having(note=float("nan")),
        "infinity": having(note=float("inf")),
        "infinity in disguise": having(note=0).replace(b'"note": 0', b'"note": 1e999'),
    }
