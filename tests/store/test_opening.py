"""A store is opened: its tables are made once, and what can't be a store is refused in words."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from deployments.store import database, migrating, schema
from deployments.store.rows import StoreDown
from deployments.store.store import Store
from tests.store.postgres import PASSWORD, Postgres
from tests.store.talking import Opening, ended, started


async def test_many_that_open_a_new_store_at_once_all_do(url: str, opening: Opening) -> None:
    stores = await asyncio.gather(*[opening(url) for _ in range(8)])
    talk = await ended(stores[0])
    assert [(await store.run(talk.run)).status for store in stores] == ["completed"] * 8


async def test_without_create_a_store_that_is_not_there_is_none(url: str, opening: Opening, tmp_path: Path) -> None:
    assert await Store.open(url, create=False) is None
    assert os.listdir(tmp_path) == []  # noqa: PTH208
    await started(await opening(url))
    found = await Store.open(url, create=False)
    assert found is not None
    assert len(await found.runs(limit=10)) == 1
    await found.aclose()


async def test_the_migrations_make_the_tables_that_the_code_knows(url: str) -> None:
    def differences(connection: object) -> list[object]:
        options = {"version_table": migrating._VERSIONS, "compare_type": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), schema.metadata)

    opened = database.Database(url)
    await opened.open(create=True)
    assert await opened.read(differences) == []
    await opened.aclose()


def test_the_code_knows_the_newest_migration() -> None:
    script = ScriptDirectory(str(Path(migrating.__file__).parent / "migrations"))
    assert [step.revision for step in script.walk_revisions()][::-1] == list(migrating.KNOWN)


async def test_a_newer_schema_is_refused(url: str, opening: Opening) -> None:
    store = await opening(url)
    await store._database.write(
        lambda c: c.exec_driver_sql("UPDATE anabranch_version SET version_num = '0999'").rowcount
    )
    with pytest.raises(StoreDown, match=r"has revision 0999 of its tables, and this release knows 0002: install"):
        await Store.open(url)


async def test_a_file_that_is_no_database_is_refused(file: Path) -> None:
    shutil.copy(__file__, file)
    with pytest.raises(StoreDown, match=r"runs\.db can't be used: it is no SQLite database; name another file"):
        await Store.open(f"sqlite:///{file}")


async def test_a_database_of_another_application_is_refused(url: str, file: Path) -> None:
    if url.startswith("sqlite"):
        url = f"sqlite:///{file}"
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE runs (x)")
        connection.close()
    else:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE runs (x text)")
    with pytest.raises(StoreDown, match="it holds tables of another application; name a database of its own"):
        await Store.open(url)


async def test_a_folder_that_can_not_be_made_is_told(file: Path) -> None:
    shutil.copy(__file__, file)
    with pytest.raises(StoreDown, match=r"not a directory|file exists"):
        await Store.open(f"sqlite:///{file}/folder/runs.db")


@pytest.mark.parametrize(
    "url", ["mysql://me:secret@host/db", "sqlite://", "sqlite:///:memory:", "nonsense", "postgresql://h:x/d"]
)
async def test_another_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StoreDown, match="write sqlite:///FILE or postgresql://USER@HOST/DATABASE") as refused:
        await Store.open(url)
    assert "secret" not in refused.value.message


async def test_a_wrong_password_is_told_and_not_shown(postgres: Postgres) -> None:
    with pytest.raises(StoreDown, match="the password is wrong") as refused:
        await Store.open(postgres.url("postgres", password="not-it"))
    assert refused.value.message.startswith(f"the store postgresql://someone@127.0.0.1:{postgres.port}/postgres ")
    assert "not-it" not in str(refused.value)


async def test_an_unknown_database_is_told(postgres: Postgres) -> None:
    with pytest.raises(StoreDown, match="there is no such database or user; create it") as refused:
        await Store.open(postgres.url("nowhere"))
    assert PASSWORD not in str(refused.value)


async def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(StoreDown, match="it can't be reached; start it, or correct its address"):
        await Store.open("postgresql://someone:secret@127.0.0.1:1/runs")


async def test_a_database_with_another_encoding_is_refused(postgres: Postgres) -> None:
    url = postgres.database("ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(StoreDown, match="has the encoding LATIN1: name a database with UTF8"):
        await Store.open(url)


async def test_a_store_of_the_release_before_is_upgraded_and_keeps_what_it_has(url: str, opening: Opening) -> None:
    store = await opening(url)
    talk = await ended(store)

    def as_before(connection: Connection) -> None:
        for statement in (
            "DROP TABLE turns",
            "DROP TABLE sessions",
            "UPDATE anabranch_version SET version_num = '0001'",
        ):
            connection.exec_driver_sql(statement)

    await store._database.write(as_before)
    again, other = await asyncio.gather(opening(url), opening(url))
    assert (await again.run(talk.run)).status == "completed"
    assert await other.sessions.sessions("", None, 9) == []
