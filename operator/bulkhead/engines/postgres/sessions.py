"""The operator's sessions on one server: a few are kept in the maintenance database, those elsewhere are short.

psycopg's own pool is not used: it connects in the background and tells whoever waits that time ran out, not why. The
cause (a certificate, a password) is what the condition must name.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection, Error, InterfaceError, OperationalError
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus

from bulkhead.api.data_plane import PostgresEndpoint, TlsMode
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.postgres.errors import is_wrong_password
from bulkhead.engines.postgres.statement import EVERYWHERE, Place

KEPT = 4
SHORT = 4
CONNECT_SECONDS = 5
LIVING_SECONDS = 2
"""In which a kept session must answer that it lives."""
LOCK_SECONDS = 5
"""A neighbour that holds a lock delays us by this much, then the step fails and says so."""
_GRACE_SECONDS = 1
"""The server gives up first, and says why; the client where nothing comes at all."""
_CANCEL_SECONDS = 1
"""In which psycopg may ask the server to cancel; it would take ten."""

Session = AsyncConnection[tuple[Any, ...]]


class Sessions:
    """Opens, keeps and closes them."""

    def __init__(
        self, endpoint: PostgresEndpoint, username: str, password: Sensitive, ca_pem: str | None = None
    ) -> None:
        """`ca_pem`: the only CA that is believed; None: those of the system."""
        self._endpoint = endpoint
        self._username = username
        self._password = password
        self._ca = CaFile(ca_pem) if ca_pem is not None and endpoint.tls.mode is not TlsMode.DISABLE else None
        self._idle: list[Session] = []
        self._kept = asyncio.Semaphore(KEPT)
        self._short = asyncio.Semaphore(SHORT)
        self._aside = asyncio.Semaphore(1)
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        await self._let_go()
        if self._ca is not None:
            self._ca.close()

    @asynccontextmanager
    async def at(self, place: Place = EVERYWHERE) -> AsyncIterator[Session]:
        """A session at `place`, for the block. Raises psycopg's errors and TimeoutError."""
        use = self._use_kept() if place == EVERYWHERE else self._use_short(place, self._short)
        async with use as session, bounded(place.seconds + _GRACE_SECONDS):
            yield session

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[Session]:
        """A session to help another one along, there even when all others are in use."""
        async with self._use_short(EVERYWHERE, self._aside) as session:
            yield session

    async def refuses(self, username: str, password: Sensitive, database: str) -> bool:
        """Log in as somebody else and leave at once: whether the server says that the password is not theirs. Whatever
        else stops them (no connection is left, the server goes down, pg_hba.conf) says nothing of the password."""
        async with self._short:
            try:
                session = await self._connect(database, username, password)
            except (Error, OSError) as error:
                return is_wrong_password(error)
            await session.close()
        return False

    @asynccontextmanager
    async def _use_kept(self) -> AsyncIterator[Session]:
        async with self._kept:
            session = await self._living() or await self._connect_at(EVERYWHERE)
            try:
                yield session
            finally:
                await self._give_back(session)

    @asynccontextmanager
    async def _use_short(self, place: Place, gate: asyncio.Semaphore) -> AsyncIterator[Session]:
        async with gate:
            session = await self._connect_at(place)
            try:
                yield session
            finally:
                await session.close()

    async def _living(self) -> Session | None:
        """A kept session that still answers. Those that were ended (the server was restarted) are let go; where one is
        not answered at all (a firewall forgot it, or the server hangs), all are."""
        while self._idle:
            session = self._idle.pop()
            try:
                async with bounded(LIVING_SECONDS):
                    await session.execute("")
            except OperationalError:
                await session.close()
            except TimeoutError:
                await session.close()
                await self._let_go()
            else:
                return session
        return None

    async def _let_go(self) -> None:
        while self._idle:
            await self._idle.pop().close()

    async def _give_back(self, session: Session) -> None:
        if self._closed or session.pgconn.transaction_status != TransactionStatus.IDLE:
            await session.close()
        else:
            self._idle.append(session)

    async def _connect_at(self, place: Place) -> Session:
        settings = {
            "search_path": "pg_catalog,pg_temp",
            "statement_timeout": f"{place.seconds}s",
            "lock_timeout": f"{LOCK_SECONDS}s",
            # What is looked for in a catalogue is few rows by a key. How many a tenant's own are there is the tenant's
            # doing, and must not make the server read them all for its neighbours, nor compile a query for it.
            "enable_seqscan": "off",
            "jit": "off",
        }
        if place.role:
            settings["role"] = place.role
        # As options of the start-up packet they come before anything that a database or role has set.
        options = " ".join(f"-c {name}={escaped(value)}" for name, value in settings.items())
        return await self._connect(place.database, self._username, self._password, options)

    async def _connect(self, database: str, username: str, password: Sensitive, options: str = "") -> Session:
        if self._closed:
            raise InterfaceError("the engine is closed")
        async with asyncio.timeout(CONNECT_SECONDS):
            return await AsyncConnection.connect(
                make_conninfo(**self._tls()),
                host=self._endpoint.host,
                port=self._endpoint.port,
                dbname=database,
                user=username,
                password=password.reveal(),
                options=options,
                application_name="bulkhead",
                # A server, or whoever stands in for it, that asks for the password itself does not get it.
                require_auth="scram-sha-256",
                connect_timeout=CONNECT_SECONDS,
                tcp_user_timeout=1000 * CONNECT_SECONDS,
                keepalives_idle=60,
                gssencmode="disable",
                autocommit=True,
                prepare_threshold=None,
            )

    def _tls(self) -> dict[str, str]:
        mode = self._endpoint.tls.mode
        if mode is TlsMode.DISABLE:
            return {"sslmode": "disable"}
        if self._ca is not None:
            return {"sslmode": mode.value, "sslrootcert": self._ca.path}
        # The system's CAs vouch for anybody's certificate, so the name must be checked whatever the mode.
        return {"sslmode": TlsMode.VERIFY_FULL.value, "sslrootcert": ssl.get_default_verify_paths().cafile or "system"}


def escaped(value: str) -> str:
    """`value` as one word of the options that a server is given at log-in."""
    return re.sub(r"([\\\s])", r"\\\1", value)


@asynccontextmanager
async def bounded(seconds: float) -> AsyncIterator[None]:
    """Raises TimeoutError when the block takes longer. Interrupted twice, psycopg leaves its attempt to cancel."""
    async with asyncio.timeout(seconds + _CANCEL_SECONDS), asyncio.timeout(seconds):
        yield


class CaFile:
    """A CA where libpq can read it, which takes files alone: in memory, so a read-only root file system will do."""

    def __init__(self, pem: str) -> None:
        self._descriptor = os.memfd_create("ca.crt")
        os.write(self._descriptor, pem.encode())
        self.path = f"/proc/self/fd/{self._descriptor}"

    def close(self) -> None:
        os.close(self._descriptor)
