"""Starting as a newcomer does: servers of our own, one of them given, ports taken, a second time."""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

import asyncpg
import pytest

import embedded
from tests.e2e.deployment import ROOT, Deployment


async def app(home: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run a command of app.py with a home of its own; its exit code, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "app.py",
        *arguments,
        cwd=ROOT,
        env={**os.environ, "FIRSTBELL_HOME": str(home), "LOG_FORMAT": "json", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complained = await process.communicate()
    return process.returncode or 0, printed.decode(), complained.decode()


async def test_a_second_start_goes_on_with_the_data_of_the_first(tmp_path: Path) -> None:
    summaries = []
    for _ in range(2):
        code, printed, complained = await app(tmp_path, "demo", "--purchases", "6", "--json", PORT="0")
        assert code == 0, complained
        summaries.append(json.loads(printed))

    code, printed, _ = await app(tmp_path, "check", "--json")

    assert [summary["purchases"] for summary in summaries] == [6, 6]
    assert [summary["scheduled"] + summary["parked"] for summary in summaries] == [6, 6]
    assert set(summaries[0]) == {
        "purchases",
        "scheduled",
        "parked",
        "sessions",
        "duplicates_published",
        "p50_ms",
        "p99_ms",
        "purchases_per_second",
        "invariant_offenders",
    }
    assert (code, json.loads(printed)) == (0, {})
    with embedded.servers(tmp_path, kafka=False) as servers:
        assert await _count(servers.database_url or "", "purchases") == 12


async def test_one_server_given_and_the_other_embedded_works_too(tmp_path: Path, database_url: str) -> None:
    code, printed, complained = await app(
        tmp_path, "demo", "--purchases", "6", "--json", PORT="0", DATABASE_URL=database_url
    )

    assert code == 0, complained
    assert json.loads(printed)["scheduled"] == 6
    assert await _count(database_url, "purchases") == 6
    assert not (tmp_path / "postgres").exists()


async def test_where_tells_the_addresses_for_as_long_as_the_service_runs(deployment: Deployment) -> None:
    process = await deployment.start()

    code, printed = await deployment.run("where", "--json")
    await deployment.terminate(process)
    code_afterwards, _ = await deployment.run("where")

    assert code == 0
    assert json.loads(printed)["kafka"] == deployment.addresses.kafka
    assert json.loads(printed)["database"] == deployment.addresses.database_url
    assert code_afterwards == 1


async def test_a_port_that_was_asked_for_and_is_taken_is_told_in_one_sentence(
    tmp_path: Path, kafka: str, database_url: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, complained = await app(
            tmp_path, "run", PORT=port, KAFKA_BOOTSTRAP_SERVERS=kafka, DATABASE_URL=database_url
        )

    assert code == 1
    assert f"PORT {port}" in complained
    assert "Traceback" not in complained


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"PORT": "abc"}, "PORT"),
        ({"FIRSTBELL_DEFAULT_TIMEZONE": "Mars/Olympus"}, "FIRSTBELL_DEFAULT_TIMEZONE"),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, "DATABASE_URL"),
    ],
)
async def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, environment: dict[str, str], named: str) -> None:
    code, _, complained = await app(tmp_path, "migrate", **environment)

    assert code == 1
    assert named in complained
    assert "Traceback" not in complained


async def _count(database_url: str, table: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608
    finally:
        await connection.close()
