"""Whether the contracts of this release still read what is parked and what purchases on their way were stored as."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.decode import decode
from contracts.topics import TOPICS
from errors import RefusedByDatabase, Unreadable
from storage.parked_records import ParkedRecord, pages, purchases

# A record may have a megabyte, whatever our own limit is.
_PAGE = 50
_PURCHASES = 1000
_MOST_IDS = 5
_POSITION = re.compile(r"\[[0-9]+\]")
# Nobody could take such a record before: that it cannot be read is no worse.
_WITHOUT_USE = frozenset({Unreadable.code, RefusedByDatabase.code})


class Cause(NamedTuple):
    """Records that cannot be read any more for one cause; `field` as an admin reads it, without positions."""

    topic: str
    kind: str
    field: str
    expected: str


@dataclass
class Report:
    """What was found; of each cause the number of records, and the ids of the first few."""

    readable: int = 0
    still_unreadable: int = 0
    readable_now: list[UUID | str] = field(default_factory=list)
    lost: Counter[Cause] = field(default_factory=Counter)
    ids: dict[Cause, list[UUID | str]] = field(default_factory=dict)

    @property
    def checked(self) -> int:
        """How many rows were looked at."""
        return self.readable + self.still_unreadable + len(self.readable_now) + self.lost.total()

    def add(self, records: Iterable[ParkedRecord]) -> None:
        """Read these records by the contracts of this release, and count what became of them."""
        for record in records:
            cause = _unreadable(record)
            if cause is None and record.reason == Unreadable.code:
                self.readable_now.append(record.id)
            elif cause is None:
                self.readable += 1
            elif record.kind == "record" and record.reason in _WITHOUT_USE:
                self.still_unreadable += 1
            else:
                self.lost[cause] += 1
                if len(ids := self.ids.setdefault(cause, [])) < _MOST_IDS:
                    ids.append(record.id)


async def check(db: AsyncConnection) -> Report:
    """Read the record of every open row, and the payment of every purchase that has no sessions yet."""
    report = Report()
    async for page in pages(db, _PAGE):
        report.add(page)
    async for page in purchases(db, _PURCHASES):
        report.add(page)
    return report


def _unreadable(record: ParkedRecord) -> Cause | None:
    """Why this release cannot read the record; None where it can."""
    if record.topic not in TOPICS:
        return Cause(record.topic, record.kind, "topic", "a topic of this release")
    try:
        decode(record.topic, record.key, record.payload)
    except Unreadable as unreadable:
        where = _POSITION.sub("[]", unreadable.facts["field"])
        return Cause(record.topic, record.kind, where, unreadable.facts["expected"])
    return None
