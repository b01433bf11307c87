"""Following a bulk: how many of its items are answered, and what became of them."""

import asyncio
from dataclasses import dataclass

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy.ext.asyncio import AsyncEngine

from commands.session import err
from errors import FirstbellError
from storage import repairs
from storage.engine import open_engine, transaction
from storage.reading import bulk_of, refusals

_LOOK_SECONDS = 0.5


class BulkRefused(FirstbellError):
    """The bulk itself was refused: none of its items was touched."""


@dataclass(frozen=True, slots=True)
class Followed:
    """How far a bulk is: items in all (None while it is not carried out), answered ones by outcome, refused by code."""

    items: int | None
    outcomes: dict[str, int]
    refusals: dict[str, int]

    @property
    def answered(self) -> int:
        """How many items have an answer."""
        return sum(self.outcomes.values())


async def follow(database_url: str, bulk_id: str, patience: float) -> Followed | None:
    """Show how far the items are until all have an answer; None when for `patience` seconds none got one.

    Raises: BulkRefused.
    """
    engine = open_engine(database_url, pool_size=1)
    bars = Progress(TextColumn("answered"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=err)
    try:
        with bars:
            return await _to_its_end(engine, bulk_id, patience, bars)
    finally:
        await engine.dispose()


async def _to_its_end(engine: AsyncEngine, bulk_id: str, patience: float, bars: Progress) -> Followed | None:
    clock = asyncio.get_running_loop().time
    task, last, since = bars.add_task("", total=None), -1, clock()
    while True:
        now = await _look(engine, bulk_id)
        bars.update(task, total=now.items, completed=now.answered)
        if now.items is not None and now.answered >= now.items:
            return now
        if now.answered != last:
            last, since = now.answered, clock()
        elif clock() - since > patience:
            return None
        await asyncio.sleep(_LOOK_SECONDS)


async def _look(engine: AsyncEngine, bulk_id: str) -> Followed:
    async with transaction(engine) as db:
        its = await bulk_of(db, bulk_id)
        if its and its.outcome == "refused":
            raise BulkRefused(f"The bulk was refused: {its.message}")
        return Followed(its.items if its else None, await repairs.progress(db, bulk_id), await refusals(db, bulk_id))
