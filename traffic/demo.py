"""The demo: publish a world and its payments like outsiders, wait until every purchase is settled, tell.

Any number of runs may share a database: each has ids of its own, and counts only these.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from actors.lag import in_line_since, oldest_unread, unread_by_actor
from errors import FirstbellError, Transient
from roster import FULFILLING, actors_of
from service import Service
from storage import invariants
from storage.engine import transaction
from traffic import watching
from traffic.disorder import repeated
from traffic.messages import stamping
from traffic.progress import OnProgress, Progress, progress_display
from traffic.publisher import producer, publish
from traffic.summary import Summary, show
from traffic.tags import run_tag
from traffic.world import World, sample_world

__all__ = ["NothingMoves", "Progress", "Summary", "demo", "show"]

_LOOK_SECONDS = 0.2
_GIVE_UP_SECONDS = 60.0


class NothingMoves(FirstbellError):
    """The service has stopped getting on; the last argument is a sentence for people."""


@dataclass(slots=True)
class _Run:
    service: Service
    world: World
    on_progress: OnProgress
    published: int = 0

    @property
    def ids(self) -> list[str]:
        return [purchase.payment_id for purchase in self.world.purchases]

    def tell(self, stage: str, passed: watching.Passed) -> None:
        self.on_progress(Progress(stage, len(self.world.purchases), self.published, passed))


async def demo(
    service: Service,
    purchases: int,
    *,
    seed: int = 1,
    duplicates: float = 0.05,
    rate: float = 100,
    on_progress: OnProgress | None = None,
) -> Summary:
    """Publish so many purchases (and copies of a share of them), `rate` a second; 0: as fast as possible.

    Without `on_progress`, bars on a terminal's stderr, and plain lines on any other.
    Raises: NothingMoves after a minute without any progress; NotPublished.
    """
    display = nullcontext(on_progress) if on_progress else progress_display()
    with display as tell:
        run = _Run(service, sample_world(seed, datetime.now(UTC), purchases, tag=run_tag()), tell)
        payments = repeated(Random(seed), run.world.purchases, duplicates)
        kafka, settings = service.addresses.kafka, service.settings
        stamp = stamping(lambda: datetime.now(UTC))
        async with producer(kafka, settings) as client:
            await publish(client, run.world.feeds(), stamp, prefix=settings.topic_prefix)
            await _directory_knows(run)

            def count(sent: int) -> None:
                run.published = sent

            publishing = asyncio.create_task(
                publish(client, payments, stamp, rate=rate, prefix=settings.topic_prefix, progress=count)
            )
            await _settled(run, publishing)
            await _all_read(run)
    return await _summarise(run, len(payments))


async def _directory_knows(run: _Run) -> None:
    """Wait until the service knows the people, so that the demo does not depend on luck."""
    total = len(run.world.feeds())

    async def look() -> tuple[bool, object, str]:
        async with transaction(run.service.engine) as db:
            missing = await watching.unknown_feeds(db, run.world)
        run.tell("introducing students and trainers", watching.Passed())
        return missing == 0, missing, f"{missing} of {total} records of the feeds are not in the directory."

    await _until(look)


async def _settled(run: _Run, publishing: asyncio.Task[int]) -> None:
    """Wait until all is published, and every purchase is scheduled or parked, its cart cleared, its coins redeemed."""

    async def look() -> tuple[bool, object, str]:
        if publishing.done():
            publishing.result()
        async with transaction(run.service.engine) as db:
            passed = await watching.passed(db, run.ids)
        run.tell("purchases on their way", passed)
        everything = publishing.done() and passed.done == len(run.ids)
        return everything, (run.published, passed), _where_it_stands(len(run.ids), passed)

    try:
        await _until(look)
    finally:
        publishing.cancel()
        # What failed has been raised by look().
        await asyncio.gather(publishing, return_exceptions=True)


async def _until(look: Callable[[], Awaitable[tuple[bool, object, str]]]) -> None:
    """Look again and again until it says that all is done; give up when its second answer stays the same."""
    clock = asyncio.get_running_loop().time
    last: object = None
    moved, words = clock(), "The database does not answer."
    while clock() - moved < _GIVE_UP_SECONDS:
        # A database that is away for a moment is the service's to survive, and ours too.
        with suppress(Transient):
            finished, state, words = await look()
            if finished:
                return
            if state != last:
                last, moved = state, clock()
        await asyncio.sleep(_LOOK_SECONDS)
    raise NothingMoves(f"Nothing has moved for {_GIVE_UP_SECONDS:.0f} seconds. {words} The log tells why.")


async def _all_read(run: _Run) -> None:
    """Wait until no record from before now is unread: the last copies too have then been recognised."""
    now, service = datetime.now(UTC), run.service

    async def look() -> tuple[bool, object, str]:
        unread = await oldest_unread(service.settings, service.addresses.kafka, actors_of(service.settings))
        return unread is None or unread > now, unread, f"A record of {unread} is still unread."

    await _until(look)


def _where_it_stands(total: int, passed: watching.Passed) -> str:
    return (
        f"Of {total} purchases {passed.enrolled} are enrolled, {passed.allocated} allocated, "
        f"{passed.scheduled} scheduled, {passed.parked} parked, {passed.done} have nothing left to do."
    )


async def _summarise(run: _Run, published: int) -> Summary:
    offenders = await _offenders(run.service)
    async with transaction(run.service.engine) as db:
        result = await watching.result(db, run.ids)
        example = await watching.telling_journey(db, run.ids)
    return Summary(
        purchases=len(run.ids),
        duplicates_published=published - len(run.ids),
        students=len(run.world.students),
        trainers=len(run.world.trainers),
        result=result,
        offenders=offenders,
        example=example,
    )


async def _offenders(service: Service) -> dict[str, list[Any]]:
    """What breaks an invariant, in the whole database; other traffic that is under way merely waits in line."""
    now = datetime.now(UTC)
    fulfilling = actors_of(service.settings, FULFILLING)
    unread = await unread_by_actor(service.settings, service.addresses.kafka, fulfilling)
    async with transaction(service.engine) as db:
        found = await invariants.offenders(db, in_line_since(unread.values(), now))
    return {name: list(ids) for name, ids in found.items()}
