"""One transaction, one scope; and what a database that can not be asked looks like."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import tuple_row

from bulkhead.platform.database.pools import Bounds, Pool
from bulkhead.platform.database.scope import Scope, Unavailable, look_up, transaction
from tests.integration.platform.server import VERSIONS, Database, one, rows
from tests.world import eventually

pytestmark = pytest.mark.parametrize("database", VERSIONS, indirect=True, scope="module")

SETTINGS = "SELECT scope_organisation(), scope_plane(), scope_token(), scope_platform_admin()"
TIGHT = Bounds(fewest=1, most=1, waiting=1, wait_seconds=1.0)


async def organisation(pool: Pool, name: str) -> UUID:
    async with transaction(pool, Scope(platform_admin=True)) as tx:
        return UUID(str(await one(tx, "INSERT INTO organisations (name) VALUES (%s) RETURNING id", (name,))))


async def names(pool: Pool) -> set[str]:
    async with transaction(pool, Scope(platform_admin=True)) as tx:
        return {name for (name,) in await rows(tx, "SELECT name FROM organisations")}


async def test_a_transaction_has_the_scope_that_it_was_given(api: Pool) -> None:
    scope = Scope(organisation=uuid4(), plane=uuid4(), token=uuid4(), platform_admin=True)
    async with transaction(api, scope) as tx:
        assert await rows(tx, SETTINGS) == [(scope.organisation, scope.plane, scope.token, True)]


async def test_a_connection_returns_to_its_pool_without_a_scope(database: Database) -> None:
    async with database.pool("api", TIGHT) as pool:
        async with transaction(pool, Scope(organisation=uuid4(), plane=uuid4(), token=uuid4(), platform_admin=True)):
            pass
        with pytest.raises(ZeroDivisionError):
            async with transaction(pool, Scope(organisation=uuid4(), platform_admin=True)):
                raise ZeroDivisionError
        async with pool.connection() as connection:
            assert await rows(connection, SETTINGS) == [(None, None, None, False)]
        async with transaction(pool, Scope()) as tx:
            assert await rows(tx, SETTINGS) == [(None, None, None, False)]


async def test_what_raises_leaves_nothing(api: Pool) -> None:
    async def fail() -> None:
        async with transaction(api, Scope(platform_admin=True)) as tx:
            await tx.execute("INSERT INTO organisations (name) VALUES ('of nobody')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert "of nobody" not in await names(api)


async def test_a_cancelled_transaction_leaves_nothing_and_gives_its_connection_back(database: Database) -> None:
    async with database.pool("api", TIGHT) as pool:

        async def hang() -> None:
            async with transaction(pool, Scope(platform_admin=True)) as tx:
                await tx.execute("INSERT INTO organisations (name) VALUES ('cancelled')")
                await tx.execute("SELECT pg_sleep(60)")

        async def hangs() -> bool:
            async with database.superuser() as session:
                return bool(await rows(session, "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))

        task = asyncio.create_task(hang())
        await eventually(hangs)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "cancelled" not in await names(pool)


async def test_an_error_that_was_caught_is_no_success(api: Pool) -> None:
    async def swallow() -> None:
        async with transaction(api, Scope(platform_admin=True)) as tx:
            await tx.execute("INSERT INTO organisations (name) VALUES ('swallowed')")
            with contextlib.suppress(psycopg.DataError):
                await tx.execute("SELECT 1 / 0")

    with pytest.raises(RuntimeError, match="nothing of this transaction is kept"):
        await swallow()
    assert "swallowed" not in await names(api)


async def test_what_the_database_refuses_is_not_called_unavailable(api: Pool) -> None:
    await organisation(api, "twice")
    with pytest.raises(psycopg.errors.UniqueViolation):
        await organisation(api, "twice")


async def test_a_look_up_has_no_scope_and_finds_what_its_holder_names(api: Pool) -> None:
    assert await look_up(api, "SELECT scope_organisation(), scope_platform_admin()", (), tuple_row) == (None, False)
    assert await look_up(api, "SELECT * FROM service_key(%s)", ("0" * 32,), tuple_row) is None


async def test_whoever_finds_no_connection_in_time_is_told_unavailable(database: Database) -> None:
    async with database.pool("api", TIGHT) as pool, transaction(pool, Scope()):
        with pytest.raises(Unavailable, match="PoolTimeout"):
            async with transaction(pool, Scope()):
                raise AssertionError("there is one connection, and it is taken")


async def test_beyond_those_who_may_wait_one_is_refused_at_once(database: Database) -> None:
    # Who waits does so for longer than it takes to see it, and to be refused beside it.
    bounds = replace(TIGHT, wait_seconds=5.0)
    async with database.pool("api", bounds) as pool, transaction(pool, Scope()):
        waiting = asyncio.create_task(look_up(pool, "SELECT 1", (), tuple_row))
        await eventually(lambda: _waits(pool))
        with pytest.raises(Unavailable, match="TooManyRequests"):
            await look_up(pool, "SELECT 1", (), tuple_row)
        with pytest.raises(Unavailable, match="PoolTimeout"):
            await waiting


async def _waits(pool: Pool) -> bool:
    return pool.get_stats().get("requests_waiting", 0) == 1


async def test_a_statement_that_takes_too_long_is_ended(database: Database) -> None:
    async with database.pool("api", Bounds(fewest=1, most=1, statement_seconds=1.0)) as pool:
        with pytest.raises(Unavailable, match="QueryCanceled 57014"):
            async with transaction(pool, Scope()) as tx:
                await tx.execute("SELECT pg_sleep(60)")
        assert await look_up(pool, "SELECT 1", (), tuple_row) == (1,)


async def test_a_transaction_in_which_nothing_happens_is_ended(database: Database) -> None:
    async def ended(number: int) -> bool:
        async with database.superuser() as session:
            return not await rows(session, "SELECT FROM pg_stat_activity WHERE pid = %s", (number,))

    async def do_nothing(pool: Pool) -> None:
        async with transaction(pool, Scope()) as tx:
            await eventually(lambda: ended(tx.info.backend_pid))
            await tx.execute("SELECT 1")

    async with database.pool("api", Bounds(fewest=1, most=1, idle_seconds=0.2)) as pool:
        with pytest.raises(Unavailable):
            await do_nothing(pool)
        assert await look_up(pool, "SELECT 1", (), tuple_row) == (1,)


async def test_a_lock_is_waited_for_no_longer_than_said(database: Database, api: Pool) -> None:
    held = await organisation(api, "locked")
    async with (
        database.pool("api", Bounds(fewest=1, most=1, lock_seconds=0.2)) as pool,
        database.superuser() as session,
        session.transaction(),
    ):
        await session.execute("SELECT FROM organisations WHERE id = %s FOR UPDATE", (held,))
        with pytest.raises(Unavailable, match="LockNotAvailable 55P03"):
            async with transaction(pool, Scope(platform_admin=True)) as tx:
                await tx.execute("UPDATE organisations SET name = 'other' WHERE id = %s", (held,))


async def test_connections_that_a_restart_killed_cost_nobody_a_request(database: Database) -> None:
    async with database.pool("api", Bounds(fewest=3, most=3)) as pool:
        await pool.wait()
        async with database.superuser() as session:
            ended = await one(
                session,
                "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
                " WHERE datname = %s AND application_name = 'bulkhead api'",
                (database.name,),
            )
        assert ended >= 3
        async with transaction(pool, Scope()) as tx:
            assert await one(tx, "SELECT 1") == 1
        assert await look_up(pool, "SELECT 1", (), tuple_row) == (1,)


async def test_a_connection_lost_in_the_middle_is_unavailable_and_done_by_halves_is_nothing(
    database: Database, api: Pool
) -> None:
    async def lose() -> None:
        async with transaction(api, Scope(platform_admin=True)) as tx:
            await tx.execute("INSERT INTO organisations (name) VALUES ('by halves')")
            async with database.superuser() as session:
                await session.execute("SELECT pg_terminate_backend(%s, 5000)", (tx.info.backend_pid,))
            await tx.execute("SELECT 1")

    with pytest.raises(Unavailable, match="AdminShutdown 57P01"):
        await lose()
    assert "by halves" not in await names(api)


async def test_a_server_that_is_down_is_unavailable_and_is_found_again_when_it_is_back(database: Database) -> None:
    async with database.pool("api", Bounds(fewest=2, most=2, wait_seconds=1.0)) as pool:
        await pool.wait()
        await database.server.postgres.stop()
        try:
            for _ in range(3):
                with pytest.raises(Unavailable):
                    await look_up(pool, "SELECT 1", (), tuple_row)
        finally:
            await database.server.postgres.start()

        async def back() -> bool:
            try:
                return await look_up(pool, "SELECT 1", (), tuple_row) == (1,)
            except Unavailable:
                return False

        await eventually(back)
