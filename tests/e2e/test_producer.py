"""The code of docs/producer.md does what the page says: it is the file that runs here."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.committed import ASYNCAPI, SCHEMAS
from contracts.decode import decode
from contracts.topics import TOPICS
from errors import Unreadable
from tests.builders import a_credit
from tests.contracts.examples import COMMANDS, a_command, example
from tests.e2e.clients.orders import Order, an_order
from tests.e2e.clients.programs import run_node
from tests.e2e.deployment import ROOT, Deployment, message

pytestmark = pytest.mark.timeout(180)

CLIENTS = Path(__file__).parent / "clients"
PAGE = (ROOT / "docs" / "producer.md").read_text()

SESSIONS = "SELECT number, trainer_id, starts_at, ends_at, status FROM sessions WHERE payment_id = $1 ORDER BY number"
OPEN = "SELECT count(*) FROM parked WHERE status = 'open'"
CANCELLED = "SELECT count(*) FROM sessions WHERE status = 'cancelled'"
BALANCE = "SELECT coins FROM students WHERE student_id = $1"

# Where a trainer is active, or has the other half of a place: no schema can tell.
NEEDED_BY_A_RULE = {"timezone", "latitude", "longitude"}

Json = dict[str, Any]


def a_sale(order: Order, **more: Any) -> Json:
    """An order as the payment service of the page keeps it."""
    payment, metadata = order.payment, order.payment["metadata"]
    return {
        "id": payment["paymentId"],
        "buyer": payment["studentId"],
        "course": metadata["courseId"],
        "price": {"minor": payment["amountMinor"], "currency": payment["currency"]},
        "lessons": {
            "count": order.course.count,
            "slot": metadata["timeSlot"],
            "from": metadata["date"],
            "days": metadata["daysOfWeek"],
            "zone": order.course.zone,
        },
        "paidAt": payment["succeededAt"],
        **more,
    }


async def told(deployment: Deployment, sales: list[Json]) -> None:
    """Run the example with these sales."""
    where = {"KAFKA": deployment.addresses.kafka, "TOPIC_PREFIX": deployment.settings.topic_prefix}
    await run_node("producer.ts", given=json.dumps(sales).encode(), environment=where)


@pytest.mark.parametrize("name", ["producer.ts", "check.ts"])
def test_the_page_shows_the_very_code_that_is_tested(name: str) -> None:
    blocks = re.findall(r"```ts\n(.*?)```", PAGE, re.DOTALL)

    assert (CLIENTS / name).read_text() in blocks


def test_the_messages_on_the_page_are_read() -> None:
    shown = re.findall(r"```json (\S+)\n(.*?)```", PAGE, re.DOTALL)

    assert {topic for topic, _ in shown} == {"payments.succeeded", "payments.refunded", "fulfilment.parked"}
    for topic, value in shown:
        assert decode(topic, None, value.encode())


def test_the_page_names_every_field_of_a_payment_and_a_refund() -> None:
    for topic in ("payments.succeeded", "payments.refunded"):
        properties = json.loads((SCHEMAS / f"{topic}.v1.json").read_text())["properties"]
        for name in [*properties, *properties.get("metadata", {}).get("properties", {})]:
            assert f"`{name}`" in PAGE or f"`metadata.{name}`" in PAGE, name


@pytest.mark.clients
async def test_what_the_example_sells_is_on_the_calendar_once_and_what_it_gives_back_is_off_it(
    deployment: Deployment,
) -> None:
    kept, returned = an_order(0), an_order(1)
    later = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    sales = [a_sale(kept, coins=20), a_sale(returned, coins=10, refund={"id": "ref_1", "at": later, "coins": 4})]
    await deployment.start()
    await deployment.publish([feed for order in (kept, returned) for feed in order.feeds()])
    for order in (kept, returned):
        student_id = order.payment["studentId"]
        credit = a_credit(student_id, 100)
        await deployment.publish([message("coins.credited", credit["creditId"], credit)])
    await deployment.until("SELECT count(*) FROM trainers", lambda n: n == 2)
    await deployment.until("SELECT count(*) FROM students WHERE coins = 100", lambda n: n == 2)

    await told(deployment, [{**sale, "refund": None} for sale in sales])
    await deployment.settled(2)
    await told(deployment, sales)
    await deployment.until(CANCELLED, lambda n: n == returned.course.count)
    await deployment.all_read()

    assert await deployment.rows(SESSIONS, kept.payment_id) == kept.sessions()
    assert await deployment.rows(SESSIONS, returned.payment_id) == [
        (*session[:4], "cancelled") for session in returned.sessions()
    ]
    assert await deployment.rows(BALANCE, kept.payment["studentId"]) == [(80,)]
    assert await deployment.rows(BALANCE, returned.payment["studentId"]) == [(94,)]
    assert await deployment.rows(OPEN) == [(0,)]
    assert await deployment.rows("SELECT count(*) FROM purchases") == [(2,)]
    assert (await deployment.run("check"))[0] == 0


@pytest.mark.clients
@pytest.mark.parametrize("topic", TOPICS)
async def test_ajv_takes_the_examples_of_a_topic_and_refuses_what_is_not_read(topic: str) -> None:
    schema = SCHEMAS / f"{topic}.v1.json"
    good = [a_command(fields) for fields in COMMANDS] if topic == "repairs.requested" else [example(topic)]
    lacking = [
        {name: value for name, value in fields.items() if name != left_out}
        for fields in good
        for left_out in fields.keys() - NEEDED_BY_A_RULE
    ]
    bad = [fields for fields in lacking if not _is_read(topic, fields)]

    await run_node("check.ts", schema, given=json.dumps(good).encode())
    refusals = await asyncio.gather(
        *(run_node("check.ts", schema, given=json.dumps([fields]).encode(), code=1) for fields in bad[:3])
    )

    assert all("must have required property" in said or "tag" in said for said in refusals), refusals


@pytest.mark.clients
async def test_the_parser_of_asyncapi_reads_the_document_and_finds_every_topic() -> None:
    found = json.loads(await run_node("parse.mjs", ASYNCAPI))

    assert found["errors"] == []
    assert set(found["channels"]) == TOPICS.keys()
    assert set(found["receives"]) >= {topic for topic, spec in TOPICS.items() if spec.outside}
    assert set(found["sends"]) == {topic for topic, spec in TOPICS.items() if not spec.outside} | {"repairs.requested"}


def _is_read(topic: str, fields: Json) -> bool:
    try:
        decode(topic, None, json.dumps(fields).encode())
    except Unreadable:
        return False
    return True
