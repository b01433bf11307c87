"""Enrolments, as the enrollment actor announces them."""

from typing import ClassVar

from contracts.base import Event, Id, Instant, OptionalCount, OurId, Positive


class EnrollmentCreated(Event):
    """A payment enrolled its student (version 1 of the enrolment)."""

    TOPIC: ClassVar[str] = "enrollments.created"
    KEY: ClassVar[str] = "payment_id"
    SUBJECT: ClassVar[str] = "enrollment_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("enrollment_id", "version")
    TIME: ClassVar[str | None] = "enrolled_at"

    enrollment_id: OurId
    payment_id: Id
    student_id: Id
    course_id: Id
    version: Positive
    enrolled_at: Instant


class EnrollmentRevoked(Event):
    """A refund revoked the enrolment (version 2); every further refund of the payment announces itself too."""

    TOPIC: ClassVar[str] = "enrollments.revoked"
    KEY: ClassVar[str] = "payment_id"
    SUBJECT: ClassVar[str] = "enrollment_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("enrollment_id", "version", "refund_id")
    TIME: ClassVar[str | None] = "revoked_at"

    enrollment_id: OurId
    payment_id: Id
    student_id: Id
    course_id: Id
    refund_id: Id
    coins_returned: OptionalCount = None
    version: Positive
    refunded_at: Instant
    revoked_at: Instant
