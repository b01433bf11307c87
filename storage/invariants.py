"""What must always hold, as named queries that return the offenders.

One list for the tests, the command line and whatever watches the service. Queries about progress
take the instant from which on a purchase merely waits in line; what is parked or dismissed waits
for a person and is no offender either.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Invariant:
    """A sentence that must be true, and the query of those for which it is not (one column, `id`)."""

    name: str
    meaning: str
    offenders: TextClause


_PAID_NOT_ENROLLED = text("""
    SELECT p.payment_id AS id FROM purchases p
      LEFT JOIN enrollments e USING (payment_id)
     WHERE p.payload IS NOT NULL AND p.refunded_at IS NULL AND e.payment_id IS NULL
       AND p.received_at < CAST(:in_line_since AS timestamptz)
""")

_ENROLLED_NOT_ALLOCATED = text("""
    SELECT e.payment_id AS id FROM enrollments e
      LEFT JOIN allocations a USING (enrollment_id)
     WHERE e.status = 'active' AND a.allocation_id IS NULL
       AND e.enrolled_at < CAST(:in_line_since AS timestamptz)
       AND NOT EXISTS (SELECT FROM parked k WHERE k.kind = 'step' AND k.actor = 'allocation'
                          AND k.subject = CAST(e.enrollment_id AS text) AND k.status <> 'resolved')
""")

_APPROVED_NOT_SCHEDULED = text("""
    SELECT a.payment_id AS id FROM allocations a
     WHERE a.status = 'approved' AND a.scheduled_at IS NULL
       AND a.approved_at < CAST(:in_line_since AS timestamptz)
       AND NOT EXISTS (SELECT FROM parked k WHERE k.kind = 'step' AND k.actor = 'sessions'
                          AND k.subject = CAST(a.allocation_id AS text) AND k.status <> 'resolved')
""")

_CART_NOT_CLEARED = text("""
    SELECT e.payment_id AS id FROM enrollments e
      LEFT JOIN cart_clearances c USING (payment_id)
     WHERE e.status = 'active' AND c.payment_id IS NULL
       AND e.enrolled_at < CAST(:in_line_since AS timestamptz)
       AND NOT EXISTS (SELECT FROM parked k WHERE k.kind = 'step' AND k.actor = 'cart'
                          AND k.subject = CAST(e.enrollment_id AS text) AND k.status <> 'resolved')
""")

_COINS_NOT_REDEEMED = text("""
    SELECT p.payment_id AS id FROM purchases p
      JOIN enrollments e USING (payment_id)
      LEFT JOIN coin_ledger l ON l.kind = 'redemption' AND l.reference = p.payment_id
     WHERE p.coins_redeemed > 0 AND p.refunded_at IS NULL AND l.reference IS NULL
       AND e.enrolled_at < CAST(:in_line_since AS timestamptz)
       AND NOT EXISTS (SELECT FROM parked k WHERE k.kind = 'step' AND k.actor = 'coins'
                          AND k.subject = CAST(e.enrollment_id AS text) AND k.status <> 'resolved')
""")

_SESSIONS_MISSING = text("""
    SELECT a.payment_id AS id FROM allocations a
      LEFT JOIN series_sessions s USING (allocation_no)
     WHERE a.scheduled_at IS NOT NULL
     GROUP BY a.payment_id, a.metadata
    HAVING count(s.number) <> CAST(a.metadata ->> 'sessionCount' AS integer)
        OR min(s.number) <> 1 OR max(s.number) <> count(s.number)
""")

_SESSIONS_OUT_OF_ORDER = text("""
    SELECT DISTINCT allocation_no AS id
      FROM (SELECT allocation_no, starts_at < lag(ends_at) OVER (PARTITION BY allocation_no ORDER BY number) AS wrong
              FROM series_sessions WHERE NOT cancelled) s
     WHERE wrong
""")

_SESSIONS_ORPHANED = text("""
    SELECT DISTINCT s.allocation_no AS id FROM series_sessions s
      LEFT JOIN allocations a USING (allocation_no)
      LEFT JOIN trainers t USING (trainer_no)
     WHERE a.allocation_id IS NULL OR t.trainer_id IS NULL
""")

_SESSIONS_NOT_BOOKED = text("""
    SELECT DISTINCT s.allocation_no AS id FROM series_sessions s
      JOIN allocations a USING (allocation_no)
     WHERE NOT s.cancelled AND NOT EXISTS (
           SELECT FROM bookings b
            WHERE b.allocation_id = a.allocation_id AND b.trainer_no = s.trainer_no AND b.active
              AND b.booked @> tstzrange(s.starts_at, s.ends_at))
