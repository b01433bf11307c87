"""What upstream tells us of payments: `payments.succeeded` and `payments.refunded`."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import model_validator

from contracts.base import (
    Contract,
    Count,
    Currency,
    Event,
    Id,
    IdOrEmpty,
    Instant,
    Minor,
    OptionalCount,
    default_if_missing,
    says,
)


class PaymentMetadata(Contract):
    """What was bought. Only the course is required.

    Fields of type Any are judged by the step that needs them, which parks with a code of its own;
    here they only have to be JSON. Empty texts become None.
    """

    course_id: Id
    purchase_tier: Any = None
    session_count: Any = None
    group_size: Any = None
    learning_mode: Annotated[str | None, says("a text")] = None
    time_slot: Any = None
    date: Any = None
    days_of_week: Any = None
    preferred_time_slot: Any = None
    preferred_date: Any = None
    timezone: Any = None
    cart_item_id: IdOrEmpty | None = None
    processing_item_id: IdOrEmpty | None = None

    @model_validator(mode="after")
    def _empty_is_missing(self) -> Self:
        fields = self.__dict__
        # One pass over the values for all fields: a validator for each would cost more than the parse.
        if "" in fields.values():
            for name, value in fields.items():
                if value == "":
                    fields[name] = None
        return self


class PaymentSucceeded(Event):
    """A payment that went through (money in minor units)."""

    TOPIC: ClassVar[str] = "payments.succeeded"
    KEY: ClassVar[str] = "payment_id"
    SUBJECT: ClassVar[str] = "payment_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("payment_id",)
    TIME: ClassVar[str | None] = "succeeded_at"

    payment_id: Id
    student_id: Id
    amount_minor: Minor
    currency: Currency
    succeeded_at: Instant
    coins_redeemed: Annotated[Count, default_if_missing(0)] = 0
    metadata: PaymentMetadata


class PaymentRefunded(Event):
    """A refund; without `coins_returned`, all coins that the payment redeemed come back."""

    TOPIC: ClassVar[str] = "payments.refunded"
    KEY: ClassVar[str] = "payment_id"
    SUBJECT: ClassVar[str] = "refund_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("refund_id",)
    TIME: ClassVar[str | None] = "refunded_at"

    refund_id: Id
    payment_id: Id
    coins_returned: OptionalCount = None
    refunded_at: Instant
