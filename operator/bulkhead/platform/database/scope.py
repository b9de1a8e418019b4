"""The only way to the rows: one transaction, one scope.

    Unavailable   the database can not be asked now; nothing that was begun is kept, as far as that can be known

Row-level security shows a transaction what its scope names, and nothing where nothing is named. A scope is set for the
transaction alone, so that a connection goes back to its pool without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import LiteralString, TypeVar
from uuid import UUID

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus
from psycopg.rows import AsyncRowFactory

from bulkhead.platform.database.pools import Connection, Pool

T = TypeVar("T")

_ASK_AGAIN = (
    errors.ReadOnlySqlTransaction,  # the server that was written to is a standby now
    errors.IdleInTransactionSessionTimeout,
)


class Unavailable(psycopg.OperationalError):
    """The database can not be asked: it is down, too slow, or has no connection left. The caller may try again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose rows a transaction sees. Nothing named: nobody's.

    Attributes:
        organisation: all rows of it.
        plane: the plane itself, and its clusters in every organisation that it is granted.
        token: the one registration token that is redeemed.
        platform_admin: organisations, grants, mappings, planes, their tokens and targets, issuers.
    """

    organisation: UUID | None = None
    plane: UUID | None = None
    token: UUID | None = None
    platform_admin: bool = False

    def opening(self) -> bytes:
        """The statement that begins a transaction of this scope: one way to the server instead of two."""
        named = {
            b"organisation": _hexadecimal(self.organisation),
            b"plane": _hexadecimal(self.plane),
            b"token": _hexadecimal(self.token),
            b"platform_admin": b"on" if self.platform_admin else b"",
        }
        settings = (b"set_config('bulkhead.%b', '%b', true)" % setting for setting in named.items())
        return b"BEGIN; SELECT " + b", ".join(settings)


@contextlib.asynccontextmanager
async def transaction(pool: Pool, scope: Scope) -> AsyncIterator[Connection]:
    """A connection in a transaction of this scope: committed at the end of the block, rolled back by what it raises.

    Raises:
        Unavailable: see there; also for what the block itself asks. After a commit that was not answered nobody knows
            whether it is kept: what is done twice has to be the same as what is done once.
    """
    with _told():
        connection, _ = await _living(pool, lambda connection: _begin(connection, scope))
        try:
            yield connection
            _refuse_swallowed(connection)
            await connection.commit()
        except BaseException:
            await _roll_back(connection)
            raise
        finally:
            await pool.putconn(connection)


async def look_up(pool: Pool, query: LiteralString, parameters: Sequence[object], row: AsyncRowFactory[T]) -> T | None:
    """The one row that a look-up answers; None: there is none. See `look_up_all`."""
    return next(iter(await look_up_all(pool, query, parameters, row)), None)


async def look_up_all(
    pool: Pool, query: LiteralString, parameters: Sequence[object], row: AsyncRowFactory[T]
) -> list[T]:
    """What a look-up of the migrations answers. A single statement, which is without a scope or sets one for itself.

    Raises:
        Unavailable: see there.
    """

    async def ask(connection: Connection) -> list[T]:
        async with connection.cursor(row_factory=row) as cursor:
            await cursor.execute(query, parameters)
            return await cursor.fetchall()

    with _told():
        connection, found = await _living(pool, ask)
        await pool.putconn(connection)
        return found


async def _living(pool: Pool, first: Callable[[Connection], Awaitable[T]]) -> tuple[Connection, T]:
    """A connection whose server answers, and what it answered first.

    A server that was restarted leaves a pool of dead connections. Nothing was done yet when the first statement finds
    one, so the next is taken: a restart costs nobody a request.
    """
    for remaining in range(pool.max_size, -1, -1):
        connection = await pool.getconn()
        try:
            return connection, await first(connection)
        except BaseException as error:
            lost = isinstance(error, psycopg.OperationalError) and connection.broken
            await _roll_back(connection)
            await pool.putconn(connection)
            if not (lost and remaining):
                raise
    raise AssertionError("the last attempt returns or raises")


async def _begin(connection: Connection, scope: Scope) -> None:
    # Each scope is another text, of two statements: neither can be prepared.
    await connection.execute(scope.opening(), prepare=False)


def _refuse_swallowed(connection: Connection) -> None:
    """COMMIT of a failed transaction rolls back and reports success: a caught error would lose all, silently."""
    if connection.info.transaction_status is TransactionStatus.INERROR:
        raise RuntimeError("a statement failed and its error was caught: nothing of this transaction is kept")


async def _roll_back(connection: Connection) -> None:
    """What raised matters more; a connection that can not even do this is not used again."""
    with contextlib.suppress(psycopg.Error):
        await connection.rollback()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Every way in which a database can be out of reach, as the one error that the front knows."""
    try:
        yield
    except Unavailable:
        raise
    except (psycopg.OperationalError, *_ASK_AGAIN) as error:
        raise Unavailable(f"{type(error).__name__} {error.sqlstate or ''}".rstrip()) from error


def _hexadecimal(identity: UUID | None) -> bytes:
    """Through `hex`, which only a UUID has: no text of anybody comes into the statement."""
    return b"" if identity is None else identity.hex.encode()
