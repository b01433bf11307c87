"""The broker and the database of the embedded default: started together, joined by later processes, ended together."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from embedded import claims, guarded, kafka, postgres
from embedded.guarded import Server
from embedded.unavailable import EmbeddedUnavailable


@dataclass(frozen=True)
class Servers:
    """Addresses of what runs; None for what is not run here. `joined`: another process started all of it."""

    kafka: str | None
    database_url: str | None
    joined: bool


def running(home: Path) -> Servers | None:
    """What runs in this home and answers now, or None; starts nothing."""
    home = home.resolve()
    broker, database = _kafka_at(home), _postgres_at(home)
    return Servers(broker, database, joined=True) if broker or database else None


@contextmanager
def servers(
    home: Path,
    *,
    kafka: bool = True,
    postgres: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Servers]:
    """Start what is asked for and does not run in this home yet; what was started here ends with the context.

    It ends with this process too, however the process ends. Blocks for some seconds; `progress` is told in words.

    Raises:
        EmbeddedUnavailable: something cannot be had or does not start; one sentence for people.
    """
    if sys.platform == "win32":
        raise EmbeddedUnavailable("Servers of our own do not run on Windows")
    home = home.resolve()
    guarded.prepare_home(home)
    guards: list[subprocess.Popen[bytes]] = []
    try:
        with claims.starting(home):
            _start_missing(home, guards, progress, kafka=kafka, postgres=postgres)
            broker = _kafka_at(home) if kafka else None
            database = _postgres_at(home) if postgres else None
        if (kafka and not broker) or (postgres and not database):
            raise EmbeddedUnavailable(f"What was started in {home} ended at once; see {home / 'logs'}")
        yield Servers(broker, database, joined=not guards)
    finally:
        guarded.end(guards)


def _start_missing(
    home: Path,
    guards: list[subprocess.Popen[bytes]],
    progress: Callable[[str], None],
    *,
    kafka: bool,
    postgres: bool,
) -> None:
    """Start what does not run; each guard is added to `guards` as soon as it is there. Both start at the same time."""
    with ExitStack() as held:
        launched = None
        if postgres:
            launched = _launch_postgres(home, held, guards, progress)
        if kafka:
            _start_kafka(home, held, guards, progress)
        if launched:
            launched()


def _launch_postgres(
    home: Path, held: ExitStack, guards: list[subprocess.Popen[bytes]], progress: Callable[[str], None]
) -> Callable[[], None] | None:
    """Launch it, and give what waits for it; None when it is joined."""
    server = Server("postgres", home)
    lock = held.enter_context(claims.claimed(server, lambda: _postgres_at(home) is not None))
    if lock is None:
        return None
    guard, sockets = postgres.launch(server, lock, progress)
    guards.append(guard)
    return partial(postgres.await_ready, server, guard, sockets)


def _start_kafka(
    home: Path, held: ExitStack, guards: list[subprocess.Popen[bytes]], progress: Callable[[str], None]
) -> None:
    server = Server("kafka", home)
    lock = held.enter_context(claims.claimed(server, lambda: _kafka_at(home) is not None))
    if lock is not None:
        guards.append(kafka.start(server, lock, progress))


def _kafka_at(home: Path) -> str | None:
    state = claims.state_of(Server("kafka", home))
    return state["address"] if state and kafka.answers(state["address"]) else None


def _postgres_at(home: Path) -> str | None:
    state = claims.state_of(Server("postgres", home))
    return postgres.address(state["sockets"]) if state and postgres.answers(state["sockets"]) else None
