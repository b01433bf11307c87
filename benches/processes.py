"""Child processes of the bench: started, awaited, stopped by closing their stdin."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benches.child import READY

_ROOT = Path(__file__).parent.parent
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class ChildFailed(Exception):
    """A process of the bench ended before its time; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process that has said that it is ready; `log` is where its stderr goes."""

    process: asyncio.subprocess.Process
    log: Path

    async def tell(self, line: str) -> None:
        """Write a line to its stdin."""
        if self.process.stdin:
            self.process.stdin.write(line.encode() + b"\n")
            await self.process.stdin.drain()

    async def hear(self) -> str:
        """The next line of its stdout. Raises: ChildFailed when it ends instead."""
        line = (await self.process.stdout.readline()).decode().strip() if self.process.stdout else ""
        if not line:
            raise ChildFailed(self.last_words())
        return line

    def check(self) -> None:
        """Raises: ChildFailed when it is no longer running."""
        if self.process.returncode is not None:
            raise ChildFailed(self.last_words())

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:]

    def cpu_seconds(self) -> float | None:
        """Processor time so far, user and system; None where there is no /proc."""
        fields = _proc(self.process.pid, "stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS if fields else None

    def megabytes(self) -> dict[str, float]:
        """Resident memory now and at its highest; empty where there is no /proc."""
        lines = dict(line.split(":", 1) for line in _proc(self.process.pid, "status").splitlines())
        names = {"resident": "VmRSS", "highest": "VmHWM"}
        return {ours: int(lines[theirs].split()[0]) / 1024 for ours, theirs in names.items() if theirs in lines}


@asynccontextmanager
async def child(
    module: str, *arguments: str, environment: dict[str, str], log: Path, patience: float = 90
) -> AsyncIterator[Child]:
    """Run `python -m module` until it is ready, and for as long as the block lasts.

    Raises: ChildFailed when it ends, or is not ready within `patience` seconds.
    """
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            cwd=_ROOT,
            env={**os.environ, **environment},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
        )
    started = Child(process, log)
    try:
        async with asyncio.timeout(patience):
            if (line := await started.hear()) != READY:
                raise ChildFailed(line)
        yield started
    except TimeoutError:
        raise ChildFailed(f"{module} did not get ready\n{started.last_words()}") from None
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.stdin:
        process.stdin.close()
    try:
        async with asyncio.timeout(45):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _proc(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""
