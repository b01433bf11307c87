import re
from typing import Any

import pytest

from domain.objective import OVER_DAYS
from tests.monitoring.rules import ROOT, read

COMPOSE = read("docker-compose.yml")
WATCHERS = ("prometheus", "grafana")


def _service(name: str) -> dict[str, Any]:
    return dict(COMPOSE["services"][name])


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_everything_that_is_mounted_from_the_repository_is_there(name: str) -> None:
    sources = [volume.split(":")[0] for volume in _service(name).get("volumes", [])]
    files = [source for source in sources if source.startswith(".")]
    volumes = set(sources) - set(files)

    assert [file for file in files if not (ROOT / file).exists()] == []
    assert volumes <= COMPOSE["volumes"].keys()


@pytest.mark.parametrize("name", WATCHERS)
def test_a_watcher_is_of_a_stated_version_and_may_change_nothing_but_its_own_folder(name: str) -> None:
    service = _service(name)
    writable = [volume for volume in service["volumes"] if not volume.endswith(":ro")]

    assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", service["image"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [volume for volume in writable if volume.startswith(".")] == []


@pytest.mark.parametrize("name", WATCHERS)
def test_a_watcher_tells_when_it_is_ready_and_listens_on_loopback_only(name: str) -> None:
    service = _service(name)

    assert service["healthcheck"]["test"][0] == "CMD"
    assert [port for port in service["ports"] if not port.startswith("127.0.0.1:")] == []


def test_nobody_can_log_in_to_grafana_so_there_is_no_password() -> None:
    environment = _service("grafana")["environment"]

    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


def test_prometheus_has_its_rules_beside_its_configuration() -> None:
    mounts = dict(volume.split(":")[:2] for volume in _service("prometheus")["volumes"])
    config = mounts["./monitoring/prometheus.yml"]

    assert f"--config.file={config}" in _service("prometheus")["command"]
    assert {mounts[f"./monitoring/{file}"] for file in read("monitoring/prometheus.yml")["rule_files"]} == {
        f"{config.rpartition('/')[0]}/{file}" for file in read("monitoring/prometheus.yml")["rule_files"]
    }


def test_prometheus_keeps_samples_for_longer_than_the_objective_looks_back() -> None:
    kept = [
        re.fullmatch(r"--storage\.tsdb\.retention\.time=(\d+)d", word) for word in _service("prometheus")["command"]
    ]

    assert [int(days[1]) > OVER_DAYS for days in kept if days] == [True]


def test_prometheus_scrapes_the_service_at_the_port_that_it_has() -> None:
    (job,) = read("monitoring/prometheus.yml")["scrape_configs"]
    port = re.findall(r"PORT=(\d+)", (ROOT / "Dockerfile").read_text())

    assert job["static_configs"] == [{"targets": [f"firstbell:{port[0]}"]}]
