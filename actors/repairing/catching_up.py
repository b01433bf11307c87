"""Commands that wait until the other actors have caught up.

After a rewind everything is read again at once, and a command may come before what it is about. It
would be refused for good then, so it waits; a live command hardly ever does.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from contracts.repairs import Refusal
from errors import Transient

_log = structlog.get_logger("firstbell.repair")

# Whether another actor has still to read what was written before an instant.
Behind = Callable[[datetime], Awaitable[bool]]

# A command this old comes from a rewind, or from a backlog of its own.
_OLD = timedelta(seconds=3)

# One hop after another, each well within the two seconds that `Behind` tolerates: after so long without anybody
# behind, what followed from the oldest unread record has been done as well.
_QUIET = 8.0

# Refusals that are over when the others have caught up.
_NOT_THERE_YET = frozenset(
    {"unknown_item", "unknown_purchase", "not_paid", "not_enrolled", "not_allocated", "not_scheduled"}
)


@dataclass(slots=True)
class CatchingUp:
    """Lets a command wait, for `patience` seconds in a row at most: an actor that is stuck must not stop repair.

    Without `behind` nobody can tell how far the others are, and nothing waits.
    """

    behind: Behind | None
    patience: float = 300
    quiet: float = _QUIET
    clock: Callable[[], float] = field(default=time.monotonic)
    # Groups are rewound while nobody runs: what is written later comes from no rewind, however long its line.
    started: datetime = field(default_factory=partial(datetime.now, UTC))
    _caught_up: datetime | None = None
    _waiting_since: float | None = None
    _quiet_since: float | None = None

    async def before(self, at: datetime) -> None:
        """Raise Transient while a command that is old by now has to wait."""
        now = datetime.now(UTC)
        if self.behind is None or at >= self.started or now - at <= _OLD:
            return
        if self._caught_up is not None and at <= self._caught_up:
            return
        self._wait(behind=await self.behind(at), at=at)
        self._caught_up = now

    async def instead_of(self, refusal: Refusal | None, at: datetime) -> None:
        """Raise Transient while what a command is about may still come."""
        if self.behind is None or refusal is None or refusal.code not in _NOT_THERE_YET:
            return
        if self._caught_up is not None and at <= self._caught_up:
            return
        if await self.behind(at):
            self._wait(behind=True, at=at)

    def _wait(self, *, behind: bool, at: datetime) -> None:
        """Raise Transient until nobody has been behind for long enough, or this has waited too long."""
        now = self.clock()
        self._waiting_since = self._waiting_since or now
        self._quiet_since = None if behind else self._quiet_since or now
        quiet = self._quiet_since is not None and now - self._quiet_since >= self.quiet
        if not quiet and now - self._waiting_since <= self.patience:
            raise Transient("repair", "what was written before this command has not been read again yet")
        if not quiet:
            _log.error("not waiting for the other actors any longer", requested_at=at.isoformat())
            # Nor shall every further command of that time wait as long.
            self._caught_up = datetime.now(UTC)
        self._waiting_since = self._quiet_since = None
