import os
import signal
import socket
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError

import embedded
from embedded import kafka as embedded_kafka
from tests.embedded.conftest import Begin, Starter, all_end


async def test_both_keep_what_they_were_given_though_their_starter_and_then_their_guards_are_killed(
    tmp_path: Path, begin: Begin
) -> None:
    starter = begin(tmp_path, "kafka", "postgres")
    servers = starter.servers()
    await publish(servers.kafka, b"before the starter's end")
    await execute(servers.database_url, "CREATE TABLE marks AS SELECT 1 AS n")
    family = starter.family()
    starter.process.kill()

    assert all_end(family)
    assert embedded.running(tmp_path) is None

    starter = begin(tmp_path, "kafka", "postgres")
    servers = starter.servers()
    await publish(servers.kafka, b"before the guards' end")
    await execute(servers.database_url, "INSERT INTO marks VALUES (2)")
    guards = [starter.state(name)["guard"] for name in ("kafka", "postgres")]
    family = [process for process in starter.family() if process.pid not in guards]
    for guard in guards:
        os.kill(guard, signal.SIGKILL)

    assert all_end(family)
    assert embedded.running(tmp_path) is None

    with embedded.servers(tmp_path) as last:
        assert not last.joined
        assert await everything(last.kafka) == [b"before the starter's end", b"before the guards' end"]
        assert await fetchval(last.database_url, "SELECT sum(n) FROM marks") == 3


def test_sigterm_to_the_starter_ends_its_servers(tmp_path: Path, begin: Begin) -> None:
    starter = begin(tmp_path, "postgres")
    starter.servers()
    family = starter.family()

    starter.process.terminate()

    assert all_end(family)
    assert embedded.running(tmp_path) is None


async def test_a_second_process_joins_and_leaves_without_ending_anything(shared: Starter, begin: Begin) -> None:
    second = begin(shared.home, "kafka", "postgres")

    joined = second.servers()
    second.stop()

    assert joined.joined
    assert embedded.running(shared.home) == joined
    assert await fetchval(joined.database_url, "SELECT 1") == 1


async def test_topics_are_made_only_on_request(shared: Starter) -> None:
    running = embedded.running(shared.home)
    assert running
    admin = AIOKafkaAdminClient(bootstrap_servers=running.kafka)
    await admin.start()

    (answer,) = await admin.describe_topics(["never.made"])
    topics = await admin.list_topics()
    await admin.close()

    assert answer["error_code"] == UnknownTopicOrPartitionError.errno
    assert "never.made" not in topics


def test_only_this_machine_is_served(shared: Starter) -> None:
    servers = [psutil.Process(shared.state(name)["pid"]) for name in ("kafka", "postgres")]

    listening = [
        connection.laddr.ip.removeprefix("::ffff:")
        for server in servers
        for connection in server.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]

    assert set(listening) == {"127.0.0.1"}


def test_a_signal_of_the_terminal_does_not_reach_the_servers(shared: Starter) -> None:
    sessions = {os.getsid(process.pid) for process in shared.family()}
    groups = {os.getpgid(process.pid) for process in shared.family()}

    assert os.getsid(shared.process.pid) not in sessions
    assert os.getpgid(shared.process.pid) not in groups


async def test_what_is_committed_is_durable(shared: Starter) -> None:
    running = embedded.running(shared.home)
    assert running

    settings = {
        name: await fetchval(running.database_url, f"SHOW {name}")
        for name in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums", "listen_addresses")
    }

    assert settings == {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "listen_addresses": "",
    }


def test_of_two_that_start_at_once_one_joins_the_other(tmp_path: Path, begin: Begin) -> None:
    both = [begin(tmp_path, "postgres"), begin(tmp_path, "postgres")]

    got = [starter.servers() for starter in both]

    assert sorted(servers.joined for servers in got) == [False, True]
    assert got[0].database_url == got[1].database_url


def test_a_process_starts_what_the_one_before_it_did_not_need(tmp_path: Path, begin: Begin) -> None:
    begin(tmp_path, "postgres").servers()
    # A folder whose making was cut short.
    (tmp_path / "kafka" / "data" / "half").mkdir(parents=True)

    with embedded.servers(tmp_path) as servers:
        assert servers.kafka
        assert servers.database_url
        assert not servers.joined

    running = embedded.running(tmp_path)
    assert running
    assert running.kafka is None


def test_another_port_is_chosen_when_somebody_was_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = embedded_kafka._free_ports
    with socket.create_server(("127.0.0.1", 0)) as rival:
        taken = rival.getsockname()[1]
        choices = iter([(taken, choose()[1])])
        monkeypatch.setattr(embedded_kafka, "_free_ports", lambda: next(choices, None) or choose())

        with embedded.servers(tmp_path, postgres=False) as servers:
            assert servers.kafka != f"127.0.0.1:{taken}"
            assert embedded_kafka.answers(servers.kafka or "")


async def publish(address: str | None, value: bytes) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    if "notes" not in await admin.list_topics():
        await admin.create_topics([NewTopic("notes", 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(
        bootstrap_servers=address, enable_idempotence=True, compression_type="zstd"
    ) as producer:
        await producer.send_and_wait("notes", value)


async def everything(address: str | None) -> list[bytes]:
    notes = TopicPartition("notes", 0)
    async with AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
        consumer.assign([notes])
        end = (await consumer.end_offsets([notes]))[notes]
        values: list[bytes] = []
        while await consumer.position(notes) < end:
            values.append((await consumer.getone()).value)
    return values


async def execute(address: str | None, statement: str) -> None:
    connection = await asyncpg.connect(address)
    await connection.execute(statement)
    await connection.close()


async def fetchval(address: str | None, query: str) -> object:
    connection = await asyncpg.connect(address)
    value = await connection.fetchval(query)
    await connection.close()
    return value
