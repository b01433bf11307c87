"""Payments from clients that are not ours, in all the ways they send, and what those clients read of ours."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from aiokafka.admin import NewTopic

from actors.connection import admin_client
from tests.e2e.clients import confluent, programs
from tests.e2e.clients.batches import travelled
from tests.e2e.clients.orders import Json, Order, an_order, as_javascript_writes
from tests.e2e.clients.sendings import CLOUDEVENTS, STRANGE, TRACEPARENT, Publish, Sending, sendings
from tests.e2e.deployment import Deployment

pytestmark = pytest.mark.timeout(180)

ENCODED = {name: value.encode() for name, value in STRANGE.items()}
SESSIONS = "SELECT number, trainer_id, starts_at, ends_at, status FROM sessions WHERE payment_id = $1 ORDER BY number"


@dataclass(frozen=True)
class Topic:
    """Where payments go: as we make it, the broker unpacks what comes; as upstream might, it keeps it as it came."""

    name: str
    unpacks: bool


@pytest.fixture(params=[True, False], ids=["made by us", "made by upstream"])
async def topic(request: pytest.FixtureRequest, deployment: Deployment) -> Topic:
    topic = Topic(f"{deployment.settings.topic_prefix}payments.succeeded", unpacks=request.param)
    if not topic.unpacks:
        async with admin_client(deployment.settings, deployment.addresses.kafka) as admin:
            await admin.create_topics([NewTopic(topic.name, deployment.settings.partitions, 1)])
    return topic


async def purchased(deployment: Deployment, topic: Topic, publish: Publish) -> list[Sending]:
    """Start the service, send orders in every way with this client, and wait until they are done."""
    ways = sendings(an_order)
    orders = [order for way in ways for order in way.orders]
    await deployment.start()
    await deployment.publish([feed for order in orders for feed in order.feeds()])
    for table in ("students", "trainers"):
        await deployment.until(f"SELECT count(*) FROM {table}", lambda n: n == len(orders))  # noqa: S608
    for way in ways:
        await publish(deployment.addresses.kafka, topic.name, way)
    await deployment.settled(len(orders))
    return ways


async def assert_right_sessions(
    deployment: Deployment, ways: list[Sending], as_written: Callable[[Json], Json] = lambda payment: payment
) -> None:
    """Each order is scheduled, at its times with its trainer, and its payment is kept whole."""
    orders = [order for way in ways for order in way.orders]
    for order in orders:
        assert await deployment.rows(SESSIONS, order.payment_id) == order.sessions()
    kept = dict(await deployment.rows("SELECT payment_id, payload FROM purchases"))
    assert {name: json.loads(payload) for name, payload in kept.items()} == {
        order.payment_id: as_written(order.payment) for order in orders
    }
    assert await deployment.rows("SELECT state, count(*) FROM purchase_journey GROUP BY 1") == [
        ("scheduled", len(orders))
    ]
    assert await deployment.rows("SELECT reason, facts FROM parked") == []
    assert (await deployment.run("check"))[0] == 0


async def assert_sent_in_these_ways(deployment: Deployment, topic: Topic, ways: list[Sending]) -> None:
    """The client did as it was told, or the other assertions would say little."""
    found = await travelled(deployment.addresses.kafka, topic.name, deployment.settings.partitions)
    for way in ways:
        came = [found[order.payment_id] for order in way.orders]
        assert {how.codec for how in came} == {"none" if topic.unpacks else way.codec}
        assert (max(how.size for how in came) > 1) == way.batched
        assert [how.key for how in came] == [order.payment_id.encode() if way.keyed else None for order in way.orders]
        for how in came:
            assert how.headers.keys() >= way.headers.keys()
            assert way.headers or not how.headers
            assert way.headers is not STRANGE or ENCODED.items() <= how.headers.items()


def assert_tells_the_sessions(order: Order, way: Sending, key: str, headers: dict[str, str], value: Json) -> None:
    """An event as a calendar needs it: CloudEvents headers, the payment's id as its key, the whole series."""
    assert key == order.payment_id
    assert headers["ce_specversion"] == "1.0"
    assert headers["ce_type"] == "firstbell.sessions.scheduled.v1"
    assert headers["ce_source"] == "/firstbell"
    assert headers["ce_subject"] == value["allocationId"]
    assert headers["content-type"] == "application/json"
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", headers["ce_id"])
    assert datetime.fromisoformat(headers["ce_time"]) == datetime.fromisoformat(value["scheduledAt"])
    assert (headers["traceparent"] == TRACEPARENT) == (way.headers is CLOUDEVENTS)
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", headers["traceparent"])
    assert [
        (s["number"], value["trainerId"], datetime.fromisoformat(s["startsAt"]), datetime.fromisoformat(s["endsAt"]))
        for s in value["sessions"]
    ] == [session[:4] for session in order.sessions()]


def by_payment(ways: list[Sending]) -> dict[str, tuple[Order, Sending]]:
    return {order.payment_id: (order, way) for way in ways for order in way.orders}


async def test_payments_from_confluent_kafka_end_in_the_right_sessions_and_it_reads_them(
    deployment: Deployment, topic: Topic
) -> None:
    ways = await purchased(deployment, topic, confluent.publish)
    expected = by_payment(ways)

    events = await confluent.read(
        deployment.addresses.kafka, f"{deployment.settings.topic_prefix}sessions.scheduled", len(expected)
    )

    await assert_right_sessions(deployment, ways)
    await assert_sent_in_these_ways(deployment, topic, ways)
    assert {(event.key() or b"").decode() for event in events} == expected.keys()
    for event in events:
        key, headers = (event.key() or b"").decode(), dict(event.headers() or [])
        texts = {name: value.decode() for name, value in headers.items() if isinstance(value, bytes)}
        assert_tells_the_sessions(*expected[key], key, texts, json.loads(event.value() or b""))


@pytest.mark.clients
async def test_payments_from_kcat_end_in_the_right_sessions_and_it_shows_them(
    deployment: Deployment, topic: Topic
) -> None:
    ways = await purchased(deployment, topic, programs.publish_from_kcat)
    expected = by_payment(ways)

    events = await programs.read_with_kcat(
        deployment.addresses.kafka, f"{deployment.settings.topic_prefix}sessions.scheduled"
    )

    await assert_right_sessions(deployment, ways)
    await assert_sent_in_these_ways(deployment, topic, ways)
    assert {event["key"] for event in events} == expected.keys()
    for event in events:
        payload: Any = json.loads(event["payload"])
        assert_tells_the_sessions(*expected[event["key"]], event["key"], event["headers"], payload)


@pytest.mark.clients
async def test_payments_from_node_end_in_the_right_sessions(deployment: Deployment, topic: Topic) -> None:
    ways = await purchased(deployment, topic, programs.publish_from_node)

    await assert_right_sessions(deployment, ways, as_javascript_writes)
    await assert_sent_in_these_ways(deployment, topic, ways)
