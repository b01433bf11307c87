"""The least-privilege roles: who may migrate, who may work, who may only look."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

import embedded
from service import prepare_database
from storage import repairs
from storage.engine import open_engine, sqlstate, transaction
from tests.storage.test_repairs_audit import an_entry

LOGIN = "somebody"
ROLES = ("firstbell_migrate", "firstbell_app", "firstbell_console")


@pytest.fixture
async def empty_database(tmp_path: Path) -> AsyncIterator[str]:
    """An empty database on a server of its own (roles are the whole server's), for a login that owns nothing."""
    with embedded.servers(tmp_path, kafka=False) as servers:
        server = await asyncpg.connect(servers.database_url)
        await server.execute(f"CREATE ROLE {LOGIN} LOGIN NOINHERIT")
        for role in ROLES:
            await server.execute(f"CREATE ROLE {role}")
            await server.execute(f"GRANT {role} TO {LOGIN}")
        await server.execute("GRANT CREATE ON SCHEMA public TO firstbell_migrate")
        await server.close()
        yield (servers.database_url or "").replace("postgres@", f"{LOGIN}@")


async def test_each_role_may_do_its_work_and_no_more(empty_database: str) -> None:
    app = open_engine(empty_database, pool_size=1)
    console = open_engine(empty_database, pool_size=1, role="firstbell_console")

    await prepare_database(app, empty_database)

    async with transaction(app) as db:
        await db.execute(text("INSERT INTO students (student_id) VALUES ('stu_1')"))
        owner = (await db.execute(text("SELECT tableowner FROM pg_tables WHERE tablename = 'students'"))).scalar_one()
        role = (await db.execute(text("SELECT current_user"))).scalar_one()
    async with console.connect() as db:
        assert (await db.execute(text("SELECT count(*) FROM purchase_journey"))).scalar_one() == 0
        with pytest.raises(Exception, match="permission denied") as refused:
            await db.execute(text("DELETE FROM students"))
    assert (owner, role) == ("firstbell_migrate", "firstbell_app")
    assert sqlstate(refused.value) == "42501"
    await app.dispose()
    await console.dispose()


async def test_the_audit_is_added_to_and_read_but_never_changed(empty_database: str) -> None:
    app = open_engine(empty_database, pool_size=1)
    await prepare_database(app, empty_database)
    await prepare_database(app, empty_database)  # grants are given at every start

    async with transaction(app) as db:
        await repairs.record(db, an_entry("cmd_1"))
        found = await repairs.answered(db, "cmd_1")
    for statement in ("UPDATE repairs SET reason = 'another'", "DELETE FROM repairs", "TRUNCATE repairs"):
        async with app.connect() as db:
            # Not the trigger's words: the role itself has no right to it.
            with pytest.raises(Exception, match="permission denied for table repairs") as refused:
                await db.execute(text(statement))
        assert sqlstate(refused.value) == "42501"
    assert found is not None
    await app.dispose()
