"""How many sessions a purchase buys."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.tiers import SessionCount, session_count
from errors import SessionCountInvalid

MISSING: tuple[object, ...] = (None, "", "  ", "\u202f", [], {})
INVALID = (0, -1, 366, 10**400, 30.5, float("nan"), float("inf"), True, False, "0", "366", "-5", "thirty", "30.0")
ODD = ("30 lessons", "3 0", "٣٠", "30 sessions!", "x" * 5000, [30], {"count": 30}, b"30", "\ud800", "a\0b")


@given(
    count=st.integers(1, 365), written=st.sampled_from(["{}", " {} ", "{} sessions", "{}SESSIONS", "{}\u202fSession"])
)
def test_the_tier_is_read_however_it_is_written(count: int, written: str) -> None:
    counts = [session_count(value, None) for value in (count, float(count), written.format(count))]

    assert counts == [SessionCount(count, "purchaseTier")] * 3


@pytest.mark.parametrize("missing", MISSING)
def test_without_a_tier_the_metadata_count_holds_and_without_both_it_is_30(missing: object) -> None:
    by_count, by_default = session_count(missing, "20 Sessions"), session_count(missing, missing)

    assert by_count == SessionCount(20, "sessionCount")
    assert by_default == SessionCount(30, "default")


def test_a_valid_tier_hides_an_invalid_count() -> None:
    count = session_count(10, "nonsense")

    assert count == SessionCount(10, "purchaseTier")


@pytest.mark.parametrize("invalid", INVALID + ODD)
@pytest.mark.parametrize("field", ["purchaseTier", "sessionCount"])
def test_a_count_that_is_there_and_invalid_never_falls_through(invalid: object, field: str) -> None:
    tier, count = (invalid, 20) if field == "purchaseTier" else (None, invalid)

    with pytest.raises(SessionCountInvalid) as refused:
        session_count(tier, count)

    facts = refused.value.facts
    assert facts["field"] == field
    assert "1 to 365" in facts["expected"]
    stored = json.dumps(facts, allow_nan=False, ensure_ascii=False).encode()
    assert len(stored) < 500
    assert b"\\u0000" not in stored


@given(st.one_of(st.integers(), st.floats(), st.text(), st.booleans(), st.binary(), st.lists(st.text(), max_size=3)))
def test_any_value_gives_a_count_in_range_or_is_refused(value: object) -> None:
    try:
        count = session_count(value, None).count
    except SessionCountInvalid as refused:
        json.dumps(refused.facts, allow_nan=False, ensure_ascii=False).encode()
        return

    assert 1 <= count <= 365


@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [value]])
def test_a_number_too_long_for_python_to_write_is_refused_all_the_same(wrap: Callable[[int], object]) -> None:
    with pytest.raises(SessionCountInvalid) as refused:
        session_count(wrap(10**5000), None)

    assert isinstance(refused.value.facts["value"], str)
