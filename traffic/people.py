"""Students, and trainers enough for them."""

from datetime import datetime, timedelta
from random import Random

from contracts.feeds import StudentChanged, TrainerBusy, TrainerChanged
from traffic.places import CITIES, CITY_WEIGHTS, COURSES, SERVED, City, trainer_name

_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# Some 8 km: a trainer in the middle reaches everybody, one at the edge most of them.
_SPREAD = 0.075
_HOURS = (
    [{"days": _WEEK, "from": "06:00", "to": "21:00"}],
    [{"days": _WEEK, "from": "05:30", "to": "22:00"}],
    [{"days": _WEEK, "from": "06:00", "to": "14:00"}, {"days": _WEEK, "from": "16:00", "to": "24:00"}],
    [{"days": _WEEK, "from": "06:00", "to": "21:30"}],
    [{"days": _WEEK, "from": "15:00", "to": "01:00"}],
)


def students(rng: Random, now: datetime, count: int, prefix: str) -> list[tuple[StudentChanged, City]]:
    """Students with the city each lives in; who learns online may have told no coordinates."""
    return [_student(rng, now, f"stu_{prefix}{number:04}") for number in range(1, count + 1)]


def trainers(rng: Random, now: datetime, count: int, prefix: str) -> list[TrainerChanged]:
    """Trainers, spread evenly over cities, courses and working hours."""
    return [_trainer(rng, now, number, f"trn_{prefix}{trainer_name(number)}") for number in range(count)]


def absences(rng: Random, now: datetime, of: list[TrainerChanged], prefix: str) -> list[TrainerBusy]:
    """A day of leave for one trainer in ten."""
    return [_absence(rng, now, trainer, f"leave_{prefix}{n:03}") for n, trainer in enumerate(of[4::10], 1)]


def near(rng: Random, city: City) -> dict[str, float]:
    """Coordinates in a city, most of them close to its middle."""
    north, east = (max(-_SPREAD, min(_SPREAD, rng.gauss(0, _SPREAD / 2))) for _ in range(2))
    return {"latitude": round(city.latitude + north, 5), "longitude": round(city.longitude + east, 5)}


def _student(rng: Random, now: datetime, student_id: str) -> tuple[StudentChanged, City]:
    city = rng.choices(CITIES, CITY_WEIGHTS)[0]
    changed_at = now - timedelta(days=rng.randint(1, 60), seconds=rng.randrange(86_400))
    place = near(rng, city) if city.served or rng.random() < 0.5 else {}  # noqa: PLR2004  half of them
    return StudentChanged.model_validate(
        {"studentId": student_id, "timezone": city.zone, **place, "changedAt": changed_at}
    ), city


def _trainer(rng: Random, now: datetime, number: int, trainer_id: str) -> TrainerChanged:
    city = SERVED[number % len(SERVED)]
    turn = number // len(SERVED)
    return TrainerChanged.model_validate(
        {
            "trainerId": trainer_id,
            "active": True,
            "courses": [COURSES[(turn + step) % len(COURSES)] for step in (0, 1, 3)],
            "timezone": city.zone,
            **near(rng, city),
            "radiusKm": rng.choice((15, 20, 25, 30)),
            "workingHours": _HOURS[turn % len(_HOURS)],
            "changedAt": now - timedelta(days=rng.randint(1, 200)),
        }
    )


def _absence(rng: Random, now: datetime, trainer: TrainerChanged, busy_id: str) -> TrainerBusy:
    starts_at = (now + timedelta(days=rng.randint(3, 40))).replace(hour=0, minute=0, second=0, microsecond=0)
    return TrainerBusy(
        busy_id=busy_id,
        trainer_id=trainer.trainer_id,
        starts_at=starts_at,
        ends_at=starts_at + timedelta(days=1),
        action="added",
        changed_at=now - timedelta(days=1),
    )
