"""The starter's side of a guard: the folders of a server, starting it under a guard, ending it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedded.unavailable import EmbeddedUnavailable

_PAUSE = 0.02


@dataclass(frozen=True)
class Server:
    """One kind of server below one home."""

    name: str
    home: Path

    @property
    def data(self) -> Path:
        """Everything that the server keeps."""
        return self.home / self.name

    @property
    def log(self) -> Path:
        """What the server printed."""
        return self.home / "logs" / f"{self.name}.log"

    @property
    def state(self) -> Path:
        """JSON facts of the running server, written by its guard in one move."""
        return self.home / "run" / f"{self.name}.json"

    @property
    def lock(self) -> Path:
        """Held by the guard of the running server."""
        return self.home / "run" / f"{self.name}.lock"


@dataclass(frozen=True)
class Command:
    """A program for a guard to run; `uid` and `gid` None keep the user, `closed` passes closed folders as root."""

    argv: Sequence[str]
    cwd: Path
    env: dict[str, str]
    stop: str = "SIGTERM"
    steps: Sequence[tuple[str, float]] = (("SIGTERM", 20.0),)
    uid: int | None = None
    gid: int | None = None
    closed: bool = False
    remove: Sequence[str] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def prepare_home(home: Path) -> None:
    """Make the folders that everything else takes for granted; what is in them is not for other users.

    They may pass through `home` itself: as root, PostgreSQL runs as another user.

    Raises:
        EmbeddedUnavailable: the folder cannot be written.
    """
    try:
        home.mkdir(mode=0o711, parents=True, exist_ok=True)
        for folder in (home / "run", home / "logs", home / "kafka"):
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EmbeddedUnavailable(f"Servers cannot be kept in {home} ({error.strerror})") from error


def spawn(server: Server, lock: int, command: Command, *, record: bool) -> subprocess.Popen[bytes]:
    """Start the command under a guard that holds the lock; with `record` its facts are kept while it runs."""
    order = {
        "argv": list(command.argv),
        "cwd": str(command.cwd),
        "env": command.env,
        "uid": command.uid,
        "gid": command.gid,
        "closed": command.closed,
        "stop": command.stop,
        "steps": list(command.steps),
        "state": str(server.state) if record else None,
        "facts": command.facts,
        "remove": list(command.remove),
        "starter": os.getpid(),
    }
    script = Path(__file__).with_name("guard.py")
    with server.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603  (a script of ours)
            [sys.executable, "-I", "-S", str(script), json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            pass_fds=[lock],
            start_new_session=True,
        )


def run_once(server: Server, lock: int, command: Command) -> None:
    """Run a command to its end under a guard.

    Raises:
        EmbeddedUnavailable: the command failed; the sentence ends with the last line it printed.
    """
    guard = spawn(server, lock, command, record=False)
    try:
        code = guard.wait()
    finally:
        end([guard])
    if code:
        raise EmbeddedUnavailable(f"{server.name} could not be set up ({last_line(server)})")


def await_answer(guard: subprocess.Popen[bytes], answers: Callable[[], bool], seconds: float) -> bool:
    """Wait until the server answers; False when it ended, or did not answer within the seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and guard.poll() is None:
        if answers():
            return True
        time.sleep(_PAUSE)
    return False


def end(guards: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask all guards to end their servers, and wait; a guard needs no more than its steps allow."""
    for guard in guards:
        if guard.stdin:
            guard.stdin.close()
    for guard in guards:
        guard.wait()


def fresh_log(server: Server, largest: int = 5_000_000) -> None:
    """Put a log that has grown beyond `largest` bytes aside, replacing the one before it."""
    with suppress(FileNotFoundError):
        if server.log.stat().st_size > largest:
            server.log.replace(server.log.with_suffix(".log.1"))


def last_line(server: Server) -> str:
    """The last line of the log that says anything, for the sentence of an error."""
    with suppress(FileNotFoundError):
        text = server.log.read_bytes()[-4000:].decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith(("at ", "... "))]
        if lines:
            return f"{lines[-1]}; see {server.log}"
    return f"see {server.log}"
