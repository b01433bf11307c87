"""/metrics: what the servers say at the moment of the scrape, and which of them does not answer."""

import time
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import CommitFailedError
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.parser import text_string_to_metric_families

from actors.connection import admin_client
from console.database_families import families
from contracts.repairs import COMMANDS, OUTCOMES
from domain.objective import BOUNDS
from roster import ACTORS
from service import Addresses, Service, running
from settings import Settings
from storage import invariants
from storage.figures import Figure
from tests.builders import a_payment, a_student, a_trainer
from tests.delivery.kafka import until, upstream
from tests.delivery.proxy import before_database, before_kafka

DOOR = ["enrollment"]

Scraped = dict[str, dict[tuple[str, ...], float]]


async def scrape(service: Service) -> Scraped:
    """Every sample by its name, and there by the values of its labels in the order of their names."""
    async with httpx.AsyncClient(timeout=30) as http:
        response = await http.get(f"http://127.0.0.1:{service.port}/metrics")
    assert (response.status_code, response.headers["content-type"]) == (200, CONTENT_TYPE_LATEST)
    found: Scraped = defaultdict(dict)
    for family in text_string_to_metric_families(response.text):
        assert not family.name.startswith("firstbell_") or family.documentation.endswith("."), family.name
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            assert labels not in found[sample.name], f"{sample.name}{sample.labels} is there twice"
            found[sample.name][labels] = sample.value
    return found


async def test_one_scrape_tells_the_whole_story_of_a_purchase(settings: Settings, addresses: Addresses) -> None:
    payment, parked = a_payment(purchaseTier=20), a_payment(purchaseTier="many")
    async with upstream(addresses.kafka, settings) as sender, running(settings, addresses) as service:
        await sender.send("students.changed", a_student(payment["studentId"]), key=payment["studentId"].encode())
        await sender.send("trainers.changed", a_trainer(), key=b"trn_1")
        await sender.send("payments.succeeded", payment, parked)
        found: Scraped = {}

        async def counted() -> bool:
            nonlocal found
            found = await scrape(service)
            states = found["firstbell_purchases"]
            return states.get(("scheduled",)) == 1 and states.get(("parked",)) == 1

        await until(counted)

    assert found["firstbell_purchases_paid_total"][()] == 2
    assert found["firstbell_purchases_in_time_total"][()] == 1
    assert found["firstbell_sessions_created_total"] == {("10",): 0, ("20",): 20, ("30",): 0, ("other",): 0}
    assert found["firstbell_purchase_to_sessions_seconds_count"][()] == 1
    assert found["firstbell_purchase_to_sessions_seconds_bucket"]["60.0",] == 1
    assert found["firstbell_parked_items"] == {("allocation", "session_count_invalid"): 1}
    assert found["firstbell_parked_oldest_age_seconds"]["allocation",] >= 0
    assert found["firstbell_ready"][()] == found["firstbell_up_database"][()] == found["firstbell_up_kafka"][()] == 1
    assert found["firstbell_database_connections_limit"][()] == 16
    assert {actor for actor, _ in found["firstbell_records_total"]} >= set(ACTORS)
    assert {(command, outcome) for command in COMMANDS for outcome in OUTCOMES} <= found[
        "firstbell_repairs_total"
    ].keys()
    assert found["faststream_received_messages_total"]
    assert found["firstbell_build_info"]


async def test_lag_is_told_by_group_topic_and_partition_with_the_age_of_the_oldest(
    settings: Settings, addresses: Addresses
) -> None:
    async with upstream(addresses.kafka, settings) as sender, running(settings, addresses, DOOR) as service:
        await sender.send("payments.succeeded", *(a_payment() for _ in range(7)), partition=2)
        found: Scraped = {}

        async def enrolled() -> bool:
            nonlocal found
            found = await scrape(service)
            published = sum(lag_of(found, settings, "allocation", "enrollments.created").values())
            return published == 7 and not any(lag_of(found, settings, "enrollment", "payments.succeeded").values())

        await until(enrolled)

    assert lag_of(found, settings, "enrollment", "payments.succeeded") == dict.fromkeys(map(str, range(3)), 0)
    prefix = settings.topic_prefix
    done = found["kafka_consumergroup_current_offset"]
    assert done[f"{prefix}firstbell.enrollment", "2", f"{prefix}payments.succeeded"] == 7
    assert found["kafka_topic_partition_current_offset"]["2", f"{prefix}payments.succeeded"] == 7
    assert found["kafka_topic_partition_oldest_offset"]["2", f"{prefix}payments.succeeded"] == 0
    ages = found["firstbell_oldest_unread_age_seconds"]
    assert ages["enrollment",] == 0
    assert 0 < ages["allocation",] < 120
    assert ages.keys() == {(name,) for name in ACTORS}


async def _ready(service: Service) -> bool:
    found = await scrape(service)
    return found["firstbell_ready"][()] == found["firstbell_up_database"][()] == found["firstbell_up_kafka"][()] == 1


