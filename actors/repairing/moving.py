"""Moving the rest of a series to another slot, date or trainer; the number of sessions never changes."""

from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.allocation import Allocator, approval
from actors.batch import Outcome
from actors.repairing.freeing import freed_news
from actors.request import Request, moved_series, place_of, schedule_of
from contracts.repairs import RescheduleSessions
from domain.directory import Wish
from domain.values import is_online
from errors import Refused
from storage import allocations, directory, moving
from storage.allocations import Order
from storage.directory import Student
from storage.moving import Rest


async def reschedule(db: AsyncConnection, allocator: Allocator, order: Order, command: RescheduleSessions) -> Outcome:
    """Move what has not begun; the caller holds the purchase's lock.

    The trainer stays if he fits, unless another one is named. Raises: Parked when it cannot be done,
    Refused when there is nothing to move.
    """
    rest = await moving.rest(db, order.allocation_id, order.now)
    if rest is None:
        raise Refused("nothing_to_move", "Every session of this series has begun already.")
    students = await directory.lock_students(db, [order.student_id])
    request = _request(order, rest, students[order.student_id], command)
    allocation = await allocator.take(db, request, since=order.now)
    await moving.move(db, order.allocation_id, rest.first_number)
    return Outcome(publish=[approval(allocation)], news=await freed_news(db, order, allocation.approved_at))


def _request(order: Order, rest: Rest, student: Student, command: RescheduleSessions) -> Request:
    given = schedule_given(command)
    decided = order.decided or {}
    first_day = rest.starts_at.astimezone(ZoneInfo(decided["timezone"])).date().isoformat()
    series = moved_series(order, given, first_day, rest.count)
    place = place_of(student)
    online = is_online(decided.get("learningMode"))
    wish = Wish(order.payment_id, order.course_id, series, student.student_no, place, not online and place is not None)
    return Request(
        order,
        wish,
        provisional=False,
        metadata={**decided, **schedule_of(series)},
        trainer_id=command.trainer_id,
        # Rules that were set aside, were so for the trainer who stays.
        force=() if command.trainer_id else order.repaired.get("force", ()),
        keep=order.trainer_no,
        first_number=rest.first_number,
    )


def schedule_given(command: Any) -> dict[str, Any]:
    """The fields of a schedule that a command gives, by their names on the wire."""
    given = {"date": command.date, "timeSlot": command.time_slot, "daysOfWeek": command.days_of_week}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value}


async def order_of(db: AsyncConnection, payment_id: str) -> Order:
    """The order of one purchase that is enrolled, read under its lock."""
    (order,) = await allocations.orders(db, [payment_id])
    return order
