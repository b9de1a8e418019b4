"""Ways into a neighbour's Postgres database."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from hack.isolation.attempt import Attempt, Refused, Tenant

REFUSALS = (
    "permission denied for database",
    "password authentication failed for user",
    "is not permitted to log in",
    "no pg_hba.conf entry for host",
    "pg_hba.conf rejects connection for host",
)
"""What a server says to whom it does not let in. Words, since libpq keeps no SQLSTATE of a connection that it did not
get. What else it says then, of a database that is not there or of too many clients, is no refusal."""
TABLE = "isolation_probe"


def attempts(attacker: Tenant, victim: Tenant) -> Iterator[Attempt]:
    """Everything that a login may try on a neighbour, or on its own database where they are the same."""
    if attacker.slug == victim.slug:
        yield _own("write and read a row", _write_and_read(attacker))
        yield _own("keep a temporary table", _statements(attacker, "CREATE TEMPORARY TABLE t (i int)"))
        return
    neighbour = victim.postgres["database"]
    login, group = victim.postgres["username"], victim.postgres["database"]
    yield _shut("connect to its database", _statements(attacker, "SELECT 1", database=neighbour))
    yield _shut("connect to postgres", _statements(attacker, "SELECT 1", database="postgres"))
    yield _shut("connect to template1", _statements(attacker, "SELECT 1", database="template1"))
    yield _shut("log in as it with my password", _statements(attacker, "SELECT 1", user=login))
    yield _shut("become its group", _statements(attacker, _named("SET ROLE {}", group)))
    yield _shut("become its login", _statements(attacker, _named("SET ROLE {}", login)))
    yield _shut("change its password", _statements(attacker, _named("ALTER ROLE {} PASSWORD 'x'", login)))
    yield _shut("grant its role to me", _statements(attacker, _named("GRANT {} TO CURRENT_USER", group)))
    yield _shut("grant my role to it", _grant_to(attacker, login))
    yield _shut("drop its role", _statements(attacker, _named("DROP ROLE {}", login)))
    yield _shut("drop its database", _statements(attacker, _named("DROP DATABASE {}", neighbour)))
    yield _shut("rename its database", _statements(attacker, _named("ALTER DATABASE {} RENAME TO stolen", neighbour)))
    yield _shut(
        "grant everybody its database",
        _statements(attacker, _named("GRANT CONNECT ON DATABASE {} TO PUBLIC", neighbour)),
    )
    yield _shut("end its sessions", _end_sessions(attacker, victim))
    yield _shut("measure its database", _statements(attacker, _literal("SELECT pg_database_size({})", neighbour)))
    yield _shut("read a file of the server", _statements(attacker, "SELECT pg_read_file('PG_VERSION')"))
    yield _shut("run a program on the server", _statements(attacker, "COPY (SELECT 1) TO PROGRAM 'true'"))
    yield _shut("make a role", _statements(attacker, "CREATE ROLE isolation_probe_role"))
    yield _shut("make a database", _statements(attacker, "CREATE DATABASE isolation_probe_db"))
    yield _shut("lift my limit on connections", _statements(attacker, "ALTER ROLE CURRENT_USER CONNECTION LIMIT -1"))
    yield _shut("lift my limit on temporary files", _statements(attacker, "SET temp_file_limit = -1"))
    yield _shut("reach it through dblink", _extension(attacker, "dblink"))
    yield _shut("reach it through postgres_fdw", _extension(attacker, "postgres_fdw"))


async def stamp_of(tenant: Tenant) -> str:
    """The comment on its database, which it can read itself. That it can not would be no refusal by another engine."""
    query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
    async with await _connection(tenant) as connection:
        row = await (await connection.execute(query)).fetchone()
    return str(row and row[0])


def _own(kind: str, run: Callable[[], Awaitable[None]]) -> Attempt:
    return Attempt("postgres", kind, allowed=True, run=run)


def _shut(kind: str, run: Callable[[], Awaitable[None]]) -> Attempt:
    return Attempt("postgres", kind, allowed=False, run=run)


def _named(statement: str, name: str) -> sql.Composed:
    return sql.SQL(statement).format(sql.Identifier(name))


def _literal(statement: str, value: str) -> sql.Composed:
    return sql.SQL(statement).format(sql.Literal(value))


@contextlib.asynccontextmanager
async def _session(tenant: Tenant, **changes: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """A session with the tenant's own credential and some parameters changed. No password of another is used."""
    try:
        connection = await _connection(tenant, **changes)
    except psycopg.OperationalError as error:
        if any(refusal in str(error) for refusal in REFUSALS):
            raise Refused(str(error)) from None
        raise
    async with connection:
        try:
            yield connection
        except psycopg.errors.InsufficientPrivilege as error:
            raise Refused(str(error)) from None


async def _connection(tenant: Tenant, **changes: str) -> psycopg.AsyncConnection:
    dsn = make_conninfo(tenant.postgres["uri"], connect_timeout=10, **_parameters(changes))
    return await psycopg.AsyncConnection.connect(dsn, autocommit=True)


def _parameters(changes: dict[str, str]) -> dict[str, str]:
    return {{"database": "dbname"}.get(key, key): value for key, value in changes.items()}


def _statements(tenant: Tenant, *statements: str | sql.Composed, **changes: str) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        async with _session(tenant, **changes) as connection:
            for statement in statements:
                await connection.execute(sql.SQL(statement) if isinstance(statement, str) else statement)

    return run


def _write_and_read(tenant: Tenant) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        async with _session(tenant) as connection:
            await connection.execute(
                sql.SQL("CREATE TABLE IF NOT EXISTS {} (owner text)").format(sql.Identifier(TABLE))
            )
            insert = sql.SQL("INSERT INTO {} VALUES (%s)").format(sql.Identifier(TABLE))
            await connection.execute(insert, (tenant.slug,))
            rows = await (
                await connection.execute(sql.SQL("SELECT DISTINCT owner FROM {}").format(sql.Identifier(TABLE)))
            ).fetchall()
            if rows != [(tenant.slug,)]:
                raise Refused(f"read {rows} instead of what was written")

    return run


def _grant_to(tenant: Tenant, login: str) -> Callable[[], Awaitable[None]]:
    """A neighbour that holds my role could not be dropped, and would read my data."""

    async def run() -> None:
        async with _session(tenant) as connection:
            statement = sql.SQL("GRANT {} TO {}").format(
                sql.Identifier(tenant.postgres["database"]), sql.Identifier(login)
            )
            await connection.execute(statement)

    return run


def _extension(tenant: Tenant, name: str) -> Callable[[], Awaitable[None]]:
    """One that is not even on the server is no way in either."""

    async def run() -> None:
        async with _session(tenant) as connection:
            try:
                await connection.execute(_named("CREATE EXTENSION {}", name))
            except psycopg.errors.FeatureNotSupported as error:
                raise Refused(str(error)) from None

    return run


def _end_sessions(tenant: Tenant, victim: Tenant) -> Callable[[], Awaitable[None]]:
    """Needs a session to end, so the victim holds one meanwhile. It is not the victim who has to be refused."""

    async def run() -> None:
        async with await _connection(victim) as held, _session(tenant) as connection:
            await connection.execute("SELECT pg_terminate_backend(%s)", (held.info.backend_pid,))

    return run
