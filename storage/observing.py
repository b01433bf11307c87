"""What whoever watches reads beside the figures: what is parked, and what the last inspection found."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class ParkedCount(NamedTuple):
    """How many open rows an actor has parked for a reason, and when the oldest of them was."""

    actor: str
    reason: str
    items: int
    oldest: datetime


class Checked(NamedTuple):
    """How many offenders an invariant had at its last check."""

    name: str
    offenders: int
    at: datetime


_PARKED = text("""
    SELECT actor, reason, count(*) AS items, min(parked_at) AS oldest
      FROM parked
     WHERE status = 'open'
     GROUP BY actor, reason
     ORDER BY actor, reason
""")

_CHECKED = text("SELECT name, offenders, checked_at FROM invariant_checks ORDER BY name")

# Any number will do, as long as every release uses the same one.
_TAKE_TURN = text("SELECT pg_try_advisory_xact_lock(7016996765293437283)")

# It may take longer than a handler's statement.
_PATIENCE = text("SET LOCAL statement_timeout = '120s'")

# Whoever has the turn is idle while each check runs in a transaction of its own.
_KEEP_TURN = text("SET LOCAL idle_in_transaction_session_timeout = '1h'")

_DUE = text("""
    SELECT NOT EXISTS (SELECT FROM invariant_checks
                        WHERE checked_at > clock_timestamp() - make_interval(secs => :every))
""")

# What an earlier release checked and this one does not would otherwise be told for ever, as it was then.
_FORGET = text("DELETE FROM invariant_checks WHERE name <> ALL(CAST(:names AS text[]))")

_KEEP = text("""
    INSERT INTO invariant_checks (name, offenders, checked_at)
    SELECT name, offenders, clock_timestamp()
      FROM unnest(CAST(:names AS text[]), CAST(:offenders AS bigint[])) AS found (name, offenders)
    ON CONFLICT (name) DO UPDATE SET offenders = excluded.offenders, checked_at = excluded.checked_at
""")


async def parked_now(db: AsyncConnection) -> list[ParkedCount]:
    """What is parked and open, by actor and reason."""
    return [ParkedCount(*row) for row in await db.execute(_PARKED)]


async def last_checks(db: AsyncConnection) -> list[Checked]:
    """The last finding of every invariant."""
    return [Checked(*row) for row in await db.execute(_CHECKED)]


async def turn_to_check(db: AsyncConnection, every: float) -> bool:
    """Whether invariants are due, and no other process checks them; theirs for this transaction then.

    `every`: seconds between two checks, of all processes together.
    """
    if not (await db.execute(_TAKE_TURN)).scalar_one():
        return False
    await be_patient(db)
    await db.execute(_KEEP_TURN)
    return bool((await db.execute(_DUE, {"every": every})).scalar_one())


async def be_patient(db: AsyncConnection) -> None:
    """Let the statements of this transaction take two minutes each: they read whole tables."""
    await db.execute(_PATIENCE)


async def keep_checks(db: AsyncConnection, offenders: Mapping[str, int], known: Collection[str]) -> None:
    """Keep how many offenders these invariants have now, and nothing of any that is not `known` any more."""
    await db.execute(_FORGET, {"names": list(known)})
    await db.execute(_KEEP, {"names": list(offenders), "offenders": list(offenders.values())})
