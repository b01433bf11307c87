"""The reconciler: the backstop that finds what is stuck in the database, and asks repair to do it.

It changes nothing itself. Each step is asked for under an id made of its purchase and the number of
the try, so two sweeps ask for the same once; every further try of a step waits twice as long.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import structlog
from aiokafka.errors import KafkaError
from sqlalchemy.ext.asyncio import AsyncEngine

from actors.announcing import Publish
from actors.healing import retry_of
from actors.lag import ReadUnread, in_line_since
from actors.tracing import traced
from contracts.base import derived_text
from contracts.repairs import RepairCommand, Resume
from errors import FirstbellError
from storage import invariants, stuck
from storage.engine import transaction
from storage.stuck import Stuck, Tried

_log = structlog.get_logger("firstbell.reconciler")

REQUESTED_BY = "system:reconciler"

# Which step mends which offence; what is not named here is for people.
STEPS = {
    "paid_not_enrolled": "enrollment",
    "enrolled_not_allocated": "allocation",
    "approved_not_scheduled": "sessions",
    "cart_not_cleared": "cart",
    "coins_not_redeemed": "coins",
    "revoked_not_released": "allocation",
    "released_not_parked": "allocation",
    "released_not_cancelled": "sessions",
    "coins_not_returned": "coins",
}

# In one sweep: more would wait in line for repair, and the next sweep finds them again.
_MOST = 500
_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(hours=6)


async def sweep(engine: AsyncEngine, publish: Publish, read_unread: ReadUnread, grace: timedelta) -> int:
    """Ask for every missing step that is due; return for how many. Nothing younger than `grace` is stuck.

    While repair has commands to read, it is asked for nothing: what was asked for already is among them.

    Raises: KafkaError or FirstbellError when one of the servers does not answer; the next sweep does it.
    """
    unread = await read_unread()
    if "repair" in unread:
        return 0
    now = datetime.now(UTC)
    since = in_line_since(unread.values(), now - grace)
    async with transaction(engine) as db:
        if not await stuck.take_turn(db):
            return 0
        found = {
            Stuck(payment_id, STEPS[name])
            for name, payment_ids in (await invariants.offenders(db, since, STEPS)).items()
            for payment_id in payment_ids
        } | {Stuck(payment_id, "allocation") for payment_id in await stuck.begun(db)}
        before = await stuck.tried(db, {one.payment_id for one in found}, REQUESTED_BY)
        passed = await stuck.passed(db)
    commands: list[RepairCommand] = [retry_of(*row) for row in passed[:_MOST]]
    commands += [_resume(one, before.get(one)) for one in _due(found, before, now)]
    if commands:
        await publish(traced(commands, []))
        _log.warning("stuck steps resumed", steps=len(commands), found=len(found))
    return len(commands)


async def sweep_quietly(engine: AsyncEngine, publish: Publish, read_unread: ReadUnread, grace: timedelta) -> None:
    """Sweep; a server that is away is no reason to stop sweeping."""
    try:
        await sweep(engine, publish, read_unread, grace)
    except (FirstbellError, KafkaError, OSError) as error:
        _log.warning("sweep failed", cause=repr(error))


def _due(found: Iterable[Stuck], before: dict[Stuck, Tried], now: datetime) -> list[Stuck]:
    """What may be tried now: new, or past the pause of its last try."""
    return [one for one in sorted(found) if one not in before or now >= before[one].last + _pause(before[one].times)][
        :_MOST
    ]


def _pause(times: int) -> timedelta:
    doublings = min(times - 1, 20)
    return min(_FIRST_PAUSE * (1 << doublings), _LONGEST_PAUSE)


def _resume(one: Stuck, before: Tried | None) -> Resume:
    times = before.times if before else 0
    return Resume(
        command_id=derived_text("resume", one.payment_id, one.step, times),
        requested_by=REQUESTED_BY,
        reason="the step is missing and nothing else will do it",
        payment_id=one.payment_id,
        step=one.step,
    )
