"""What the files of Prometheus say, read for the tests that hold them to one another."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
MONITORING = ROOT / "monitoring"

Rule = dict[str, Any]


def read(name: str) -> Any:
    """A YAML file of the repository."""
    return yaml.safe_load((ROOT / name).read_text())


def rules(name: str) -> list[Rule]:
    """All rules of a file of monitoring/."""
    return [rule for group in read(f"monitoring/{name}")["groups"] for rule in group["rules"]]


def alerts() -> dict[str, Rule]:
    """Every alert by its name."""
    return {rule["alert"]: rule for rule in rules("alerts.yml")}


def cases() -> list[tuple[str, Rule]]:
    """Every case that an alert is tried in: its name, and what promtool is told of it."""
    return [
        (check["alertname"], check)
        for file in sorted((MONITORING / "tests").glob("*.yml"))
        for case in yaml.safe_load(file.read_text())["tests"]
        for check in case.get("alert_rule_test", [])
    ]


def headings(document: str) -> set[str]:
    """The anchors of a Markdown file's headings."""
    titles = re.findall(r"^#+ (.*)$", (ROOT / document).read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


def names(expr: str) -> set[str]:
    """The metrics of ours, of Kafka and of recording rules that an expression asks for."""
    return set(re.findall(r"\b(?:firstbell|kafka)[_:][a-z0-9_:]+", re.sub(r'"[^"]*"', '""', expr)))
