"""Words for people: every reason code has some, and nothing hostile gets through to the terminal."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import errors
from commands.printing import lasted, listed, payload_lines, plain, table
from commands.words import REASONS, WAITS

REASON_CODES: list[type[errors.Parked]] = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")
]


@pytest.mark.parametrize("reason", REASON_CODES)
def test_every_reason_code_says_what_is_wrong_and_what_would_mend_it(reason: type[errors.Parked]) -> None:
    words = REASONS[reason.code]

    assert words.wrong.endswith(".")
    assert words.mend.endswith(".")
    assert words.wrong != words.mend


def test_no_words_are_left_over_of_a_code_that_is_gone() -> None:
    assert set(REASONS) == {reason.code for reason in REASON_CODES}
    assert set(WAITS) == {reason.waits_for for reason in REASON_CODES} - {None}


@given(st.text() | st.dictionaries(st.text(), st.text()) | st.lists(st.text()))
def test_whatever_is_shown_is_one_line_of_printing_characters(value: object) -> None:
    assert plain(value).isprintable()


@given(st.binary())
def test_a_payload_is_shown_in_printing_characters_whatever_its_bytes(payload: bytes) -> None:
    assert all(line.isprintable() for line in payload_lines(payload))


def test_a_long_payload_is_cut_and_says_how_much_more_there_is() -> None:
    lines = payload_lines(b"x" * 5_000)

    assert lines[0] == "x" * 4_000
    assert "1,000 bytes more" in lines[1]


def test_markup_of_others_is_shown_as_it_was_written() -> None:
    console = Console(width=80, record=True)

    table([("[red]alarm[/red]", ":bomb:")], "[b]name", "\x1b[2J", title="[i]t", to=console)

    shown = console.export_text()
    assert all(text in shown for text in ("[red]alarm[/red]", ":bomb:", "[b]name", r"\x1b[2J", "[i]t"))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0421, "42 ms"), (59, "59 s"), (3_661, "1 h 1 min"), (90_061, "1 d 1 h"), (-120, "-2 min"), (3_605, "1 h 5 s")],
)
def test_a_gap_is_told_in_its_two_largest_units(seconds: float, said: str) -> None:
    assert lasted(timedelta(seconds=seconds)) == said


def test_facts_are_told_line_by_line() -> None:
    facts = {
        "sessionCount": 30,
        "causes": {"busy": 3, "distance": 1},
        "nearest": [{"trainerId": "trn_4", "free": False}, {"trainerId": "trn_9", "free": True}],
        "days": ["mon", "wed"],
        "nothing": None,
    }

    assert list(listed(facts)) == [
        "session count: 30",
        "causes:",
        "  busy: 3",
        "  distance: 1",
        "nearest:",
        "  - trainer id: trn_4",
        "    free: false",
        "  - trainer id: trn_9",
        "    free: true",
        "days: mon, wed",
        "nothing: ",
    ]
