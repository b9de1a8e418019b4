"""`bulkhead platform token`: a plane's registration token, minted by who has the log-in of maintenance."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import AsyncConnection

from bulkhead.platform.audit.entry import Actor, ActorKind
from bulkhead.platform.database.pools import SCHEMA
from bulkhead.platform.joining import minting
from bulkhead.protocol import credentials
from bulkhead.protocol.registration import TokenIssued, TokenRequest

CONNECT_SECONDS = 5
STATEMENT_MILLISECONDS = 10_000


class NotMinted(Exception):
    """The database can not be asked, or does not let this log-in. Nothing was minted, or nobody was shown what was."""


async def mint(dsn: str, asked: TokenRequest, *, random: credentials.Random) -> TokenIssued:
    """The token of a plane that `asked` says, with its row in the audit.

    dsn: of a log-in of bulkhead_platform_maintenance, which the audit names as who did it

    Raises:
        NotMinted: see there.
    """
    try:
        async with await AsyncConnection.connect(
            dsn,
            connect_timeout=CONNECT_SECONDS,
            application_name="bulkhead token",
            options=f"-c search_path={SCHEMA},pg_temp -c statement_timeout={STATEMENT_MILLISECONDS}",
        ) as connection:
            return await _minted(connection, asked, random)
    except psycopg.Error as error:
        raise NotMinted(str(error).strip()) from error


async def _minted(connection: AsyncConnection[Any], asked: TokenRequest, random: credentials.Random) -> TokenIssued:
    row = await (await connection.execute("SELECT session_user::text")).fetchone()
    login = str(row[0]) if row else ""
    return await minting.insert(
        connection,
        asked,
        credentials.RegistrationToken.generate(random),
        organisation=None,
        actor=Actor(kind=ActorKind.COMMAND_LINE, id=login),
        minted_by=f"{ActorKind.COMMAND_LINE} {login}",
    )
