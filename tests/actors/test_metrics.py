"""What the metrics actor reads of a record, and what every actor counts of its own work."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncConnection

import metrics
from actors import enrollment
from actors.batch import Outcome
from actors.metrics import ACTOR
from contracts.record import Record
from contracts.topics import TOPICS
from roster import ACTORS
from tests.builders import a_payment
from tests.world import World


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


def test_it_reads_everything_that_we_write_and_nothing_that_outsiders_do() -> None:
    assert set(ACTOR.topics) == {name for name, spec in TOPICS.items() if not spec.outside}


@pytest.mark.parametrize("topic", sorted(set(ACTOR.topics) - {"repairs.completed"}))
async def test_of_an_event_the_key_alone_counts(world: World, topic: str) -> None:
    payment = a_payment()
    world.send("payments.succeeded", payment)
    await world.settle(names=["enrollment"])
    world.log["enrollments.created"].clear()
    world.send(topic, b"nobody reads this", key=payment["paymentId"].encode())

    await world.settle(names=["metrics"])

    assert await world.rows("SELECT payment_id, state FROM counted_purchases") == [
        {"payment_id": payment["paymentId"], "state": "enrolled"}
    ]
    assert await world.parked() == []


async def test_an_answer_that_nobody_can_read_parks(world: World) -> None:
    world.send("repairs.completed", b"garbage", key=b"cmd_1")

    await world.settle(names=["metrics"])

    assert await world.parked() == ["unreadable"]


async def test_what_is_parked_is_not_counted_as_done_too(world: World) -> None:
    before = {o: counted("firstbell_records_total", actor="enrollment", outcome=o) for o in ("done", "parked")}
    world.send("payments.succeeded", *(a_payment() for _ in range(3)), b"garbage 1", b"garbage 2")

    await world.turn("enrollment")

    after = {o: counted("firstbell_records_total", actor="enrollment", outcome=o) for o in ("done", "parked")}
    assert {outcome: after[outcome] - before[outcome] for outcome in after} == {"done": 3, "parked": 2}


async def test_a_fuse_that_trips_is_shown_and_one_that_closes_is_shown_too(world: World) -> None:
    failing = True

    async def fail(db: AsyncConnection, records: Sequence[Record]) -> Outcome:
        if failing:
            raise ZeroDivisionError
        return await enrollment.enroll(db, records)

    world.deliveries["enrollment"] = world.delivery(replace(enrollment.ACTOR, handle=fail))
    world.send("payments.succeeded", *(a_payment() for _ in range(30)))
    assert await world.try_turn("enrollment") == "fuse"
    tripped = counted("firstbell_fuse_tripped", actor="enrollment")
    failing = False
    world.seconds += 60

    await world.turn("enrollment")

    assert (tripped, counted("firstbell_fuse_tripped", actor="enrollment")) == (1, 0)


def test_what_counts_from_zero_is_there_before_anything_has_happened() -> None:
    metrics.begin(list(ACTORS))

    for actor in ACTORS:
        assert REGISTRY.get_sample_value("firstbell_records_total", {"actor": actor, "outcome": "redone"}) is not None
        assert REGISTRY.get_sample_value("firstbell_parked_total", {"actor": actor, "reason": "unreadable"}) is not None
        assert REGISTRY.get_sample_value("firstbell_retries_total", {"actor": actor, "cause": "publish"}) is not None
        assert REGISTRY.get_sample_value("firstbell_commit_failures_total", {"actor": actor}) is not None
