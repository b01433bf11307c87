"""The inspection: every invariant, now and then, by one process at a time, for whoever watches.

It also counts the purchases that no event has led to the figures.
"""

from datetime import UTC, datetime, timedelta

import structlog
from aiokafka.errors import KafkaError
from sqlalchemy.ext.asyncio import AsyncEngine

from actors.lag import ReadUnread, in_line_since
from errors import FirstbellError
from storage import figures, invariants, observing
from storage.engine import transaction

_log = structlog.get_logger("firstbell.inspection")

# Of uncounted purchases, in one transaction.
_MOST = 1000


async def inspect(engine: AsyncEngine, read_unread: ReadUnread, grace: timedelta, every: float) -> bool:
    """Check every invariant where that is due; return whether it was.

    Nothing younger than `grace` offends, nor what waits in line. `every`: seconds between two checks.

    Raises: KafkaError or FirstbellError when one of the servers does not answer.
    """
    latest = datetime.now(UTC) - grace
    since = in_line_since((await read_unread()).values(), latest)
    async with transaction(engine) as db:
        if not await observing.turn_to_check(db, every):
            return False
        found = await _checked(engine, since)
        await observing.keep_checks(db, found, [one.name for one in invariants.INVARIANTS])
    for name, offenders in found.items():
        if offenders:
            _log.error("invariant broken", invariant=name, offenders=offenders)
    await _count_the_rest(engine)
    return True


async def _checked(engine: AsyncEngine, since: datetime) -> dict[str, int]:
    """How many offenders each invariant has; one that cannot be checked is left out, and its last check grows old."""
    found: dict[str, int] = {}
    for one in invariants.INVARIANTS:
        try:
            async with transaction(engine) as db:
                await observing.be_patient(db)
                found[one.name] = len((await invariants.offenders(db, since, [one.name])).get(one.name, []))
        except FirstbellError as error:
            _log.error("invariant not checked", invariant=one.name, cause=type(error).__name__)
    return found


async def inspect_quietly(engine: AsyncEngine, read_unread: ReadUnread, grace: timedelta, every: float) -> None:
    """Inspect; a server that is away is no reason to stop inspecting."""
    try:
        await inspect(engine, read_unread, grace, every)
    except (FirstbellError, KafkaError, OSError) as error:
        _log.warning("inspection failed", cause=repr(error))


async def _count_the_rest(engine: AsyncEngine) -> None:
    after = ""
    while True:
        async with transaction(engine) as db:
            await observing.be_patient(db)
            ids = await figures.uncounted(db, _MOST, after)
            await figures.count(db, ids)
        if len(ids) < _MOST:
            return
        after = ids[-1]
