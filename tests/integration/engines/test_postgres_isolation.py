"""Two tenants on real Postgres servers, one's name a prefix of the other's: neither reaches beyond its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import msgspec
import psycopg
import pytest
from psycopg import errors as pg
from psycopg import sql

from bulkhead.api.names import physical_names
from bulkhead.engines.contract import Request
from bulkhead.engines.errors import EngineError
from hack.isolation import postgres as matrix_postgres
from hack.isolation.attempt import Attempt, Refused, Tenant
from tests.integration.engines.postgres_server import VARIANTS, Client, Driver, Servers, one
from tests.unit.engines.postgres import gen

A, AB = "a", "ab"


@dataclass(frozen=True)
class Pair:
    """Both tenants, and a warm database beside them."""

    driver: Driver
    a: Request
    ab: Request

    def named(self, text: str, mine: Request) -> str:
        """`text` with `{mine}`, `{login}`, `{other}`, `{other_login}` filled in."""
        other = self.ab if mine is self.a else self.a
        return text.format(
            mine=mine.names.database,
            login=mine.names.login(1),
            other=other.names.database,
            other_login=other.names.login(1),
            operator=self.driver.operator,
        )


@pytest.fixture(scope="module")
async def servers() -> AsyncIterator[Servers]:
    started = Servers()
    yield started
    await started.close()


@pytest.fixture(scope="module", params=VARIANTS, ids="-".join)
async def pair(servers: Servers, request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    version, mode = request.param
    async with Driver.of(await servers.of(version), mode, warm_databases=1) as driver:
        a = await driver.converge(driver.request(A))
        ab = await driver.converge(driver.named(f"{a.names.database}b"))
        await driver.prepare_server()
        for tenant in (a, ab):
            async with driver.client(tenant) as client:
                await client.execute("CREATE TABLE notes AS SELECT current_database()::text AS text")
        yield Pair(driver, a, ab)


@pytest.fixture(params=[A, AB])
def mine(pair: Pair, request: pytest.FixtureRequest) -> Request:
    return pair.a if request.param == A else pair.ab


@pytest.fixture
async def client(pair: Pair, mine: Request) -> AsyncIterator[Client]:
    async with pair.driver.client(mine) as connected:
        yield connected


async def test_one_name_is_a_prefix_of_the_other(pair: Pair) -> None:
    assert pair.ab.names.database.startswith(pair.a.names.database)


async def test_each_reads_its_own(client: Client, mine: Request) -> None:
    assert await one(client, "SELECT text FROM notes") == mine.names.database


async def test_no_database_but_ones_own_can_be_connected_to(pair: Pair, mine: Request) -> None:
    rows = await pair.driver.server.rows("SELECT datname FROM pg_database WHERE datallowconn")
    others = [name for (name,) in rows if name != mine.names.database]
    assert {"postgres", "template1"} < set(others)
    assert any(name.startswith("bh_warm_") for name in others)
    for database in others:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            async with pair.driver.client(mine, database=database):
                pass


async def test_a_password_opens_no_login_but_its_own(pair: Pair, mine: Request) -> None:
    other = pair.ab if mine is pair.a else pair.a
    server = pair.driver.server.endpoint()
    for user in (other.names.login(1), other.names.database, pair.driver.operator, "postgres"):
        with pytest.raises(psycopg.OperationalError, match=r"password authentication failed|not permitted to log in"):
            async with await psycopg.AsyncConnection.connect(
                host=server.host,
                port=server.port,
                dbname=mine.names.database,
                user=user,
                password=mine.holding.credentials[0].value.reveal(),
                sslmode="disable",
            ):
                pass


@pytest.mark.parametrize("become", ["", "SET ROLE NONE"], ids=["as-group", "as-login"])
@pytest.mark.parametrize(
    "statement",
    [
        'SET ROLE "{other}"',
        'SET ROLE "{other_login}"',
        'SET ROLE "{operator}"',
        'SET SESSION AUTHORIZATION "{other_login}"',
        'GRANT "{mine}" TO "{other_login}"',
        'GRANT "{login}" TO "{other_login}"',
        'GRANT "{other}" TO "{login}"',
        'GRANT pg_read_all_data TO "{login}"',
        "ALTER ROLE \"{other_login}\" PASSWORD 'mine'",
        'ALTER ROLE "{other_login}" NOLOGIN',
        'ALTER ROLE "{other_login}" SET search_path = x',
        'ALTER ROLE "{login}" CONNECTION LIMIT -1',
        "ALTER ROLE \"{login}\" VALID UNTIL 'infinity'",
        'ALTER ROLE "{login}" CREATEDB',
        'ALTER ROLE "{login}" SUPERUSER',
        "ALTER ROLE \"{login}\" SET temp_file_limit = '-1'",
        "SET temp_file_limit = '-1'",
        'ALTER ROLE "{other}" RENAME TO x',
        'DROP ROLE "{other_login}"',
        "CREATE ROLE mine LOGIN",
        "CREATE DATABASE mine",
        'DROP DATABASE "{mine}"',
        'DROP DATABASE "{other}"',
        'ALTER DATABASE "{mine}" CONNECTION LIMIT -1',
        'ALTER DATABASE "{mine}" RENAME TO mine',
        'ALTER DATABASE "{mine}" OWNER TO "{mine}"',
        'ALTER DATABASE "{mine}" SET search_path = x',
        "COMMENT ON DATABASE \"{mine}\" IS 'mine'",
        "COMMENT ON ROLE \"{login}\" IS 'mine'",
        "CREATE SCHEMA mine",
        "CREATE TABLE extensions.mine ()",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE c AS 'libc', 'getpid'",
        "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE PUBLICATION mine FOR ALL TABLES",
        "CREATE TABLESPACE mine LOCATION '/tmp'",
        "COPY notes TO PROGRAM 'id'",
        "COPY notes FROM '/etc/passwd'",
        "COPY notes TO '/tmp/notes'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_ls_dir('.')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT pg_database_size('{other}')",
        "SELECT rolpassword FROM pg_authid",
        "SELECT pg_reload_conf()",
        "SELECT pg_create_physical_replication_slot('mine')",
        "ALTER SYSTEM SET fsync = off",
    ],
)
async def test_what_reaches_beyond_a_tenant_is_refused(pair: Pair, statement: str, become: str) -> None:
    async with pair.driver.client(pair.a) as client:
        await client.execute(become.encode())
        with pytest.raises(pg.InsufficientPrivilege):
            await client.execute(pair.named(statement, pair.a).encode())


async def test_no_extension_is_a_tenants_to_create_not_even_a_trusted_one(client: Client) -> None:
    rows = await (
        await client.execute("SELECT name FROM pg_available_extensions WHERE installed_version IS NULL")
    ).fetchall()
    assert rows
    for (name,) in rows:
        with pytest.raises((pg.InsufficientPrivilege, pg.UndefinedObject), match=r"permission denied|is not installed"):
            await client.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(name)))


async def test_no_session_but_ones_own_can_be_ended(pair: Pair, mine: Request, client: Client) -> None:
    other = pair.ab if mine is pair.a else pair.a
    async with pair.driver.client(other) as neighbour:
        for name in (other.names.login(1), pair.driver.operator):
            with pytest.raises(pg.InsufficientPrivilege):
                await client.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [name]
                )
        assert await one(neighbour, "SELECT 1") == 1


@pytest.mark.parametrize(
    "statement",
    ['GRANT CONNECT ON DATABASE "{mine}" TO PUBLIC', 'GRANT CONNECT ON DATABASE "{mine}" TO "{other_login}"'],
)
async def test_a_tenant_can_not_let_others_in(pair: Pair, mine: Request, client: Client, statement: str) -> None:
    await client.execute(pair.named(statement, mine).encode())  # a warning and no more
    assert await pair.driver.steps(mine) == ()


async def test_what_a_neighbour_does_is_not_shown(pair: Pair, mine: Request, client: Client) -> None:
    other = pair.ab if mine is pair.a else pair.a
    async with pair.driver.client(other) as busy:
        await busy.execute("SELECT 'a secret of mine'")
        rows = await (
            await client.execute(
                "SELECT query, client_addr FROM pg_stat_activity WHERE datname = %s", [other.names.database]
            )
        ).fetchall()
    assert rows
    assert all(row == ("<insufficient privilege>", None) for row in rows)


async def test_names_and_comments_that_all_can_read_hold_no_customer_data(mine: Request, client: Client) -> None:
    rows = await (
        await client.execute("SELECT description FROM pg_shdescription WHERE description LIKE 'bulkhead:%'")
    ).fetchall()
    assert rows
    assert all(len(text.split(":")) == 3 and mine.names.database not in text for (text,) in rows)


async def test_neither_tenant_is_touched_by_what_was_tried(pair: Pair) -> None:
    assert await pair.driver.steps(pair.a) == ()
    assert await pair.driver.steps(pair.ab) == ()


TRAP = (
    "CREATE FUNCTION public.{} RETURNS {} LANGUAGE plpgsql AS "
    "$$BEGIN INSERT INTO public.caught SELECT session_user; RETURN NULL; END$$"
)


async def test_names_in_a_hostile_database_are_never_called_by_the_operator(pair: Pair) -> None:
    driver = pair.driver
    request = await driver.converge(driver.request(schemas=("app",)))
    async with driver.client(request) as client:
        await client.execute("CREATE TABLE caught (who text)")
        await client.execute(TRAP.format("pg_get_userbyid(oid)", "name").encode())
        await client.execute(TRAP.format("has_schema_privilege(text, oid, text)", "boolean").encode())
        await client.execute(TRAP.format("equals(name, name)", "boolean").encode())
        await client.execute("CREATE OPERATOR public.= (FUNCTION = public.equals, LEFTARG = name, RIGHTARG = name)")
        await client.execute("CREATE VIEW public.pg_namespace AS SELECT * FROM pg_catalog.pg_namespace LIMIT 0")
        await client.execute("DROP SCHEMA app")
    async with Driver.of(driver.server, driver.mode) as later:  # which does not remember what it saw before
        await later.converge(request)
    rotated = await driver.converge(driver.successor(request))
    await driver.converge(gen.held(rotated, credentials=rotated.holding.credentials[1:]))
    async with driver.client(rotated) as client:
        assert await one(client, "SELECT count(*) FROM caught") == 0
        assert await one(client, "SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = 'app'") == 1


async def test_settings_of_a_tenant_do_not_reach_the_operator(pair: Pair) -> None:
    driver = pair.driver
    request = await driver.converge(driver.request())
    async with driver.client(request) as client:
        await client.execute("SET ROLE NONE")
        await client.execute(
            f'ALTER ROLE "{request.names.login(1)}" SET search_path = evil; '
            f'ALTER ROLE "{request.names.login(1)}" RESET ALL'.encode()
        )
    await driver.converge(request)
    async with driver.client(request) as client:
        assert await one(client, "SELECT current_user::text") == request.names.database
        assert await one(client, "SHOW temp_file_limit") == "1GB"


async def test_the_matrix_takes_neither_a_missing_database_nor_used_up_connections_for_a_refusal(pair: Pair) -> None:
    acme, globex = (matrix_tenant(pair.driver, each) for each in (pair.a, pair.ab))
    nowhere = replace(globex, postgres={**globex.postgres, "database": "nowhere"})
    with pytest.raises(Refused, match="permission denied for database"):
        await connecting(acme, globex).run()
    with pytest.raises(psycopg.OperationalError, match='database "nowhere" does not exist'):
        await connecting(acme, nowhere).run()
    async with without_connections(pair.driver, pair.a.names.login(1)):
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            await connecting(acme, globex).run()


def matrix_tenant(driver: Driver, request: Request) -> Tenant:
    return Tenant(request.names.database, dict(driver.engine.binding(request)), {}, {}, {})


@asynccontextmanager
async def without_connections(driver: Driver, login: str) -> AsyncIterator[None]:
    """A login that has used up its own, as far as the server is concerned."""
    limits: dict[str, int] = dict(await driver.server.rows("SELECT rolname, rolconnlimit FROM pg_roles"))
    await driver.server.run(f'ALTER ROLE "{login}" CONNECTION LIMIT 0')
    yield
    await driver.server.run(f'ALTER ROLE "{login}" CONNECTION LIMIT {limits[login]}')


def connecting(attacker: Tenant, victim: Tenant) -> Attempt:
    ways = matrix_postgres.attempts(attacker, victim)
    return next(way for way in ways if way.kind == "connect to its database")


async def test_settings_of_a_tenant_do_not_reach_the_operator_by_their_size(pair: Pair) -> None:
    driver = pair.driver
    request = await driver.converge(driver.request())
    kilobyte, large = 1024, 4 * 1024 * 1024
    async with driver.client(request) as client:
        for role in (request.names.login(1), request.names.database):
            await client.execute(f'SET ROLE "{role}"'.encode())
            for size in (kilobyte, large):
                change = f"format('ALTER ROLE \"{role}\" SET search_path = %L', repeat('a', {size}))"
                await client.execute(f"DO $$BEGIN EXECUTE {change}; END$$".encode())
                assert len(msgspec.json.encode(await driver.engine.observe(request))) < 4 * kilobyte
    assert all(role.bloated for role in (await driver.engine.observe(request)).roles)
    assert (await driver.engine.survey())[request.stamp.uid] != driver.engine.fingerprint(request)
    await driver.converge(gen.cut(request))
    await driver.converge(request)
    assert (await driver.engine.survey())[request.stamp.uid] == driver.engine.fingerprint(request)
    async with driver.client(request) as client:
        assert await one(client, "SHOW temp_file_limit") == "1GB"


async def test_a_setting_that_an_operator_may_not_clear_holds_up_neither_rotation_nor_suspension(pair: Pair) -> None:
    driver = pair.driver
    request = await driver.converge(driver.request())
    login = request.names.login(1)
    value = f"'shadowed_variables' || repeat(' ', {2**23})"
    change = f"format('ALTER ROLE \"{login}\" SET plpgsql.extra_warnings = %L', {value})"
    async with driver.client(request) as client:
        await client.execute("SET ROLE NONE")
        await client.execute(f"DO $$BEGIN EXECUTE {change}; END$$".encode())
    assert any(role.bloated for role in (await driver.engine.observe(request)).roles)
    await driver.converge(driver.successor(request))
    await driver.converge(gen.cut(request))
    await driver.converge(request)


async def test_where_the_way_in_can_not_be_revoked_logins_are_disabled_all_the_same(pair: Pair) -> None:
    driver = pair.driver
    request = await driver.converge(driver.request())
    await driver.server.run(f'ALTER ROLE "{request.names.database}" SUPERUSER')
    with suppress(EngineError):
        await driver.converge(gen.cut(request))
    seen = await driver.engine.observe(gen.cut(request))
    assert not any(role.login for role in seen.roles if role.name == request.names.login(1))
    await driver.server.run(f'ALTER ROLE "{request.names.database}" NOSUPERUSER')


async def test_names_longer_than_postgres_keeps_can_not_arise(pair: Pair) -> None:
    names = physical_names("a" * 48, "8c1f0d3e-0000-4000-8000-000000000001", (), opaque=False)
    request = pair.driver.named(names.database)
    assert len(names.login(10**9)) <= 63
    await pair.driver.converge(request)
    assert await pair.driver.server.rows(f"SELECT FROM pg_database WHERE datname = '{'a' * 48}'") == [()]
    await pair.driver.erase(request)
