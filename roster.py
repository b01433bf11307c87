"""Which actors there are, each with what it needs."""

from collections.abc import Sequence

from actors import allocation, cart, coins, directory, enrollment, metrics, repair, sessions
from actors.allocation import Allocator
from actors.batch import Actor
from actors.repairing.catching_up import Behind
from actors.repairing.subjects import Tools
from domain.matching import Weights
from settings import Settings

ACTORS = ("enrollment", "cart", "coins", "allocation", "sessions", "directory", "repair", "metrics")

# Those for whom a purchase waits in line while they have something to read.
FULFILLING = ACTORS[:-1]


def actors_of(settings: Settings, names: Sequence[str] = ACTORS, *, behind: Behind | None = None) -> list[Actor]:
    """The actors of these names; `behind` tells whether others have older records to read, where anybody knows."""
    known = {actor.name: actor for actor in _steps(settings)}
    # Trainers are kept in memory, and never by two that work at the same time.
    allocator = Allocator(_weights(settings), settings.default_timezone)
    steps = {actor.name: actor for actor in _steps(settings)} | {"allocation": allocation.actor_of(allocator)}
    known["repair"] = repair.actor(Tools(steps, allocator), settings.signing_keys, behind)
    return [known[name] for name in names]


def _steps(settings: Settings) -> list[Actor]:
    allocator = Allocator(_weights(settings), settings.default_timezone)
    return [
        enrollment.ACTOR,
        cart.ACTOR,
        coins.ACTOR,
        allocation.actor_of(allocator),
        sessions.ACTOR,
        directory.ACTOR,
        metrics.ACTOR,
    ]


def _weights(settings: Settings) -> Weights:
    return Weights(per_km=settings.weight_per_km, per_series=settings.weight_per_series)
