"""`python -m benches`: Firstbell beside a hand-written pipeline, on one broker and one database server.

Rounds alternate A B A B on fresh databases. Machines are noisy: the ratio within a round is the figure;
times are reported and never gate, counts and totals do.
"""

import asyncio
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console

from benches.baseline import BATCHES, departures
from benches.counts import counted
from benches.drain import WrongOutcome
from benches.processes import ChildFailed
from benches.report import show, summary
from benches.rounds import WARM_UP, latencies, one_round
from benches.stage import Arena, fresh_database
from benches.workload import SESSIONS, workload_of
from embedded import EmbeddedUnavailable, servers
from logs import configure_logs
from settings import Settings


def main(
    *,
    purchases: Annotated[int, typer.Option(min=1, help="Purchases of the measured drain.")] = 20_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each runs both contenders.")] = 2,
    latency_samples: Annotated[int, typer.Option(min=0, help="Single purchases timed, over all rounds.")] = 300,
    counts_only: Annotated[bool, typer.Option(help="Only what is counted exactly.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep the logs there, with a profile of each process.")] = None,
) -> None:
    """Compare Firstbell with a hand-written pipeline; exit 1 when counts or totals are not as they must be."""
    console = Console()
    configure_logs(Settings(log_level="WARNING"))
    # A topic that is a moment old has no leader yet; the client says so, and asks again.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    folder = keep or Path(tempfile.mkdtemp(prefix="firstbell-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    samples = -(-latency_samples // rounds)
    try:
        with _addresses(folder, console) as (kafka, database_url):
            arena = Arena(kafka, database_url, workload_of(purchases + WARM_UP + samples), folder.resolve(), bool(keep))
            result = uvloop.run(_measure(arena, 0 if counts_only else rounds, samples, console))
    except (WrongOutcome, ChildFailed, EmbeddedUnavailable) as error:
        console.print(f"[red]{type(error).__name__}[/] {error}", soft_wrap=True)
        raise typer.Exit(1) from None
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    result = {"purchases": purchases, "sessions": SESSIONS, **result}
    if json_file:
        json_file.write_text(json.dumps(result, indent=2) + "\n")
    show(console, result)
    if result["departures"]:
        raise typer.Exit(1)


@contextmanager
def _addresses(folder: Path, console: Console) -> Iterator[tuple[str, str]]:
    """The servers given in the environment, and embedded ones for what is not given."""
    settings = Settings()
    kafka, database = settings.kafka_bootstrap_servers, settings.database_url
    url = database.get_secret_value() if database else None
    with ExitStack() as stack:
        if kafka is None or url is None:
            home = folder / "servers"
            own = stack.enter_context(
                servers(
                    home,
                    kafka=kafka is None,
                    postgres=url is None,
                    progress=lambda text: console.print(text, style="dim"),
                )
            )
            kafka, url = kafka or own.kafka, url or own.database_url
        if kafka is None or url is None:
            raise EmbeddedUnavailable("The embedded servers gave no address")
        yield kafka, url


async def _measure(arena: Arena, rounds: int, samples: int, console: Console) -> dict[str, Any]:
    few = workload_of(sum(BATCHES))
    async with fresh_database(arena.database_url, "bench_counts", few) as url:
        counts = await counted(url, few)
    found = []
    with console.status("counted") as status:
        for number in range(1, rounds + 1):
            found.append(await one_round(arena, number, samples, status.update))
            await asyncio.sleep(0)
    figures = latencies(found)
    return {"rounds": found, **summary(found), "latency": figures, "counts": counts, "departures": departures(counts)}


if __name__ == "__main__":
    typer.run(main)
