"""All that the database tells the business: no numbers of its own, and nothing of its clock."""

from typing import Any

from tests.e2e.deployment import Deployment
from tests.storage.test_figures import TOTALS

_PURCHASES = """
    SELECT payment_id, student_id, course_id, amount_minor, coins_redeemed, payload, state, refunded_at
      FROM purchases ORDER BY 1
"""
_REFUNDS = "SELECT refund_id, payment_id, coins_returned, refunded_at FROM refunds ORDER BY 1"
_ENROLLMENTS = "SELECT enrollment_id, payment_id, student_id, course_id, status, version FROM enrollments ORDER BY 1"
_CLEARANCES = "SELECT payment_id, student_id, item_id, course_id, added_until FROM cart_clearances ORDER BY 1"
_CARTS = "SELECT item_id FROM cart_items ORDER BY 1"
_LEDGER = "SELECT kind, reference, student_id, payment_id, coins, at FROM coin_ledger ORDER BY 1, 2"
_BALANCES = "SELECT student_id, coins FROM students ORDER BY 1"
_ALLOCATIONS = """
    SELECT allocation_id, payment_id, trainer_id, status, provisional, version, metadata, effective_at,
           latitude, longitude
      FROM allocations ORDER BY 1
"""
_BOOKINGS = """
    SELECT b.allocation_id, t.trainer_id, b.booked, b.active, b.first_day, b.session_count, b.start_minute, b.timezone
      FROM bookings b JOIN trainers t USING (trainer_no) ORDER BY 1, b.first_number
"""
_SESSIONS = """
    SELECT allocation_id, number, trainer_id, student_id, starts_at, ends_at, status, version, latitude, longitude
      FROM sessions ORDER BY 1, 2
"""
_HISTORY = """
    SELECT allocation_id, number, version, trainer_id, starts_at, ends_at, status FROM session_history ORDER BY 1, 2, 3
"""
# Who reads in another order than the first time may park such a step for a moment, and resolves it.
_PARKED = """
    SELECT id, kind, actor, reason, status FROM parked
     WHERE reason NOT IN ('enrollment_unknown', 'allocation_not_approved') OR status <> 'resolved'
     ORDER BY 1
"""
_COMMANDS = """
    SELECT command_id, command, request, accepted, outcome FROM repairs
     WHERE requested_by NOT LIKE 'system:%' ORDER BY 1
"""


async def what_counts(deployment: Deployment) -> dict[str, list[Any]]:
    """The rows of every table."""
    return {
        "purchases": await deployment.rows(_PURCHASES),
        "refunds": await deployment.rows(_REFUNDS),
        "enrollments": await deployment.rows(_ENROLLMENTS),
        "cart_clearances": await deployment.rows(_CLEARANCES),
        "cart_items": await deployment.rows(_CARTS),
        "coin_ledger": await deployment.rows(_LEDGER),
        "balances": await deployment.rows(_BALANCES),
        "allocations": await deployment.rows(_ALLOCATIONS),
        "bookings": await deployment.rows(_BOOKINGS),
        "sessions": await deployment.rows(_SESSIONS),
        "session_history": await deployment.rows(_HISTORY),
        "parked": await deployment.rows(_PARKED),
        "repairs": await deployment.rows(_COMMANDS),
    }


async def figures_of(deployment: Deployment) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]]:
    """The totals as they were counted, event by event, and as the tables give them now; zeros left out."""
    wanted = await deployment.rows(f"SELECT * FROM ({TOTALS}) AS t (name, label, value)")  # noqa: S608
    names = {name for name, _, _ in wanted}
    counted = await deployment.rows("SELECT name, label, value FROM figures WHERE value <> 0")
    return (
        {(name, label): int(value) for name, label, value in counted if name in names},
        {(name, label): int(value) for name, label, value in wanted if value},
    )
