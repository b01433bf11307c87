"""Finding and locking what a command is about, and which rows it may touch."""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.repairing.subjects import Subject, as_record
from contracts.repairs import RepairCommand
from storage import parked, purchases, targets
from storage.effects import Scope
from storage.parked import ParkedRow
from storage.targets import Target


async def locate(db: AsyncConnection, command: RepairCommand, at: datetime) -> tuple[Subject, Scope]:
    """Lock the purchase, then the parked row, and read both as they are then; nothing found is None."""
    ids = await _ids(db, command)
    if payment_id := ids.get("payment_id"):
        await purchases.lock(db, [payment_id])
    target = await targets.find(db, **ids) if any(ids.values()) else None
    parked_id = getattr(command, "parked_id", None)
    row = await parked.lock(db, parked_id) if parked_id else None
    return Subject(target, row, at), _scope(target, row, at)


async def _ids(db: AsyncConnection, command: Any) -> dict[str, Any]:
    """The id that names the purchase: its payment id, wherever it can be found out before the lock."""
    if parked_id := getattr(command, "parked_id", None):
        row = await parked.find(db, parked_id)
        if row is None:
            return {}
        ids: dict[str, Any] = {
            "payment_id": row.payment_id,
            "enrollment_id": row.enrollment_id,
            "allocation_id": row.allocation_id,
        }
    else:
        names = ("payment_id", "enrollment_id", "allocation_id")
        ids = {name: getattr(command, name, None) for name in names}
    if any(ids.values()) and ids["payment_id"] is None:
        found = await targets.find(db, **ids)
        ids = {"payment_id": found.payment_id} if found else {}
    return {name: value for name, value in ids.items() if value is not None}


def _scope(target: Target | None, row: ParkedRow | None, at: datetime) -> Scope:
    students = {target.student_id if target else None, row.student_id if row else None} - {None}
    said = scope_of(as_record(row, at).event) if row and row.kind == "record" else Scope()
    return said | Scope(
        payment_ids=frozenset([target.payment_id] if target else []),
        student_ids=frozenset(str(student_id) for student_id in students),
        parked_ids=frozenset([row.id] if row else []),
    )


def scope_of(event: Any) -> Scope:
    """What a record from outside may touch, by the ids that it names."""

    def ids(name: str) -> frozenset[str]:
        value = getattr(event, name, None)
        return frozenset([value] if value else [])

    return Scope(
        payment_ids=ids("payment_id"),
        student_ids=ids("student_id"),
        trainer_ids=ids("trainer_id"),
        busy_ids=ids("busy_id"),
        item_ids=ids("item_id"),
        credit_ids=ids("credit_id"),
    )
