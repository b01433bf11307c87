"""What every command shares: settings, servers, the event loop, and one sentence where a person can mend something."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer
from aiokafka.errors import KafkaError
from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncConnection

import embedded
from addresses import running_here
from errors import Fault, FirstbellError, Transient
from logs import configure_logs
from service import Addresses
from settings import Settings
from storage.engine import open_engine, transaction

# Whoever reads from a pipe has no 80 columns: ids stay whole.
out = Console(width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True)

T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


class NothingRuns(FirstbellError):
    """The command needs a service, and the settings name none, nor does one run in this folder."""

    def __init__(self) -> None:
        super().__init__("No service runs in this folder. Start one with: .venv/bin/python app.py run")


@contextmanager
def session(*, quiet: bool = False) -> Iterator[Settings]:
    """The settings, with one sentence and exit code 1 in place of a traceback for what a person can mend."""
    try:
        settings = Settings()
        if quiet and "log_level" not in settings.model_fields_set:
            settings = settings.model_copy(update={"log_level": "WARNING"})
        configure_logs(settings)
        yield settings
    except ValidationError as error:
        for problem in error.errors():
            err.print(_problem(problem), highlight=False, soft_wrap=True, markup=False)
        raise typer.Exit(1) from None
    except (FirstbellError, KafkaError) as error:
        err.print(_sentence(error), style="bold", highlight=False, soft_wrap=True, markup=False)
        raise typer.Exit(1) from None


@contextmanager
def servers(settings: Settings, *, kafka: bool = True, database: bool = True) -> Iterator[Addresses]:
    """The two servers: those of the settings, and our own for what is not set."""
    given = settings.database_url.get_secret_value() if settings.database_url else ""
    own_kafka = kafka and not settings.kafka_bootstrap_servers
    own_database = database and not given
    if not own_kafka and not own_database:
        yield Addresses(settings.kafka_bootstrap_servers or "", given)
        return
    with embedded.servers(settings.home, kafka=own_kafka, postgres=own_database, progress=_progress) as started:
        yield Addresses(settings.kafka_bootstrap_servers or started.kafka or "", given or started.database_url or "")


def joined(settings: Settings) -> Settings:
    """The settings, with the servers of the service that runs in this folder where they name none."""
    if settings.kafka_bootstrap_servers and settings.database_url:
        return settings
    found = running_here(settings.home) or {}
    kafka = settings.kafka_bootstrap_servers or found.get("kafka")
    database = settings.database_url or (SecretStr(found["database"]) if "database" in found else None)
    return settings.model_copy(update={"kafka_bootstrap_servers": kafka, "database_url": database})


def known_kafka(settings: Settings) -> str:
    """Kafka's address by the settings or by the service of this folder. Raises: NothingRuns."""
    if kafka := joined(settings).kafka_bootstrap_servers:
        return kafka
    raise NothingRuns


def known_database(settings: Settings) -> str:
    """PostgreSQL's address by the settings or by the service of this folder. Raises: NothingRuns."""
    if database := joined(settings).database_url:
        return database.get_secret_value()
    raise NothingRuns


@asynccontextmanager
async def reading(database_url: str) -> AsyncIterator[AsyncConnection]:
    """One transaction for queries of a person, who waits longer than a handler may."""
    engine = open_engine(database_url, pool_size=1, statement_timeout="60s")
    try:
        async with transaction(engine) as db:
            yield db
    finally:
        await engine.dispose()


def complete(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end."""
    import uvloop  # noqa: PLC0415  not on every platform

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def until_stopped(main: Coroutine[Any, Any, None], console: Console) -> None:
    """Run until it ends, or cancel it at SIGTERM or SIGINT; a second signal changes nothing."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    waiting, running = asyncio.ensure_future(stopped.wait()), asyncio.ensure_future(main)
    await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        running.cancel()
        console.print("Stopping.")
    with suppress(asyncio.CancelledError):
        await running


def print_json(value: Any) -> None:
    """Print JSON, instants in UTC with Z; ASCII only, so that nothing in it can steer a terminal."""
    typer.echo(json.dumps(value, indent=2, default=_plain_json))


def _plain_json(value: Any) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


def _sentence(error: FirstbellError | KafkaError) -> str:
    """What went wrong, and with which of the servers."""
    message = str(error.args[-1]) if error.args else repr(error)
    if isinstance(error, Fault) and error.args[0] == "42P01":
        return "PostgreSQL (DATABASE_URL): the schema is missing; bring it up with: app.py migrate"
    if isinstance(error, Transient | Fault):
        return f"PostgreSQL (DATABASE_URL): {message}"
    return f"Kafka (KAFKA_BOOTSTRAP_SERVERS): {error}" if isinstance(error, KafkaError) else message


def _problem(problem: ErrorDetails) -> str:
    """A setting that is not as expected, by the name that it has in the environment."""
    name = str(problem["loc"][0]) if problem["loc"] else "settings"
    variable = name if name.isupper() else f"FIRSTBELL_{name.upper()}"
    return f"{variable}: {problem['msg'].removeprefix('Value error, ')}"


def _progress(step: str) -> None:
    err.print(f"[dim]{step}[/dim]", highlight=False)
