"""A sample world: people, carts, coins, and the purchases that are going to be paid.

The same seed, instant and sizes give the same world. Everything in it can be done: nobody buys two
series at one time of day, and there are trainers enough.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from random import Random

from contracts.base import Event
from contracts.feeds import CartChanged, CoinsCredited, StudentChanged, TrainerBusy, TrainerChanged
from traffic import people
from traffic.messages import Message, Purchase, feed_message
from traffic.orders import Order, Planner
from traffic.places import City

_STUDENTS_PER_PURCHASE = 0.8


@dataclass(frozen=True, slots=True)
class World:
    """What the feeds tell before anything is bought, and the purchases in the order of their payment."""

    students: tuple[StudentChanged, ...]
    trainers: tuple[TrainerChanged, ...]
    absences: tuple[TrainerBusy, ...]
    cart: tuple[CartChanged, ...]
    credits: tuple[CoinsCredited, ...]
    purchases: tuple[Purchase, ...]

    def feeds(self) -> list[Message]:
        """The records of the feeds, people first."""
        events: tuple[Event, ...] = (*self.students, *self.trainers, *self.absences, *self.cart, *self.credits)
        return [feed_message(event) for event in events]


def sample_world(
    seed: int,
    now: datetime,
    purchases: int,
    *,
    students: int | None = None,
    trainers: int | None = None,
    tag: str = "",
) -> World:
    """Make a world of so many purchases, with ids that contain `tag` and first lessons 2 to 16 days after `now`.

    Without other numbers there are 0.8 students and a third of a trainer to a purchase, at least 20 trainers.
    """
    rng = Random(f"{seed} {tag}")
    prefix = f"{tag}_" if tag else ""
    homes = people.students(rng, now, students or ceil(purchases * _STUDENTS_PER_PURCHASE), prefix)
    teaching = people.trainers(rng, now, trainers or max(20, ceil(purchases / 3)), prefix)
    absent = people.absences(rng, now, teaching, prefix)
    planner = Planner(rng, now, prefix)
    orders = [planner.order(number, *homes[place]) for number, place in enumerate(_buyers(rng, homes, purchases), 1)]
    bought = [order.item for order in orders if order.item]
    return World(
        students=tuple(student for student, _ in homes),
        trainers=tuple(teaching),
        absences=tuple(absent),
        cart=(*bought, *_kept_items(rng, now, orders, prefix)),
        credits=tuple(order.credit for order in orders if order.credit),
        purchases=tuple(order.purchase for order in orders),
    )


def _buyers(rng: Random, homes: list[tuple[StudentChanged, City]], purchases: int) -> list[int]:
    # Everybody buys once before anybody buys twice.
    rounds: list[int] = []
    while len(rounds) < purchases:
        rounds += rng.sample(range(len(homes)), len(homes))
    return rounds[:purchases]


def _kept_items(rng: Random, now: datetime, orders: list[Order], prefix: str) -> list[CartChanged]:
    # Of a course that nobody sells here, so no purchase takes them out of the cart.
    wishing = [order.purchase.student_id for order in orders[::7]]
    return [
        CartChanged(
            student_id=student_id,
            item_id=f"itm_{prefix}kept_{number:04}",
            course_id="crs_swimming",
            action="added",
            changed_at=now - timedelta(hours=rng.randint(1, 200)),
        )
        for number, student_id in enumerate(wishing, 1)
    ]
