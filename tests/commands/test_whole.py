"""The command line beside the running service: an admin finds what is parked, takes up an offer, and sees it done."""

import shlex

import pytest

from service import Addresses
from settings import Settings
from tests.builders import a_payment, a_student, a_trainer
from tests.commands.calling import Caller
from tests.e2e.deployment import Deployment, message


@pytest.mark.timeout(180)
async def test_an_offer_is_tried_applied_and_followed_by_the_lines_that_are_printed(
    settings: Settings, addresses: Addresses, call: Caller
) -> None:
    first, second = (a_payment(courseId="crs_yoga") for _ in range(2))
    deployment = Deployment(settings, addresses)
    await deployment.create_topics()
    await deployment.publish([message("trainers.changed", "trn_1", a_trainer())])
    students = [first["studentId"], second["studentId"]]
    await deployment.publish([message("students.changed", student, a_student(student)) for student in students])
    await deployment.start()
    try:
        await deployment.until("SELECT count(*) FROM students WHERE changed_at IS NOT NULL", lambda n: n == 2)
        await deployment.until("SELECT count(*) FROM trainers", lambda n: n == 1)
        await deployment.publish([message("payments.succeeded", p["paymentId"], p) for p in (first, second)])
        await deployment.settled(2)

        (item,) = (await call("parked", "--json")).json
        shown = await call("parked", item["id"])
        tried = await call(*_line(shown.out, "app.py repair"), "--dry-run")
        applied = await call(*_line(tried.out, "--expected-digest"))
        await deployment.until("SELECT count(*) FROM purchases WHERE state = 'scheduled'", lambda n: n == 2)
        told = await call("journey", item["id"], "--json")
        checked = await call("check", "--json")
        bulk = await call("repair", "bulk", item["id"], "--apply", "retry", "--reason", "r", "--yes")
        replayed = await call("replay", "--since", "1h", "--yes")
    finally:
        await deployment.close()

    assert (tried.code, applied.code) == (0, 0), tried.out + applied.out
    assert [happening["what"] for happening in told.json["timeline"]][-4:] == [
        *("allocated", "resolved", "repair", "scheduled"),
    ]
    assert len(told.json["sessions"]) == 10
    assert checked.json == {}
    assert "no open item matches" in bulk.err
    assert replayed.code == 1
    assert "These groups have members" in replayed.err


def _line(printed: str, holding: str) -> list[str]:
    """The words of the first printed line that holds this, without the name of the program."""
    return shlex.split(next(line for line in printed.splitlines() if holding in line))[1:]
