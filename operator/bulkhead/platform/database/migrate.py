"""The schema: what this release ships, what a database has, and the way from the one to the other.

    Stopped       the schema is not what this release needs
      Refused     no migration may run here, and the message says what to do
      Failed      the server could not be reached, or failed in the middle

One migrates at a time. The lock is polled, never waited for: a session that waits inside the server holds a snapshot,
and with it everything that vacuum could clear. Each migration is one transaction together with the row that records it,
so that a crash at any point leaves a whole number of migrations.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import count
from typing import Any

import psycopg
from psycopg import errors

OLDEST_SERVER = 160000
LOCK_KEY = 0x6275_6C6B_6865_6164  # "bulkhead": any number that no other program of this database takes
POLL_SECONDS = 0.2
CONNECT_SECONDS = 5

_FILE = re.compile(r"(\d{4})_([a-z_]+)\.sql")
_GROUPS = ("api", "worker", "maintenance", "lookup", "sealer")
_SET_BY_OWNER = ("maintenance", "lookup", "sealer")

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Tell = Callable[[str], None]


class Stopped(Exception):
    """Every migration before it is kept whole, and nothing of the one that it stopped in."""


class Refused(Stopped):
    """No migration may run. The message says what to do."""


class Failed(Stopped):
    """The server could not be reached, or failed. The message is the server's, and names no secret."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. `checksum`: SHA-256 of its bytes."""

    number: int
    name: str
    text: bytes

    @property
    def checksum(self) -> bytes:
        return hashlib.sha256(self.text).digest()


@dataclass(frozen=True, slots=True)
class Applied:
    """One row of what a database has."""

    number: int
    name: str
    checksum: bytes


def shipped() -> tuple[Migration, ...]:
    """The migrations of this release, in order."""
    folder = resources.files("bulkhead.platform.database") / "migrations"
    found = ((match, entry) for entry in folder.iterdir() if (match := _FILE.fullmatch(entry.name)))
    return tuple(
        sorted(
            (Migration(int(match[1]), f"{match[1]}_{match[2]}", entry.read_bytes()) for match, entry in found),
            key=lambda migration: migration.number,
        )
    )


def pending(ours: Sequence[Migration], applied: Sequence[Applied]) -> tuple[Migration, ...]:
    """What a database lacks, in order. What a newer release applied beyond ours is none of our business.

    Raises:
        Refused: the database was not made from our migrations: one was changed since, or is unknown, or was left out.
    """
    known = {migration.number: migration for migration in ours}
    newest = max(known, default=0)
    for number, row in zip(count(1), applied, strict=False):
        if row.number != number:
            raise Refused(f"migration {number:04} was never applied here, but {row.name} was: restore the database")
        if number > newest:
            break
        if number not in known:
            raise Refused(f"{row.name} was applied here and is missing in this release: install the release anew")
        if known[number].checksum != row.checksum:
            raise Refused(
                f"{row.name} is not what was applied here: a released migration is never changed, add a new one"
            )
    return tuple(migration for migration in ours if migration.number > len(applied))


async def applied_to(connection: Connection) -> tuple[Applied, ...]:
    """What the database has; nothing where it was never migrated."""
    try:
        rows = await connection.execute("SELECT number, name, checksum FROM bulkhead.migrations ORDER BY number")
    except (errors.UndefinedTable, errors.InvalidSchemaName):
        return ()
    return tuple(Applied(*row) for row in await rows.fetchall())


async def shortfall(connection: Connection) -> str:
    """Why this release can not run on this database, as a sentence; empty: it can.

    A schema of the next release is no shortfall: migrations only add (migrations/README.md).
    """
    try:
        lacking = pending(shipped(), await applied_to(connection))
    except Refused as refused:
        return str(refused)
    if not lacking:
        return ""
    names = ", ".join(migration.name for migration in lacking)
    return f"the schema lacks {names}: run `bulkhead platform migrate` first"


async def check(dsn: str) -> str:
    """`shortfall` of the database that `dsn` names. Changes nothing.

    Raises:
        Failed: see there.
    """
    async with _connected(dsn) as connection:
        return await shortfall(connection)


