"""Delivery on the real broker: each way in which FastStream or aiokafka would lose or repeat records."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.producer import message_accumulator, producer
from aiokafka.record import default_records
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import service as service_module
from actors.batch import Actor, Outcome
from actors.runtime import Delivery, Patience, Redo
from contracts.record import Record
from roster import ACTORS, actors_of
from service import Addresses, Service, running
from settings import Settings
from tests.builders import a_payment
from tests.delivery.kafka import Upstream, answer, committed, ends, read, until, upstream
from tests.delivery.proxy import before_database, before_kafka
from tests.world import World

DOOR = ["enrollment"]
SOURCE, RESULT = "payments.succeeded", "enrollments.created"


class Gate:
    """Stops every delivery at a named point until it is opened."""

    def __init__(self, point: str) -> None:
        self.arrived = asyncio.Event()
        self.opened = asyncio.Event()
        self._point = point

    def shut(self) -> None:
        self.arrived.clear()
        self.opened.clear()

    async def __call__(self, point: str) -> None:
        if point == self._point:
            self.arrived.set()
            await self.opened.wait()


class NotUtf8(str):
    """A header name whose bytes are no text."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfe"


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], Awaitable[None]]], None]:
    """Have every delivery of services started from now on report the points that it reaches."""

    def report_to(listener: Callable[[str], Awaitable[None]]) -> None:
        patience = Patience(first_pause=0.02, longest_pause=0.1, publish_deadline=0.5)
        monkeypatch.setattr(service_module, "Delivery", partial(Delivery, reached=listener, patience=patience))

    return report_to


async def test_no_offset_is_committed_before_the_work_is_done_and_a_successor_does_it(
    settings: Settings, addresses: Addresses, reached: Any, engine: AsyncEngine
) -> None:
    gate = Gate("handled")
    reached(gate)
    async with upstream(addresses.kafka, settings) as sender:
        await sender.send(SOURCE, *(a_payment() for _ in range(3)))

        async with running(settings, addresses, DOOR) as killed:
            await gate.arrived.wait()
            before = await committed(addresses.kafka, settings, "enrollment")
            _kill(killed)
        after_kill = await committed(addresses.kafka, settings, "enrollment"), await World(engine).count("purchases")
        gate.opened.set()
        async with running(settings, addresses, DOOR):
            await read(addresses.kafka, settings, RESULT, 3)

    assert before == 0
    assert after_kill == (0, 0)
    assert await World(engine).count("enrollments") == 3
    assert await committed(addresses.kafka, settings, "enrollment") == 3


@pytest.mark.parametrize(
    "headers",
    [
        [("correlation_id", None)],
        [("content-type", b"\xff\xfe"), ("reply_to", None)],
        [("traceparent", b"\xff" * 55), ("traceparent", None)],
    ],
    ids=["null", "not UTF-8", "a trace that is none"],
)
async def test_a_header_that_nobody_can_read_does_not_lose_its_batch(
    settings: Settings, addresses: Addresses, headers: Any, engine: AsyncEngine
) -> None:
    async with upstream(addresses.kafka, settings) as sender:
        await sender.send(SOURCE, a_payment(), headers=headers)
        await sender.send(SOURCE, a_payment())

        async with running(settings, addresses, DOOR):
            await read(addresses.kafka, settings, RESULT, 2)

    assert await World(engine).count("enrollments") == 2


