"""Who is booked when, read after the locks of all who compete for the same time.

The steps are statements of their own, in the order of the whole system: purchases, students, then
every candidate trainer, and only then what is booked. A lock and a read in one statement would see
what was there before the lock.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.schedule import Series


class Taken(NamedTuple):
    """Time that is taken: `who` is a trainer's or a student's number, from and to are epoch seconds."""

    who: int
    starts_at: int
    ends_at: int


class Occupied(NamedTuple):
    """What is booked by trainer and by student, as (number, series), and when trainers are away; from now on."""

    trainers: list[tuple[int, Series]]
    students: list[tuple[int, Series]]
    absences: list[Taken]


# 256 buckets instead of a lock per trainer: 13,000 locks would not fit into PostgreSQL's table of them.
_LOCK_TRAINERS = text("""
    SELECT pg_advisory_xact_lock(1718185570, bucket)
      FROM unnest(CAST(:buckets AS integer[])) AS lock (bucket)
""")

# The recipe, not the multirange made from it: it is read in a fraction of the time. Absences count
# outwards: who is away for a fraction of a second is away.
_OCCUPIED = text("""
    SELECT 'trainer' AS whose, trainer_no, first_day, days_of_week, session_count, start_minute, slot_minutes,
           timezone, NULL::bigint AS starts_at, NULL::bigint AS ends_at
      FROM bookings
     WHERE active AND trainer_no = ANY(CAST(:trainer_nos AS bigint[])) AND ends_at > clock_timestamp()
     UNION ALL
    SELECT 'student', student_no, first_day, days_of_week, session_count, start_minute, slot_minutes, timezone,
           NULL, NULL
      FROM bookings
     WHERE active AND student_no = ANY(CAST(:student_nos AS bigint[])) AND ends_at > clock_timestamp()
     UNION ALL
    SELECT 'absence', t.trainer_no, NULL, NULL, NULL, NULL, NULL, NULL,
           CAST(floor(extract(epoch FROM b.starts_at)) AS bigint), CAST(ceil(extract(epoch FROM b.ends_at)) AS bigint)
      FROM trainer_absences b
      JOIN trainers t USING (trainer_id)
     WHERE NOT b.removed AND t.trainer_no = ANY(CAST(:trainer_nos AS bigint[])) AND b.ends_at > clock_timestamp()
""")

# What is really booked, range by range: after an update of the time-zone data it may differ from the recipe.
_TAKEN_TRAINERS = text("""
    SELECT trainer_no, CAST(floor(extract(epoch FROM lower(r))) AS bigint),
           CAST(ceil(extract(epoch FROM upper(r))) AS bigint)
      FROM bookings, unnest(booked) AS r
     WHERE active AND trainer_no = ANY(CAST(:nos AS bigint[])) AND ends_at > clock_timestamp()
""")

_TAKEN_STUDENTS = text("""
    SELECT student_no, CAST(floor(extract(epoch FROM lower(r))) AS bigint),
           CAST(ceil(extract(epoch FROM upper(r))) AS bigint)
      FROM bookings, unnest(booked) AS r
     WHERE active AND student_no = ANY(CAST(:nos AS bigint[])) AND ends_at > clock_timestamp()
""")


async def lock_trainers(db: AsyncConnection, trainer_nos: Iterable[int]) -> None:
    """Keep every other booking of these trainers out until the transaction ends."""
    await db.execute(_LOCK_TRAINERS, {"buckets": sorted({no % 256 for no in trainer_nos})})


async def occupied(db: AsyncConnection, trainer_nos: Sequence[int], student_nos: Sequence[int]) -> Occupied:
    """When these trainers and students are busy."""
    found = Occupied([], [], [])
    for whose, no, *recipe, starts_at, ends_at in await db.execute(
        _OCCUPIED, {"trainer_nos": trainer_nos, "student_nos": student_nos}
    ):
        if whose == "absence":
            found.absences.append(Taken(no, starts_at, ends_at))
        else:
            (found.trainers if whose == "trainer" else found.students).append((no, Series(*recipe)))
    return found


async def taken(
    db: AsyncConnection, trainer_nos: Sequence[int], student_nos: Sequence[int]
) -> tuple[list[Taken], list[Taken]]:
    """The times that the exclusions guard for these trainers and students, to whole seconds outwards, from now on."""
    trainers = [Taken(*row) for row in await db.execute(_TAKEN_TRAINERS, {"nos": trainer_nos})]
    students = [Taken(*row) for row in await db.execute(_TAKEN_STUDENTS, {"nos": student_nos})]
    return trainers, students
