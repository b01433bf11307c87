"""Firstbell's command line. `python app.py --help` lists what it can do."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from actors.connection import admin_client
from actors.lag import in_line_since, unread_by_actor
from actors.topics import create_topics, differing_topics
from addresses import known, masked, running_here
from commands.bulk import bulk
from commands.contracts import contracts
from commands.journey import journey
from commands.parked import parked
from commands.repair import repair
from commands.replay import replay
from commands.session import (
    AsJson,
    NothingRuns,
    complete,
    err,
    known_kafka,
    out,
    servers,
    session,
    until_stopped,
)
from roster import ACTORS, FULFILLING, actors_of
from service import Addresses, Service, prepare_database, running
from settings import Settings
from storage import invariants
from storage.engine import open_engine, transaction
from traffic.demo import demo as run_demo
from traffic.sample import publish_sample
from traffic.summary import show

app = typer.Typer(
    name="firstbell",
    help="From payment succeeded to every session on the calendar, with nobody touching it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
def run(
    actors: Annotated[str, typer.Option(help=f"Comma-separated; out of {', '.join(ACTORS)}.")] = ",".join(ACTORS),
) -> None:
    """Run the actors and HTTP until SIGTERM or Ctrl-C."""
    names = _names(actors)
    with session() as settings, servers(settings) as addresses:
        complete(until_stopped(_serve(settings, addresses, names), out))


@app.command()
def demo(
    *,
    purchases: Annotated[int, typer.Option(min=1, help="How many purchases to publish.")] = 200,
    rate: Annotated[float, typer.Option(min=0, help="Purchases a second; 0: as fast as possible.")] = 100,
    duplicates: Annotated[float, typer.Option(min=0, max=1, help="Share of payments sent twice.")] = 0.1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same purchases.")] = 1,
    stay: Annotated[bool, typer.Option("--stay", help="Stay up afterwards.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start everything, publish purchases, wait until each is on the calendar, tell what happened."""

    async def main() -> None:
        async with running(settings, addresses) as service:
            await service.wait_until_ready()
            with known(settings.home, _addresses(service)):
                summary = await run_demo(service, purchases, seed=seed, duplicates=duplicates, rate=rate)
                if as_json:
                    typer.echo(json.dumps(summary.as_json()))
                else:
                    show(summary, out, _shown(service))
                if stay:
                    await asyncio.Event().wait()

    with session(quiet=True) as settings, servers(settings) as addresses:
        complete(until_stopped(main(), err))


@app.command()
def where(*, as_json: AsJson = False) -> None:
    """Print the addresses of the service that runs in this folder."""
    with session() as settings:
        found = running_here(settings.home)
        if found is None:
            raise NothingRuns
        if as_json:
            out.print_json(data=found)
            return
        for name, address in found.items():
            out.print(f"{name:<12} {address}", soft_wrap=True, highlight=False)


@app.command()
def migrate() -> None:
    """Bring the database up to this release."""

    async def main() -> None:
        engine = open_engine(addresses.database_url, pool_size=1)
        try:
            await prepare_database(engine, addresses.database_url)
        finally:
            await engine.dispose()
        out.print("The schema is up to date.")

    with session() as settings, servers(settings, kafka=False) as addresses:
        complete(main())


@app.command()
def topics() -> None:
    """Create the topics that are missing."""

    async def main() -> None:
        async with admin_client(settings, addresses.kafka) as admin:
            created = await create_topics(admin, settings)
            differing = await differing_topics(admin, settings)
        out.print("\n".join(created) or "Every topic is there.")
        for topic, found in differing.items():
            out.print(f"{topic} has other settings than ours: {found}", highlight=False)

    with session() as settings, servers(settings, database=False) as addresses:
        complete(main())


@app.command()
def check(*, as_json: AsJson = False) -> None:
    """Check every invariant; list the offenders, and exit with 1 when there are any."""

    async def main() -> dict[str, list[str]]:
        unread = await unread_by_actor(settings, addresses.kafka, actors_of(settings, FULFILLING))
        since = in_line_since(unread.values(), datetime.now(UTC) - timedelta(seconds=5))
        engine = open_engine(addresses.database_url, pool_size=1, statement_timeout="0")
        try:
            async with transaction(engine) as db:
                return await invariants.offenders(db, since)
        finally:
            await engine.dispose()

    with session() as settings, servers(settings) as addresses:
        found = complete(main())
    if as_json:
        out.print_json(data=found)
    else:
        _list_offenders(found)
    raise typer.Exit(1 if found else 0)


@app.command()
def publish(
    *,
    purchases: Annotated[int, typer.Option(min=1, help="How many purchases.")] = 100,
    rate: Annotated[float, typer.Option(min=0, help="Purchases a second; 0: as fast as possible.")] = 50,
    duplicates: Annotated[float, typer.Option(min=0, max=1, help="Share sent twice.")] = 0,
    reorder: Annotated[float, typer.Option(min=0, max=1, help="Share sent out of order.")] = 0,
    poison: Annotated[float, typer.Option(min=0, max=1, help="Share of records nobody can read.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same purchases.")] = 1,
) -> None:
    """Publish sample traffic to the running service: students, trainers, carts, payments."""
    with session() as settings:
        complete(
            publish_sample(
                known_kafka(settings),
                settings,
                purchases=purchases,
                rate=rate,
                duplicates=duplicates,
                reorder=reorder,
                poison=poison,
                seed=seed,
            )
        )


app.command()(parked)
app.command()(journey)
app.add_typer(repair, name="repair", help="Put right what is parked: publish one command, and show its answer.")
repair.command()(bulk)
app.command()(replay)
app.add_typer(contracts, name="contracts")


async def _serve(settings: Settings, addresses: Addresses, names: list[str]) -> None:
    async with running(settings, addresses, names) as service:
        with known(settings.home, _addresses(service)):
            for name, address in _shown(service).items():
                out.print(f"[bold]{name:<10}[/bold] {address}", highlight=False, soft_wrap=True)
            await service.wait_until_ready()
            out.print("Ready. Ctrl-C stops it.")
            await asyncio.Event().wait()


def _names(actors: str) -> list[str]:
    names = [name.strip() for name in actors.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter(f"no actor is named; there are {', '.join(ACTORS)}")
    if unknown := sorted(set(names) - set(ACTORS)):
        raise typer.BadParameter(f"no such actor: {', '.join(unknown)}; there are {', '.join(ACTORS)}")
    return names


def _addresses(service: Service) -> dict[str, str]:
    return {
        "kafka": service.addresses.kafka,
        "database": service.addresses.database_url,
        "http": f"http://{service.settings.host}:{service.port}",
    }


def _shown(service: Service) -> dict[str, str]:
    return {name: masked(address) for name, address in _addresses(service).items()}


def _list_offenders(found: dict[str, list[str]]) -> None:
    table = Table("invariant", "what must hold", "offenders")
    for invariant in invariants.INVARIANTS:
        ids = found.get(invariant.name, [])
        shown = ", ".join(ids[:10]) + (f" and {len(ids) - 10} more" if len(ids) > 10 else "")  # noqa: PLR2004
        table.add_row(
            invariant.name, invariant.meaning, f"[red]{len(ids)}: {shown}[/red]" if ids else "[green]0[/green]"
        )
    out.print(table)


if __name__ == "__main__":
    app()
