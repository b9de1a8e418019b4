"""Real Postgres servers for the tests of the platform service, with a migrated database for whoever asks."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from bulkhead.platform.database.migrate import migrate
from bulkhead.platform.database.pools import Bounds, Pool, Role, pool
from hack.plane.plane import Part, Plane, PlaneOptions
from hack.plane.postgres import Postgres
from hack.plane.postgres_builds import PostgresVersion
from tests.postgres_builds import needs_postgres

VERSIONS: tuple[PostgresVersion, ...] = ("18", "16")
"""The newest that this project runs on, and the oldest."""
TEMPLATE = "migrated"

Login = Literal["owner", "api", "worker", "maintenance"]
Client = psycopg.AsyncConnection[tuple[Any, ...]]


@dataclass(frozen=True)
class PlatformServer:
    """A server with the log-ins of one installation; none of them is a superuser."""

    postgres: Postgres
    passwords: dict[Login, str]
    numbers: count[int] = field(default_factory=count)

    @classmethod
    @asynccontextmanager
    async def running(cls, version: PostgresVersion) -> AsyncIterator[PlatformServer]:
        """Skips the test where this machine has no Postgres of that version."""
        options = PlaneOptions(parts=frozenset({Part.POSTGRES}), postgres=version, fsync=False)
        await needs_postgres(version)
        async with Plane.start(options) as plane:
            server = cls(plane.postgres, {})
            await server._prepare()
            yield server

    def superuser_dsn(self, database: str) -> str:
        return self.postgres.dsn(database)

    def dsn(self, database: str, login: Login) -> str:
        return make_conninfo(self.postgres.dsn(database), user=login, password=self.passwords[login])

    @asynccontextmanager
    async def superuser(self, database: str = "postgres") -> AsyncIterator[Client]:
        async with await psycopg.AsyncConnection.connect(self.superuser_dsn(database), autocommit=True) as session:
            yield session

    async def create_role(self, name: Login, attributes: LiteralString) -> None:
        self.passwords[name] = secrets.token_urlsafe(16)
        role, password = sql.Identifier(name), sql.Literal(self.passwords[name])
        async with self.superuser() as session:
            await session.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} ").format(role, password) + sql.SQL(attributes)
            )

    @asynccontextmanager
    async def empty_database(self) -> AsyncIterator[Database]:
        """Never migrated."""
        async with self._database("template0") as database:
            yield database

    @asynccontextmanager
    async def migrated_database(self) -> AsyncIterator[Database]:
        """As `migrate` leaves it, in a tenth of the time."""
        async with self._database(TEMPLATE) as database:
            yield database

    @asynccontextmanager
    async def backup(self, name: str) -> AsyncIterator[Database]:
        """A database as it is now, byte for byte, under another name. Nobody may be using it."""
        async with self._database(name) as kept:
            yield kept

    async def restore(self, name: str, backup: Database) -> None:
        """Put what `backup` holds in the place of a database, whoever is using it."""
        async with self.superuser() as session:
            await session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        await self._create_database(name, backup.name)

    @asynccontextmanager
    async def _database(self, template: str) -> AsyncIterator[Database]:
        name = f"platform_{next(self.numbers)}"
        await self._create_database(name, template)
        try:
            yield Database(self, name)
        finally:
            async with self.superuser() as session:
                await session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    async def _create_database(self, name: str, template: str) -> None:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER owner").format(
            sql.Identifier(name), sql.Identifier(template)
        )
        async with self.superuser() as session:
            await session.execute(statement)

    async def _prepare(self) -> None:
        await self.create_role("owner", "CREATEROLE")
        await self._create_database(TEMPLATE, "template0")
        await migrate(self.dsn(TEMPLATE, "owner"), wait_seconds=5, lock_seconds=5, tell=lambda _: None)
        await self.create_role("api", "IN ROLE bulkhead_platform_api")
        await self.create_role("worker", "IN ROLE bulkhead_platform_worker")
        await self.create_role("maintenance", "IN ROLE bulkhead_platform_maintenance")


@dataclass(frozen=True)
class Database:
    """One database of a server. The schema of the platform service is searched first by every session from here."""

    server: PlatformServer
    name: str

    def dsn(self, login: Login) -> str:
        return self.server.dsn(self.name, login)

    @asynccontextmanager
    async def superuser(self) -> AsyncIterator[Client]:
        """Sees all rows, whatever is forced: to prepare, and to look at what is."""
        async with self.server.superuser(self.name) as session:
            await session.execute("SET search_path = bulkhead, pg_temp")
            yield session

    @asynccontextmanager
    async def session(self, login: Login) -> AsyncIterator[Client]:
        async with await psycopg.AsyncConnection.connect(self.dsn(login), autocommit=True) as session:
            await session.execute("SET search_path = bulkhead, pg_temp")
            yield session

    @asynccontextmanager
    async def pool(self, role: Role, bounds: Bounds | None = None) -> AsyncIterator[Pool]:
        """As the service has it."""
        async with pool(self.dsn(role), role, bounds or Bounds(fewest=1, most=4)) as opened:
            yield opened


class Servers:
    """One server per release, started when it is first asked for."""

    def __init__(self) -> None:
        self._running = AsyncExitStack()
        self._started: dict[PostgresVersion, PlatformServer] = {}

    async def of(self, version: PostgresVersion) -> PlatformServer:
        if version not in self._started:
            self._started[version] = await self._running.enter_async_context(PlatformServer.running(version))
        return self._started[version]

    async def close(self) -> None:
        await self._running.aclose()


async def rows(session: Client, query: LiteralString, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """What `query` answers."""
    return await (await session.execute(query, parameters or None)).fetchall()


async def one(session: Client, query: LiteralString, parameters: Sequence[object] = ()) -> Any:
    """The one value that `query` answers."""
    ((value,),) = await rows(session, query, parameters)
    return value
