"""Connections to PostgreSQL, and the one place where a driver's errors become ours.

Every limit is the server's own: a cancelled call may hand back a connection with its transaction
open, so nothing here relies on a time-out of the client.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from errors import BadValue, Conflict, Contended, Fault, FirstbellError, Transient

# jit, parallel: our statements are short and many; compiling or spreading them costs more than running them.
# plan_cache_mode: a plan kept from when the tables were empty scans them whole once they are full.
_SESSION = {
    "timezone": "UTC",
    "statement_timeout": "10s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "30s",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "plan_cache_mode": "force_custom_plan",
}

_UNDURABLE = text("""
    SELECT name FROM pg_settings
     WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off'
     ORDER BY name
""")

_TAKE_ROLE = """
    SELECT quote_ident(rolname) FROM pg_roles
     WHERE rolname = $1 AND rolname <> current_user AND pg_has_role(current_user, oid, 'MEMBER')
"""

APP_ROLE = "firstbell_app"
MIGRATE_ROLE = "firstbell_migrate"


def open_engine(database_url: str, *, pool_size: int = 12, role: str = APP_ROLE, **session: str) -> AsyncEngine:
    """An engine on any ordinary `postgresql://` address (`?host=` of a socket and `sslmode` included).

    The least-privilege `role` is taken where it exists and the login is a member of it. `session`
    overrides the settings every connection starts with, such as `statement_timeout`.
    """

    async def connect() -> asyncpg.Connection:
        connection = await asyncpg.connect(
            database_url, server_settings={"application_name": "firstbell", **_SESSION, **session}
        )
        if taken := await connection.fetchval(_TAKE_ROLE, role):
            await connection.execute(f"SET ROLE {taken}")
        return connection

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=pool_size,
        max_overflow=4,
        pool_recycle=1800,
        hide_parameters=True,  # errors are logged, and parameters hold what the records say
    )
    event.listen(engine.sync_engine, "checkout", _clean)
    return engine


def _clean(dbapi_connection: Any, _record: object, _proxy: object) -> None:
    """A call that was cancelled may have handed back a connection whose transaction is open: take another."""
    if dbapi_connection.driver_connection.is_in_transaction():
        raise DisconnectionError("a transaction was left open")


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """One transaction: committed at the end of the block, rolled back by any error.

    Raises: Transient (Contended, Conflict), BadValue or Fault in place of the driver's errors.
    """
    try:
        async with engine.begin() as db:
            yield db
    except FirstbellError:
        raise
    except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, PoolTimeout, OSError) as error:
        raise translated(error) from error


async def undurable_settings(db: AsyncConnection) -> list[str]:
    """The names of the server settings that would let a committed transaction be lost."""
    return list((await db.execute(_UNDURABLE)).scalars())


def sqlstate(error: BaseException) -> str | None:
    """The five-character SQLSTATE of a driver's error, None where there is none."""
    for source in (error, getattr(error, "orig", None), getattr(getattr(error, "orig", None), "__cause__", None)):
        if code := getattr(source, "sqlstate", None):
            return str(code)
    return None


def translated(error: Exception) -> FirstbellError:
    """Our error for a driver's: the table of what to do about each SQLSTATE."""
    code = sqlstate(error)
    message = str(getattr(error, "orig", None) or error)
    if code is None:
        return _without_code(error, message)
    return _class_of(code)(code, message)


def _class_of(code: str) -> type[FirstbellError]:
    if code in {"55P03", "57014", "53200", "25P03"}:
        return Contended
    if code in {"23505", "23P01"}:
        return Conflict
    if code in {"40001", "40P01", "25006", "57P01", "57P02", "57P03", "57P04", "57P05"}:
        return Transient
    if code.startswith(("08", "53")):
        return Transient
    if code.startswith("22") or code in {"23502", "23514"}:
        return BadValue
    return Fault


def _without_code(error: Exception, message: str) -> FirstbellError:
    """Without a SQLSTATE the server never judged: a broken connection, or a value the driver cannot send."""
    cause: Any = error
    while cause is not None:
        if isinstance(cause, asyncpg.DataError | OverflowError | UnicodeError):
            return BadValue("driver", message)
        cause = cause.__cause__ or getattr(cause, "orig", None)
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return Fault("address", message)
    if isinstance(error, InterfaceError | asyncpg.InterfaceError | PoolTimeout | OSError):
        return Transient("connection", message)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return Transient("connection", message)
    return Fault("driver", message)
