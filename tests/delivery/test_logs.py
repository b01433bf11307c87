"""Logs: JSON, a line a batch, no personal data; and one trace from the payment to its last event."""

import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from actors import enrollment, runtime
from actors.batch import Outcome
from contracts.record import Record
from logs import OncePerTemplate, configure_logs
from service import Addresses, running
from settings import Settings
from tests.builders import a_credit, a_payment, a_student, a_trainer
from tests.delivery.kafka import read, upstream
from tests.world import World

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01".encode()
OTHER_TRACEPARENT = b"00-1234567890abcdef1234567890abcdef-00f067aa0ba902b7-01"

PHONE = "+91 98765 43210"
LATITUDE = 12.345678
PERSONAL = (PHONE, str(LATITUDE), "crs_secret_therapy")

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """What was logged since the last call, each line read as JSON."""
    root, own = logging.getLogger(), logging.getLogger("firstbell")
    before = root.handlers, root.level, own.level
    configured = structlog.get_config()
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    configure_logs(Settings(log_format="json"))
    # Loggers keep what they were first used with: one of this test's own.
    monkeypatch.setattr(runtime, "_log", structlog.get_logger("firstbell.actors"))

    def read_on() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in written.getvalue().splitlines()]
        written.seek(0)
        written.truncate()
        return found

    yield read_on
    root.handlers, root.level = before[0], before[1]
    own.setLevel(before[2])
    structlog.configure(**configured)


async def test_a_batch_is_one_line_and_a_parked_record_one_more(world: World, lines: Lines) -> None:
    world.send("payments.succeeded", *(a_payment() for _ in range(20)), b"garbage")

    await world.turn("enrollment")

    done, parked = sorted(lines(), key=lambda line: line["event"])
    assert (done["event"], done["level"], done["logger"]) == ("batch done", "info", "firstbell.actors")
    assert (done["actor"], done["records"], done["published"], done["parked"]) == ("enrollment", 21, 20, 1)
    assert (parked["event"], parked["level"], parked["reason"]) == ("parked", "warning", "unreadable")
    assert parked["parked_id"] == str((await world.rows("SELECT id FROM parked"))[0]["id"])
    assert done["timestamp"].endswith("Z")


async def test_messages_are_constant_and_what_varies_is_a_field(world: World, lines: Lines) -> None:
    for size in (1, 2, 3):
        world.send("payments.succeeded", *(a_payment() for _ in range(size)), b"garbage %d" % size)
        await world.turn("enrollment")

    assert Counter(line["event"] for line in lines()) == {"batch done": 3, "parked": 3}


async def test_no_line_tells_what_a_message_said(world: World, lines: Lines) -> None:
    private = {"phone": PHONE, "courseId": "crs_secret_therapy"}
    world.send("students.changed", a_student("stu_1", phone=PHONE, latitude=LATITUDE))
    world.send("trainers.changed", a_trainer(phone=PHONE, latitude=LATITUDE))
    await world.settle(names=["directory"])
    world.send("payments.succeeded", a_payment(studentId="stu_1", **private), a_payment(purchaseTier="x", **private))
    world.send("payments.succeeded", json.dumps({"phone": PHONE, "latitude": LATITUDE}).encode())
    world.send("payments.succeeded", f'{{"phone": "{PHONE}" {LATITUDE}'.encode())
    world.send("payments.succeeded", a_payment(amountMinor=PHONE, studentId=PHONE))
    await world.settle()

    told = json.dumps(lines())
    assert "batch done" in told
    assert [secret for secret in PERSONAL if secret in told] == []


async def test_no_line_tells_what_a_record_said_that_fails_through_us(world: World, lines: Lines) -> None:
    async def fail(_: AsyncConnection, records: Sequence[Record]) -> Outcome:
        payload = json.loads(records[0].value or b"")
        raise KeyError(len(payload))

    world.deliveries["enrollment"] = world.delivery(replace(enrollment.ACTOR, handle=fail))
    world.send("payments.succeeded", a_payment(phone=PHONE, courseId="crs_secret_therapy"))

    await world.turn("enrollment")

    told = lines()
    assert {"record failed", "parked", "batch done"} == {line["event"] for line in told}
    assert [secret for secret in PERSONAL if secret in json.dumps(told)] == []


async def test_no_line_tells_the_values_of_a_statement_that_failed(world: World, lines: Lines) -> None:
    async def fail(db: AsyncConnection, records: Sequence[Record]) -> Outcome:
        await db.execute(text("SELECT * FROM nowhere WHERE payload = :payload"), {"payload": PHONE})
        return Outcome()

    world.deliveries["enrollment"] = world.delivery(replace(enrollment.ACTOR, handle=fail))
    world.send("payments.succeeded", a_payment())

    await world.turn("enrollment")

    told = json.dumps(lines())
    assert "record failed" in told
    assert PHONE not in told


async def test_no_line_tells_the_key_that_two_transactions_fought_for(world: World, lines: Lines) -> None:
    world.send("coins.credited", a_credit("stu_1", 1))
    tries: list[int] = []

    async def fail_once(db: AsyncConnection, records: Sequence[Record]) -> Outcome:
        tries.append(1)
        if len(tries) == 1:
            await db.execute(
                text("INSERT INTO students (student_id) SELECT :id FROM generate_series(1, 2)"), {"id": PHONE}
            )
        return Outcome()

    directory = next(actor for actor in world.actors if actor.name == "directory")
    world.deliveries["directory"] = world.delivery(replace(directory, handle=fail_once))

    await world.turn("directory")

    told = json.dumps(lines())
    assert "batch rolled back" in told
    assert PHONE not in told