async def test_retention_is_what_the_topics_keep_and_not_what_the_settings_say(
    settings: Settings, addresses: Addresses
) -> None:
    async with upstream(addresses.kafka, settings), admin_client(settings, addresses.kafka) as admin:
        carts = ConfigResource(
            ConfigResourceType.TOPIC, f"{settings.topic_prefix}carts.cleared", {"retention.ms": "86400000"}
        )
        await admin.alter_configs([carts])
        longer = settings.model_copy(update={"retention_days": 90})
        async with running(longer, addresses, DOOR) as service:
            found = await scrape(service)

    assert found["firstbell_topic_retention_seconds"][()] == 86_400


def lag_of(found: Scraped, settings: Settings, actor: str, topic: str) -> dict[str, float]:
    """The lag of an actor on a topic by partition."""
    group, name = f"{settings.topic_prefix}firstbell.{actor}", settings.topic_prefix + topic
    return {p: value for (g, p, t), value in found["kafka_consumergroup_lag"].items() if (g, t) == (group, name)}


async def test_while_the_database_is_away_its_figures_are_missing_and_the_rest_is_told(
    settings: Settings, addresses: Addresses
) -> None:
    async with (
        before_database(addresses.database_url) as (proxy, url),
        running(settings, replace(addresses, database_url=url), DOOR) as service,
    ):
        await until(partial(_ready, service))
        before = await scrape(service)
        await proxy.cut()
        away = await scrape(service)
        await proxy.mend()
        await until(partial(_ready, service))

    assert before["firstbell_up_database"][()] == before["firstbell_ready"][()] == 1
    assert away["firstbell_up_database"][()] == away["firstbell_ready"][()] == 0
    assert "firstbell_purchases_paid_total" not in away
    assert away["firstbell_up_kafka"][()] == 1
    assert away["kafka_consumergroup_lag"]
    assert away["firstbell_records_total"]


async def test_figures_are_told_though_the_actors_have_used_up_every_connection(
    settings: Settings, addresses: Addresses
) -> None:
    async with running(settings, addresses, DOOR) as service, AsyncExitStack() as held:
        await until(partial(_ready, service))
        for _ in range(16):
            await held.enter_async_context(service.engine.connect())

        found = await scrape(service)

    assert found["firstbell_database_connections"]["in_use",] == 16
    assert found["firstbell_up_database"][()] == 1
    assert found["firstbell_purchases_paid_total"][()] == 0
    assert found["firstbell_ready"][()] == 0


async def test_while_kafka_is_away_its_lag_is_missing_and_the_rest_is_told(
    settings: Settings, addresses: Addresses
) -> None:
    async with (
        before_kafka(addresses.kafka) as proxy,
        running(settings, replace(addresses, kafka=proxy.address), DOOR) as service,
    ):
        await until(partial(_ready, service))
        before = await scrape(service)
        await proxy.cut()
        away = await scrape(service)
        await proxy.mend()

    assert before["firstbell_up_kafka"][()] == 1
    assert before["kafka_consumergroup_lag"]
    assert away["firstbell_up_kafka"][()] == away["firstbell_ready"][()] == 0
    assert "kafka_consumergroup_lag" not in away
    assert away["firstbell_up_database"][()] == 1
    assert away["firstbell_purchases_paid_total"][()] == 0


async def test_invariants_are_checked_soon_after_the_start_and_each_is_told(
    settings: Settings, addresses: Addresses
) -> None:
    began = time.time()
    async with running(settings, addresses, ["metrics"]) as service:
        found: Scraped = {}

        async def checked() -> bool:
            nonlocal found
            found = await scrape(service)
            return bool(found.get("firstbell_invariant_offenders"))

        await until(checked)

    assert found["firstbell_invariant_offenders"] == {(one.name,): 0 for one in invariants.INVARIANTS}
    assert began - 5 < found["firstbell_invariants_checked_timestamp_seconds"][()] < time.time() + 5


async def test_a_batch_whose_offsets_cannot_be_committed_is_counted_and_done_all_the_same(
    settings: Settings, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, failing = AIOKafkaConsumer.commit, [True]

    async def fail_once(consumer: AIOKafkaConsumer, *args: Any, **kwargs: Any) -> None:
        if failing.pop() if failing else False:
            raise CommitFailedError
        await commit(consumer, *args, **kwargs)

    async with upstream(addresses.kafka, settings) as sender, running(settings, addresses, DOOR) as service:
        await service.wait_until_ready()
        before = (await scrape(service))["firstbell_commit_failures_total"]["enrollment",]
        monkeypatch.setattr(AIOKafkaConsumer, "commit", fail_once)
        await sender.send("payments.succeeded", a_payment())

        async def failed() -> bool:
            return (await scrape(service))["firstbell_commit_failures_total"]["enrollment",] == before + 1

        await until(failed)


def test_a_class_that_an_earlier_release_had_is_counted_where_its_bound_lies_today() -> None:
    counted = [Figure("seconds", label, value) for label, value in (("0.1", 1), ("7", 2), ("60", 3), ("Infinity", 4))]

    (histogram,) = [one for one in families(counted, [], []) if one.name == "firstbell_purchase_to_sessions_seconds"]

    buckets = {sample.labels["le"]: sample.value for sample in histogram.samples if sample.name.endswith("_bucket")}
    assert (buckets["0.1"], buckets["5.0"], buckets["10.0"], buckets["60.0"], buckets["+Inf"]) == (1, 1, 3, 6, 10)
    assert len(buckets) == len(BOUNDS) + 1
