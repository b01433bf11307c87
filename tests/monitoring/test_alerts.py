import re

import pytest

from domain.objective import SHARE, WITHIN_SECONDS
from tests.monitoring.rules import ROOT, alerts, cases, headings, names, read, rules

ALERTS = alerts()


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_urgent_it_is_what_it_is_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]

    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert all(rule["annotations"].values())


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_leads_to_a_heading_of_the_runbook(alert: str) -> None:
    document, _, heading = ALERTS[alert]["annotations"]["runbook_url"].partition("#")

    assert document == "docs/runbook.md"
    assert heading in headings(document)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_is_shown_both_firing_and_silent(alert: str) -> None:
    shown = {bool(check["exp_alerts"]) for name, check in cases() if name == alert}

    assert shown == {True, False}


def test_no_case_is_about_an_alert_that_is_not_there() -> None:
    assert {name for name, _ in cases()} <= ALERTS.keys()


def test_the_runbook_lists_every_alert_with_its_severity_and_its_heading() -> None:
    listed = {
        (alert, severity, anchor)
        for line in (ROOT / "docs" / "runbook.md").read_text().splitlines()
        for cells, severity, anchor in re.findall(r"^\| (`Firstbell.*`) \| (\w+) \| .*\(#(.*)\) \|$", line)
        for alert in re.findall(r"`(\w+)`", cells)
    }

    assert listed == {
        (alert, rule["labels"]["severity"], rule["annotations"]["runbook_url"].partition("#")[2])
        for alert, rule in ALERTS.items()
    }


def test_every_link_within_the_runbook_meets_a_heading() -> None:
    linked = re.findall(r"\]\(#([^)]*)\)", (ROOT / "docs" / "runbook.md").read_text())

    assert linked
    assert set(linked) <= headings("docs/runbook.md")


def test_rules_and_alerts_ask_only_for_what_is_recorded_or_exposed(exposed: set[str]) -> None:
    recorded = {rule["record"] for rule in rules("rules.yml")}
    asked = {name for file in ("rules.yml", "alerts.yml") for rule in rules(file) for name in names(rule["expr"])}

    assert asked - recorded - exposed == set()


def test_the_rules_have_the_objective_of_the_service() -> None:
    burn = next(rule["expr"] for rule in rules("rules.yml") if rule["record"] == "firstbell:objective_burn:ratio")
    summaries = [rule["annotations"]["summary"] for name, rule in ALERTS.items() if "Budget" in name]

    assert float(burn.split("/")[1]) == pytest.approx(1 - SHARE)
    assert WITHIN_SECONDS == 60
    assert all("within a minute" in summary for summary in summaries)


def test_the_alerts_ask_for_the_job_that_is_scraped() -> None:
    jobs = {job["job_name"] for job in read("monitoring/prometheus.yml")["scrape_configs"]}
    asked = {job for rule in ALERTS.values() for job in re.findall(r'job="([^"]*)"', rule["expr"])}

    assert asked == jobs


def test_rules_are_evaluated_no_more_often_than_replicas_are_scraped() -> None:
    timing = read("monitoring/prometheus.yml")["global"]

    assert timing["evaluation_interval"] == timing["scrape_interval"]