async def test_a_line_feed_in_a_value_does_not_make_a_second_line(lines: Lines) -> None:
    structlog.get_logger("firstbell.test").warning("parked", payment_id='pay\n{"event": "forged"}')

    (line,) = lines()
    assert line["payment_id"] == 'pay\n{"event": "forged"}'


def test_libraries_write_in_the_same_format(lines: Lines) -> None:
    logging.getLogger("aiokafka.conn").error("lost %s", "127.0.0.1:9092")

    (line,) = lines()
    assert (line["event"], line["level"], line["logger"]) == ("lost 127.0.0.1:9092", "error", "aiokafka.conn")


def test_a_library_that_repeats_itself_is_heard_once_in_ten_seconds() -> None:
    now = [0.0]
    once = OncePerTemplate(lambda: now[0])

    passed = [once.filter(_line("aiokafka.conn", "lost %s", n)) for n in range(1000)]
    other = once.filter(_line("aiokafka.conn", "found %s", 1)), once.filter(_line("aiokafka.client", "lost %s", 1))
    now[0] = 10.0
    later = once.filter(_line("aiokafka.conn", "lost %s", 1))

    assert passed == [True] + [False] * 999
    assert other == (True, True)
    assert later


def test_our_own_lines_are_never_held_back() -> None:
    once = OncePerTemplate(lambda: 0.0)

    assert all(once.filter(_line("firstbell.actors", "parked", n)) for n in range(100))


async def test_one_trace_leads_from_the_payment_to_its_last_event(world: World) -> None:
    traced, untraced = (a_payment(coinsRedeemed=5) for _ in range(2))
    await _everything_for(world, traced, untraced)

    world.send("payments.succeeded", traced, headers=(("traceparent", TRACEPARENT),))
    world.send("payments.succeeded", untraced)
    await world.settle()

    mine, other = traces_of(world, traced), traces_of(world, untraced)
    assert (
        set(mine)
        == set(other)
        == {
            "enrollments.created",
            "carts.cleared",
            "coins.redeemed",
            "allocations.approved",
            "sessions.scheduled",
        }
    )
    assert set(mine.values()) == {TRACE}
    assert len(set(other.values())) == 1
    assert TRACE not in other.values()


async def test_every_actors_lines_name_the_trace(world: World, lines: Lines) -> None:
    payment = a_payment(coinsRedeemed=5)
    await _everything_for(world, payment)
    lines()

    world.send("payments.succeeded", payment, headers=(("traceparent", TRACEPARENT),))
    await world.settle()

    assert {line["actor"]: set(line["correlation_ids"]) for line in lines()} == {
        name: {TRACE} for name in ("enrollment", "cart", "coins", "allocation", "sessions", "metrics")
    }


async def test_what_is_parked_keeps_the_trace_in_its_line_and_its_event(world: World, lines: Lines) -> None:
    payment = a_payment(purchaseTier="many")
    world.send("payments.succeeded", payment, headers=(("traceparent", TRACEPARENT),))

    await world.settle()

    (parked,) = [line for line in lines() if line["event"] == "parked"]
    assert parked["correlation_id"] == TRACE
    assert traces_of(world, payment)["fulfilment.parked"] == TRACE


async def test_unreadable_records_keep_the_trace_that_each_came_with(world: World) -> None:
    world.send("payments.succeeded", b"garbage 1", headers=(("traceparent", TRACEPARENT),))
    world.send("payments.succeeded", b"garbage 2", headers=(("traceparent", OTHER_TRACEPARENT),))

    await world.turn("enrollment")

    told = Counter(dict(record.headers)["traceparent"] for record in world.log["fulfilment.parked"])
    assert told == {TRACEPARENT: 1, OTHER_TRACEPARENT: 1}


async def test_the_same_trace_is_told_again_after_a_replay(world: World) -> None:
    payment = a_payment()
    world.send("payments.succeeded", payment)
    await world.turn("enrollment")

    world.rewind()
    await world.turn("enrollment")

    first, second = world.log["enrollments.created"]
    assert first.headers == second.headers


async def test_the_trace_goes_through_every_hop_on_the_broker(settings: Settings, addresses: Addresses) -> None:
    async with upstream(addresses.kafka, settings) as sender, running(settings, addresses):
        await sender.send("payments.succeeded", a_payment(), headers=[("traceparent", TRACEPARENT)])

        hops = [
            *await read(addresses.kafka, settings, "enrollments.created", 1),
            *await read(addresses.kafka, settings, "carts.cleared", 1),
            *await read(addresses.kafka, settings, "fulfilment.parked", 1),
        ]

    assert [dict(hop.headers)["traceparent"] for hop in hops] == [TRACEPARENT] * 3
    assert all(
        {"ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "ce_subject", "content-type"}
        <= dict(hop.headers).keys()
        for hop in hops
    )
    assert {dict(hop.headers)["content-type"] for hop in hops} == {b"application/json"}


async def _everything_for(world: World, *payments: dict[str, Any]) -> None:
    world.send("students.changed", *(a_student(payment["studentId"]) for payment in payments))
    world.send("trainers.changed", *(a_trainer(f"trn_{n}") for n in range(len(payments))))
    world.send("coins.credited", *(a_credit(payment["studentId"], 100) for payment in payments))
    await world.settle(names=["directory"])


def traces_of(world: World, payment: dict[str, Any]) -> dict[str, str]:
    """The trace id of each derived event of a payment, by topic."""
    key = payment["paymentId"].encode()
    return {
        topic: dict(record.headers)["traceparent"].decode().split("-")[1]  # type: ignore[union-attr]
        for topic, records in world.log.items()
        for record in records
        if record.key == key
    }


def _line(name: str, template: str, value: int) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "somewhere.py", 1, template, (value,), None)
