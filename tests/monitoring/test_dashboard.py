import json
from typing import Any

import pytest

from monitoring.grafana.dashboard import COMMITTED, built
from tests.monitoring.rules import headings, names, read, rules

Panel = dict[str, Any]


def _panels() -> list[Panel]:
    return [panel for panel in json.loads(COMMITTED.read_text())["panels"] if panel["type"] != "row"]


PANELS = {panel["title"]: panel for panel in _panels()}


def test_the_committed_dashboard_is_that_of_the_code() -> None:
    same = COMMITTED.read_text(encoding="utf-8") == built()

    assert same, "run `python -m monitoring.grafana.dashboard`, and commit what it writes"


def test_panels_have_titles_and_numbers_of_their_own() -> None:
    assert len(PANELS) == len(_panels())
    assert len({panel["id"] for panel in _panels()}) == len(_panels())


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_tells_what_it_shows_in_which_unit_and_where_to_read_on(title: str) -> None:
    panel = PANELS[title]
    links = [link["url"] for link in panel["links"]]

    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert [link.partition("#")[0] for link in links] == ["${runbook}"]
    assert {link.partition("#")[2] for link in links} <= headings("docs/runbook.md")


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_asks_the_chosen_source_for_what_is_recorded_or_exposed(title: str, exposed: set[str]) -> None:
    panel = PANELS[title]
    recorded = {rule["record"] for rule in rules("rules.yml")}
    asked = {name for target in panel["targets"] for name in names(target["expr"])}

    assert panel["datasource"]["uid"] == "${datasource}"
    assert asked - recorded - exposed == set()


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_asks_for_no_replica_by_its_name(title: str) -> None:
    assert [target["expr"] for target in PANELS[title]["targets"] if "instance" in target["expr"]] == []


@pytest.mark.parametrize("title", PANELS)
def test_panels_lie_beside_one_another_and_within_the_width(title: str) -> None:
    place = PANELS[title]["gridPos"]
    others = [panel["gridPos"] for name, panel in PANELS.items() if name != title]

    assert place["x"] + place["w"] <= 24
    assert [other for other in others if _overlap(place, other)] == []


def test_grafana_finds_its_dashboard_and_its_source_where_they_are_mounted() -> None:
    services = read("docker-compose.yml")["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    providers = read("monitoring/grafana/provisioning/dashboards/firstbell.yml")["providers"]
    sources = read("monitoring/grafana/provisioning/datasources/prometheus.yml")["datasources"]

    assert {provider["options"]["path"] for provider in providers} == {mounts["./monitoring/grafana/dashboards"]}
    assert mounts["./monitoring/grafana/provisioning"] == "/etc/grafana/provisioning"
    assert [source["url"] for source in sources] == ["http://prometheus:9090"]
    assert mounts["./docs/runbook.md"] == "/usr/share/grafana" + _variable("runbook")


def _variable(name: str) -> str:
    listed = json.loads(COMMITTED.read_text())["templating"]["list"]
    return str(next(variable["query"] for variable in listed if variable["name"] == name))


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or below)
