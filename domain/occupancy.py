"""Who is busy when: one bitmap a person, a plain int of one bit for each 5 minutes or 1 minute.

Only the time that the series of a batch touch is kept; months between them that no series
touches are left out, so one purchase for the year 9000 costs nothing.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import gcd
from typing import Final, NamedTuple

from domain.clocks import DAY
from domain.schedule import Series, session_starts

_COARSE: Final = 5
_FINE: Final = 1
_LONGEST_GAP: Final = 60 * DAY


class _Part(NamedTuple):
    """A stretch of time in cells of one grain, [first, end), and the bit where it begins."""

    first: int
    end: int
    bit: int


class Occupancy:
    """The busy times of people, by their numbers, within the time that `series` touch.

    The grain is 5 minutes where every series lies on it, else 1 minute. Other people's series and
    absences are rounded outwards to it, which is exact for what is asked about.
    """

    def __init__(self, series: Iterable[Series]) -> None:
        """Cover `series`: only these can be asked about, or booked without being clipped."""
        asked = list(dict.fromkeys(series))
        self.grain: Final = _COARSE if all(_on_grain(one) for one in asked) else _FINE
        masks = {one: _mask(one, self.grain) for one in asked}
        self._parts: Final = _parts(masks.values(), _LONGEST_GAP // self.grain)
        self._wanted: Final = {one: self._placed(*cells) for one, cells in masks.items()}
        # Read by the inner loop of choosing; changed only here.
        self.busy: Final[dict[int, int]] = {}
        self.loads: Final[dict[int, int]] = {}

    def book(self, who: int, series: Series) -> None:
        """Occupy every session of a series; one more on the load, wherever the series lies."""
        taken = self._wanted.get(series)
        if taken is None:
            taken = self._placed(*_mask(series, self.grain))
        self.busy[who] = self.busy.get(who, 0) | taken
        self.loads[who] = self.loads.get(who, 0) + 1

    def release(self, who: int, series: Series) -> None:
        """Undo the booking of a covered series that was free when it was booked."""
        self.busy[who] &= ~self.wanted(series)
        self.loads[who] -= 1

    def block(self, who: int, starts_at: int, ends_at: int) -> None:
        """Occupy an absence, given in epoch seconds; an empty or reversed one occupies nothing."""
        second = 60 * self.grain
        first, end = starts_at // second, -(-ends_at // second)
        if starts_at >= ends_at:
            return
        taken = 0
        for part in self._parts:
            low, high = max(first, part.first), min(end, part.end)
            if low < high:
                taken |= ((1 << (high - low)) - 1) << (low - part.first + part.bit)
        if taken:
            self.busy[who] = self.busy.get(who, 0) | taken

    def is_free(self, who: int, series: Series) -> bool:
        """Whether no session of a covered series is taken."""
        return not self.busy.get(who, 0) & self.wanted(series)

    def clashes(self, who: int, series: Series) -> list[int]:
        """Indexes (from 0) of the sessions of a covered series that are taken."""
        taken = self.busy.get(who, 0) & self.wanted(series)
        if not taken:
            return []
        spans = (_cells(start, series.minutes, self.grain) for start in session_starts(series))
        return [index for index, (first, cells) in enumerate(spans) if taken & self._placed(first, (1 << cells) - 1)]

    def load(self, who: int) -> int:
        """Return the number of series booked."""
        return self.loads.get(who, 0)

    def wanted(self, series: Series) -> int:
        """Return the bits of a covered series; ValueError for one that was not covered from the start."""
        try:
            return self._wanted[series]
        except KeyError:
            message = f"{series} is none of the series that this occupancy covers"
            raise ValueError(message) from None

    def _placed(self, first: int, mask: int) -> int:
        # Moves cells to their bits, and drops what lies in no part.
        placed = 0
        end = first + mask.bit_length()
        for part in self._parts:
            if end <= part.first or first >= part.end:
                continue
            ahead = first - part.first
            bits = mask << ahead if ahead >= 0 else mask >> -ahead
            if end > part.end:
                bits &= (1 << (part.end - part.first)) - 1
            placed |= bits << part.bit
        return placed


def _on_grain(series: Series) -> bool:
    return gcd(*session_starts(series), series.minutes) % _COARSE == 0


# A mask of a series over seven years has 90 kB, so few are kept.
@lru_cache(maxsize=8192)
def _mask(series: Series, grain: int) -> tuple[int, int]:
    """Return the first cell (epoch minutes over the grain) and the cells taken from there on, as bits."""
    starts = session_starts(series)
    first = starts[0] // grain
    times = {start % DAY for start in starts}
    if len(times) == 1:
        return first, _daily(starts, series.minutes, grain)
    # One time of day, in UTC, for each regime of the zone's clocks.
    mask = 0
    for time in times:
        same = [start for start in starts if start % DAY == time]
        mask |= _daily(same, series.minutes, grain) << (same[0] // grain - first)
    return first, mask


def _daily(starts: Sequence[int], minutes: int, grain: int) -> int:
    # A day is a whole number of bytes: filling them is faster than shifting a long int for each session.
    first, step = starts[0], DAY // grain // 8
    cells = _cells(first, minutes, grain)[1]
    session = ((1 << cells) - 1).to_bytes((cells + 7) // 8, "little")
    days = bytearray((starts[-1] - first) // DAY * step + len(session))
    for start in starts:
        at = (start - first) // DAY * step
        days[at : at + len(session)] = session
    return int.from_bytes(days, "little")


def _cells(start: int, minutes: int, grain: int) -> tuple[int, int]:
    # The first cell and how many, rounded outwards.
    first = start // grain
    return first, -(-(start + minutes) // grain) - first


def _parts(masks: Iterable[tuple[int, int]], longest_gap: int) -> tuple[_Part, ...]:
    stretches: list[tuple[int, int]] = []
    for first, end in sorted((first, first + mask.bit_length()) for first, mask in masks):
        if stretches and first <= stretches[-1][1] + longest_gap:
            stretches[-1] = stretches[-1][0], max(stretches[-1][1], end)
        else:
            stretches.append((first, end))
    parts: list[_Part] = []
    bit = 0
    for first, end in stretches:
        parts.append(_Part(first, end, bit))
        bit += end - first
    return tuple(parts)
