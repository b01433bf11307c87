"""What upstream tells us of payments: `payments.succeeded` and `payments.refunded`."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

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

# What their schemas tell; whoever judges them is named in the class below.
SoldCount = Annotated[Any, Field(description="sessions sold, 1 to 365: 30, '30' or '30 sessions'; a bad one parks")]
Slot = Annotated[Any, Field(description="a time of day: 16:00, 16:00-17:00 or 4:00 PM - 5:00 PM; a bad one parks")]
FirstDay = Annotated[Any, Field(description="the first day: 2026-12-01 or a full ISO instant; a bad one parks")]


class PaymentMetadata(Contract):
    """What was bought. Only the course is required.

    Fields of type Any are judged by the step that needs them, which parks with a code of its own;
    here they only have to be JSON. Empty texts become None.
    """

    course_id: Id
    purchase_tier: SoldCount = None
    session_count: SoldCount = None
    group_size: Annotated[Any, Field(description="how many learn together; one trainer serves them all")] = None
    learning_mode: Annotated[str | None, says("a text"), Field(description="online, or anything else: at home")] = None
    time_slot: Slot = None
    date: FirstDay = None
    days_of_week: Annotated[
        Any, Field(description="the days of the sessions, such as mon and wed; none: every day")
    ] = None
    preferred_time_slot: Slot = None
    preferred_date: FirstDay = None
    timezone: Annotated[Any, Field(description="a time zone such as Asia/Kolkata; the profile's counts more")] = None
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
