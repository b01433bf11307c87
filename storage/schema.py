"""The schema: brought up to this release by Alembic, one process at a time."""

import logging
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.engine import transaction

_MIGRATIONS = Path(__file__).parent / "migrations"

# Any number will do, as long as every release uses the same one.
_LOCK = text("SELECT pg_advisory_xact_lock(7016996765293437281)")
_VERSION = text("SELECT version_num FROM alembic_version")
_HAS_VERSION = text("SELECT to_regclass('alembic_version') IS NOT NULL")


@cache
def needed_version() -> str:
    """The schema version that this release needs: revisions are numbered, so they compare as text."""
    head = ScriptDirectory(str(_MIGRATIONS)).get_current_head()
    if head is None:
        msg = "storage/migrations holds no revision"
        raise LookupError(msg)
    return head


async def schema_version(db: AsyncConnection) -> str | None:
    """The version that the database has, None before the first migration."""
    if not (await db.execute(_HAS_VERSION)).scalar_one():
        return None
    return (await db.execute(_VERSION)).scalar_one_or_none()


# Every time, so that roles made later are served at the next start. The console only reads, and nobody
# changes the audit.
_GRANT = text("""
    DO $$
    BEGIN
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'firstbell_app') THEN
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO firstbell_app;
            REVOKE UPDATE, DELETE ON repairs FROM firstbell_app;
        END IF;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'firstbell_console') THEN
            GRANT SELECT ON ALL TABLES IN SCHEMA public TO firstbell_console;
        END IF;
    END $$
""")


async def migrate(engine: AsyncEngine) -> str:
    """Bring the database up to this release and return its version; a newer schema is left alone.

    Two processes that start at once take turns; the second finds nothing to do.
    """
    async with transaction(engine) as db:
        await db.execute(_LOCK)
        found = await schema_version(db)
        if found is None or found < needed_version():
            await db.run_sync(_upgrade)
        await db.execute(_GRANT)
        return await schema_version(db) or needed_version()


def _upgrade(connection: Connection) -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
