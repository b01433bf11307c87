"""Waiting for the service: it ends when all is done, and gives up when nothing moves."""

import itertools

import pytest

from errors import Transient
from settings import Settings
from traffic import demo
from traffic.publisher import NotPublished, producer


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_LOOK_SECONDS", 0)
    monkeypatch.setattr(demo, "_GIVE_UP_SECONDS", 0.05)


async def test_it_waits_as_long_as_something_moves() -> None:
    looks = itertools.count()

    async def look() -> tuple[bool, object, str]:
        number = next(looks)
        return number == 100, number, "on the way"

    await demo._until(look)

    assert next(looks) == 101


async def test_it_gives_up_with_what_it_saw_last() -> None:
    async def look() -> tuple[bool, object, str]:
        return False, "the same", "Of 3 purchases 1 is enrolled."

    with pytest.raises(demo.NothingMoves, match=r"Of 3 purchases 1 is enrolled\. The log tells why"):
        await demo._until(look)


async def test_a_database_that_is_away_for_a_moment_does_not_end_it() -> None:
    answers = iter([Transient("connection", "closed"), None])

    async def look() -> tuple[bool, object, str]:
        if error := next(answers):
            raise error
        return True, None, ""

    await demo._until(look)

    assert next(answers, "all asked") == "all asked"


async def test_a_kafka_that_is_not_there_is_told_in_one_sentence(unused_tcp_port: int) -> None:
    with pytest.raises(NotPublished, match="does not answer at"):
        async with producer(f"127.0.0.1:{unused_tcp_port}", Settings()):
            pass
