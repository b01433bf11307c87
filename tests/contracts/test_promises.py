"""What no schema shows is compared all the same: keys, identities, limits, how a topic is kept, checks in Python."""

from collections.abc import Callable
from copy import deepcopy
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator

from contracts.committed import committed, committed_promises
from contracts.payments import PaymentRefunded
from contracts.promises import broken_promises, promises
from contracts.topics import TOPICS, TopicSpec

Json = dict[str, Any]


def of(topic: str, **values: Any) -> Callable[[Json], object]:
    return lambda found: found["topics"][topic].update(values)


CHANGES: list[tuple[Callable[[Json], object], str]] = [
    (of("enrollments.created", key="student_id"), "enrollments.created: key is student_id now, and was payment_id"),
    (
        of("fulfilment.parked", identity=["parked_id"]),
        "fulfilment.parked: identity is ['parked_id'] now, and was ['parked_id', 'version', 'reason']",
    ),
    (of("payments.succeeded", writtenBy="us"), "payments.succeeded: writtenBy is us now, and was others"),
    (of("trainers.busy", compacted=True), "trainers.busy: compacted is True now, and was False"),
    (
        of("trainers.busy", tombstones=False),
        "trainers.busy: a null value means nothing now, where producers delete by it",
    ),
    (
        of("payments.refunded", checks=["coinsReturned: _even"]),
        (
            "payments.refunded: coinsReturned: _even is a check in Python that no schema shows; "
            "what it refuses was accepted before"
        ),
    ),
    (lambda found: found.update(maxBytes=1024), "everywhere: maxBytes is 1024 now, and was 262144"),
    (lambda found: found.update(maxDepth=8), "everywhere: maxDepth is 8 now, and was 32"),
    (lambda found: found.update(source="/bell"), "everywhere: source is /bell now, and was /firstbell"),
    (
        lambda found: found["reasonCodes"].remove("schedule_invalid"),
        "fulfilment.parked: the reason code schedule_invalid is gone, where readers rely on it",
    ),
]


def after(change: Callable[[Json], object]) -> Json:
    changed = deepcopy(promises())
    change(changed)
    return changed


@pytest.mark.parametrize(("change", "sentence"), CHANGES, ids=[sentence for _, sentence in CHANGES])
def test_a_promise_that_does_not_hold_any_more_is_told(change: Callable[[Json], object], sentence: str) -> None:
    assert broken_promises(promises(), after(change), committed()) == [sentence]


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.update(maxBytes=2**20),
        lambda found: found["reasonCodes"].append("new_code"),
        of("payments.refunded", tombstones=True),
        of("trainers.busy", checks=[]),
        of("payments.refunded", checks=["channel: _known_channel"]),
        lambda found: found["topics"].update({"new.topic": {}}),
    ],
)
def test_what_breaks_nobody_is_let_through(change: Callable[[Json], object]) -> None:
    assert broken_promises(promises(), after(change), committed()) == []


def test_a_schema_that_is_deleted_to_be_written_anew_is_missed() -> None:
    left = {topic: schema for topic, schema in committed().items() if topic != "payments.succeeded"}

    assert broken_promises(committed_promises(), promises(), left) == [
        "payments.succeeded: its committed schema is gone, so nobody can tell what would break"
    ]


def test_a_check_in_python_that_no_schema_shows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def _in_euro(minor: int) -> int:
        return minor

    class Stricter(PaymentRefunded):
        coins_returned: Annotated[int, AfterValidator(_in_euro)]

    monkeypatch.setitem(TOPICS, "payments.refunded", TopicSpec("payments.refunded", Stricter, outside=True))

    (sentence,) = broken_promises(committed_promises(), promises(), committed())

    assert sentence.startswith("payments.refunded: coinsReturned: ")
    assert "_in_euro is a check in Python" in sentence


def test_checks_that_are_there_are_named_by_their_field() -> None:
    checks = promises()["topics"]["trainers.changed"]["checks"]

    assert {"timezone: _known_zone", "the value: TrainerChanged._whole"} <= set(checks)
    assert promises()["topics"].keys() == TOPICS.keys()
