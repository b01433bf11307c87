"""A real Prometheus for tests: Debian's, on a free port of this machine, with our own configuration."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.monitoring.programs import program
from tests.monitoring.rules import MONITORING, read


class Prometheus:
    """One server, as its HTTP API shows it."""

    def __init__(self, address: str) -> None:
        self._http = httpx.AsyncClient(base_url=address, timeout=30)

    async def ready(self) -> bool:
        try:
            return (await self._http.get("/-/ready")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression gives now: `metric` and `value` of each series.

        Raises: AssertionError with Prometheus' own words when it is no valid expression.
        """
        answer = (await self._http.get("/api/v1/query", params={"query": expression})).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    async def value(self, expression: str) -> float | None:
        """The one value of an expression; None where it gives nothing."""
        found = await self.query(expression)
        assert len(found) <= 1, expression
        return float(found[0]["value"][1]) if found else None

    async def rules(self) -> list[dict[str, Any]]:
        """Every rule with its health, and of alerts their state."""
        groups = (await self._http.get("/api/v1/rules")).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        alerts = (await self._http.get("/api/v1/alerts")).json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    async def close(self) -> None:
        await self._http.aclose()


@asynccontextmanager
async def prometheus(folder: Path, target: str, *, every: str = "1s") -> AsyncIterator[Prometheus]:
    """A Prometheus that scrapes one service, with our rules and alerts; `target` is host:port."""
    config = read("monitoring/prometheus.yml")
    config["global"] |= {"scrape_interval": every, "evaluation_interval": every}
    config["rule_files"] = [str(MONITORING / name) for name in config["rule_files"]]
    (scrape,) = [job for job in config["scrape_configs"] if job["job_name"] == "firstbell"]
    scrape["static_configs"] = [{"targets": [target]}]
    for name in ("dns_sd_configs", "scrape_interval", "scrape_timeout"):
        scrape.pop(name, None)
    scrape["scrape_timeout"] = every
    config["scrape_configs"] = [scrape]
    config.pop("alerting", None)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{_free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
            stdout=log,
            stderr=log,
        )
    server = Prometheus(f"http://{address}")
    try:
        while not await server.ready():
            assert process.returncode is None, (folder / "prometheus.log").read_text()[-2000:]
            await asyncio.sleep(0.1)
        yield server
    finally:
        await server.close()
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
