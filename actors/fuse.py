"""The fuse of one actor: it trips when failures look like a broken deploy, and closes by itself."""

from collections import deque
from collections.abc import Callable


class Fuse:
    """Counts the last 200 records of an actor; trips when more than half, and at least 20, failed through us.

    While it is tripped nothing is parked. Every `probe_after` seconds a small batch may try; when it
    goes through, the fuse closes and starts to count anew.
    """

    def __init__(
        self, clock: Callable[[], float], *, window: int = 200, least: int = 20, probe_after: float = 30
    ) -> None:
        self._clock = clock
        self._least = least
        self._results: deque[bool] = deque(maxlen=window)
        self._failed = 0
        self._probe_after = probe_after
        self._next_probe: float | None = None

    @property
    def window(self) -> int:
        """How many records it looks back on: more failures than that say nothing new."""
        return self._results.maxlen or 0

    @property
    def tripped(self) -> bool:
        """Whether the actor has to hold still."""
        return self._next_probe is not None

    @property
    def wait(self) -> float:
        """Seconds until a small batch may try; 0 when it may now, or when the fuse is closed."""
        return 0 if self._next_probe is None else max(0, self._next_probe - self._clock())

    def succeeded(self, records: int = 1) -> None:
        """Count records that went through, or were parked for a reason of their own."""
        self._count(failed=False, records=records)

    def failed(self, records: int = 1) -> None:
        """Count records that failed for a cause that is ours; this may trip the fuse."""
        self._count(failed=True, records=records)
        if self._failed >= self._least and self._failed * 2 > len(self._results):
            self.hold()

    def hold(self) -> None:
        """Keep still until the next probe."""
        self._next_probe = self._clock() + self._probe_after

    def close(self) -> None:
        """The probe went through: go on, and forget what was counted."""
        self._next_probe = None
        self._results.clear()
        self._failed = 0

    def _count(self, *, failed: bool, records: int) -> None:
        for _ in range(min(records, self.window)):
            if len(self._results) == self._results.maxlen:
                self._failed -= self._results[0]
            self._results.append(failed)
            self._failed += failed
