"""The figures of a run, for a person and as JSON."""

from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

CONTENDERS = ("firstbell", "peer")


def ratios(rounds: list[dict[str, Any]]) -> list[float]:
    """Firstbell's purchases per second over the peer's, one a round."""
    return [one["firstbell"]["per_second"] / one["peer"]["per_second"] for one in rounds]


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The ratio of each round and their median."""
    found = ratios(rounds)
    return {"ratios": found, "median_ratio": median(found) if found else None}


def show(console: Console, result: dict[str, Any]) -> None:
    """Print the tables."""
    if result["rounds"]:
        console.print(_throughput(result))
    if result["latency"]:
        console.print(_latency(result["latency"]))
    console.print(_counts(result["counts"]))
    for departure in result["departures"]:
        console.print(f"[red]not as in the baseline[/] {departure}")


def _throughput(result: dict[str, Any]) -> Table:
    table = Table(title=f"{result['purchases']} purchases of {result['sessions']} sessions, from payment to sessions")
    for column in ("round", "firstbell /s", "peer /s", "ratio", "CPU ms each", "peer's", "all steps /s", "peer's"):
        table.add_column(column, justify="right")
    for number, (one, ratio) in enumerate(zip(result["rounds"], result["ratios"], strict=True), 1):
        ours, peer = one["firstbell"], one["peer"]
        table.add_row(
            str(number),
            _whole(ours["per_second"]),
            _whole(peer["per_second"]),
            f"[bold]{ratio:.2f}[/]",
            _tenths(ours["cpu_ms_per_purchase"]),
            _tenths(peer["cpu_ms_per_purchase"]),
            _whole(ours["settled_per_second"]),
            _whole(peer["settled_per_second"]),
        )
    memory = result["rounds"][-1]["firstbell"]["memory_mb"]
    table.caption = f"median ratio {result['median_ratio']:.2f}" + (
        f"; firstbell resident {memory['resident']:.0f} MB, at most {memory['highest']:.0f} MB" if memory else ""
    )
    return table


def _latency(figures: dict[str, Any]) -> Table:
    table = Table(title="Idle latency, ms from before the publish")
    for column in ("contender", "samples", "committed p50", "p99", "announced p50", "p99"):
        table.add_column(column, justify="left" if column == "contender" else "right")
    for name in CONTENDERS:
        one = figures[name]
        cells = [one[look][cut] for look in ("committed", "announced") for cut in ("p50", "p99")]
        table.add_row(name, str(one["samples"]), *map(_tenths, cells))
    return table


def _counts(counts: dict[str, Any]) -> Table:
    sizes = list(counts["statements"])
    table = Table(title="Statements per batch")
    table.add_column("actor")
    for size in sizes:
        table.add_column(f"of {size}", justify="right")
    for actor in counts["statements"][sizes[0]]:
        table.add_row(actor, *(str(counts["statements"][size].get(actor)) for size in sizes))
    rows = (f"{table} {'/'.join(map(str, written))}" for table, written in counts["rows"].items())
    table.caption = f"rows inserted/updated/deleted for {' + '.join(map(str, sizes))} purchases: {', '.join(rows)}"
    return table


def _whole(figure: float) -> str:
    return f"{figure:,.0f}"


def _tenths(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.1f}"
