"""The way to this release's schema, and all that stands in it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence

import psycopg
import pytest
from psycopg import sql

from bulkhead.platform.database import migrate as module
from bulkhead.platform.database.migrate import Failed, Migration, Refused, check, migrate, shipped, shortfall
from bulkhead.platform.settings import PREFIX
from tests.integration.platform.server import VERSIONS, Database, PlatformServer, one, rows

pytestmark = pytest.mark.parametrize("database", VERSIONS, indirect=True, scope="module")

NEWEST = shipped()[-1].name


@pytest.fixture
async def empty(server: PlatformServer) -> AsyncIterator[Database]:
    async with server.empty_database() as fresh:
        yield fresh


@pytest.fixture
async def migrated(server: PlatformServer) -> AsyncIterator[Database]:
    async with server.migrated_database() as fresh:
        yield fresh


async def told(database: Database, *, wait_seconds: float = 10.0, lock_seconds: float = 5.0) -> list[str]:
    """Migrate, and what it said."""
    said: list[str] = []
    await migrate(database.dsn("owner"), wait_seconds=wait_seconds, lock_seconds=lock_seconds, tell=said.append)
    return said


async def applied(database: Database) -> list[str]:
    async with database.superuser() as session:
        return [name for (name,) in await rows(session, "SELECT name FROM bulkhead.migrations ORDER BY number")]


def also(monkeypatch: pytest.MonkeyPatch, *texts: str) -> None:
    """What the next release ships beyond this one."""
    ours = shipped()
    more = [
        Migration(number, f"{number:04}_more", text.encode()) for number, text in enumerate(texts, start=len(ours) + 1)
    ]
    ships(monkeypatch, (*ours, *more))


def ships(monkeypatch: pytest.MonkeyPatch, migrations: Sequence[Migration]) -> None:
    monkeypatch.setattr(module, "shipped", lambda: tuple(migrations))


async def test_an_empty_database_gets_every_migration_and_a_second_run_none(empty: Database) -> None:
    first = await told(empty)
    assert [line.split()[0] for line in first[:-1]] == [migration.name for migration in shipped()]
    assert first[-1] == f"the schema is current ({NEWEST})"
    assert await told(empty) == [f"the schema is current ({NEWEST})"]
    assert await check(empty.dsn("owner")) == ""


async def test_two_at_once_apply_each_migration_once(empty: Database) -> None:
    both = await asyncio.gather(*(told(empty, wait_seconds=30) for _ in range(4)))
    lines = [line.split()[0] for said in both for line in said[:-1]]
    assert sorted(lines) == [migration.name for migration in shipped()]
    assert await applied(empty) == lines


async def test_two_databases_of_one_server_may_be_migrated_at_once(server: PlatformServer) -> None:
    async with server.empty_database() as one_of, server.empty_database() as other:
        await asyncio.gather(told(one_of), told(other))
        assert await applied(one_of) == await applied(other)


async def test_whoever_waits_too_long_for_another_migration_is_told_so(migrated: Database) -> None:
    async with migrated.session("owner") as session:
        await session.execute("SELECT pg_advisory_lock(%s)", (module.LOCK_KEY,))
        with pytest.raises(Refused, match=r"another migration runs, and did not end within 0\.3 s"):
            await told(migrated, wait_seconds=0.3)


async def test_whoever_waits_for_another_migration_holds_no_snapshot(migrated: Database) -> None:
    async with migrated.session("owner") as session, migrated.superuser() as looker:
        await session.execute("SELECT pg_advisory_lock(%s)", (module.LOCK_KEY,))
        waiting = asyncio.create_task(told(migrated))
        for _ in range(20):
            held = await rows(
                looker,
                """SELECT FROM pg_stat_activity WHERE application_name = 'bulkhead migrate'
                   AND (wait_event_type = 'Lock' OR state LIKE 'idle in transaction%%')""",
                (),
            )
            assert held == []
            await asyncio.sleep(0)
        await session.execute("SELECT pg_advisory_unlock_all()")
        await waiting


async def test_a_table_in_use_stops_a_migration_before_it_makes_all_others_wait(
    migrated: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    also(monkeypatch, "CREATE TABLE extra (); ALTER TABLE organisations ADD COLUMN more text")
    async with migrated.superuser() as session, session.transaction():
        await session.execute("LOCK TABLE organisations IN ACCESS SHARE MODE")
        with pytest.raises(Refused, match=r"_more: a table is in use, and was not let go within 0\.2 s"):
            await told(migrated, lock_seconds=0.2)
        assert not await one(session, "SELECT to_regclass('bulkhead.extra') IS NOT NULL")
    assert len(await told(migrated)) == 2


async def test_what_fails_in_the_middle_leaves_whole_migrations(
    migrated: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    also(monkeypatch, "CREATE TABLE fine ()", "CREATE TABLE half ();\n\nSELECT nonsense;")
    with pytest.raises(Failed, match=r"_more\.sql, line 3; nothing of it was kept"):
        await told(migrated)
    async with migrated.superuser() as session:
        assert await one(session, "SELECT to_regclass('fine') IS NOT NULL AND to_regclass('half') IS NULL")
    assert await applied(migrated) == [migration.name for migration in module.shipped()[:-1]]


async def test_a_migration_that_was_changed_since_refuses(migrated: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = shipped()
    ships(monkeypatch, (Migration(first.number, first.name, first.text + b"-- changed"), *others))
    with pytest.raises(Refused, match="0001_scope is not what was applied here"):
        await told(migrated)
    assert "0001_scope is not what was applied here" in await check(migrated.dsn("owner"))


async def test_a_migration_that_is_missing_in_this_release_refuses(
    migrated: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ships(monkeypatch, (shipped()[0], *shipped()[2:]))
    with pytest.raises(Refused, match="0002_identities was applied here and is missing in this release"):
        await told(migrated)


async def test_a_migration_that_was_left_out_of_the_database_refuses(migrated: Database) -> None:
    async with migrated.superuser() as session:
        await session.execute("DELETE FROM bulkhead.migrations WHERE number = 2")
    with pytest.raises(Refused, match="migration 0002 was never applied here"):
        await told(migrated)


async def test_the_former_release_runs_on_the_schema_of_the_next_one(
    migrated: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as next_release:
        also(next_release, "CREATE TABLE more ()")
        await told(migrated)
    assert await check(migrated.dsn("owner")) == ""
    assert len(await told(migrated)) == 1


async def test_who_serves_is_told_what_the_schema_lacks(empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await check(empty.dsn("owner"))).startswith("the schema lacks 0001_scope, ")
    await told(empty)
    also(monkeypatch, "CREATE TABLE more ()")
    for login in ("api", "worker"):
        async with empty.session(login) as session:
            assert await shortfall(session) == (
                f"the schema lacks {len(shipped()) + 1:04}_more: run `bulkhead platform migrate` first"
            )


async def test_an_owner_who_may_not_make_roles_is_told_what_a_superuser_has_to_run(server: PlatformServer) -> None:
    async with server.superuser() as session:
        await session.execute("CREATE ROLE modest LOGIN PASSWORD 'modest'")
        await session.execute("CREATE DATABASE modest OWNER modest")
    dsn = psycopg.conninfo.make_conninfo(server.superuser_dsn("modest"), user="modest", password="modest")
    try:
        with pytest.raises(Refused) as refused:
            await migrate(dsn, wait_seconds=1, lock_seconds=1, tell=lambda _: None)
        async with server.superuser("modest") as session:
            for line in str(refused.value).splitlines()[1:]:
                with contextlib.suppress(psycopg.errors.DuplicateObject):
                    await session.execute(sql.SQL(line))
        await migrate(dsn, wait_seconds=1, lock_seconds=1, tell=lambda _: None)
        assert await check(dsn) == ""
    finally:
        async with server.superuser() as session:
            await session.execute("DROP DATABASE modest WITH (FORCE)")
            await session.execute("DROP ROLE modest")


async def test_a_database_of_another_encoding_is_refused(server: PlatformServer) -> None:
    async with server.superuser() as session:
        await session.execute(
            "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc OWNER owner"
        )
    try:
        with pytest.raises(Refused, match="encoding is LATIN1"):
            await migrate(server.dsn("latin", "owner"), wait_seconds=1, lock_seconds=1, tell=lambda _: None)
    finally:
        async with server.superuser() as session:
            await session.execute("DROP DATABASE latin WITH (FORCE)")


async def test_the_command_migrates_says_so_and_checks(empty: Database) -> None:
    dsn = empty.dsn("owner")

    async def run(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "bulkhead.cli.main", "platform", "migrate", *arguments]
        environment = {**os.environ, f"{PREFIX}OWNER_DSN": dsn}
        ran = await asyncio.to_thread(
            subprocess.run, command, env=environment, capture_output=True, text=True, check=False
        )
        assert empty.server.passwords["owner"] not in ran.stdout + ran.stderr
        return ran.returncode, ran.stdout + ran.stderr

    assert (await run("--check"))[0] == 1
    status, said = await run()
    assert status == 0
    assert said.splitlines()[-1] == f"the schema is current ({NEWEST})"
    assert await run("--check") == (0, "the schema is current\n")
