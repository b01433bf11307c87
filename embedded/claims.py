"""Who may start a server, and whether it runs.

A server is claimed by a lock that its guard holds for as long as it lives. The kernel drops such a lock
whatever kills the holder, so neither a power loss nor a process id given twice can make a dead server look alive.
"""

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from embedded.guarded import Server
from embedded.unavailable import EmbeddedUnavailable

_PAUSE = 0.02
_ENDING_SECONDS = 60.0
_START_SECONDS = 900.0


def state_of(server: Server) -> dict[str, Any] | None:
    """The facts of a server whose guard lives, else None."""
    try:
        facts = json.loads(server.state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and _is_held(server.lock) else None


def _is_held(lock: Path) -> bool:
    import fcntl  # noqa: PLC0415  (not on Windows)

    with suppress(FileNotFoundError), lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def starting(home: Path) -> Iterator[None]:
    """Hold the home's start lock: of two that start at once, the second waits, and then joins."""
    with (home / "run" / "start.lock").open("ab") as file:
        if not _lock_within(file.fileno(), _START_SECONDS, lambda: False):
            raise EmbeddedUnavailable(f"Another process has been starting servers in {home} for too long")
        yield


@contextmanager
def claimed(server: Server, joinable: Callable[[], bool]) -> Iterator[int | None]:
    """Claim the server, and give the lock's descriptor; None when it runs by now and can be joined.

    Waits for a server that is about to end. What a killed guard has left behind is ended first.
    """
    with server.lock.open("ab") as file:
        if _lock_within(file.fileno(), _ENDING_SECONDS, joinable):
            _sweep(server)
            yield file.fileno()
        elif joinable():
            yield None
        else:
            raise EmbeddedUnavailable(f"A {server.name} that runs in {server.home} neither answers nor ends")


def _lock_within(descriptor: int, seconds: float, given_up: Callable[[], bool]) -> bool:
    import fcntl  # noqa: PLC0415  (not on Windows)

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if given_up():
                return False
            time.sleep(_PAUSE)
        else:
            return True
    return False


def _sweep(server: Server) -> None:
    """End a server that outlived its guard, and remove what only served that run."""
    try:
        facts = json.loads(server.state.read_text(encoding="utf-8"))
        _end_left_over(int(facts["pid"]), signal.Signals[facts["stop"]], of=server.data)
        for folder in facts["remove"]:
            shutil.rmtree(folder, ignore_errors=True)
    except (OSError, ValueError, KeyError, TypeError):
        # No state, or none of ours: nothing is known to be left.
        pass
    server.state.unlink(missing_ok=True)


def _end_left_over(pid: int, stop: signal.Signals, *, of: Path) -> None:
    """End the process if its command line names the data; an id given to another program meanwhile is left alone."""
    import psutil  # noqa: PLC0415  (comes with the extra)

    with suppress(psutil.Error):
        left = psutil.Process(pid)
        if any(str(of) in part for part in left.cmdline()):
            left.send_signal(stop)
            with suppress(psutil.TimeoutExpired):
                left.wait(_ENDING_SECONDS / 2)
            left.kill()
            left.wait(_ENDING_SECONDS / 2)
