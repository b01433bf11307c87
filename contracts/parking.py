"""What was parked, as every actor announces it."""

from typing import Any, ClassVar

from contracts.base import Event, Instant, Line, OptionalId, OptionalLine, OptionalOurId, OurId, Positive


class FulfilmentParked(Event):
    """A step or a record that waits in `parked`; a record that nobody can read has no ids but `parked_id`.

    `version` is the episode: the subject may park again after its last row was resolved. Within one
    episode the reason may change, which makes another event.
    """

    TOPIC: ClassVar[str] = "fulfilment.parked"
    KEY: ClassVar[str] = "payment_id"
    SUBJECT: ClassVar[str] = "parked_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("parked_id", "version", "reason")
    TIME: ClassVar[str | None] = "parked_at"

    parked_id: OurId
    actor: Line
    reason: Line
    facts: dict[str, Any]
    payment_id: OptionalId = None
    enrollment_id: OptionalOurId = None
    allocation_id: OptionalOurId = None
    student_id: OptionalId = None
    topic: OptionalLine = None
    waits_for: OptionalLine = None
    version: Positive
    parked_at: Instant

    @property
    def message_key(self) -> str:
        """The payment's id, so that it stays in order with the rest of the purchase; else its own."""
        return self.payment_id or str(self.parked_id)
