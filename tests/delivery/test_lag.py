"""How far groups are behind, asked of a real broker: neither too little nor invented, and asking makes nothing."""

import json
from functools import partial
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupLoadInProgressError, KafkaError, LeaderNotAvailableError
from aiokafka.protocol.metadata import MetadataRequest

from actors import enrollment, lag
from actors.connection import admin_client
from actors.lag import Offsets, oldest_unread, oldest_unread_of, read_offsets
from service import Addresses, running
from settings import Settings
from tests.builders import a_payment
from tests.delivery.kafka import committed, read, until, upstream

SOURCE = "payments.succeeded"


async def _done(addresses: Addresses, settings: Settings, records: int) -> bool:
    return await committed(addresses.kafka, settings, "enrollment") == records


async def test_asking_makes_no_topic(settings: Settings, kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    send = AIOKafkaAdminClient._send_request

    async def noted(self: Any, request: Any, node_id: int | None = None) -> Any:
        asked.append(request)
        return await send(self, request, node_id)

    monkeypatch.setattr(AIOKafkaAdminClient, "_send_request", noted)

    offsets = await read_offsets(settings, kafka, [enrollment.ACTOR])

    assert offsets == Offsets({}, {}, {})
    async with admin_client(settings, kafka) as admin:
        assert not [topic for topic in await admin.list_topics() if topic.startswith(settings.topic_prefix)]
    metadata = [request for request in asked if isinstance(request, MetadataRequest) and request._topics]
    assert metadata
    assert not any(request._allow_auto_topic_creation for request in metadata)


async def test_an_error_of_the_whole_group_is_no_backlog(
    settings: Settings, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with upstream(addresses.kafka, settings) as sender, running(settings, addresses, ["enrollment"]):
        await sender.send(SOURCE, *(a_payment() for _ in range(7)))
        await until(partial(_done, addresses, settings, 7))
    send = AIOKafkaAdminClient._send_request

    async def loading(self: Any, request: Any, node_id: int | None = None) -> Any:
        answer = await send(self, request, node_id)
        if type(request).__name__ == "OffsetFetchRequest":
            answer.topics, answer.error_code = [], GroupLoadInProgressError.errno
        return answer

    monkeypatch.setattr(lag, "_PATIENCE", 0.3)
    monkeypatch.setattr(AIOKafkaAdminClient, "_send_request", loading)

    with pytest.raises(KafkaError):
        await read_offsets(settings, addresses.kafka, [enrollment.ACTOR])


async def test_the_marker_of_a_transaction_is_nothing_that_waits(settings: Settings, addresses: Addresses) -> None:
    async with upstream(addresses.kafka, settings), running(settings, addresses, ["enrollment"]):
        await _in_a_transaction(addresses.kafka, settings, [a_payment() for _ in range(3)])
        await read(addresses.kafka, settings, "enrollments.created", 3)

        async def nothing_waits() -> bool:
            return await oldest_unread(settings, addresses.kafka, [enrollment.ACTOR]) is None

        await until(nothing_waits)


async def test_a_payment_whose_transaction_was_aborted_was_never_made(settings: Settings, addresses: Addresses) -> None:
    taken_back, made = a_payment(), a_payment()
    async with upstream(addresses.kafka, settings), running(settings, addresses, ["enrollment"]):
        await _in_a_transaction(addresses.kafka, settings, [taken_back], abort=True)
        await _in_a_transaction(addresses.kafka, settings, [made])

        records = await read(addresses.kafka, settings, "enrollments.created", 1)

    assert [json.loads(record.value)["paymentId"] for record in records] == [made["paymentId"]]


async def _in_a_transaction(
    kafka: str, settings: Settings, payments: list[dict[str, Any]], *, abort: bool = False
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=f"{settings.topic_prefix}upstream")
    await producer.start()
    try:
        await producer.begin_transaction()
        for n, payment in enumerate(payments):
            await producer.send_and_wait(settings.topic_prefix + SOURCE, json.dumps(payment).encode(), partition=n)
        await (producer.abort_transaction() if abort else producer.commit_transaction())
    finally:
        await producer.stop()


async def test_a_partition_without_a_leader_is_left_out_of_a_scrape_and_stops_whoever_needs_all(
    settings: Settings, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = TopicPartition(settings.topic_prefix + SOURCE, 1)
    leaders = lag._leaders

    async def one_less(*arguments: Any) -> dict[TopicPartition, int]:
        return {**await leaders(*arguments), orphan: -1}

    async with upstream(addresses.kafka, settings) as sender:
        await sender.send(SOURCE, a_payment(), partition=2)
        monkeypatch.setattr(lag, "_leaders", one_less)
        monkeypatch.setattr(lag, "_PATIENCE", 0.3)

        offsets = await read_offsets(settings, addresses.kafka, [enrollment.ACTOR], whole=False)
        with pytest.raises(LeaderNotAvailableError):
            await oldest_unread(settings, addresses.kafka, [enrollment.ACTOR])

    assert orphan not in offsets.newest
    assert ("enrollment", orphan) not in offsets.done
    assert offsets.lag("enrollment", TopicPartition(orphan.topic, 2)) == 1
    assert (await oldest_unread_of(settings, addresses.kafka, offsets)).keys() == {"enrollment"}


def test_what_is_deleted_unread_is_no_lag_and_lag_is_never_below_nothing() -> None:
    partition = TopicPartition("payments.succeeded", 0)

    behind = Offsets({partition: 40}, {partition: 50}, {("enrollment", partition): 7})
    ahead = Offsets({partition: 0}, {partition: 50}, {("enrollment", partition): 51})

    assert (behind.next_of("enrollment", partition), behind.lag("enrollment", partition)) == (40, 10)
    assert ahead.lag("enrollment", partition) == 0
