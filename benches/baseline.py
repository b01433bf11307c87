"""What Firstbell is allowed to do for a purchase, exactly: a change here is a decision, not an accident.

`python -m benches --counts-only` prints what is counted now.
"""

from typing import Any, Final

# One batch of each size, one after the other.
BATCHES: Final = (1, 500)
STATEMENTS: Final = {"enrollment": 5, "cart": 3, "coins": 7, "allocation": 13, "sessions": 6}
# Inserted, updated and deleted for both batches together.
ROWS: Final = {
    "allocations": [501, 501, 0],
    "bookings": [501, 0, 0],
    "cart_clearances": [501, 0, 0],
    "coin_ledger": [126, 0, 0],
    "enrollments": [501, 0, 0],
    "purchases": [501, 1002, 0],
    "series_sessions": [15_030, 0, 0],
    "students": [0, 126, 0],
}


def departures(counts: dict[str, Any]) -> list[str]:
    """What was counted otherwise than it is written here, in words; empty when nothing was."""
    found = [
        f"{actor}: {counted} statements for a batch of {size}, {STATEMENTS.get(actor)} in the baseline"
        for size, actors in counts["statements"].items()
        for actor, counted in actors.items()
        if counted != STATEMENTS.get(actor)
    ]
    tables = sorted(counts["rows"].keys() | ROWS.keys())
    return found + [
        f"{table}: rows (inserted, updated, deleted) {counts['rows'].get(table)}, {ROWS.get(table)} in the baseline"
        for table in tables
        if counts["rows"].get(table) != ROWS.get(table)
    ]
