"""Pauses between tries, that whoever is in a hurry cuts short."""

import asyncio
import random
from contextlib import suppress


class Pauses:
    """Growing pauses, from `first` to `longest` seconds."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._hurry = asyncio.Event()

    @property
    def hurried(self) -> bool:
        """Whether pauses are cut short now."""
        return self._hurry.is_set()

    def hurry(self) -> None:
        """Cut short the pause at hand and those to come."""
        self._hurry.set()

    def settle_down(self) -> None:
        """Pauses may take their time again."""
        self._hurry.clear()

    async def growing(self, tries: int) -> None:
        """A growing, capped pause with full jitter below its upper half."""
        longest = min(self._first * 2 ** (tries - 1), self._longest)
        await self.sleep(longest * random.uniform(0.5, 1))  # noqa: S311  spreads retries, guards nothing

    async def sleep(self, seconds: float) -> None:
        """Wait so long, or until somebody is in a hurry."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