""")

_TRAINER_BOOKED_TWICE = text("""
    SELECT DISTINCT a.allocation_id AS id FROM bookings a
      JOIN bookings b ON b.trainer_no = a.trainer_no AND b.booking_no <> a.booking_no AND b.active
                     AND b.booked && a.booked
     WHERE a.active
""")

_STUDENT_BOOKED_TWICE = text("""
    SELECT DISTINCT a.allocation_id AS id FROM bookings a
      JOIN bookings b ON b.student_no = a.student_no AND b.booking_no <> a.booking_no AND b.active
                     AND b.booked && a.booked
     WHERE a.active
""")

_APPROVED_NOT_BOOKED = text("""
    SELECT a.allocation_id AS id FROM allocations a
     WHERE a.status = 'approved'
       AND NOT EXISTS (SELECT FROM bookings b WHERE b.allocation_id = a.allocation_id AND b.active)
""")

_COINS_BALANCE = text("""
    SELECT s.student_id AS id FROM students s
      LEFT JOIN coin_ledger l USING (student_id)
     GROUP BY s.student_id, s.coins
    HAVING s.coins <> coalesce(sum(l.coins), 0)
""")

# An earlier state is right while a later step waits in line, so only what a state claims is checked.
_STATE_WRONG = text("""
    SELECT p.payment_id AS id FROM purchases p
      LEFT JOIN enrollments e USING (payment_id)
      LEFT JOIN allocations a USING (enrollment_id)
     WHERE CASE p.state
           WHEN 'enrolled' THEN e.enrollment_id IS NULL OR a.allocation_id IS NOT NULL
           WHEN 'allocated' THEN a.allocation_id IS NULL OR a.scheduled_at IS NOT NULL
           WHEN 'scheduled' THEN a.scheduled_at IS NULL
           WHEN 'parked' THEN NOT EXISTS (
                SELECT FROM parked k WHERE k.payment_id = p.payment_id AND k.kind = 'step' AND k.status <> 'resolved')
           ELSE false
           END
""")

INVARIANTS = (
    Invariant("paid_not_enrolled", "every payment is enrolled", _PAID_NOT_ENROLLED),
    Invariant("enrolled_not_allocated", "every enrolment is allocated or parked", _ENROLLED_NOT_ALLOCATED),
    Invariant("approved_not_scheduled", "every approved allocation has sessions or is parked", _APPROVED_NOT_SCHEDULED),
    Invariant("cart_not_cleared", "what was bought is out of the cart, or parked", _CART_NOT_CLEARED),
    Invariant("coins_not_redeemed", "coins are redeemed or parked", _COINS_NOT_REDEEMED),
    Invariant("sessions_missing", "a scheduled purchase has exactly its sessions, numbered from 1", _SESSIONS_MISSING),
    Invariant("sessions_out_of_order", "the sessions of a series follow one another", _SESSIONS_OUT_OF_ORDER),
    Invariant("sessions_orphaned", "every session has its allocation and its trainer", _SESSIONS_ORPHANED),
    Invariant("sessions_not_booked", "every session lies in time booked for it", _SESSIONS_NOT_BOOKED),
    Invariant("trainer_booked_twice", "no trainer is booked twice", _TRAINER_BOOKED_TWICE),
    Invariant("student_booked_twice", "no student is booked twice", _STUDENT_BOOKED_TWICE),
    Invariant("approved_not_booked", "every approved allocation holds its trainer's time", _APPROVED_NOT_BOOKED),
    Invariant("coins_out_of_balance", "a balance is the sum of its ledger", _COINS_BALANCE),
    Invariant("state_wrong", "a purchase's state is that of its rows", _STATE_WRONG),
)


async def offenders(db: AsyncConnection, in_line_since: datetime) -> dict[str, list[str]]:
    """The offenders of every invariant by its name, empty lists left out.

    `in_line_since`: purchases whose last step is younger merely wait for the next one.
    """
    found: dict[str, list[str]] = {}
    for invariant in INVARIANTS:
        binds = {"in_line_since": in_line_since} if ":in_line_since" in invariant.offenders.text else {}
        if ids := [str(row.id) for row in await db.execute(invariant.offenders, binds)]:
            found[invariant.name] = sorted(ids)
    return found
