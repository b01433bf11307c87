"""Sessions, as the sessions actor announces them: one event tells a whole series."""

from typing import ClassVar

from contracts.base import Contract, Event, Id, Instant, OptionalPositive, OurId, Positive


class SessionTime(Contract):
    """One session; without `version` it is the first (a calendar's SEQUENCE is version - 1)."""

    number: Positive
    starts_at: Instant
    ends_at: Instant
    version: OptionalPositive = None


class SessionsScheduled(Event):
    """Every session of an allocation, in order."""

    TOPIC: ClassVar[str] = "sessions.scheduled"
    KEY: ClassVar[str] = "payment_id"
    SUBJECT: ClassVar[str] = "allocation_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("allocation_id", "version")
    TIME: ClassVar[str | None] = "scheduled_at"

    allocation_id: OurId
    payment_id: Id
    student_id: Id
    trainer_id: Id
    course_id: Id
    version: Positive
    sessions: tuple[SessionTime, ...]
    scheduled_at: Instant


class SessionsCancelled(Event):
    """The sessions that will not take place, at the times they had; those that had begun stay."""

    TOPIC: ClassVar[str] = "sessions.cancelled"
    KEY: ClassVar[str] = "payment_id"
    SUBJECT: ClassVar[str] = "allocation_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("allocation_id", "version")
    TIME: ClassVar[str | None] = "cancelled_at"

    allocation_id: OurId
    payment_id: Id
    student_id: Id
    trainer_id: Id
    course_id: Id
    version: Positive
    sessions: tuple[SessionTime, ...]
    cancelled_at: Instant
