"""Settling: what was allocated without a usable profile is decided again, and final from then on.

The trainer stays if he still fits, else another one is chosen. Where nobody fits or the first day has
passed, the time is given back, and the allocation step parks.
"""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.allocation import Allocator, actor_of, approval, parking_of
from actors.batch import Actor, Outcome, joined
from actors.repairing.freeing import freed_news
from actors.request import Wanted
from contracts.allocations import AllocationReleased
from contracts.record import Record
from errors import Parked
from storage import allocations, bookings, parking, purchases, releases
from storage.allocations import Order


def settling(allocator: Allocator) -> Actor:
    """The allocation actor whose step is to settle: it takes the same records, and parks in the same name."""

    async def settle(db: AsyncConnection, records: Sequence[Record]) -> Outcome:
        carriers = {record.event.payment_id: record for record in records}
        await purchases.lock(db, carriers)
        settled = Outcome()
        for order in await allocations.orders(db, sorted(carriers)):
            if order.allocated and order.provisional and not order.refunded:
                settled = joined(settled, await _settled(allocator, db, order, carriers[order.payment_id]))
        return settled

    return replace(actor_of(allocator), handle=settle)


async def _settled(allocator: Allocator, db: AsyncConnection, order: Order, record: Record) -> Outcome:
    try:
        request = await allocator.request(db, order, Wanted(keep=True))
        if request.provisional:
            return Outcome()  # nothing has come that it could be settled by
        allocation = await allocator.take(db, request)
    except Parked as reason:
        released = await _given_back(db, order)
        return joined(released, Outcome(parked=[parking_of(record, order, reason)]))
    return Outcome(publish=[approval(allocation)], news=await freed_news(db, order, allocation.approved_at))


async def _given_back(db: AsyncConnection, order: Order) -> Outcome:
    """Free the time of an allocation that cannot stay; its sessions no longer wait for it."""
    await bookings.lock_trainers(db, [order.trainer_no] if order.trainer_no else [])
    await releases.free(db, [order.allocation_id], None)
    (given,) = await allocations.give_back(db, [order.allocation_id])
    await purchases.advance(db, [(order.payment_id, "parked")])
    await parking.resolve(db, "sessions", [str(order.allocation_id)])
    return Outcome(
        publish=[
            AllocationReleased(
                allocation_id=order.allocation_id,
                enrollment_id=order.enrollment_id,
                payment_id=order.payment_id,
                student_id=order.student_id,
                course_id=order.course_id,
                trainer_id=given.trainer_id,
                reason="not settled",
                version=given.version,
                effective_at=given.released_at,
                released_at=given.released_at,
            )
        ],
        news=await freed_news(db, order, given.released_at),
    )