async def migrate(dsn: str, *, wait_seconds: float, lock_seconds: float, tell: Tell) -> None:
    """Bring the database to this release's schema. Does nothing where it is there; may run twice at once.

    Args:
        dsn: of the role that owns the schema, straight to the server: a pooler loses the lock.
        wait_seconds: for another migration to end.
        lock_seconds: for any lock on a table in use.

    Raises:
        Refused, Failed: see there.
    """
    async with _connected(dsn) as connection:
        await _fit(connection)
        await _lock(connection, wait_seconds)
        await _prepare(connection, lock_seconds)
        for migration in pending(shipped(), await applied_to(connection)):
            started = time.monotonic()
            await _apply(connection, migration, lock_seconds)
            tell(f"{migration.name:28} applied in {time.monotonic() - started:.2f} s")
        tell(f"the schema is current ({(await applied_to(connection))[-1].name})")


@contextlib.asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[Connection]:
    try:
        async with await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name="bulkhead migrate"
        ) as connection:
            yield connection
    except psycopg.Error as error:
        raise Failed("\n".join((str(error).strip(), *getattr(error, "__notes__", ())))) from error


async def _fit(connection: Connection) -> None:
    if connection.info.server_version < OLDEST_SERVER:
        raise Refused(f"the server is Postgres {connection.info.server_version // 10000}: 16 or newer is needed")
    if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
        raise Refused(f"the database's encoding is {encoding}: make one with ENCODING 'UTF8'")


async def _lock(connection: Connection, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not await _granted(connection):  # noqa: ASYNC110 - the server tells nobody that a lock is free
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise Refused(f"another migration runs, and did not end within {seconds:g} s: try again later") from None


async def _granted(connection: Connection) -> bool:
    row = await (await connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,))).fetchone()
    return row == (True,)


async def _prepare(connection: Connection, lock_seconds: float) -> None:
    text = (resources.files("bulkhead.platform.database") / "roles.sql").read_bytes()
    try:
        async with connection.transaction():
            await _bound(connection, lock_seconds)
            await connection.execute(text)
    except errors.InsufficientPrivilege as error:
        raise Refused(
            f"{error.diag.message_primary}. Let the role create roles and schemas, or run as a superuser:\n"
            + "\n".join(_by_superuser(connection.info.user, connection.info.dbname))
        ) from None


def _by_superuser(owner: str, database: str) -> Iterator[str]:
    """What roles.sql needs and an owner without CREATEROLE can not do itself."""
    for group in _GROUPS:
        yield f"  CREATE ROLE bulkhead_platform_{group} NOLOGIN;"
    for group in _SET_BY_OWNER:
        yield f'  GRANT bulkhead_platform_{group} TO "{owner}" WITH INHERIT FALSE, SET TRUE;'
    yield f'  GRANT CREATE ON DATABASE "{database}" TO "{owner}";'


async def _apply(connection: Connection, migration: Migration, lock_seconds: float) -> None:
    try:
        async with connection.transaction():
            await _bound(connection, lock_seconds)
            await connection.execute(migration.text)
            await connection.execute(
                "INSERT INTO migrations (number, name, checksum) VALUES (%s, %s, %s)",
                (migration.number, migration.name, migration.checksum),
            )
    except errors.LockNotAvailable:
        raise Refused(
            f"{migration.name}: a table is in use, and was not let go within {lock_seconds:g} s. "
            "Nothing of it was kept: run it again, or at a quieter time"
        ) from None
    except psycopg.Error as error:
        error.add_note(f"in {migration.name}.sql{_line(migration.text, error)}; nothing of it was kept")
        raise


async def _bound(connection: Connection, lock_seconds: float) -> None:
    """For this transaction: short waits for locks, and nothing that the role's own defaults could add."""
    await connection.execute(
        """SELECT set_config('search_path', 'bulkhead, pg_temp', true),
                  set_config('lock_timeout', %s, true),
                  set_config('statement_timeout', '0', true),
                  set_config('idle_in_transaction_session_timeout', '0', true)""",
        (f"{int(lock_seconds * 1000)}ms",),
    )


def _line(text: bytes, error: psycopg.Error) -> str:
    """Where in the file the server saw the error, if it says so; it counts characters from 1."""
    position = error.diag.statement_position
    return f", line {text.decode()[: int(position)].count(chr(10)) + 1}" if position else ""
