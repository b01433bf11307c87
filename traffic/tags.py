"""A short tag for the ids of one run, so that runs in one database never collide."""

import time

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_LENGTH = 6


def run_tag() -> str:
    """Six letters and digits: the time in tenths of a second, which come again after seven years only."""
    tenths = time.time_ns() // 100_000_000
    digits = []
    for _ in range(_LENGTH):
        tenths, digit = divmod(tenths, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
