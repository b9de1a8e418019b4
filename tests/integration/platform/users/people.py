"""The whole service on a real database, and people who come to it as newcomers do: by the command line first."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from unittest import mock
from uuid import uuid4

import aiohttp
import msgspec

from bulkhead.cli.main import main
from bulkhead.platform import app
from bulkhead.platform.http.server import Bounds
from bulkhead.platform.keys import slow
from bulkhead.platform.settings import Environment
from hack.plane.ports import LOOPBACK
from tests.integration.platform.http.served import serving
from tests.integration.platform.rows import Rows
from tests.integration.platform.server import Client, Database, one
from tests.integration.platform.service import settings

ADMINISTERS = "/v1/data-planes/tokens"
"""A row for platform admins."""
AUDIT = "/v1/audit"
"""A row for AUDIT_READ."""
CLUSTER_TOKENS = "/v1/registration-tokens"
"""A row for CLUSTER_READ, or a plane."""

_TOKEN = re.compile(r"^oat_\w+$", re.MULTILINE)


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    status: int
    out: str
    err: str

    @property
    def token(self) -> str:
        found = _TOKEN.search(self.out)
        assert found, self
        return found[0]


@dataclass(frozen=True)
class Answered:
    """What came back."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def code(self) -> str:
        return str(self.body.get("code", "")) if self.body else ""


@dataclass
class World:
    """One replica, and what stands behind it."""

    database: Database
    session: Client
    rows: Rows
    port: int
    source: str = LOOPBACK
    """Where its requests come from: who fails from one address has its tries used up for what is dear."""

    async def grant(self, *words: str) -> Said:
        """`bulkhead platform grant ...`"""
        return await grant(self.database, *words)

    async def granted(self, *words: str) -> Said:
        said = await self.grant(*words)
        assert said.status == 0, said
        return said

    async def member(self, *abilities: str, subject: str = "", organisation: str = "") -> tuple[str, str]:
        """A new member of a new organisation: their names."""
        who, where = subject or f"ada-{uuid4()}", organisation or f"acme-{uuid4()}"
        await self.granted("organisation", where)
        words = [word for ability in abilities for word in ("--ability", ability)]
        await self.granted("member", who, "--organisation", where, *words)
        return who, where

    async def token(self, *abilities: str) -> str:
        """Of a new member with these abilities."""
        who, _ = await self.member(*abilities)
        return (await self.granted("token", who, "--name", "laptop")).token

    async def admin_token(self) -> str:
        who, _ = await self.member("CLUSTER_READ")
        await self.granted("admin", who)
        return (await self.granted("token", who, "--name", "root", "--platform-admin")).token

    async def ask(self, bearer: str, path: str, method: str = "GET", body: dict[str, Any] | None = None) -> Answered:
        return await ask(self.port, bearer, path, method, body, source=self.source)

    async def set(self, statement: Any, *values: Any) -> None:
        """Behind everybody's back."""
        await self.session.execute(statement, values)

    async def value(self, statement: Any, *values: Any) -> Any:
        return await one(self.session, statement, values)


async def ask(
    port: int,
    bearer: str,
    path: str,
    method: str = "GET",
    body: dict[str, Any] | None = None,
    *,
    source: str = LOOPBACK,
) -> Answered:
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    sent = None if body is None else {"protocol": 1, **body}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(source, 0))) as session,
        session.request(method, f"http://{LOOPBACK}:{port}{path}", headers=headers, json=sent) as response,
    ):
        text = await response.read()
        return Answered(response.status, msgspec.json.decode(text) if text else None, dict(response.headers))


async def grant(database: Database, *words: str) -> Said:
    return await asyncio.to_thread(_grant, database.dsn("maintenance"), words)


def _grant(dsn: str, words: tuple[str, ...]) -> Said:
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, {"BULKHEAD_PLATFORM_MAINTENANCE_DSN": dsn}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            status = main(["platform", "grant", *words])
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Said(status, out.getvalue(), err.getvalue())


@contextlib.asynccontextmanager
async def replica(database: Database, **others: str) -> AsyncIterator[int]:
    """The port of one more replica."""
    async with database.pool("api") as api, database.pool("worker") as worker:
        base = app.base_of(Environment(settings(database, **others)).serve(), api, worker)
        # A wrong secret lets the one thread rest: on a slow machine for so long that the next good one is told busy.
        with mock.patch.object(slow, "RESTS", 0.0):
            async with serving(app.front_of(base, app.parts_of(base)), Bounds()) as running:
                yield running.port


@contextlib.asynccontextmanager
async def world(database: Database, **others: str) -> AsyncIterator[World]:
    async with database.superuser() as session, replica(database, **others) as port:
        yield World(database, session, Rows(session), port)


def id_of(token: str) -> str:
    return token.split("_")[1]
