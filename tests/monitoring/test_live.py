"""A real Prometheus scrapes the running service: whatever we wrote for it finds its data there."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.base import derived_text
from tests.builders import a_payment, a_refund, a_student
from tests.e2e.admin import Admin
from tests.e2e.deployment import Deployment, Message, message
from tests.e2e.test_whole import a_world, directory_done
from tests.monitoring.prometheus import Prometheus, prometheus
from tests.monitoring.rules import MONITORING, Rule, read, rules

pytestmark = [pytest.mark.prometheus, pytest.mark.timeout(600)]

# Functions and labels have no colon and none of these beginnings.
_NAMES = re.compile(r"\b(?:firstbell|kafka|faststream|process|python)_\w+|\bfirstbell:[\w:]+|\bup\b")
_VARIABLES = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "5m", "${datasource}": "", "$instance": ".*"}
_PATIENCE = 150


@pytest.fixture
def admin(deployment: Deployment) -> Iterator[Admin]:
    admin = Admin(deployment)
    yield admin
    admin.close()


async def test_every_rule_alert_and_panel_finds_its_data_in_a_real_prometheus(
    deployment: Deployment, admin: Admin, tmp_path: Path
) -> None:
    await deployment.start(FIRSTBELL_CHECK_SECONDS="2")
    async with prometheus(tmp_path, deployment.http.removeprefix("http://")) as server:
        await _some_of_everything(deployment, admin)
        missing: list[str] = []
        async with asyncio.timeout(_PATIENCE + 60):
            for _ in range(_PATIENCE):
                # Traffic goes on, so that rates have something to show.
                await deployment.publish([message("payments.succeeded", "pay_more", a_payment())])
                missing = await _missing(server)
                if not missing:
                    break
                await asyncio.sleep(1)

        assert missing == []
        assert [(rule["name"], rule["lastError"]) for rule in await server.rules() if rule["health"] != "ok"] == []


async def _missing(server: Prometheus) -> list[str]:
    """What finds nothing: the panel and its query, the rule, the alert and its metric."""
    found = [
        f"panel {title!r}: {query}" for title, query in panels() if not await server.query(_without_variables(query))
    ]
    for rule in written():
        if "record" in rule and not await server.query(rule["record"]):
            found.append(f"recording rule {rule['record']}")
        if "alert" in rule:
            names = sorted(set(_NAMES.findall(rule["expr"])))
            assert names, rule["alert"]
            found += [f"alert {rule['alert']}: {name}" for name in names if not await server.query(name)]
    return found


def written() -> list[Rule]:
    """Every recording rule and alert that our Prometheus is given."""
    return [rule for name in read("monitoring/prometheus.yml")["rule_files"] for rule in rules(name)]


def panels() -> list[tuple[str, str]]:
    """Every query of the dashboard with the title of its panel, those in rows that are folded too."""
    (path,) = (MONITORING / "grafana" / "dashboards").glob("*.json")
    waiting, found = list(json.loads(path.read_text())["panels"]), []
    while waiting:
        panel = waiting.pop(0)
        waiting += panel.get("panels") or []
        found += [(panel["title"], target["expr"]) for target in panel.get("targets") or []]
    assert found
    return found


def _without_variables(query: str) -> str:
    for name, value in _VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query, query
    return query


async def _some_of_everything(deployment: Deployment, admin: Admin) -> None:
    """Purchases that are scheduled, parked, repaired and refunded; a record that nobody can read; a forged command."""
    feeds, payments = a_world(60, own_courses=True)
    await deployment.publish(feeds)
    await directory_done(deployment, feeds)
    lost = [a_payment(paymentId=f"pay_lost_{n}", studentId=f"stu_lost_{n}") for n in range(6)]
    await deployment.publish([*payments, *(message("payments.succeeded", p["paymentId"], p) for p in lost)])
    await deployment.publish([("payments.succeeded", "bad", b"garbage")])
    await deployment.settled(66)
    refunds = [a_refund(json.loads(value or b"")) for _, _, value in payments[:3]]
    await deployment.publish([message("payments.refunded", r["refundId"], r) for r in refunds])
    parked = derived_text("parked", "allocation", await _enrollment(deployment, "pay_lost_0"), "1")
    answer = await admin.command("dismiss", parkedId=parked)
    assert answer["outcome"] in {"applied", "refused"}
    await deployment.publish(_profiles(lost[:2]))


async def _enrollment(deployment: Deployment, payment_id: str) -> str:
    ((found,),) = await deployment.rows("SELECT enrollment_id FROM enrollments WHERE payment_id = $1", payment_id)
    return str(found)


def _profiles(payments: list[dict[str, Any]]) -> list[Message]:
    return [message("students.changed", p["studentId"], a_student(p["studentId"])) for p in payments]
