"""The worker's copy of the trainers, refreshed by what changed since its last look."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.directory import Directory, Trainer
from domain.hours import parse_hours
from domain.places import Place

# The snapshot's xmin comes even when no trainer changed. Whatever a transaction that still runs
# will write has at least that number, so the next look cannot miss it.
_CHANGED = text("""
    SELECT t.trainer_no, t.trainer_id, t.active, t.courses, t.timezone, t.latitude, t.longitude,
           t.radius_km, t.working_hours, CAST(s.xmin AS text) AS xmin
      FROM (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xmin) s
      LEFT JOIN trainers t ON t.xact >= CAST(CAST(:since AS text) AS xid8)
     ORDER BY t.trainer_no
""")


@dataclass(slots=True)
class TrainerDirectory:
    """All trainers, in memory: one for each process."""

    trainers: Directory = field(default_factory=Directory)
    _since: int = 0

    async def refresh(self, db: AsyncConnection) -> bool:
        """Take in what changed since the last look; return whether anything did."""
        rows = (await db.execute(_CHANGED, {"since": str(self._since)})).all()
        if int(rows[0].xmin) < self._since:
            # A database that went back counts its transactions again: what is in memory may never have been.
            self.trainers, self._since = Directory(), 0
            rows = (await db.execute(_CHANGED, {"since": "0"})).all()
        # While any transaction is open, what changed after its begin is told again and again.
        told = [_trainer(row) for row in rows if row.trainer_no is not None]
        changed = [trainer for trainer in told if self.trainers.get(trainer.no) != trainer]
        for trainer in changed:
            self.trainers.put(trainer)
        self._since = int(rows[0].xmin)
        return bool(changed)


def _trainer(row: Row[Any]) -> Trainer:
    return Trainer(
        no=row.trainer_no,
        id=row.trainer_id,
        active=row.active,
        courses=frozenset(row.courses),
        zone=row.timezone or "UTC",
        hours=parse_hours(row.working_hours),
        place=None if row.latitude is None or row.longitude is None else Place(row.latitude, row.longitude),
        radius_km=row.radius_km,
    )
