"""Reason codes, waits and statuses in plain words: what is wrong, and what would put it right."""

from typing import NamedTuple


class Words(NamedTuple):
    """A reason code as a person reads it."""

    wrong: str
    mend: str


REASONS: dict[str, Words] = {
    "session_count_invalid": Words(
        "The number of sessions that was sold is no whole number from 1 to 365.",
        "Give the right count: repair assign-trainer with --session-count.",
    ),
    "schedule_invalid": Words(
        "The slot, the date, the days or the time zone are missing or cannot be read; the facts name the field.",
        "Give what is wrong: repair assign-trainer with --time-slot, --date, --days-of-week or --timezone.",
    ),
    "schedule_in_the_past": Words(
        "The first session would have begun before it was decided.",
        "Agree on another first day: repair assign-trainer with --date.",
    ),
    "no_trainer_available": Words(
        "No trainer of this course is free for the whole series, works at that time and is near enough.",
        "Take one of the offers: repair assign-trainer. A trainer who fits later gets it without anybody's help.",
    ),
    "student_already_booked": Words(
        "The student has another session at one of these times; the facts give the numbers.",
        "Agree on another time: repair assign-trainer with --time-slot or --date.",
    ),
    "student_profile_missing": Words(
        "The student's profile has not come yet, or was deleted.",
        "Have the profile completed: the sessions follow by themselves. Or give the place: repair create-sessions.",
    ),
    "student_location_missing": Words(
        "The lessons are at the student's home, and the profile tells no coordinates.",
        "Have the profile completed: the sessions follow by themselves. Or give the place: repair create-sessions.",
    ),
    "student_location_invalid": Words(
        "The lessons are at the student's home, and the coordinates are no place on earth, or 0,0.",
        "Have the profile corrected: the sessions follow by themselves. Or give the place: repair create-sessions.",
    ),
    "allocation_not_approved": Words(
        "An approval was announced for an allocation that is unknown here or not approved.",
        "Find out who writes to allocations.approved; after a restored database: app.py replay.",
    ),
    "allocation_provisional": Words(
        "The allocation was made without the student's profile, which is there by now: it must be settled.",
        "It is settled by itself; at once by: repair retry.",
    ),
    "session_count_missing": Words(
        "The allocation does not tell how many sessions it has.",
        "Give the count: repair create-sessions with --session-count.",
    ),
    "enrollment_unknown": Words(
        "An event speaks of an enrolment that this database does not hold.",
        "After a restored database: app.py replay. Otherwise find out who wrote it.",
    ),
    "insufficient_coins": Words(
        "The student has fewer coins than the payment redeemed; the sessions are not held back.",
        "Let coins be credited: they are redeemed by themselves. Or leave it: repair dismiss.",
    ),
    "trainer_unavailable": Words(
        "Sessions are booked with a trainer who is away, has left or works other hours by now; they stay scheduled.",
        "Move them: repair reschedule-sessions, with one of the offers or another time or trainer.",
    ),
    "unexpected_error": Words(
        "A fault of Firstbell's own that ten tries did not get past.",
        "Read the log line of this record; once the fault is mended: repair retry.",
    ),
    "unreadable": Words(
        "Nobody can read the record; the facts name the field and what was expected there.",
        "Publish it corrected: repair edit-and-retry. Or have the producer send it right, and: repair dismiss.",
    ),
    "refused_by_database": Words(
        "The database refuses a value of the record.",
        "Publish it corrected: repair edit-and-retry. Or have the producer send it right, and: repair dismiss.",
    ),
    "conflicting_duplicate": Words(
        "The record has the id of an earlier one and says something else; the earlier one holds.",
        "Ask the producer which is right; change what should differ by another repair, then: repair dismiss.",
    ),
    "changed_at_in_future": Words(
        "The change is dated more than ten minutes ahead of its record, and would win over every later one.",
        "Publish it with its right time: repair edit-and-retry. Have the producer's clock set.",
    ),
}

# What `waits_for` names.
WAITS: dict[str, str] = {
    "trainer": "a trainer who fits",
    "studentTime": "free time of the student",
    "profile": "the student's profile",
    "location": "the student's coordinates",
    "approval": "the allocation's approval",
    "settling": "the allocation to be settled",
    "enrollment": "the enrolment",
    "coins": "enough coins",
}

OUTCOMES: dict[str, str] = {
    "applied": "Applied.",
    "dryRun": "A dry run: nothing was written.",
    "republished": "The corrected record was published to its topic.",
    "unchanged": "There was nothing to do.",
    "refused": "Refused.",
}


def waited_for(name: str | None) -> str:
    """What an item waits for; without one, a person."""
    return WAITS.get(name, name) if name else "a person"


def reason_in_words(code: str) -> Words:
    """A code of a later release has no words here yet."""
    return REASONS.get(code, Words(f"Parked for the reason {code}.", "See the facts."))
