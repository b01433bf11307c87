"""Coins, as the coins actor announces them."""

from typing import ClassVar

from contracts.base import Event, Id, Instant, Positive


class CoinsRedeemed(Event):
    """A payment's coins left the student's balance."""

    TOPIC: ClassVar[str] = "coins.redeemed"
    KEY: ClassVar[str] = "payment_id"
    SUBJECT: ClassVar[str] = "payment_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("payment_id", "version")
    TIME: ClassVar[str | None] = "redeemed_at"

    payment_id: Id
    student_id: Id
    coins: Positive
    version: Positive
    redeemed_at: Instant


class CoinsReturned(Event):
    """A refund gave coins back."""

    TOPIC: ClassVar[str] = "coins.returned"
    KEY: ClassVar[str] = "payment_id"
    SUBJECT: ClassVar[str] = "refund_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("refund_id", "version")
    TIME: ClassVar[str | None] = "returned_at"

    refund_id: Id
    payment_id: Id
    student_id: Id
    coins: Positive
    version: Positive
    returned_at: Instant
