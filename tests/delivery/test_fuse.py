"""The fuse by itself: when it trips, what it forgets, when it lets somebody try."""

from actors.fuse import Fuse


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_new_fuse_is_closed_and_makes_nobody_wait() -> None:
    fuse = Fuse(Clock())

    assert not fuse.tripped
    assert fuse.wait == 0


def test_nineteen_failures_do_not_trip_it_and_the_twentieth_does() -> None:
    fuse = Fuse(Clock())

    fuse.failed(19)
    before = fuse.tripped
    fuse.failed()

    assert not before
    assert fuse.tripped


def test_exactly_half_does_not_trip_it_and_one_more_does() -> None:
    fuse = Fuse(Clock())
    fuse.succeeded(50)

    fuse.failed(50)
    at_half = fuse.tripped
    fuse.failed()

    assert not at_half
    assert fuse.tripped


def test_only_the_last_200_count() -> None:
    fuse = Fuse(Clock())
    fuse.succeeded(100_000)

    fuse.failed(100)
    at_half = fuse.tripped
    fuse.failed()

    assert not at_half
    assert fuse.tripped


def test_failures_that_slid_out_of_the_window_are_forgotten() -> None:
    fuse = Fuse(Clock())
    fuse.failed(19)
    fuse.succeeded(200)

    fuse.failed(100)

    assert not fuse.tripped


def test_a_failing_batch_larger_than_the_window_trips_it() -> None:
    fuse = Fuse(Clock())
    fuse.succeeded(200)

    fuse.failed(1000)

    assert fuse.tripped


def test_it_asks_for_a_wait_until_the_next_probe() -> None:
    clock = Clock()
    fuse = Fuse(clock, probe_after=30)
    fuse.failed(20)

    clock.seconds = 10
    early = fuse.wait
    clock.seconds = 31

    assert early == 20
    assert fuse.wait == 0
    assert fuse.tripped


def test_a_probe_that_fails_asks_for_a_whole_wait_again() -> None:
    clock = Clock()
    fuse = Fuse(clock, probe_after=30)
    fuse.failed(20)
    clock.seconds = 31

    fuse.hold()

    assert fuse.tripped
    assert fuse.wait == 30


def test_when_it_closes_it_counts_anew() -> None:
    fuse = Fuse(Clock())
    fuse.failed(20)

    fuse.close()
    fuse.failed(19)

    assert not fuse.tripped
