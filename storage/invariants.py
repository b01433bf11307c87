"""What must always hold, as named queries that return the offenders.

One list for the tests, the command line and whatever watches the service. Queries about progress
take the instant from which on a purchase merely waits in line; what is parked or dismissed waits
for a person and is no offender either.
"""

from collections.abc import Collection
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
     WHERE p.payload IS NOT NULL AND e.payment_id IS NULL
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
      JOIN purchases p USING (payment_id)
     WHERE a.status = 'approved' AND a.scheduled_at IS NULL AND p.refunded_at IS NULL
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

# What is released is no longer booked, whether or not its sessions are cancelled yet.
_SESSIONS_NOT_BOOKED = text("""
    SELECT DISTINCT s.allocation_no AS id FROM series_sessions s
      JOIN allocations a USING (allocation_no)
     WHERE NOT s.cancelled AND (a.effective_at IS NULL OR s.starts_at < a.effective_at) AND NOT EXISTS (
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

# Of one transaction, so at no moment otherwise.
_REFUNDED_NOT_REVOKED = text("""
    SELECT e.payment_id AS id FROM enrollments e
      JOIN purchases p USING (payment_id)
     WHERE (e.status = 'revoked') <> (p.refunded_at IS NOT NULL)
""")

_REVOKED_NOT_RELEASED = text("""
    SELECT e.payment_id AS id FROM enrollments e
      JOIN allocations a USING (enrollment_id)
     WHERE e.status = 'revoked'
       AND EXISTS (SELECT FROM refunds r
                    WHERE r.payment_id = e.payment_id AND r.received_at < CAST(:in_line_since AS timestamptz)
                      AND (a.status = 'approved' OR a.effective_at > r.refunded_at))
       AND NOT EXISTS (SELECT FROM parked k WHERE k.kind = 'step' AND k.actor = 'allocation'
                          AND k.subject = CAST(e.enrollment_id AS text) AND k.status <> 'resolved')
""")

# Whoever gives an allocation back without a refund parks why, and an admin may have dismissed it.
_RELEASED_NOT_PARKED = text("""
    SELECT a.payment_id AS id FROM allocations a
      JOIN purchases p USING (payment_id)
     WHERE a.status = 'released' AND p.refunded_at IS NULL
       AND a.released_at < CAST(:in_line_since AS timestamptz)
       AND NOT EXISTS (SELECT FROM parked k WHERE k.kind = 'step' AND k.actor = 'allocation'
                          AND k.subject = CAST(a.enrollment_id AS text) AND k.status <> 'resolved')
""")

_RELEASED_STILL_BOOKED = text("""
    SELECT DISTINCT a.allocation_id AS id FROM allocations a
      JOIN bookings b USING (allocation_id)
     CROSS JOIN LATERAL unnest(b.booked) AS slot
     WHERE a.status = 'released' AND b.active AND b.ends_at > a.effective_at AND lower(slot) >= a.effective_at
""")

_RELEASED_NOT_CANCELLED = text("""
    SELECT a.payment_id AS id FROM allocations a
     WHERE a.status = 'released' AND a.released_at < CAST(:in_line_since AS timestamptz)
       AND EXISTS (SELECT FROM series_sessions s
                    WHERE s.allocation_no = a.allocation_no AND NOT s.cancelled AND s.starts_at >= a.effective_at)
       AND NOT EXISTS (SELECT FROM parked k WHERE k.kind = 'step' AND k.actor = 'sessions'
                          AND k.subject = CAST(a.allocation_id AS text) AND k.status <> 'resolved')
""")

# Never more than was redeemed, nor than all refunds ask for; no less than those ask for that have had their turn.
# A refund waits for its payment first, so its turn begins with the later of the two.
_COINS_NOT_RETURNED = text("""
    SELECT e.payment_id AS id FROM enrollments e
      JOIN (SELECT payment_id, -coalesce(sum(coins) FILTER (WHERE kind = 'redemption'), 0) AS redeemed,
                   coalesce(sum(coins) FILTER (WHERE kind = 'return'), 0) AS returned
              FROM coin_ledger WHERE kind <> 'credit'
             GROUP BY payment_id) AS moved USING (payment_id)
     CROSS JOIN LATERAL (
           SELECT coalesce(sum(coalesce(r.coins_returned, redeemed)), 0) AS in_all,
                  coalesce(sum(coalesce(r.coins_returned, redeemed))
                           FILTER (WHERE greatest(r.received_at, e.revoked_at) < CAST(:in_line_since AS timestamptz)),
                           0) AS by_now
             FROM refunds r WHERE r.payment_id = e.payment_id) AS asked
     WHERE returned > least(redeemed, in_all)
        OR (returned < least(redeemed, by_now)
            AND NOT EXISTS (SELECT FROM parked k WHERE k.kind = 'step' AND k.actor = 'coins'
                               AND k.subject = CAST(e.enrollment_id AS text) AND k.status <> 'resolved'))
""")

# An earlier state is right while a later step waits in line, so only what a state claims is checked.
_STATE_WRONG = text("""
    SELECT p.payment_id AS id FROM purchases p
      LEFT JOIN enrollments e USING (payment_id)
      LEFT JOIN allocations a USING (enrollment_id)
      LEFT JOIN (SELECT payment_id, min(refunded_at) AS first FROM refunds GROUP BY payment_id) AS given
             ON given.payment_id = p.payment_id
     WHERE p.refunded_at IS DISTINCT FROM given.first OR CASE p.state
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
    Invariant(
        "refunded_not_revoked", "who was refunded, and nobody else, is no longer enrolled", _REFUNDED_NOT_REVOKED
    ),
    Invariant("revoked_not_released", "a refunded allocation is released from the refund on", _REVOKED_NOT_RELEASED),
    Invariant("released_not_parked", "who has paid and lost the trainer is parked", _RELEASED_NOT_PARKED),
    Invariant("released_still_booked", "what was released takes nobody's time", _RELEASED_STILL_BOOKED),
    Invariant("released_not_cancelled", "released sessions are cancelled, or parked", _RELEASED_NOT_CANCELLED),
    Invariant("coins_not_returned", "refunds return what they ask for of what was redeemed", _COINS_NOT_RETURNED),
    Invariant("coins_out_of_balance", "a balance is the sum of its ledger", _COINS_BALANCE),
    Invariant("state_wrong", "a purchase's state is that of its rows", _STATE_WRONG),
)


async def offenders(db: AsyncConnection, in_line_since: datetime, among: Collection[str] = ()) -> dict[str, list[str]]:
    """The offenders of every invariant, or of those named, by its name; empty lists left out.

    `in_line_since`: purchases whose last step is younger merely wait for the next one.
    """
    found: dict[str, list[str]] = {}
    for invariant in INVARIANTS:
        if among and invariant.name not in among:
            continue
        binds = {"in_line_since": in_line_since} if ":in_line_since" in invariant.offenders.text else {}
        if ids := [str(row.id) for row in await db.execute(invariant.offenders, binds)]:
            found[invariant.name] = sorted(ids)
    return found
