import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from embedded.servers import Servers

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Starter:
    """Another process that runs or has joined the servers of a home."""

    process: subprocess.Popen[str]
    home: Path

    def servers(self) -> Servers:
        """Wait until it says what it got."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        return Servers(**json.loads(line))

    def stop(self) -> None:
        """End it as a program ends by itself."""
        self.process.communicate()

    def state(self, name: str) -> dict[str, Any]:
        """What its guard wrote down of a server."""
        return json.loads((self.home / "run" / f"{name}.json").read_text())  # type: ignore[no-any-return]

    def family(self) -> list[psutil.Process]:
        """The guards, the servers and their children."""
        return psutil.Process(self.process.pid).children(recursive=True)


Begin = Callable[..., Starter]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts starters; all of them have ended with all they started when the test ends."""
    with ExitStack() as stack:

        def begin(home: Path, *wanted: str, **options: Any) -> Starter:
            return stack.enter_context(_starter(home, wanted, options))

        yield begin


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Both servers, run by another process for a whole module that only looks at them."""
    with _starter(tmp_path_factory.mktemp("shared"), ("kafka", "postgres"), {}) as starter:
        starter.servers()
        yield starter


@contextmanager
def _starter(home: Path, wanted: tuple[str, ...], options: dict[str, Any]) -> Iterator[Starter]:
    command = [sys.executable, str(Path(__file__).with_name("starter.py")), str(home), *wanted]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), **options.pop("env", {})}
    options |= dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, env=environment, text=True, **options) as process:
        family: list[psutil.Process] = []
        try:
            yield Starter(process, home)
        finally:
            if process.poll() is None:
                family = psutil.Process(process.pid).children(recursive=True)
                process.communicate()
            assert all_end(family)


def all_end(processes: list[psutil.Process]) -> bool:
    """Wait for processes that are not ours to end."""
    return not psutil.wait_procs(processes, timeout=30)[1]
