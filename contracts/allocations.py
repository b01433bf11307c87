"""Allocations, as the allocation actor announces them."""

from typing import Annotated, ClassVar

from contracts.base import Event, Flag, Id, Instant, OptionalLine, OptionalPositive, OurId, Positive, default_if_missing


class AllocationApproved(Event):
    """A trainer for a purchase. Ours always say the session count; the sessions step parks one that does not."""

    TOPIC: ClassVar[str] = "allocations.approved"
    KEY: ClassVar[str] = "payment_id"
    SUBJECT: ClassVar[str] = "allocation_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("allocation_id", "version")
    TIME: ClassVar[str | None] = "approved_at"

    allocation_id: OurId
    enrollment_id: OurId
    payment_id: Id
    student_id: Id
    course_id: Id
    trainer_id: Id
    session_count: OptionalPositive = None
    session_count_source: OptionalLine = None
    provisional: Annotated[Flag, default_if_missing(default=False)] = False
    version: Positive
    approved_at: Instant


class AllocationReleased(Event):
    """The trainer's and the student's time is free again, from `effective_at` on."""

    TOPIC: ClassVar[str] = "allocations.released"
    KEY: ClassVar[str] = "payment_id"
    SUBJECT: ClassVar[str] = "allocation_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("allocation_id", "version")
    TIME: ClassVar[str | None] = "released_at"

    allocation_id: OurId
    enrollment_id: OurId
    payment_id: Id
    student_id: Id
    course_id: Id
    trainer_id: Id
    reason: OptionalLine = None
    version: Positive
    effective_at: Instant
    released_at: Instant
