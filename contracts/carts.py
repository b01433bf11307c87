"""Carts, as the cart actor announces them."""

from typing import ClassVar

from contracts.base import Event, Id, Instant, OptionalId, OptionalInstant, Positive


class CartCleared(Event):
    """A purchase took `item_id` out of the cart, or the course's items that were added until `added_until`."""

    TOPIC: ClassVar[str] = "carts.cleared"
    KEY: ClassVar[str] = "payment_id"
    SUBJECT: ClassVar[str] = "payment_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("payment_id", "version")
    TIME: ClassVar[str | None] = "cleared_at"

    payment_id: Id
    student_id: Id
    course_id: Id
    item_id: OptionalId = None
    added_until: OptionalInstant = None
    version: Positive
    cleared_at: Instant
