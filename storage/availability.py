"""When trainers teach, as other services tell it: their state and their absences, the newest of each.

`xact` tells of each change: workers refresh their copies by it, and a step that waits for a trainer is
woken by what it had not seen. A trainer's counts the time that an absence gave back to him, too.
"""

import json
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.directory import Change, keep_newest

# ORDER BY, here and below: overlapping batches lock rows in one order.
_TRAINERS = text("""
    INSERT INTO trainers (trainer_id, active, courses, timezone, latitude, longitude, radius_km, working_hours,
                          changed_at, removed, payload_hash, payload)
    SELECT id, active, ARRAY(SELECT jsonb_array_elements_text(courses::jsonb)), timezone, latitude, longitude,
           radius_km, working_hours::jsonb, changed_at, removed, payload_hash, payload::jsonb
      FROM unnest(CAST(:ids AS text[]), CAST(:active AS boolean[]), CAST(:courses AS text[]),
                  CAST(:timezone AS text[]), CAST(:latitude AS float8[]), CAST(:longitude AS float8[]),
                  CAST(:radius_km AS float8[]), CAST(:working_hours AS text[]),
                  CAST(:changed_at AS timestamptz[]), CAST(:removed AS boolean[]),
                  CAST(:payload_hash AS bytea[]), CAST(:payload AS text[]))
           AS incoming (id, active, courses, timezone, latitude, longitude, radius_km, working_hours,
                        changed_at, removed, payload_hash, payload)
     ORDER BY id
    ON CONFLICT (trainer_id) DO UPDATE
       SET active = excluded.active, courses = excluded.courses, timezone = excluded.timezone,
           latitude = excluded.latitude, longitude = excluded.longitude, radius_km = excluded.radius_km,
           working_hours = excluded.working_hours, changed_at = excluded.changed_at, removed = excluded.removed,
           payload_hash = excluded.payload_hash, payload = excluded.payload, xact = pg_current_xact_id()
     WHERE (excluded.changed_at, excluded.removed, excluded.payload_hash)
         > (trainers.changed_at, trainers.removed, trainers.payload_hash)
""")

# Who gets time back is marked, also when the absence moves to another trainer. What only takes time marks nobody:
# lessons of others come by the thousand, and nobody waits for them.
_GIVE_BACK = text("""
    UPDATE trainers t SET xact = pg_current_xact_id()
      FROM trainer_absences b
      JOIN unnest(CAST(:ids AS text[]), CAST(:trainer_id AS text[]), CAST(:starts_at AS timestamptz[]),
                  CAST(:ends_at AS timestamptz[]), CAST(:changed_at AS timestamptz[]), CAST(:removed AS boolean[]),
                  CAST(:payload_hash AS bytea[]))
           AS incoming (id, trainer_id, starts_at, ends_at, changed_at, removed, payload_hash)
        ON incoming.id = b.busy_id
     WHERE t.trainer_id = b.trainer_id AND NOT b.removed
       AND (incoming.changed_at, incoming.removed, incoming.payload_hash) > (b.changed_at, b.removed, b.payload_hash)
       AND (incoming.removed OR incoming.trainer_id <> b.trainer_id
            OR incoming.starts_at > b.starts_at OR incoming.ends_at < b.ends_at)
""")

_ABSENCES = text("""
    INSERT INTO trainer_absences (busy_id, trainer_id, starts_at, ends_at, changed_at, removed, payload_hash, payload)
    SELECT id, trainer_id, starts_at, ends_at, changed_at, removed, payload_hash, payload::jsonb
      FROM unnest(CAST(:ids AS text[]), CAST(:trainer_id AS text[]), CAST(:starts_at AS timestamptz[]),
                  CAST(:ends_at AS timestamptz[]), CAST(:changed_at AS timestamptz[]), CAST(:removed AS boolean[]),
                  CAST(:payload_hash AS bytea[]), CAST(:payload AS text[]))
           AS incoming (id, trainer_id, starts_at, ends_at, changed_at, removed, payload_hash, payload)
     ORDER BY id
    ON CONFLICT (busy_id) DO UPDATE
       SET trainer_id = excluded.trainer_id, starts_at = excluded.starts_at, ends_at = excluded.ends_at,
           changed_at = excluded.changed_at, removed = excluded.removed,
           payload_hash = excluded.payload_hash, payload = excluded.payload, xact = pg_current_xact_id()
     WHERE (excluded.changed_at, excluded.removed, excluded.payload_hash)
         > (trainer_absences.changed_at, trainer_absences.removed, trainer_absences.payload_hash)
""")

# Who got time back bears the number of the transaction that changed the absence: so a replay finds him again, too.
_NEWS = text("""
    SELECT c.course_id, max(told.changed_at)
      FROM (SELECT courses, changed_at FROM trainers
             WHERE active AND trainer_id = ANY(CAST(:trainer_ids AS text[]))
             UNION ALL
            SELECT t.courses, b.changed_at
              FROM (SELECT xact, max(changed_at) AS changed_at FROM trainer_absences
                     WHERE busy_id = ANY(CAST(:busy_ids AS text[]))
                     GROUP BY xact) AS b
              JOIN trainers t USING (xact)
             WHERE t.active) AS told
     CROSS JOIN unnest(told.courses) AS c (course_id)
     GROUP BY c.course_id
""")


async def keep_trainers(db: AsyncConnection, changes: Sequence[Change]) -> None:
    """Keep the newest state of each trainer; a removed one is inactive and teaches nothing."""
    await keep_newest(
        db,
        _TRAINERS,
        changes,
        active=lambda f: f.active,
        courses=lambda f: json.dumps(list(f.courses)),
        timezone=lambda f: f.timezone,
        latitude=lambda f: f.latitude,
        longitude=lambda f: f.longitude,
        radius_km=lambda f: f.radius_km,
        working_hours=lambda f: json.dumps([hours.model_dump(mode="json", by_alias=True) for hours in f.working_hours]),
        absent={"active": False, "courses": "[]", "working_hours": "[]"},
    )


async def keep_absences(db: AsyncConnection, changes: Sequence[Change]) -> None:
    """Keep the newest state of each absence; mark the trainers who got time back by it."""
    for statement in (_GIVE_BACK, _ABSENCES):
        await keep_newest(
            db,
            statement,
            changes,
            trainer_id=lambda f: f.trainer_id,
            starts_at=lambda f: f.starts_at,
            ends_at=lambda f: f.ends_at,
        )


async def news(db: AsyncConnection, trainer_ids: Collection[str], busy_ids: Collection[str]) -> dict[str, datetime]:
    """The courses of these trainers, and of whoever got time back by these absences, with the newest change of each."""
    rows = await db.execute(_NEWS, {"trainer_ids": sorted(trainer_ids), "busy_ids": sorted(busy_ids)})
    return {row[0]: row[1] for row in rows}
