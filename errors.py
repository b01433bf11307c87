"""The one tree of errors: the class of an error decides what becomes of the record.

Parked        a business reason: the record is kept in `parked` with its facts, the topic goes on
Unreadable    nobody can read the record: parked as well, under the hash of its bytes
Refused       a command of an admin that is not carried out: it is answered with the reason
Transient     nothing wrong with the record: everything is rolled back and done again
Anything else is a fault of ours: tried again with growing pauses, and counted by the fuse.
"""

from collections.abc import Iterator
from typing import Any, ClassVar


class FirstbellError(Exception):
    """Root of every error that Firstbell raises on purpose."""


class Parked(FirstbellError):
    """A step that cannot be done for a reason of the business.

    `code` is stored, labelled and searched, so it never changes; `waits_for` names the news that
    would let the step succeed (None: only an admin can); `facts` are JSON values, not prose.
    """

    code: ClassVar[str]
    waits_for: ClassVar[str | None] = None

    def __init__(self, **facts: Any) -> None:
        super().__init__(self.code, facts)
        self.facts = facts


class SessionCountInvalid(Parked):
    """A session count is given, and it is no whole number from 1 to 365."""

    code = "session_count_invalid"


class ScheduleInvalid(Parked):
    """The slot, the date, the days or the zone are missing or cannot be read."""

    code = "schedule_invalid"


class ScheduleInThePast(Parked):
    """The first session would have begun before it was decided."""

    code = "schedule_in_the_past"


class NoTrainerAvailable(Parked):
    """No trainer of this course is free for the whole series and near enough."""

    code = "no_trainer_available"
    waits_for = "trainer"


class StudentAlreadyBooked(Parked):
    """The student has another session at one of the times."""

    code = "student_already_booked"
    waits_for = "studentTime"


class StudentProfileMissing(Parked):
    """The student's profile has not come yet, or was deleted."""

    code = "student_profile_missing"
    waits_for = "profile"


class StudentLocationMissing(Parked):
    """A lesson at home, and the profile has no coordinates."""

    code = "student_location_missing"
    waits_for = "location"


class StudentLocationInvalid(Parked):
    """A lesson at home, and the coordinates are no place on earth (or 0,0)."""

    code = "student_location_invalid"
    waits_for = "location"


class AllocationNotApproved(Parked):
    """An `allocations.approved` for an allocation that is not approved here, or unknown."""

    code = "allocation_not_approved"
    waits_for = "approval"


class AllocationProvisional(Parked):
    """The profile is there by now, but the allocation was made without it and must be settled."""

    code = "allocation_provisional"
    waits_for = "settling"


class SessionCountMissing(Parked):
    """The allocation's metadata holds no session count."""

    code = "session_count_missing"


class EnrollmentUnknown(Parked):
    """An event about an enrolment that this database does not hold."""

    code = "enrollment_unknown"
    waits_for = "enrollment"


class InsufficientCoins(Parked):
    """The student's balance is smaller than what the payment redeemed."""

    code = "insufficient_coins"
    waits_for = "coins"


class TrainerUnavailable(Parked):
    """Sessions are booked with a trainer who is away, has left or works other hours by now; they stay scheduled."""

    code = "trainer_unavailable"
    waits_for = "trainer"


class UnexpectedError(Parked):
    """A fault of ours that ten tries did not get past."""

    code = "unexpected_error"


class RecordRefused(Parked):
    """A record that is kept under the hash of its bytes, closed only by a command."""


class Unreadable(RecordRefused):
    """The bytes are no valid message of their topic; facts: `field` and `expected`."""

    code = "unreadable"


class RefusedByDatabase(RecordRefused):
    """The database refuses a value of this record."""

    code = "refused_by_database"


class ConflictingDuplicate(RecordRefused):
    """A record with the id of an earlier one, and other content."""

    code = "conflicting_duplicate"


class ChangedAtInFuture(RecordRefused):
    """A feed record whose `changedAt` lies more than ten minutes ahead of the record itself."""

    code = "changed_at_in_future"


class Refused(FirstbellError):
    """A command that is not carried out: a stable code, a sentence an admin understands, and facts (JSON values)."""

    def __init__(self, code: str, message: str, **facts: Any) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.facts = facts


class Transient(FirstbellError):
    """The database or the broker cannot serve now: roll back, wait, do it again."""


class Contended(Transient):
    """Too slow or out of locks: smaller batches help."""


class Conflict(Transient):
    """Another transaction won a unique key or a booking: read again before judging."""


class BadValue(FirstbellError):
    """The database refuses a value: some record of the batch carries it."""


class Fault(FirstbellError):
    """A database error that speaks of our code or its set-up, never of a record."""


def codes() -> frozenset[str]:
    """Every reason code there is."""
    return frozenset(kind.code for kind in _kinds(Parked) if "code" in vars(kind))


def in_words(code: str) -> str:
    """What a reason code means, in a sentence; the code itself where it is none of ours."""
    return next(
        (f"{kind.__doc__}".splitlines()[0] for kind in _kinds(Parked) if getattr(kind, "code", "") == code), code
    )


def _kinds(parent: type[Parked]) -> Iterator[type[Parked]]:
    for kind in parent.__subclasses__():
        yield kind
        yield from _kinds(kind)
