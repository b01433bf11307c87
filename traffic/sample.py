"""Sample traffic to any running service, through Kafka alone."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

from aiokafka.errors import KafkaError
from rich.console import Console

from actors import directory
from actors.lag import oldest_unread
from settings import Settings
from traffic.disorder import poison as poison_records
from traffic.disorder import reordered, repeated, scattered
from traffic.messages import Draft, stamping
from traffic.progress import counting_display
from traffic.publisher import producer, publish
from traffic.tags import run_tag
from traffic.world import sample_world

_LOOK_SECONDS = 0.1
_PATIENCE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Sent:
    """What was published; `tag` is part of every id, as in pay_<tag>_0001."""

    tag: str
    records: int
    purchases: int
    duplicates: int
    poison: int


@dataclass(frozen=True, slots=True)
class _Plan:
    opening: list[Draft]
    rest: list[Draft]
    duplicates: int
    poison: int


async def publish_sample(
    kafka: str,
    settings: Settings,
    *,
    purchases: int,
    rate: float = 50,
    duplicates: float = 0,
    reorder: float = 0,
    poison: float = 0,
    seed: int = 1,
    console: Console | None = None,
) -> Sent:
    """Publish a world of so many purchases: its feeds at once, then the payments, `rate` records a second.

    The shares (0 to 1) are of all records: those sent twice, those that change places (so that some
    profile comes after its payment), and those that nobody can read, as a share of the purchases.
    `rate` 0 is as fast as possible. Raises: NotPublished.
    """
    err = console or Console(stderr=True)
    tag = run_tag()
    plan = _plan(seed, tag, purchases, duplicates=duplicates, reorder=reorder, poison=poison)
    stamp = stamping(lambda: datetime.now(UTC))
    async with producer(kafka, settings) as client:
        with counting_display("students, trainers, carts", len(plan.opening), err) as progress:
            await publish(client, plan.opening, stamp, prefix=settings.topic_prefix, progress=progress)
        if not await _directory_has_read(kafka, settings):
            err.print("Nobody has read the students and trainers yet: is the service up? Payments follow all the same.")
        with counting_display("payments", len(plan.rest), err) as progress:
            await publish(client, plan.rest, stamp, rate=rate, prefix=settings.topic_prefix, progress=progress)
    records = len(plan.opening) + len(plan.rest)
    err.print(
        f"{records:,} records published: {purchases:,} purchases, pay_{tag}_0001 and on, "
        f"{plan.duplicates:,} copies, {plan.poison:,} that nobody can read.",
        highlight=False,
        soft_wrap=True,
    )
    return Sent(tag, records, purchases, plan.duplicates, plan.poison)


def _plan(seed: int, tag: str, purchases: int, *, duplicates: float, reorder: float, poison: float) -> _Plan:
    rng = Random(seed)
    world = sample_world(seed, datetime.now(UTC), purchases, tag=tag)
    feeds: list[Draft] = repeated(rng, world.feeds(), duplicates)
    payments: list[Draft] = repeated(rng, world.purchases, duplicates)
    unreadable = poison_records(rng, round(purchases * poison), tag)
    copies = len(feeds) + len(payments) - len(world.feeds()) - len(world.purchases)
    everything = reordered(rng, [*feeds, *scattered(rng, unreadable, payments)], reorder)
    return _Plan(everything[: len(feeds)], everything[len(feeds) :], copies, len(unreadable))


async def _directory_has_read(kafka: str, settings: Settings) -> bool:
    """Wait until the directory has nothing left to read; False when it does not get there in time."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while await oldest_unread(settings, kafka, [directory.ACTOR]):  # noqa: ASYNC110  another process reads
                await asyncio.sleep(_LOOK_SECONDS)
    except (TimeoutError, KafkaError):
        return False
    return True
