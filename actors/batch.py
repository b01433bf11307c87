"""What an actor is: a name, its topics, and one function from a batch to an outcome."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.base import Event
from contracts.record import Record
from storage.parking import ParkedItem, Parking


@dataclass(frozen=True, slots=True)
class News:
    """What a batch brought that something parked may wait for.

    `students`: whose profile, place, coins or time changed. `courses`: for which a trainer, hours or
    time may have become free, with the instant of the newest change.
    """

    students: frozenset[str] = frozenset()
    courses: Mapping[str, datetime] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.students or self.courses)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch led to.

    `publish`: the events of every record, replays too. `parked`: the steps that cannot be done.
    `done`: the subjects whose step has succeeded, so that what was parked of them is closed.
    `news`: what may let parked items succeed. `stored`: rows parked already, by the actor whose step
    was repaired.
    """

    publish: Sequence[Event] = ()
    parked: Sequence[Parking] = ()
    done: Sequence[str] = ()
    news: News = field(default_factory=News)
    stored: Sequence[tuple[Record, ParkedItem]] = ()


def joined(*outcomes: Outcome) -> Outcome:
    """What several steps led to, as one."""
    courses: dict[str, datetime] = {}
    for outcome in outcomes:
        for course, at in outcome.news.courses.items():
            courses[course] = max(at, courses.get(course, at))
    return Outcome(
        publish=[event for outcome in outcomes for event in outcome.publish],
        parked=[item for outcome in outcomes for item in outcome.parked],
        done=[subject for outcome in outcomes for subject in outcome.done],
        news=News(frozenset().union(*(outcome.news.students for outcome in outcomes)), courses),
        stored=[item for outcome in outcomes for item in outcome.stored],
    )


# Runs inside the batch's transaction; it neither commits nor publishes.
Handle = Callable[[AsyncConnection, Sequence[Record]], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Actor:
    """An independent consumer.

    `name` is its consumer group, `topics` what it reads. `subject` names the field of its events that
    its step is about; without one each record stands for itself. `holds_up` tells whether a purchase
    counts as parked when this step of it is. `one_by_one` gives every record a transaction of its own;
    `most` is how many records make a batch at most, where the settings allow more. One that is
    `unhurried` leaves a second to what comes and then takes all of it, since nobody waits for it. Of
    topics `by_key` the key alone counts, and what a record says is not decoded.
    """

    name: str
    topics: tuple[str, ...]
    handle: Handle
    subject: str | None = None
    holds_up: bool = False
    one_by_one: bool = False
    most: int | None = None
    unhurried: bool = False
    by_key: frozenset[str] = frozenset()
