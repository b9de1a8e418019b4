"""Connections to the database: one pool for each role of the service, each bounded in number and in time.

TooPowerful   the log-in of a pool may do more than its role: row-level security would mean nothing
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import psycopg
from psycopg import conninfo
from psycopg_pool import AsyncConnectionPool

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Pool = AsyncConnectionPool[Connection]
Role = Literal["api", "worker", "maintenance"]

SCHEMA: Final = "bulkhead"

_TRANSPORT: Final[Mapping[str, str | int]] = {
    # A server that vanishes without a word is noticed within seconds, not within the two hours that the kernel takes.
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15000,
}


class TooPowerful(Exception):
    """A log-in that must not be used for its pool. The message says why, and names no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Of one pool.

    Attributes:
        fewest, most: connections that are held.
        waiting: callers that may wait for one; beyond it they are refused at once.
        wait_seconds: how long each waits.
        statement_seconds, lock_seconds, idle_seconds: after which the server ends a statement, a wait for a lock, and
            the connection of a transaction in which nothing happens.
    """

    fewest: int = 2
    most: int = 10
    waiting: int = 200
    wait_seconds: float = 5.0
    statement_seconds: float = 10.0
    lock_seconds: float = 5.0
    idle_seconds: float = 15.0


def pool(dsn: str, role: Role, bounds: Bounds) -> Pool:
    """A pool that is not open yet: `async with pool(...)`, or open() and close().

    Connections are in autocommit mode: scope.transaction says where a transaction begins, and nothing else begins one.
    The server may be down when it is opened, and at any time.
    """

    async def configure(connection: Connection) -> None:
        await connection.execute(
            """SELECT set_config('search_path', %s, false),
                      set_config('statement_timeout', %s, false),
                      set_config('lock_timeout', %s, false),
                      set_config('idle_in_transaction_session_timeout', %s, false)""",
            (
                # Temporary tables last: left out, they would be searched first.
                f"{SCHEMA}, pg_temp",
                _milliseconds(bounds.statement_seconds),
                _milliseconds(bounds.lock_seconds),
                _milliseconds(bounds.idle_seconds),
            ),
        )

    return AsyncConnectionPool(
        connection_class=psycopg.AsyncConnection[tuple[Any, ...]],
        kwargs={
            **_TRANSPORT,
            **conninfo.conninfo_to_dict(dsn),
            "autocommit": True,
            "application_name": f"bulkhead {role}",
        },
        configure=configure,
        open=False,
        name=role,
        min_size=bounds.fewest,
        max_size=bounds.most,
        max_waiting=bounds.waiting,
        timeout=bounds.wait_seconds,
        reconnect_timeout=bounds.wait_seconds,
    )


async def refuse_power(connection: Connection, role: Role) -> None:
    """Make sure that the log-in of this connection may do what its role may, and no more.

    Raises:
        TooPowerful: it is a superuser, ignores row-level security, owns what it serves, or is a member of another role
            too: policies are permissive, they add up.
    """
    answer = await connection.execute(
        """SELECT current_user, r.rolsuper, r.rolbypassrls,
                  EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                          WHERE n.nspname = %s AND pg_has_role(c.relowner, 'MEMBER')),
                  (SELECT array_agg(g.rolname::text ORDER BY g.rolname) FROM pg_roles g
                   WHERE g.rolname LIKE 'bulkhead\\_platform\\_%%' AND pg_has_role(g.oid, 'MEMBER'))
           FROM pg_roles r WHERE r.rolname = current_user""",
        (SCHEMA,),
    )
    row = await answer.fetchone()
    if row is None:
        raise TooPowerful("the log-in is gone")
    name, superuser, bypasses, owns, groups = row
    if superuser or bypasses:
        raise TooPowerful(
            f"{name} is {'a superuser' if superuser else 'BYPASSRLS'}: use a log-in that is nothing of it"
        )
    if owns:
        raise TooPowerful(f"{name} is the owner of the tables, or a member of it: use another log-in to serve")
    wanted = f"bulkhead_platform_{role}"
    if groups != [wanted]:
        held = ", ".join(groups or ()) or "none of the roles"
        raise TooPowerful(f"{name} is a member of {held}: it has to be one of {wanted}, and of no other")


def _milliseconds(seconds: float) -> str:
    return f"{int(seconds * 1000)}ms"
