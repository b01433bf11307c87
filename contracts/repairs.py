"""The commands of `repairs.requested`, one union by `command`, and their answer.

A command that can be read is answered, if only by a refusal: so whether a slot, a count or a place
makes sense is judged by who carries it out, not here.
"""

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field, StrictInt, StrictStr, TypeAdapter

from contracts.base import (
    Contract,
    Count,
    Event,
    Flag,
    Id,
    Instant,
    Line,
    OptionalCount,
    OptionalFinite,
    OptionalId,
    OptionalLine,
    OptionalOurId,
    OurId,
    default_if_missing,
    missing_if_empty,
    one_of,
    says,
    text_of,
)

MAX_BULK = 5_000

Step = Annotated[str, one_of("enrollment", "cart", "coins", "allocation", "sessions")]
Days = Annotated[tuple[Line, ...], says("a list of days of the week, such as mon and wed")]
OptionalDays = Annotated[Days | None, BeforeValidator(missing_if_empty)]
OptionalFlag = Annotated[Flag, default_if_missing(default=False)]
# As written: 20, "20" and "20 sessions" are read where the purchase tier is.
OptionalTier = Annotated[
    Annotated[StrictInt | StrictStr, says("a session count, such as 20")] | None,
    BeforeValidator(missing_if_empty),
]


class RepairCommand(Event):
    """What every command says: its name, its id, who asks and why."""

    TOPIC: ClassVar[str] = "repairs.requested"
    KEY: ClassVar[str] = "command_id"
    SUBJECT: ClassVar[str] = "command_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("command_id",)

    command: str
    command_id: Id
    requested_by: Annotated[str, text_of(320)]
    reason: Line
    dry_run: OptionalFlag = False
    expected_digest: OptionalLine = None
    # The bulk that this command is an item of.
    bulk_id: OptionalId = None


class Retry(RepairCommand):
    """Do the parked step again."""

    command: Literal["retry"] = "retry"
    parked_id: OurId


class Resume(RepairCommand):
    """Do this step of a purchase again, parked or not."""

    command: Literal["resume"] = "resume"
    payment_id: Id
    step: Step


class _Schedule(RepairCommand):
    date: OptionalLine = None
    time_slot: OptionalLine = None
    days_of_week: OptionalDays = None


class CreateSessions(_Schedule):
    """Create an allocation's sessions; what is given overrides what is stored."""

    command: Literal["createSessions"] = "createSessions"
    allocation_id: OurId
    session_count: OptionalTier = None
    latitude: OptionalFinite = None
    longitude: OptionalFinite = None


class AssignTrainer(_Schedule):
    """Allocate: this trainer, or without one whom the service chooses."""

    command: Literal["assignTrainer"] = "assignTrainer"
    enrollment_id: OurId
    trainer_id: OptionalId = None
    session_count: OptionalTier = None
    timezone: OptionalLine = None
    force: Annotated[tuple[Annotated[str, one_of("distance", "hours", "course")], ...], default_if_missing(())] = ()


class RescheduleSessions(_Schedule):
    """Move the sessions that have not begun."""

    command: Literal["rescheduleSessions"] = "rescheduleSessions"
    allocation_id: OurId
    trainer_id: OptionalId = None


class EditAndRetry(RepairCommand):
    """Publish corrected bytes to the topic of a record that nobody could read."""

    command: Literal["editAndRetry"] = "editAndRetry"
    parked_id: OurId
    payload: dict[str, Any]


class Dismiss(RepairCommand):
    """Take a parked item off the list, for good unless restored."""

    command: Literal["dismiss"] = "dismiss"
    parked_id: OurId


class Restore(RepairCommand):
    """Put a dismissed item back on the list."""

    command: Literal["restore"] = "restore"
    parked_id: OurId


class RetryWaiting(RepairCommand):
    """Retry whatever waits for this news."""

    command: Literal["retryWaiting"] = "retryWaiting"
    waits_for: Line
    course_id: OptionalId = None
    changed_at: Instant


class Bulk(RepairCommand):
    """One command for many parked items."""

    command: Literal["bulk"] = "bulk"
    apply: Annotated[str, one_of("retry", "dismiss", "restore")]
    parked_ids: Annotated[tuple[OurId, ...], Field(min_length=1, max_length=MAX_BULK)]


class CancelBulk(RepairCommand):
    """Stop a bulk: what it has not begun stays as it is."""

    command: Literal["cancelBulk"] = "cancelBulk"
    bulk_id: Id  # here it is required: the bulk to stop


RepairRequested = Annotated[
    Retry
    | Resume
    | CreateSessions
    | AssignTrainer
    | RescheduleSessions
    | EditAndRetry
    | Dismiss
    | Restore
    | RetryWaiting
    | Bulk
    | CancelBulk,
    Field(discriminator="command"),
]
COMMANDS: tuple[str, ...] = tuple(
    kind.model_fields["command"].default for kind in get_args(get_args(RepairRequested)[0])
)
repair_requested: TypeAdapter[RepairRequested] = TypeAdapter(RepairRequested)


class Effect(Contract):
    """What was written to one table, or would be: rows by their business columns.

    A row that was inserted or deleted stands as it is; of one that was updated `before` and `after`.
    """

    table: Line
    operation: Annotated[str, one_of("insert", "update", "delete")]
    count: Count
    rows: tuple[dict[str, Any], ...]


OUTCOMES = ("applied", "dryRun", "republished", "unchanged", "refused")

# Refusals of commands that were not even looked at: they occupy no id, and somebody should know.
REJECTIONS = frozenset({"unsigned", "unknown_key", "forged", "expired", "command_id_used"})


class Refusal(Contract):
    """Why a command was refused, in words an admin understands; `facts` are those of a step that cannot be done."""

    code: Line
    message: Line
    facts: dict[str, Any] | None = None


class Announced(Contract):
    """An event that a command published, or would: its topic, its ce_id and its ce_subject."""

    topic: Line
    id: Line
    subject: Line


class RepairCompleted(Event):
    """The answer to a command."""

    TOPIC: ClassVar[str] = "repairs.completed"
    KEY: ClassVar[str] = "command_id"
    SUBJECT: ClassVar[str] = "command_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("command_id", "outcome")
    TIME: ClassVar[str | None] = "completed_at"

    command_id: Id
    command: Line
    outcome: Annotated[str, one_of(*OUTCOMES)]
    parked_id: OptionalOurId = None
    payment_id: OptionalId = None
    enrollment_id: OptionalOurId = None
    allocation_id: OptionalOurId = None
    effects: Annotated[tuple[Effect, ...], default_if_missing(())] = ()
    digest: OptionalLine = None
    events: Annotated[tuple[Announced, ...], default_if_missing(())] = ()
    # The commands that this one was expanded into.
    items: OptionalCount = None
    refusal: Annotated[Refusal | None, BeforeValidator(missing_if_empty)] = None
    completed_at: Instant
