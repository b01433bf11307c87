"""What whoever watches is told does not grow with the purchases, and says nothing about anybody."""

import json
import re
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from contracts.topics import TOPICS
from tests.builders import HOME, a_payment, a_student
from tests.e2e.admin import a_command
from tests.e2e.deployment import Deployment, Message, message
from tests.e2e.test_whole import a_world, directory_done

PHONE, EMAIL = "+91 98765 43210", "asha@example.org"
IDS = re.compile(
    r"(?:pay|stu|itm|crd|trn|crs|cmd|ref)_\w+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
)

Series = tuple[str, tuple[tuple[str, str], ...]]


async def exposed(deployment: Deployment) -> str:
    async with httpx.AsyncClient(timeout=30) as http:
        response = await http.get(f"{deployment.http}/metrics")
    assert response.status_code == httpx.codes.OK
    return response.text


def series(text: str) -> set[Series]:
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def troubles(first: int, last: int) -> list[Message]:
    """For every tenth number a purchase that parks, and for every fiftieth a record that nobody can read."""
    found: list[Message] = []
    for n in range(first, last, 10):
        student, payment = f"stu_lost_{n}", f"pay_lost_{n}"
        profile = a_student(student, phone=PHONE, latitude=None, longitude=None)
        found.append(message("students.changed", student, profile))
        found.append(
            message("payments.succeeded", payment, a_payment(paymentId=payment, studentId=student, phone=PHONE))
        )
        if n % 50 == 0:
            found.append(("payments.succeeded", f"bad_{n}", json.dumps({"phone": PHONE, "n": n}).encode()))
            command = a_command("retry", parkedId="00000000-0000-5000-8000-000000000000", requestedBy=EMAIL)
            found.append(message("repairs.requested", command["commandId"], command))
    return found


@pytest.mark.timeout(600)
async def test_ten_thousand_purchases_add_no_series_and_tell_nothing_about_anybody(deployment: Deployment) -> None:
    feeds, payments = a_world(10_000, own_courses=True)
    await deployment.start(FIRSTBELL_CHECK_SECONDS="5")
    await deployment.publish(feeds)
    await directory_done(deployment, feeds)

    await _buy(deployment, payments[:1000], troubles(0, 1000), 1100)
    after_a_thousand = series(await exposed(deployment))
    await _buy(deployment, payments[1000:], troubles(1000, 10_000), 11_000)
    text = await exposed(deployment)

    handlers = {deployment.settings.topic_prefix + topic for topic in TOPICS}
    grown = {one for one in series(text) - after_a_thousand if not _may_appear(one, handlers)}
    assert grown == set()
    assert len(series(text)) < 2000
    assert IDS.findall(text) == []
    _no_personal_data(text)
    logged = deployment.log_lines()
    assert {"batch done", "parked"} <= {line["event"] for line in logged}
    for line in logged:
        _no_personal_data(json.dumps(line))
        assert not IDS.search(json.dumps({name: value for name, value in line.items() if name not in ITS_IDS})), line


def _may_appear(one: Series, handlers: set[str]) -> bool:
    """FastStream's series appear with the first batch that begins with a record of a topic, and ends in some way."""
    name, labels = one
    return name.startswith("faststream_") and dict(labels)["handler"] in handlers


# By these a person on call finds the purchase of a line; they tell nothing about the student.
ITS_IDS = {"payment_id", "parked_id", "command_id", "correlation_id", "correlation_ids"}


def _no_personal_data(text: str) -> None:
    for secret in (PHONE, EMAIL, "stu_", *(str(part) for part in HOME)):
        assert secret not in text


async def _buy(deployment: Deployment, payments: list[Message], others: list[Message], so_far: int) -> None:
    """Publish, and wait until every figure is up to date."""
    await deployment.publish(sorted(others, key=lambda one: one[0] != "students.changed") + payments)
    await deployment.settled(so_far)
    await deployment.all_read()


def test_an_id_or_a_person_in_a_text_would_be_found() -> None:
    told: dict[str, Any] = {"payment": "pay_17", "id": "0b5cc1f2-9d3a-5c1e-8f60-6f7a2f4b9f11"}

    assert len(IDS.findall(json.dumps(told))) == 2
    with pytest.raises(AssertionError):
        _no_personal_data(f"asked by {EMAIL}")
