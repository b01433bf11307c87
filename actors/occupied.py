"""Who is busy when, as the choosing of trainers needs it: bookings and absences as bitmaps."""

from collections.abc import Iterable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.occupancy import Occupancy
from domain.schedule import Series
from storage import bookings
from storage.bookings import Taken


async def occupied(
    db: AsyncConnection, series: Iterable[Series], trainer_nos: Sequence[int], student_nos: Sequence[int]
) -> tuple[Occupancy, Occupancy]:
    """When these trainers and students are busy, within the time of the series; read after the locks."""
    asked = list(series)
    trainers, students = Occupancy(asked), Occupancy(asked)
    found = await bookings.occupied(db, trainer_nos, student_nos)
    for no, booked in found.trainers:
        trainers.book(no, booked)
    for no, booked in found.students:
        students.book(no, booked)
    block(trainers, found.absences)
    return trainers, students


def block(occupancy: Occupancy, taken: Sequence[Taken]) -> None:
    """Occupy times that are no series."""
    for time in taken:
        occupancy.block(time.who, time.starts_at, time.ends_at)
