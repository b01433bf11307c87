"""Null and the empty text count as missing, and whatever upstream may leave out is left out."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.feeds import CoinsCredited, StudentChanged, TrainerChanged
from contracts.hours import WorkingHours
from contracts.payments import PaymentMetadata, PaymentSucceeded
from contracts.topics import TOPICS
from tests.contracts.examples import example, read

# A trainer at work has a zone, and a place or none.
DEPENDENT = {("trainers.changed", name) for name in ("timezone", "latitude", "longitude")}


def optional_fields() -> list[tuple[str, str]]:
    fields = {topic: type(read(topic, example(topic))).model_fields.values() for topic in TOPICS}
    optional = {(topic, field.alias or "") for topic in TOPICS for field in fields[topic] if not field.is_required()}
    return sorted(optional - DEPENDENT - {("repairs.requested", "command")})


@pytest.mark.parametrize(("topic", "name"), optional_fields())
@pytest.mark.parametrize("nothing", [None, ""])
def test_null_and_empty_read_as_missing(topic: str, name: str, nothing: Any) -> None:
    without = {key: value for key, value in example(topic).items() if key != name}

    assert read(topic, {**without, name: nothing}) == read(topic, without)


def test_a_payment_needs_ids_amount_currency_time_and_course_only() -> None:
    least = {
        "paymentId": "p",
        "studentId": "s",
        "amountMinor": 0,
        "currency": "inr",
        "succeededAt": "2026-11-22T08:02:55Z",
        "metadata": {"courseId": "c"},
    }

    payment = read("payments.succeeded", least)

    assert isinstance(payment, PaymentSucceeded)
    assert payment.coins_redeemed == 0
    assert payment.currency == "INR"
    assert payment.metadata == PaymentMetadata(course_id="c")


@pytest.mark.parametrize("nothing", [None, ""])
def test_null_and_empty_metadata_read_as_missing(nothing: Any) -> None:
    message = example("payments.succeeded")
    message["metadata"] = dict.fromkeys(message["metadata"], nothing) | {"courseId": "crs_yoga"}

    payment = read("payments.succeeded", message)

    assert isinstance(payment, PaymentSucceeded)
    assert payment.metadata == PaymentMetadata(course_id="crs_yoga")


@pytest.mark.parametrize(("latitude", "longitude"), [(0, 0), (91, 200), (-1e300, 5), (None, 77.5)])
def test_a_profile_with_an_impossible_place_is_kept_for_a_later_step(latitude: Any, longitude: Any) -> None:
    student = read("students.changed", {**example("students.changed"), "latitude": latitude, "longitude": longitude})

    assert isinstance(student, StudentChanged)
    assert (student.latitude, student.longitude) == (latitude, longitude)


def test_a_trainer_who_left_needs_an_id_and_a_time_only() -> None:
    gone = {"trainerId": "trn_4", "active": False, "changedAt": "2026-11-22T07:00:00Z"}

    trainer = read("trainers.changed", gone)

    assert isinstance(trainer, TrainerChanged)
    assert (trainer.courses, trainer.working_hours, trainer.timezone) == ((), (), None)


def test_a_trainer_is_active_unless_he_is_said_not_to_be() -> None:
    message = example("trainers.changed")
    del message["active"]

    trainer = read("trainers.changed", message)

    assert isinstance(trainer, TrainerChanged)
    assert trainer.active


@pytest.mark.parametrize(
    "days", [["Monday", "SUN", " wed "], ["sun", "mon", "wed", "MON"], ("wed", "sunday", "monday")]
)
def test_days_are_read_in_any_spelling(days: Any) -> None:
    hours = WorkingHours.model_validate({"days": days, "from": "06:00", "to": "21:00"})

    assert hours.days == ("mon", "wed", "sun")


@pytest.mark.parametrize(
    ("starts", "ends", "minutes"),
    [
        ("06:00", "21:00", (360, 1260)),
        ("00:00", "24:00", (0, 1440)),
        ("22:00", "06:00", (1320, 1800)),
        ("06:00", "00:00", (360, 1440)),
        ("23:59", "23:58", (1439, 2878)),
    ],
)
def test_working_hours_may_end_on_the_next_day(starts: str, ends: str, minutes: tuple[int, int]) -> None:
    hours = WorkingHours.model_validate({"days": ["mon"], "from": starts, "to": ends})

    assert (hours.start_minute, hours.end_minute) == minutes


def test_the_allocation_of_somebody_else_may_lack_its_session_count() -> None:
    message = example("allocations.approved")
    del message["sessionCount"], message["sessionCountSource"]

    assert read("allocations.approved", message)


@given(
    st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 28)),  # noqa: DTZ001
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_an_instant_is_read_in_any_offset(local: datetime, minutes: int) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))

    credit = read("coins.credited", {**example("coins.credited"), "creditedAt": moment.isoformat()})

    assert isinstance(credit, CoinsCredited)
    assert credit.credited_at == moment
    assert credit.credited_at.utcoffset() == timedelta()


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-22T08:02:55Z",
        "2026-11-22T08:02:55.000Z",
        "2026-11-22t08:02:55z",
        "2026-11-22 08:02:55+00:00",
        "2026-11-22T13:32:55+0530",
        "2026-11-22T08:02:55.0000000009Z",
    ],
)
def test_an_instant_is_read_in_every_spelling(written: str) -> None:
    credit = read("coins.credited", {**example("coins.credited"), "creditedAt": written})

    assert isinstance(credit, CoinsCredited)
    assert credit.credited_at == datetime(2026, 11, 22, 8, 2, 55, tzinfo=UTC)
