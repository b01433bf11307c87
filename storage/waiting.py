"""Who waits for what: parked steps whose obstacle has gone, and courses for which somebody waits for a trainer.

A step is told only if a retry would not meet the same obstacle: one that parks again must not wake
itself. About trainers and time decides what a step had seen: news is what it had not.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

# A database that was restored elsewhere counts its transactions again. So here and below: a snapshot from ahead
# has seen nothing, and a change from ahead is no news, or it would be news for ever.
_COME = """
    SELECT k.id, k.attempts
      FROM parked k
     CROSS JOIN LATERAL (
           SELECT CASE WHEN pg_snapshot_xmax(k.seen) <= pg_snapshot_xmax(pg_current_snapshot()) THEN k.seen END
           ) AS before (seen)
      LEFT JOIN students s ON s.student_id = k.student_id
     WHERE k.kind = 'step' AND k.status = 'open'
       AND CASE k.waits_for
           WHEN 'profile' THEN s.changed_at IS NOT NULL AND NOT s.removed
           WHEN 'location' THEN s.changed_at IS NOT NULL AND NOT s.removed
                AND s.latitude BETWEEN -90 AND 90 AND s.longitude BETWEEN -180 AND 180
                AND (s.latitude, s.longitude) <> (0, 0)
           WHEN 'settling' THEN EXISTS (
                SELECT FROM allocations a
                 WHERE a.allocation_id = k.allocation_id AND a.status = 'approved' AND a.provisional)
           WHEN 'approval' THEN EXISTS (
                SELECT FROM allocations a WHERE a.allocation_id = k.allocation_id AND a.status = 'approved')
           WHEN 'enrollment' THEN EXISTS (
                SELECT FROM enrollments e
                 WHERE e.payment_id = k.payment_id AND CAST(e.enrollment_id AS text) = k.subject)
           WHEN 'coins' THEN EXISTS (
                SELECT FROM purchases p WHERE p.payment_id = k.payment_id AND p.coins_redeemed <= s.coins)
           WHEN 'studentTime' THEN EXISTS (
                SELECT FROM bookings b
                 WHERE b.student_no = s.student_no
                   AND b.freed >= coalesce(pg_snapshot_xmin(before.seen), '0')
                   AND b.freed < pg_snapshot_xmax(pg_current_snapshot())
                   AND NOT coalesce(pg_visible_in_snapshot(b.freed, before.seen), false))
           ELSE false
           END
"""
_ARRIVED = text(_COME + " AND k.id = ANY(CAST(:ids AS uuid[])) ORDER BY k.id")
_STUDENTS = text(
    _COME
    + """
       AND k.waits_for IN ('profile', 'location', 'coins', 'studentTime')
       AND k.student_id = ANY(CAST(:students AS text[]))
     ORDER BY k.id
    """
)

# First what of the trainers is new to anybody who waits, by index, and only then who had not seen it: thousands who
# wait would else be compared with thousands of trainers.
_WAITING = """
    WITH waiting AS (
        SELECT k.id, k.attempts, p.course_id,
               CASE WHEN pg_snapshot_xmax(k.seen) <= pg_snapshot_xmax(pg_current_snapshot()) THEN k.seen END AS seen
          FROM parked k
          JOIN purchases p USING (payment_id)
         WHERE k.kind = 'step' AND k.status = 'open' AND k.waits_for = 'trainer'
"""
_UNSEEN = """
    ), horizon AS (
        SELECT min(coalesce(pg_snapshot_xmin(seen), '0')) AS since,
               pg_snapshot_xmax(pg_current_snapshot()) AS until
          FROM waiting
    ), news AS (
        SELECT c.course_id, t.xact
          FROM trainers t
         CROSS JOIN unnest(t.courses) AS c (course_id)
         WHERE t.active AND t.xact >= (SELECT since FROM horizon) AND t.xact < (SELECT until FROM horizon)
         UNION
        SELECT c.course_id, b.freed
          FROM bookings b
          JOIN trainers t USING (trainer_no)
         CROSS JOIN unnest(t.courses) AS c (course_id)
         WHERE t.active AND b.freed >= (SELECT since FROM horizon) AND b.freed < (SELECT until FROM horizon)
    ), hopeful AS (
        SELECT id, attempts, course_id
          FROM waiting w
         WHERE EXISTS (SELECT FROM news n
                        WHERE n.course_id = w.course_id
                          AND NOT coalesce(pg_visible_in_snapshot(n.xact, w.seen), false)))
"""
_THESE_ROWS = " AND k.id = ANY(CAST(:ids AS uuid[]))"
_THESE_COURSES = " AND p.course_id = ANY(CAST(:courses AS text[]))"
_ROWS = "SELECT id, attempts FROM hopeful ORDER BY id"
# The mark tells one set of tries from another: news that has the instant of other news must not look like it.
_MARKS = """
    SELECT course_id, encode(sha256(convert_to(string_agg(id || ' ' || attempts, ',' ORDER BY id), 'UTF8')), 'hex')
      FROM hopeful
     GROUP BY course_id
     ORDER BY course_id
"""
_ARRIVED_TRAINERS = text(_WAITING + _THESE_ROWS + _UNSEEN + _ROWS)
_COURSES = text(_WAITING + _THESE_COURSES + _UNSEEN + _MARKS)

_OF_COURSE = text("""
    SELECT k.id, k.attempts
      FROM parked k
      LEFT JOIN purchases p USING (payment_id)
     WHERE k.kind = 'step' AND k.status = 'open' AND k.waits_for = :waits_for
       AND (CAST(:course AS text) IS NULL OR p.course_id = :course)
     ORDER BY k.parked_at, k.id
""")


async def arrived(db: AsyncConnection, parked_ids: Sequence[UUID], *, trainers: bool) -> list[tuple[UUID, int]]:
    """Those of these rows for which what they wait for is there, with their attempts; `trainers`: that wait for one."""
    return await _rows(db, _ARRIVED_TRAINERS if trainers else _ARRIVED, ids=list(parked_ids))


async def of_students(db: AsyncConnection, student_ids: Collection[str]) -> list[tuple[UUID, int]]:
    """The steps of these students that have what they waited for: a profile, a place, coins, time; with attempts."""
    return await _rows(db, _STUDENTS, students=sorted(student_ids))


async def courses(db: AsyncConnection, course_ids: Collection[str]) -> dict[str, str]:
    """For which of these courses steps wait for a trainer that have not seen the newest, with a mark of their tries."""
    rows = await db.execute(_COURSES, {"courses": sorted(course_ids)})
    return {row[0]: row[1] for row in rows}


async def waiting_for(db: AsyncConnection, waits_for: str, course_id: str | None) -> list[tuple[UUID, int]]:
    """Every open step that waits for this, of this course if one is given, with its attempts; the oldest first."""
    return await _rows(db, _OF_COURSE, waits_for=waits_for, course=course_id)


async def _rows(db: AsyncConnection, statement: TextClause, **binds: object) -> list[tuple[UUID, int]]:
    return [(row.id, row.attempts) for row in await db.execute(statement, binds)]
