"""A round: Firstbell, then the peer, each on a stage of its own, with the same purchases."""

from collections.abc import Callable
from typing import Any

from benches.drain import as_json, check_totals, drain, until_done
from benches.latency import latency, percentiles
from benches.report import CONTENDERS
from benches.stage import Arena, staged

# Connections open, caches fill, Kafka's offsets topic is made: not what is measured, for either of the two.
WARM_UP = 20


async def one_round(arena: Arena, number: int, samples: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """The figures of both, by name; the first purchases warm up and are timed one by one, the rest are drained.

    Raises: WrongOutcome, ChildFailed.
    """
    return {name: await _perform(arena, name, number, samples, progress) for name in CONTENDERS}


async def _perform(
    arena: Arena, name: str, number: int, samples: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    progress(f"round {number}: {name}")
    singles = WARM_UP + samples
    async with staged(arena, name, number) as stage:
        timed = await latency(stage, singles)
        await until_done(stage, singles)
        drained = await drain(stage, singles, arena.workload.purchases)
        totals = await check_totals(stage)
        memory = stage.contender.megabytes()
    progress(f"round {number}: {name} did {drained.per_second:,.0f} purchases a second")
    return {
        **as_json(drained),
        "memory_mb": memory,
        "totals": totals,
        "committed_ms": timed.committed[WARM_UP:],
        "announced_ms": timed.announced[WARM_UP:],
    }


def latencies(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The percentiles of each contender over all rounds; empty with fewer than two samples."""
    found = {}
    for name in CONTENDERS:
        committed = [ms for one in rounds for ms in one[name].pop("committed_ms")]
        announced = [ms for one in rounds for ms in one[name].pop("announced_ms")]
        if len(committed) > 1:
            found[name] = {
                "samples": len(committed),
                "committed": percentiles(committed),
                "announced": percentiles(announced),
            }
    return found
