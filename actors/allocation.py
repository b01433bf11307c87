"""enrollments.created -> allocations.approved; enrollments.revoked -> allocations.released

Replay-safe: an allocation is decided once per enrolment, under the purchase's lock, and read back.
Parks: an invalid session count or schedule, a schedule in the past, a student who is busy,
nobody free for the whole series and near enough; an enrolment that this database does not hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from actors.assignment import assign
from actors.batch import Actor, Outcome, joined
from actors.releasing import release
from actors.request import Request, Wanted, request_of
from actors.unknown import park_unknown
from contracts.allocations import AllocationApproved
from contracts.enrollments import EnrollmentCreated, EnrollmentRevoked
from contracts.record import Record
from domain.matching import Weights
from errors import Parked
from storage import allocations, bookings, directory, purchases
from storage.allocations import Allocation, Order
from storage.parking import Parking
from storage.trainers import TrainerDirectory


@dataclass(slots=True)
class Allocator:
    """The actor's handler, with the trainers it keeps in memory and the settings of its choices."""

    weights: Weights
    default_zone: str
    trainers: TrainerDirectory = field(default_factory=TrainerDirectory)

    async def handle(self, db: AsyncConnection, records: Sequence[Record]) -> Outcome:
        """Allocate what was created, release what was revoked."""
        created = [record for record in records if isinstance(record.event, EnrollmentCreated)]
        if len(created) == len(records):
            return await self.allocate(db, created)
        # Both lock in turn, so everything is locked before either: purchases, students, and every trainer there is.
        await purchases.lock(db, (record.event.payment_id for record in records))
        await directory.lock_students(db, (record.event.student_id for record in records))
        await bookings.lock_trainers(db, range(256))
        allocated = await self.allocate(db, created) if created else Outcome()
        released = await release(db, [record for record in records if isinstance(record.event, EnrollmentRevoked)])
        return joined(allocated, released)

    async def allocate(self, db: AsyncConnection, records: Sequence[Record]) -> Outcome:
        """Give each enrolment a trainer for its whole series, once."""
        carriers = {record.event.payment_id: record for record in records}
        await purchases.lock(db, carriers)
        orders = await allocations.orders(db, sorted(carriers))
        undecided = [o for o in orders if not o.allocated and not o.refunded and not o.dismissed]
        requests, refused = await self._requests(db, undecided)
        approved = await allocations.approved(db, [o.payment_id for o in orders if o.allocated])
        if requests:
            assigned = await assign(db, self.trainers, requests, self.weights)
            approved += assigned.approved
            refused += assigned.refused
        await purchases.advance(db, _states(undecided, refused))
        return Outcome(
            publish=[approval(allocation) for allocation in approved],
            parked=park_unknown(records, {order.payment_id for order in orders})
            + [parking_of(carriers[order.payment_id], order, reason) for order, reason in refused],
            done=[str(allocation.enrollment_id) for allocation in approved],
        )

    async def decide(self, db: AsyncConnection, order: Order, wanted: Wanted) -> Allocation:
        """Decide one order anew, as an admin wants it; the caller holds the purchase's lock.

        Raises: Parked, with the reason why nobody can be had; the time of before is given back then.
        """
        return await self.take(db, await self.request(db, order, wanted))

    async def request(self, db: AsyncConnection, order: Order, wanted: Wanted) -> Request:
        """What this order asks for now; locks its student. Raises: Parked."""
        students = await directory.lock_students(db, [order.student_id])
        return request_of(order, students[order.student_id], self.default_zone, wanted)

    async def take(self, db: AsyncConnection, request: Request, since: datetime | None = None) -> Allocation:
        """Give this one request its trainer; purchase and student are locked. Raises: Parked."""
        assigned = await assign(db, self.trainers, [request], self.weights, since=since)
        for _, reason in assigned.refused:
            raise reason
        return assigned.approved[0]

    async def _requests(
        self, db: AsyncConnection, orders: Sequence[Order]
    ) -> tuple[list[Request], list[tuple[Order, Parked]]]:
        """What can be matched, and what is refused before any trainer is looked at."""
        students = await directory.lock_students(db, (order.student_id for order in orders))
        requests: list[Request] = []
        refused: list[tuple[Order, Parked]] = []
        for order in orders:
            try:
                requests.append(request_of(order, students[order.student_id], self.default_zone))
            except Parked as reason:
                refused.append((order, reason))
        return requests, refused


def actor_of(allocator: Allocator) -> Actor:
    """The allocation actor of this allocator."""
    topics = (EnrollmentCreated.TOPIC, EnrollmentRevoked.TOPIC)
    return Actor("allocation", topics, allocator.handle, subject="enrollment_id", holds_up=True)


def _states(undecided: Sequence[Order], refused: Sequence[tuple[Order, Parked]]) -> list[tuple[str, str]]:
    parked = {order.payment_id for order, _ in refused}
    return [(o.payment_id, "parked" if o.payment_id in parked else "allocated") for o in undecided]


def parking_of(record: Record, order: Order, reason: Parked) -> Parking:
    """The allocation step of this order, parked."""
    return Parking(
        reason,
        record,
        subject=str(order.enrollment_id),
        payment_id=order.payment_id,
        enrollment_id=order.enrollment_id,
        student_id=order.student_id,
        seen=order.seen,
    )


def approval(allocation: Allocation) -> AllocationApproved:
    """The event that tells of an allocation, as it is stored."""
    return AllocationApproved(
        allocation_id=allocation.allocation_id,
        enrollment_id=allocation.enrollment_id,
        payment_id=allocation.payment_id,
        student_id=allocation.student_id,
        course_id=allocation.course_id,
        trainer_id=allocation.trainer_id,
        session_count=allocation.metadata["sessionCount"],
        session_count_source=allocation.metadata["sessionCountSource"],
        provisional=allocation.provisional,
        version=allocation.version,
        approved_at=allocation.approved_at,
    )
