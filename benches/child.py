"""What the bench's own processes have in common: they say when they are ready, and end with their parent."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import uvloop

from benches.sampler import sampled

READY = "ready"


async def serve_until_told() -> None:
    """Say that all is ready, and return at the end of stdin, at SIGTERM or at SIGINT."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    say(READY)
    reading = asyncio.create_task(line_from_stdin())
    waiting = asyncio.create_task(told.wait())
    await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)


async def line_from_stdin() -> str:
    """The next line of stdin, empty at its end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return (await reader.readline()).decode()


def say(line: str) -> None:
    """Tell the parent, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(main: Callable[[], Coroutine[Any, Any, None]], profile: Path | None = None) -> None:
    """Run on uvloop; with `profile`, sample where the time goes and write it there at the end."""
    with sampled(profile) if profile else nullcontext():
        uvloop.run(main())
