"""The worker's copy of the trainers, refreshed by what changed since its last look."""

from dataclasses import dataclass, field

from sqlalchemy import text
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
    _since: str = "0"

    async def refresh(self, db: AsyncConnection) -> bool:
        """Take in what changed since the last look; return whether anything did."""
        rows = (await db.execute(_CHANGED, {"since": self._since})).all()
        changed = [row for row in rows if row.trainer_no is not None]
        for row in changed:
            place = None if row.latitude is None or row.longitude is None else Place(row.latitude, row.longitude)
            self.trainers.put(
                Trainer(
                    no=row.trainer_no,
                    id=row.trainer_id,
                    active=row.active,
                    courses=frozenset(row.courses),
                    zone=row.timezone or "UTC",
                    hours=parse_hours(row.working_hours),
                    place=place,
                    radius_km=row.radius_km,
                )
            )
        self._since = rows[0].xmin
        return bool(changed)
