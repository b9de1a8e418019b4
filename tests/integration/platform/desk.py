"""Rows of the table behind a real front on a real database, called by people whom a test names."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import aiohttp
from prometheus_client import CollectorRegistry

from bulkhead.platform.audit.record import Refusals
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, transaction
from bulkhead.platform.http.front import Front
from bulkhead.platform.http.incoming import Incoming
from bulkhead.platform.http.limits import Allowance, Failures
from bulkhead.platform.http.metrics import HttpMetrics
from bulkhead.platform.http.route import Principal, Route, User, UserWith
from bulkhead.platform.http.server import Bounds, Server, listen
from bulkhead.platform.http.table import Table
from bulkhead.protocol.problems import Code, Problem


def user(organisation: UUID, *abilities: str, subject: str = "ada") -> User:
    return User(
        organisation_id=organisation,
        subject=subject,
        issuer="https://login.example.com",
        abilities=frozenset(abilities),
        source="human",
    )


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    body: Any


@dataclass(frozen=True)
class Desk:
    """A running front. `people` are those who may call, by what they show."""

    port: int
    people: dict[str, User]

    async def call(self, who: str, method: str, path: str, body: dict[str, Any] | None = None) -> Reply:
        sent = None if body is None else {"protocol": 1, **body}
        headers = {"Authorization": f"Bearer {who}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"http://127.0.0.1:{self.port}{path}", json=sent, headers=headers) as response,
        ):
            text = await response.read()
            return Reply(response.status, json.loads(text) if text else None)


@asynccontextmanager
async def serving(rows: Sequence[Route], *, api: Pool, worker: Pool, people: dict[str, User]) -> AsyncIterator[Desk]:
    async def authenticate(_: UserWith, request: Incoming) -> Principal:
        found = people.get(request.bearer or "")
        if found is None:
            raise Problem(Code.API_TOKEN_UNKNOWN)
        return found

    async def unlimited(_: Principal) -> Sequence[Allowance]:
        return ()

    front = Front(
        Table(rows),
        authenticators={UserWith: authenticate},
        transaction=lambda principal: transaction(api, Scope(organisation=getattr(principal, "organisation_id", None))),
        quota=unlimited,
        audit=Refusals(worker),
        failures=Failures(clock=time.monotonic),
        metrics=HttpMetrics(CollectorRegistry()),
        randomness=os.urandom,
    )
    listener = listen("127.0.0.1", 0)
    server = Server(front, listener, bounds=Bounds(), drain_seconds=5.0)
    running = asyncio.create_task(server.run())
    try:
        yield Desk(listener.getsockname()[1], people)
    finally:
        server.stop()
        await running