async def test_a_header_name_that_is_not_utf8_stops_and_loses_nothing(
    settings: Settings, addresses: Addresses, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The compiled builder takes plain texts only; other clients send any bytes, and the broker keeps them.
    for module in (producer, message_accumulator):
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", default_records._DefaultRecordBatchBuilderPy)
    monkeypatch.setattr(fetcher, "MemoryRecords", fetcher.MemoryRecords)
    async with upstream(addresses.kafka, settings) as sender:
        # The poll that meets it has taken records of the other partitions by then.
        for partition in (0, 2, 1):
            await sender.send(SOURCE, a_payment(), a_payment(), a_payment(), partition=partition)
        await sender.send(SOURCE, a_payment(), headers=[(NotUtf8("x"), b"1")], partition=1)
        for partition in (0, 1, 2):
            await sender.send(SOURCE, a_payment(), partition=partition)

        async with running(settings, addresses, DOOR):
            await read(addresses.kafka, settings, RESULT, 13)

    assert await World(engine).count("enrollments") == 13


async def test_a_record_of_another_age_is_a_record_like_any_other(
    settings: Settings, addresses: Addresses, engine: AsyncEngine
) -> None:
    async with upstream(addresses.kafka, settings) as sender, running(settings, addresses, ["enrollment", "cart"]):
        await sender.send(SOURCE, a_payment())
        (created,) = await read(addresses.kafka, settings, RESULT, 1)
        for moment in (-(10**15), 0):
            await sender._producer.send_and_wait(
                settings.topic_prefix + RESULT, created.value, partition=0, timestamp_ms=moment
            )
        await sender.send(SOURCE, a_payment())

        # Both payments' events, and the two that came again with times of their own.
        async def all_done() -> bool:
            return await committed(addresses.kafka, settings, "cart") == 4

        await until(all_done)

    assert await World(engine).count("cart_clearances") == 2


async def test_a_reply_that_a_header_asks_for_is_never_published(settings: Settings, addresses: Addresses) -> None:
    target = settings.topic_prefix + "carts.cleared"
    async with upstream(addresses.kafka, settings) as sender:
        await sender.send(SOURCE, a_payment(), headers=[("reply_to", target.encode())])

        async with running(settings, addresses, DOOR):
            await read(addresses.kafka, settings, RESULT, 1)

    assert await ends(addresses.kafka, settings, "carts.cleared") == 0


async def test_one_bad_record_does_not_fail_its_batch(
    settings: Settings, addresses: Addresses, engine: AsyncEngine
) -> None:
    async with upstream(addresses.kafka, settings) as sender:
        await sender.send(SOURCE, a_payment(), b"\xff\xfe", None, b"[]", b'{"paymentId": 1}', a_payment(), key=b"k")

        async with running(settings, addresses, DOOR):
            await read(addresses.kafka, settings, RESULT, 2)
            await read(addresses.kafka, settings, "fulfilment.parked", 4)

    assert await World(engine).parked() == ["unreadable"] * 4
    assert await committed(addresses.kafka, settings, "enrollment") == 6


@pytest.mark.parametrize("error", [Redo, RuntimeError], ids=["not done", "a bug of the runtime"])
async def test_a_failed_batch_comes_again_from_every_partition_that_it_spans(
    settings: Settings, addresses: Addresses, reached: Any, engine: AsyncEngine, error: type[Exception]
) -> None:
    failures = iter(range(4))

    async def fail_at_first(point: str) -> None:
        if point == "received" and next(failures, None) is not None:
            raise error("not yet")

    reached(fail_at_first)
    async with upstream(addresses.kafka, settings) as sender:
        for partition in range(settings.partitions):
            await sender.send(SOURCE, *(a_payment() for _ in range(4)), partition=partition)

        async with running(settings, addresses, DOOR):
            await read(addresses.kafka, settings, RESULT, 12)

    assert await World(engine).count("enrollments") == 12
    assert await committed(addresses.kafka, settings, "enrollment") == 12


async def test_records_in_flight_are_not_run_again_when_a_second_worker_joins(
    settings: Settings, addresses: Addresses, reached: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled: list[list[str]] = []
    monkeypatch.setattr(service_module, "actors_of", partial(_recorded, actors_of, handled))
    gate = Gate("handled")
    reached(gate)
    payments = [a_payment() for _ in range(30)]
    async with upstream(addresses.kafka, settings) as sender:
        await _spread(sender, payments, settings)
        async with running(settings, addresses, DOOR) as old:
            await gate.arrived.wait()

            async with running(settings, addresses, DOOR) as new:
                await until(partial(_has_left, old))
                _, obstacles = await answer(old, "/readyz")
                joining = asyncio.create_task(new.wait_until_ready())
                joined_early = await _within(1.5, joining)
                in_flight = list(handled[0])
                gate.opened.set()
                await asyncio.gather(old.wait_until_ready(), joining)
                await read(addresses.kafka, settings, RESULT, 30)
                more = [a_payment() for _ in range(30)]
                await _spread(sender, more, settings)
                told = await read(addresses.kafka, settings, RESULT, 60)

    assert obstacles["enrollment"] == "has not joined its group"
    assert not joined_early
    assert in_flight
    assert set(in_flight).isdisjoint(handled[1])
    assert sorted(handled[0] + handled[1]) == sorted(payment["paymentId"] for payment in payments + more)
    assert len(told) == 60


async def test_a_consumer_that_a_stray_cancellation_ended_shows_in_healthz(
    settings: Settings, addresses: Addresses, reached: Any
) -> None:
    async def cancel(point: str) -> None:
        if point == "received":
            raise asyncio.CancelledError

    reached(cancel)
    async with upstream(addresses.kafka, settings) as sender, running(settings, addresses, DOOR) as service:
        await service.wait_until_ready()
        healthy = await answer(service, "/healthz")
        await sender.send(SOURCE, a_payment())
        await until(partial(_answers, service, "/healthz", 503))
        sick, unready = await answer(service, "/healthz"), await answer(service, "/readyz")

    assert healthy == (200, {})
    assert sick == (503, {"enrollment": "its consumer has ended"})
    assert unready[0] == 503
    assert await committed(addresses.kafka, settings, "enrollment") == 0


async def test_healthz_answers_while_the_database_is_away_and_readyz_says_what_is_missing(
    settings: Settings, kafka: str, database_url: str
) -> None:
    async with before_database(database_url) as (proxy, url):
        await proxy.cut()

        async with running(settings, Addresses(kafka, url), DOOR) as service:
            alive, unready = await answer(service, "/healthz"), await answer(service, "/readyz")
            await proxy.mend()
            await service.wait_until_ready()
            ready = await answer(service, "/readyz")

    assert alive == (200, {})
    assert unready == (503, {"database": "does not answer (Transient)", "service": "starting"})
    assert ready == (200, {})


async def test_healthz_answers_while_the_broker_is_away_and_the_service_comes_up_with_it(
    settings: Settings, kafka: str, database_url: str
) -> None:
    async with before_kafka(kafka) as proxy:
        await proxy.cut()

        async with running(settings, Addresses(proxy.address, database_url)) as service:
            alive, unready = await answer(service, "/healthz"), await answer(service, "/readyz")
            await proxy.mend()
            await service.wait_until_ready()
            ready = await answer(service, "/readyz")

    assert alive == (200, {})
    assert (unready[0], unready[1]["service"]) == (503, "starting")
    assert ready == (200, {})


async def test_readiness_is_lost_with_the_database_and_comes_back_with_it(
    settings: Settings, kafka: str, database_url: str
) -> None:
    async with (
        before_database(database_url) as (proxy, url),
        upstream(kafka, settings) as sender,
        running(settings, Addresses(kafka, url), DOOR) as service,
    ):
        await service.wait_until_ready()
        ready = await answer(service, "/readyz")

        await proxy.cut()
        await sender.send(SOURCE, *(a_payment() for _ in range(3)))
        alive, unready = await answer(service, "/healthz"), await answer(service, "/readyz")
        await proxy.mend()
        await read(kafka, settings, RESULT, 3)
        await until(partial(_answers, service, "/readyz", 200))

    assert ready == alive == (200, {})
    assert unready[0] == 503
    assert unready[1]["database"] == "does not answer (Transient)"


async def test_a_broker_cut_in_the_middle_of_a_batch_costs_no_event(
    settings: Settings, kafka: str, database_url: str, reached: Any, engine: AsyncEngine
) -> None:
    gate = Gate("committed")
    reached(gate)
    async with before_kafka(kafka) as proxy, upstream(kafka, settings) as sender:
        async with running(settings, Addresses(proxy.address, database_url), DOOR) as service:
            # The first one makes the producer acquainted with the topic: what follows waits in its buffer.
            gate.opened.set()
            await sender.send(SOURCE, a_payment())
            await read(kafka, settings, RESULT, 1)
            await until(partial(_has_committed, kafka, settings, 1))
            gate.shut()
            await sender.send(SOURCE, *(a_payment() for _ in range(20)))
            await gate.arrived.wait()

            await proxy.cut()
            gate.opened.set()
            await until(partial(_is_blocked_by, service, "publish"))
            unready = await answer(service, "/readyz")
            meanwhile = await ends(kafka, settings, RESULT), await committed(kafka, settings, "enrollment")
            stored = await World(engine).count("enrollments")
            await proxy.mend()
            told = await read(kafka, settings, RESULT, 21)
            await until(partial(_answers, service, "/readyz", 200))
        acknowledged = await committed(kafka, settings, "enrollment")

    assert unready[0] == 503
    assert unready[1]["enrollment"] == "blocked: publish"
    assert unready[1]["kafka"].startswith("does not answer")
    assert meanwhile == (1, 1)
    assert stored == 21
    assert len({record.key for record in told}) == 21
    assert acknowledged == 21


async def test_stopping_lets_the_batch_at_hand_end_publish_and_commit(
    settings: Settings, addresses: Addresses, reached: Any, engine: AsyncEngine
) -> None:
    gate = Gate("handled")
    reached(gate)
    async with upstream(addresses.kafka, settings) as sender:
        await sender.send(SOURCE, *(a_payment() for _ in range(5)))
        service = Service(settings, addresses, DOOR)
        await service.start()
        await gate.arrived.wait()

        stopping = asyncio.create_task(service.stop())
        await until(partial(_is_stopping, service))
        gate.opened.set()
        await stopping

    assert await World(engine).count("enrollments") == 5
    assert await ends(addresses.kafka, settings, RESULT) == 5
    assert await committed(addresses.kafka, settings, "enrollment") == 5


async def test_stopping_does_not_wait_for_a_broker_that_is_away(
    settings: Settings, kafka: str, database_url: str, reached: Any
) -> None:
    gate = Gate("handled")
    reached(gate)
    brief = settings.model_copy(update={"graceful_timeout": 0.1})
    async with before_kafka(kafka) as proxy, upstream(kafka, settings) as sender:
        service = Service(brief, Addresses(proxy.address, database_url), DOOR)
        await service.start()
        await service.wait_until_ready()
        await sender.send(SOURCE, a_payment())
        await gate.arrived.wait()

        await proxy.cut()
        await asyncio.wait_for(service.stop(), 15)

    assert await committed(kafka, settings, "enrollment") == 0


async def test_stopping_during_the_start_leaves_nothing_behind(settings: Settings, addresses: Addresses) -> None:
    async with upstream(addresses.kafka, settings):
        service = Service(settings, addresses)
        await service.start()

        await until(partial(_has_a_broker, service))
        await service.stop()

    members = [task for task in asyncio.all_tasks() if "aiokafka" in repr(task) or "faststream" in repr(task)]
    assert members == []


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_batches_are_read(settings: Settings, addresses: Addresses, codec: str) -> None:
    payments = [a_payment() for _ in range(20)]
    async with upstream(addresses.kafka, settings, compression_type=codec) as sender:
        await sender.send(SOURCE, *payments)

        async with running(settings, addresses, DOOR):
            told = await read(addresses.kafka, settings, RESULT, 20)

    assert {record.key for record in told} == {payment["paymentId"].encode() for payment in payments}


@pytest.mark.parametrize("topic", ["payments.succeeded", "students.changed", "repairs.requested"])
async def test_the_broker_refuses_a_bomb_however_small_it_is_packed(settings: Settings, kafka: str, topic: str) -> None:
    async with upstream(kafka, settings, compression_type="zstd", max_request_size=2**27) as sender:
        with pytest.raises(MessageSizeTooLargeError):
            await sender.send(topic, bytes(20_000_000), key=b"bomb")

    assert await ends(kafka, settings, topic) == 0


def _kill(service: Service) -> None:
    """End the loops of the consumers where they stand, as the end of a process would."""
    for member in _members(service):
        for task in member.subscriber.tasks:
            task.cancel()


def _members(service: Service) -> list[Any]:
    return service._consumers._members if service._consumers else []


def _recorded(
    actors_of: Callable[..., list[Actor]],
    handled: list[list[str]],
    settings: Settings,
    names: Sequence[str] = ACTORS,
    **options: Any,
) -> list[Actor]:
    """The actors, with the payment ids of what each service handles; a list for each service."""
    if "behind" not in options:  # these are only looked at
        return actors_of(settings, names)
    mine: list[str] = []
    handled.append(mine)

    def recording(actor: Actor) -> Actor:
        async def handle(db: AsyncConnection, records: Sequence[Record]) -> Outcome:
            mine.extend(record.event.payment_id for record in records)
            return await actor.handle(db, records)

        return replace(actor, handle=handle)

    return [recording(actor) for actor in actors_of(settings, names)]


async def _spread(sender: Upstream, payments: Sequence[dict[str, Any]], settings: Settings) -> None:
    for partition in range(settings.partitions):
        await sender.send(SOURCE, *payments[partition :: settings.partitions], partition=partition)


async def _within(seconds: float, task: asyncio.Task[Any]) -> bool:
    """Whether it happens in so many seconds: for what must not happen, which no signal tells."""
    done, _ = await asyncio.wait({task}, timeout=seconds)
    return bool(done)


async def _has_left(service: Service) -> bool:
    return all(not member.joined.is_set() for member in _members(service))


async def _is_blocked_by(service: Service, cause: str) -> bool:
    return service._consumers is not None and cause in service._consumers.blocked.values()


async def _has_committed(kafka: str, settings: Settings, records: int) -> bool:
    return await committed(kafka, settings, "enrollment") == records


async def _is_stopping(service: Service) -> bool:
    return all(not member.subscriber.running for member in _members(service))


async def _has_a_broker(service: Service) -> bool:
    return service._broker is not None


async def _answers(service: Service, path: str, status: int) -> bool:
    return (await answer(service, path))[0] == status


async def test_who_is_in_no_hurry_takes_at_once_what_came_one_by_one(settings: Settings, addresses: Addresses) -> None:
    def batches() -> float:
        return REGISTRY.get_sample_value("firstbell_batch_records_count", {"actor": "metrics"}) or 0

    async with upstream(addresses.kafka, settings) as sender, running(settings, addresses, ["metrics"]) as service:
        await service.wait_until_ready()
        before = batches()
        for n in range(40):
            await sender.send("carts.cleared", b"{}", key=b"pay_%d" % n)
        await until(partial(_acknowledged, addresses, settings, 40))

        assert batches() - before < 10


async def _acknowledged(addresses: Addresses, settings: Settings, records: int) -> bool:
    return await committed(addresses.kafka, settings, "metrics") == records
