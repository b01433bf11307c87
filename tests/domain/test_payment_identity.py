"""Whether two messages about one payment say the same."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.identity import fingerprint, normalised

PAYMENT: dict[str, Any] = {
    "paymentId": "pay_8f3", "studentId": "stu_17", "amountMinor": 1499900, "currency": "INR",
    "succeededAt": "2026-11-22T08:02:55Z", "coinsRedeemed": 120,
    "metadata": {
        "courseId": "crs_yoga", "purchaseTier": 30, "sessionCount": 30, "groupSize": 2, "learningMode": "home",
        "timeSlot": "4:00 PM - 5:00 PM", "date": "2026-12-01", "daysOfWeek": ["mon", "wed"],
        "preferredTimeSlot": "16:00", "preferredDate": "2026-12-01", "timezone": "Asia/Kolkata", "cartItemId": "itm_4",
    },
}  # fmt: skip
OUTER = ("paymentId", "studentId", "amountMinor", "currency", "succeededAt", "coinsRedeemed")


def a_payment(**changes: object) -> dict[str, object]:
    outer = {name: value for name, value in changes.items() if name in OUTER}
    inner = {name: value for name, value in changes.items() if name not in OUTER}
    return PAYMENT | outer | {"metadata": PAYMENT["metadata"] | inner}


@pytest.mark.parametrize(
    "changes",
    [
        {"purchaseTier": "30 sessions"}, {"purchaseTier": 30.0}, {"sessionCount": " 30 Sessions "},
        {"timeSlot": "16:00"}, {"timeSlot": "16:00\u201317:00"}, {"preferredTimeSlot": "4 pm - 5 pm"},
        {"date": "2026-12-01T00:00:00Z"}, {"date": "2026-12-01T09:30"},
        {"preferredDate": " 2026-12-01T00:00:00+05:30 "},
        {"daysOfWeek": ["Wednesday", "MON"]}, {"daysOfWeek": "mon,wed"}, {"learningMode": " HOME "},
        {"succeededAt": "2026-11-22T13:32:55.000+05:30"}, {"succeededAt": datetime(2026, 11, 22, 8, 2, 55, tzinfo=UTC)},
        {"amountMinor": 1499900.0}, {"amountMinor": "1499900"}, {"coinsRedeemed": "120"}, {"currency": "inr"},
        {"groupSize": "2"}, {"somethingNew": {"a": [1]}}, {"processingItemId": "itm_4"}, {"processingItemId": ""},
        {"cartItemId": None, "processingItemId": "itm_4"},
    ],
)  # fmt: skip
def test_another_way_of_writing_the_same_is_no_contradiction(changes: dict[str, object]) -> None:
    assert fingerprint(a_payment(**changes)) == fingerprint(PAYMENT)


@pytest.mark.parametrize(
    "changes",
    [
        {"paymentId": "pay_8f4"}, {"studentId": "stu_18"}, {"amountMinor": 1499901}, {"currency": "USD"},
        {"succeededAt": "2026-11-22T08:02:56Z"}, {"coinsRedeemed": 121}, {"coinsRedeemed": 0},
        {"courseId": "crs_chess"},
        {"purchaseTier": 20}, {"purchaseTier": None}, {"purchaseTier": "many"}, {"sessionCount": 20}, {"groupSize": 3},
        {"learningMode": "online"}, {"timeSlot": "17:00"}, {"timeSlot": "4 - 5"}, {"date": "2026-12-02"},
        {"date": "2026-11-30T18:30:00.000Z"}, {"daysOfWeek": ["mon"]}, {"daysOfWeek": []},
        {"preferredTimeSlot": "17:00"},
        {"preferredDate": "2026-12-02"}, {"timezone": "Europe/London"}, {"cartItemId": "itm_5"},
        {"processingItemId": "itm_5"},
    ],
)  # fmt: skip
def test_another_value_of_a_known_field_is_one(changes: dict[str, object]) -> None:
    assert fingerprint(a_payment(**changes)) != fingerprint(PAYMENT)


@pytest.mark.parametrize("missing", [None, "", "  ", [], {}])
@pytest.mark.parametrize("field", ["coinsRedeemed", *PAYMENT["metadata"]])
def test_null_and_empty_are_missing(missing: object, field: str) -> None:
    without = {"metadata": {**PAYMENT["metadata"]}} | {name: PAYMENT[name] for name in OUTER}
    (without if field in OUTER else without["metadata"]).pop(field)

    assert fingerprint(a_payment(**{field: missing})) == fingerprint(without)


@pytest.mark.parametrize(
    ("field", "default"), [("coinsRedeemed", 0), ("groupSize", 1), ("daysOfWeek", "mon tue wed thu fri sat sun")]
)
def test_saying_the_default_is_saying_nothing(field: str, default: object) -> None:
    assert fingerprint(a_payment(**{field: default})) == fingerprint(a_payment(**{field: None}))


def test_an_instant_is_one_day_whatever_offset_it_is_written_with() -> None:
    written = ["2026-11-30T18:30:00.000Z", "2026-11-30T20:30+02:00", "2026-11-30T13:30:00-05"]

    assert len({fingerprint(a_payment(date=text)) for text in written}) == 1


def test_flat_and_nested_fields_are_the_same() -> None:
    flat = {name: PAYMENT[name] for name in OUTER} | PAYMENT["metadata"]

    assert normalised(flat) == normalised(PAYMENT)
    assert len(fingerprint(flat)) == 32


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*OUTER, *PAYMENT["metadata"], "processingItemId"]), json_values))
def test_whatever_is_in_the_fields_there_is_a_fingerprint_that_stays(changes: dict[str, object]) -> None:
    payment = a_payment(**changes)

    first, second = fingerprint(payment), fingerprint(dict(reversed(payment.items())))

    assert first == second
