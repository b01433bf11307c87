"""The directory of a workload, written straight into a fresh database: it is not what is measured."""

import hashlib
import json
from datetime import UTC, datetime

import asyncpg

from benches.workload import ZONE, Workload

_CHANGED = datetime(2026, 11, 1, tzinfo=UTC)
_BALANCE = 500
_HOURS = json.dumps([{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": "06:00", "to": "22:00"}])
_RADIUS_KM = 12.0

_TRAINERS = """
    INSERT INTO trainers (trainer_id, active, courses, timezone, latitude, longitude, radius_km, working_hours,
                          changed_at, payload_hash)
    SELECT id, true, ARRAY[course], $5, latitude, longitude, $6, $7::jsonb, $8, $9
      FROM unnest($1::text[], $2::text[], $3::float8[], $4::float8[]) AS incoming (id, course, latitude, longitude)
"""

_STUDENTS = """
    INSERT INTO students (student_id, timezone, latitude, longitude, coins, changed_at, payload_hash)
    SELECT id, $4, latitude, longitude, $5, $6, $7
      FROM unnest($1::text[], $2::float8[], $3::float8[]) AS incoming (id, latitude, longitude)
"""

_CREDITS = """
    INSERT INTO coin_ledger (kind, reference, student_id, coins, at)
    SELECT 'credit', 'seed:' || student_id, student_id, coins, changed_at FROM students
"""


async def seed(connection: asyncpg.Connection, workload: Workload) -> None:
    """Write the trainers, the students with their profiles, and 500 coins for each."""
    digest = hashlib.sha256(b"seed").digest()
    trainers = list(workload.trainers())
    students = list(workload.students())
    await connection.execute(
        _TRAINERS,
        [t.id for t in trainers],
        [t.course for t in trainers],
        [t.place[0] for t in trainers],
        [t.place[1] for t in trainers],
        ZONE,
        _RADIUS_KM,
        _HOURS,
        _CHANGED,
        digest,
    )
    await connection.execute(
        _STUDENTS,
        [student for student, _ in students],
        [place[0] for _, place in students],
        [place[1] for _, place in students],
        ZONE,
        _BALANCE,
        _CHANGED,
        digest,
    )
    await connection.execute(_CREDITS)
    # A database in use has been analysed; without it the first plans would be guesses, for both contenders.
    await connection.execute("ANALYZE")
