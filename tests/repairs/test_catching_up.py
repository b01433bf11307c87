"""Which commands wait until the other actors have read again what was written before them, and for how long."""

from datetime import UTC, datetime, timedelta

import pytest

from actors.repairing.catching_up import CatchingUp
from contracts.repairs import Refusal
from errors import Transient

AGO = datetime.now(UTC) - timedelta(hours=1)


class Others:
    """Other actors, behind or not, and a clock that stands still."""

    def __init__(self) -> None:
        self.lag = True
        self.seconds = 1.0

    async def behind(self, _at: datetime) -> bool:
        return self.lag

    def clock(self) -> float:
        return self.seconds


@pytest.fixture
def others() -> Others:
    return Others()


@pytest.fixture
def catching_up(others: Others) -> CatchingUp:
    return CatchingUp(others.behind, clock=others.clock)


async def _waits(catching_up: CatchingUp, at: datetime = AGO) -> bool:
    try:
        await catching_up.before(at)
    except Transient:
        return True
    return False


async def test_an_old_command_waits_until_nobody_has_been_behind_for_a_while(
    others: Others, catching_up: CatchingUp
) -> None:
    assert await _waits(catching_up)
    others.lag = False
    assert await _waits(catching_up)
    others.seconds += catching_up.quiet / 2
    assert await _waits(catching_up)
    others.seconds += catching_up.quiet / 2

    assert not await _waits(catching_up)


async def test_who_falls_behind_once_more_starts_the_quiet_time_anew(others: Others, catching_up: CatchingUp) -> None:
    others.lag = False
    assert await _waits(catching_up)
    others.lag = True
    others.seconds += catching_up.quiet
    assert await _waits(catching_up)
    others.lag = False

    assert await _waits(catching_up)


async def test_an_actor_that_is_stuck_stops_repair_for_a_bounded_time_once(
    others: Others, catching_up: CatchingUp
) -> None:
    assert await _waits(catching_up)
    others.seconds += catching_up.patience + 1

    assert not await _waits(catching_up)
    assert not await _waits(catching_up, AGO + timedelta(minutes=1))


async def test_a_command_written_since_the_start_never_waits_however_long_its_line_is(others: Others) -> None:
    catching_up = CatchingUp(others.behind, clock=others.clock, started=AGO)

    assert not await _waits(catching_up, AGO + timedelta(seconds=1))
    assert await _waits(catching_up, AGO - timedelta(seconds=1))


async def test_where_nobody_knows_how_far_the_others_are_nothing_waits() -> None:
    assert not await _waits(CatchingUp(None))


@pytest.mark.parametrize(("code", "waits"), [("unknown_purchase", True), ("not_moved", False)])
async def test_a_refusal_that_may_be_over_soon_waits_and_no_other(
    catching_up: CatchingUp, code: str, *, waits: bool
) -> None:
    refusal = Refusal.model_construct(code=code, message="")

    if waits:
        with pytest.raises(Transient):
            await catching_up.instead_of(refusal, datetime.now(UTC))
    else:
        await catching_up.instead_of(refusal, datetime.now(UTC))
