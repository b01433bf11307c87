"""Waking what is parked, by commands: whoever parks, and whoever brings news, looks after the commit.

One of the two sees the other, in whatever order they commit, so no wake-up is lost. Nothing of the
clock is in a command: a replay gives the same again, and the repair actor knows it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from actors.batch import News
from contracts.base import derived_text
from contracts.repairs import RepairCommand, Retry, RetryWaiting
from errors import NoTrainerAvailable
from storage import waiting
from storage.engine import transaction
from storage.parking import ParkedItem

REQUESTED_BY = "system:auto-heal"
_REASON = "what this waited for has come"
_TRAINER = NoTrainerAvailable.waits_for or ""


async def wakes(engine: AsyncEngine, parked: Iterable[ParkedItem], news: Sequence[News]) -> list[RepairCommand]:
    """The wake-ups of a batch that is committed: for what it parked, and for who waits for its news.

    Without either, nothing is asked of the database.
    """
    waiting_rows = [item for item in parked if item.waits_for is not None]
    if not waiting_rows and not news:
        return []
    async with transaction(engine) as db:
        return [*await _of_parked(db, waiting_rows), *await _of_news(db, news)]


def retry_of(parked_id: UUID, attempts: int) -> Retry:
    """The wake-up of a row that was tried so often: one id for one try, whoever wakes it."""
    return Retry(
        command_id=derived_text("retry", parked_id, attempts),
        requested_by=REQUESTED_BY,
        reason=_REASON,
        parked_id=parked_id,
    )


async def _of_parked(db: AsyncConnection, items: Sequence[ParkedItem]) -> list[RepairCommand]:
    found: list[tuple[UUID, int]] = []
    for trainers in (False, True):
        ids = [item.id for item in items if (item.waits_for == _TRAINER) is trainers]
        if ids:
            found += await waiting.arrived(db, ids, trainers=trainers)
    return [retry_of(*row) for row in found]


async def _of_news(db: AsyncConnection, news: Sequence[News]) -> list[RepairCommand]:
    students = frozenset[str]().union(*(one.students for one in news))
    changed_at = _newest(one.courses for one in news)
    found: list[RepairCommand] = []
    if students:
        found += [retry_of(*row) for row in await waiting.of_students(db, students)]
    if changed_at:
        marks = await waiting.courses(db, changed_at)
        found += [_retry_waiting(course, changed_at[course], mark) for course, mark in marks.items()]
    return found


def _retry_waiting(course: str, changed_at: datetime, mark: str) -> RetryWaiting:
    return RetryWaiting(
        command_id=derived_text("retryWaiting", _TRAINER, course, changed_at, mark),
        requested_by=REQUESTED_BY,
        reason=_REASON,
        waits_for=_TRAINER,
        course_id=course,
        changed_at=changed_at,
    )


def _newest(told: Iterable[Mapping[str, datetime]]) -> dict[str, datetime]:
    newest: dict[str, datetime] = {}
    for courses in told:
        for course, at in courses.items():
            newest[course] = max(at, newest.get(course, at))
    return newest
