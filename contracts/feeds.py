"""What other services tell the directory: profiles, trainers, their absences, carts, coins."""

from functools import cache
from typing import Annotated, ClassVar, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, field_validator, model_validator

from contracts.base import (
    Event,
    Flag,
    Id,
    Instant,
    Latitude,
    Longitude,
    OptionalFinite,
    Positive,
    default_if_missing,
    missing_if_empty,
    number,
    one_of,
    says,
    unexpected,
)
from contracts.hours import WorkingHours

_ZONE = "a time zone of the IANA database, such as Asia/Kolkata"


@cache
def _zones() -> frozenset[str]:
    # Both are files of the database and no zones: one is this machine's, the other an error on purpose.
    return frozenset(available_timezones() - {"localtime", "Factory", "posixrules"})


def _known_zone(name: str) -> str:
    if name not in _zones():
        raise unexpected(_ZONE)
    return name


Zone = Annotated[str, AfterValidator(_known_zone), says(_ZONE)]
OptionalZone = Annotated[Zone | None, BeforeValidator(missing_if_empty)]
Action = Annotated[str, one_of("added", "removed")]


class StudentChanged(Event):
    """A student's profile. Coordinates that are no place on earth are kept: the sessions step parks them."""

    TOPIC: ClassVar[str] = "students.changed"
    KEY: ClassVar[str] = "student_id"
    SUBJECT: ClassVar[str] = "student_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("student_id", "changed_at")
    TIME: ClassVar[str | None] = "changed_at"

    student_id: Id
    timezone: OptionalZone = None
    latitude: OptionalFinite = None
    longitude: OptionalFinite = None
    changed_at: Instant


class TrainerChanged(Event):
    """A trainer: what he teaches, when he works, and where. One who is not active needs no zone."""

    TOPIC: ClassVar[str] = "trainers.changed"
    KEY: ClassVar[str] = "trainer_id"
    SUBJECT: ClassVar[str] = "trainer_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("trainer_id", "changed_at")
    TIME: ClassVar[str | None] = "changed_at"

    trainer_id: Id
    active: Annotated[Flag, default_if_missing(default=True)] = True
    courses: Annotated[tuple[Id, ...], default_if_missing(())] = ()
    timezone: Annotated[OptionalZone, default_if_missing(None)] = None
    latitude: Annotated[Latitude | None, BeforeValidator(missing_if_empty)] = None
    longitude: Annotated[Longitude | None, BeforeValidator(missing_if_empty)] = None
    radius_km: Annotated[Annotated[float, number(0)] | None, BeforeValidator(missing_if_empty)] = None
    working_hours: Annotated[tuple[WorkingHours, ...], default_if_missing(())] = ()
    changed_at: Instant

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.active and self.timezone is None:
            raise unexpected(f"{_ZONE} (only a trainer who is not active may lack one)", "timezone")
        if (self.latitude is None) != (self.longitude is None):
            absent = "latitude" if self.latitude is None else "longitude"
            raise unexpected("a number: a place has a latitude and a longitude", absent)
        if self.latitude == 0 and self.longitude == 0:
            raise unexpected("a place where people live: 0, 0 stands for an unknown one", "latitude")
        return self


class TrainerBusy(Event):
    """Time of a trainer that Firstbell did not book: an absence, or lessons of somebody else."""

    TOPIC: ClassVar[str] = "trainers.busy"
    KEY: ClassVar[str] = "busy_id"
    SUBJECT: ClassVar[str] = "busy_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("busy_id", "changed_at", "action")
    TIME: ClassVar[str | None] = "changed_at"

    busy_id: Id
    trainer_id: Id
    starts_at: Instant
    ends_at: Instant
    action: Action
    changed_at: Instant

    @field_validator("ends_at")
    @classmethod
    def _after_its_start(cls, ends_at: Instant, info: ValidationInfo) -> Instant:
        starts_at = info.data.get("starts_at")
        if starts_at is not None and ends_at <= starts_at:
            raise unexpected("an instant after startsAt")
        return ends_at


class CartChanged(Event):
    """An item was put into a cart or taken out."""

    TOPIC: ClassVar[str] = "carts.changed"
    KEY: ClassVar[str] = "item_id"
    SUBJECT: ClassVar[str] = "item_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("item_id", "changed_at", "action")
    TIME: ClassVar[str | None] = "changed_at"

    student_id: Id
    item_id: Id
    course_id: Id
    action: Action
    changed_at: Instant


class CoinsCredited(Event):
    """Coins given to a student."""

    TOPIC: ClassVar[str] = "coins.credited"
    KEY: ClassVar[str] = "credit_id"
    SUBJECT: ClassVar[str] = "credit_id"
    IDENTITY: ClassVar[tuple[str, ...]] = ("credit_id",)
    TIME: ClassVar[str | None] = "credited_at"

    credit_id: Id
    student_id: Id
    coins: Positive
    credited_at: Instant
