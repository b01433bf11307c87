"""What an actor is: a name, its topics, and one function from a batch to an outcome."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.base import Event
from contracts.record import Record
from storage.parking import Parking


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch led to.

    `publish`: the events of every record, replays too. `parked`: the steps that cannot be done.
    `done`: the subjects whose step has succeeded, so that what was parked of them is closed.
    """

    publish: Sequence[Event] = ()
    parked: Sequence[Parking] = ()
    done: Sequence[str] = ()


# Runs inside the batch's transaction; it neither commits nor publishes.
Handle = Callable[[AsyncConnection, Sequence[Record]], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Actor:
    """An independent consumer.

    `name` is its consumer group, `topics` what it reads. `subject` names the field of its events that
    its step is about; without one each record stands for itself. `holds_up` tells whether a purchase
    counts as parked when this step of it is.
    """

    name: str
    topics: tuple[str, ...]
    handle: Handle
    subject: str | None = None
    holds_up: bool = False
