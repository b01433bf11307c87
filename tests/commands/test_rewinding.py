"""`app.py replay`: the groups go back to an instant, never forward, and never while they have members."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import typer
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from actors import rewinding
from actors.connection import admin_client
from actors.consumers import group_of
from actors.topics import create_topics
from commands.replay import instant_of
from roster import actors_of
from settings import Settings
from tests.commands.calling import Caller

# Stamped by their writers, as events of ours are.
TOPIC = "enrollments.created"
# A time that has passed; records of partition 0 were written at these hours of that day, one each.
NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
HOURS = (8, 9, 10, 11)


@pytest.fixture
async def log(settings: Settings, kafka: str) -> Settings:
    """Topics with four records in one partition, all of them read by the groups of cart and coins."""
    async with admin_client(settings, kafka) as admin:
        await create_topics(admin, settings)
    await write(settings, kafka, *HOURS)
    for actor in ("cart", "coins"):
        await commit(settings, kafka, actor, {0: 4, 1: 0})
    return settings


async def write(settings: Settings, kafka: str, *hours: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    try:
        for hour in hours:
            at = int(NOW.replace(hour=hour).timestamp() * 1000)
            await producer.send_and_wait(settings.topic_prefix + TOPIC, b"{}", partition=0, timestamp_ms=at)
    finally:
        await producer.stop()


async def commit(settings: Settings, kafka: str, actor: str, offsets: dict[int, int]) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group_of(actor, settings), enable_auto_commit=False)
    await consumer.start()
    try:
        its = {TopicPartition(settings.topic_prefix + TOPIC, number): offset for number, offset in offsets.items()}
        consumer.assign(list(its))
        await consumer.commit(its)
    finally:
        await consumer.stop()


async def committed(settings: Settings, kafka: str, actor: str) -> dict[tuple[str, int], int]:
    async with admin_client(settings, kafka) as admin:
        found = await admin.list_consumer_group_offsets(group_of(actor, settings))
    return {(at.topic.removeprefix(settings.topic_prefix), at.partition): its.offset for at, its in found.items()}


@asynccontextmanager
async def member(settings: Settings, kafka: str, actor: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A member of an actor's group, with all partitions of the topic."""
    consumer = AIOKafkaConsumer(
        settings.topic_prefix + TOPIC,
        bootstrap_servers=kafka,
        group_id=group_of(actor, settings),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        while not consumer.assignment():
            await asyncio.sleep(0.02)
        yield consumer
    finally:
        await consumer.stop()


def since(hour: int) -> str:
    return NOW.replace(hour=hour).isoformat()


async def test_every_group_goes_back_to_the_first_record_of_that_time(log: Settings, kafka: str, call: Caller) -> None:
    printed = await call("replay", "--since", since(10), "--yes", "--json")

    assert printed.code == 0, printed.err
    assert printed.json["records"] == 4
    assert [(row["group"], row["topic"], row["committed"], row["offset"]) for row in printed.json["partitions"]] == [
        (group_of(actor, log), log.topic_prefix + TOPIC, 4, 2) for actor in ("cart", "coins")
    ]
    for actor in ("cart", "coins"):
        assert await committed(log, kafka, actor) == {(TOPIC, 0): 2, (TOPIC, 1): 0}


async def test_a_group_that_is_further_back_stays_there(log: Settings, kafka: str, call: Caller) -> None:
    await commit(log, kafka, "coins", {0: 1})

    printed = await call("replay", "--since", since(10), "--yes", "--json")

    assert [row["group"] for row in printed.json["partitions"]] == [group_of("cart", log)]
    assert (await committed(log, kafka, "coins"))[TOPIC, 0] == 1


async def test_where_nothing_was_written_since_nothing_goes_back(log: Settings, kafka: str, call: Caller) -> None:
    await commit(log, kafka, "coins", {0: 3})

    printed = await call("replay", "--since", since(12), "--yes")

    assert printed.code == 0
    assert "no group has to go back" in printed.out
    assert (await committed(log, kafka, "cart"))[TOPIC, 0] == 4
    assert (await committed(log, kafka, "coins"))[TOPIC, 0] == 3


async def test_a_group_that_has_read_nothing_yet_is_left_alone(log: Settings, kafka: str, call: Caller) -> None:
    await call("replay", "--since", since(8), "--yes")

    assert await committed(log, kafka, "allocation") == {}


async def test_a_dry_run_says_it_all_and_does_nothing(log: Settings, kafka: str, call: Caller) -> None:
    shown = await call("replay", "--since", since(10), "--dry-run")
    printed = await call("replay", "--since", since(10), "--dry-run", "--json")

    assert (shown.code, printed.code) == (0, 0)
    assert f"{group_of('cart', log)} reads 2 records" in shown.out
    assert printed.json["records"] == 4
    assert (await committed(log, kafka, "cart"))[TOPIC, 0] == 4


async def test_it_asks_and_no_is_no(log: Settings, kafka: str, call: Caller) -> None:
    declined = await call("replay", "--since", since(10), typed="n\n")
    before = await committed(log, kafka, "cart")
    agreed = await call("replay", "--since", since(10), typed="y\n")

    assert (declined.code, agreed.code) == (1, 0)
    assert "Read 4 records again?" in declined.err
    assert before[TOPIC, 0] == 4
    assert (await committed(log, kafka, "cart"))[TOPIC, 0] == 2


async def test_while_a_group_has_members_it_refuses_and_names_it(log: Settings, kafka: str, call: Caller) -> None:
    async with member(log, kafka, "coins"):
        printed = await call("replay", "--since", since(10), "--yes")

    assert printed.code == 1
    assert f"{group_of('coins', log)} (" in printed.err
    assert group_of("cart", log) not in printed.err
    assert (await committed(log, kafka, "cart"))[TOPIC, 0] == 4


async def test_a_group_that_gets_members_after_the_look_is_not_rewound(log: Settings, kafka: str) -> None:
    plan = await rewinding.planned(log, kafka, actors_of(log), NOW.replace(hour=10))

    async with member(log, kafka, "cart"):
        with pytest.raises(rewinding.GroupsRun, match="cart"):
            await rewinding.rewind(log, kafka, plan)

    assert (await committed(log, kafka, "cart"))[TOPIC, 0] == 4


async def test_with_servers_of_our_own_it_starts_them_and_all_is_done_again(call: Caller) -> None:
    own = {"KAFKA_BOOTSTRAP_SERVERS": "", "DATABASE_URL": "", "FIRSTBELL_TOPIC_PREFIX": "", "PORT": "0"}
    first = await call("demo", "--purchases", "6", "--json", **own)

    printed = await call("replay", "--since", "1h", "--yes", "--json", **own)
    second = await call("demo", "--purchases", "6", "--json", **own)
    checked = await call("check", "--json", **own)

    assert (first.code, printed.code, second.code) == (0, 0, 0), first.err + printed.err + second.err
    assert {row["topic"] for row in printed.json["partitions"]} >= {"payments.succeeded", "allocations.approved"}
    assert (checked.code, checked.json) == (0, {})


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2h", NOW - timedelta(hours=2)),
        ("90m", NOW - timedelta(minutes=90)),
        (" 3d ", NOW - timedelta(days=3)),
        (f"{NOW.date()}T10:00:00Z", NOW - timedelta(hours=2)),
        (f"{NOW.date()}T15:30:00+05:30", NOW - timedelta(hours=2)),
    ],
)
def test_an_instant_is_itself_or_so_long_ago(said: str, meant: datetime) -> None:
    assert instant_of(said, NOW) == meant


@pytest.mark.parametrize("said", ["yesterday", "", "2h30", "-2h", "2026-11-25T10:00:00", "2999-11-26T10:00:00Z"])
def test_what_is_no_instant_has_no_offset_or_has_not_come_is_refused(said: str) -> None:
    with pytest.raises(typer.BadParameter):
        instant_of(said, NOW)
