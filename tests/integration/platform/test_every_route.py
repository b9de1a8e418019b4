"""A walk over every row of the table that ships: none answers to who shows nothing, and each has its bounds."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from bulkhead.platform import app, health
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.http.codes import of_row
from bulkhead.platform.http.route import BoundKey, Route, Unauthenticated
from bulkhead.platform.http.server import Bounds
from bulkhead.platform.settings import Environment
from bulkhead.protocol import credentials
from tests.integration.platform.http.served import Reply, Served, serving
from tests.integration.platform.server import Database
from tests.integration.platform.service import settings

CREDENTIALS = {
    "nothing": "",
    "another scheme": "Basic Zm9vOmJhcg==",
    "nothing after the scheme": "Bearer ",
    "no credential of ours": "Bearer hunter2",
    "a JWT without a signature": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.",
    "an unknown service key": f"Bearer {credentials.ServiceKey.generate(os.urandom).reveal()}",
    "an unknown API token": f"Bearer {credentials.ApiToken.generate(os.urandom).reveal()}",
    "an unknown registration token": f"Bearer {credentials.RegistrationToken.generate(os.urandom).reveal()}",
}


@pytest.fixture
def base(database: Database, api: Pool, worker: Pool) -> app.Base:
    return app.base_of(Environment(settings(database)).serve(), api, worker)


@pytest.fixture
def rows(base: app.Base) -> tuple[Route, ...]:
    return health.with_document(app.parts_of(base).rows)


@pytest.fixture
async def served(base: app.Base) -> AsyncIterator[Served]:
    async with serving(app.front_of(base, app.parts_of(base)), Bounds()) as running:
        yield running


def requests(row: Route) -> Iterator[tuple[str, bytes]]:
    """Each method of a row, with a request that is as good as one can be without knowing anybody."""
    path = re.sub(r"\{[a-z_]+:uuid\}", str(uuid.uuid4()), row.path)
    path = re.sub(r"\{[a-z_]+(?::path)?\}", "x", path)
    for method in row.methods:
        body = b"{}" if row.body else b""
        yield method, (f"{method} {path} HTTP/1.1\r\nHost: platform.test\r\nContent-Length: {len(body)}\r\n").encode()


async def answer(served: Served, method: str, head: bytes, credential: str, row: Route) -> Reply:
    lines = [f"Authorization: {credential}\r\n"] if credential else []
    lines += ["Content-Type: application/json\r\n"] if row.body else []
    async with contextlib.aclosing(await served.connect()) as wire:
        wire.say(head + "".join(lines).encode() + b"\r\n" + (b"{}" if row.body else b""))
        return await wire.reply(method=method)


@pytest.mark.parametrize("credential", CREDENTIALS.values(), ids=CREDENTIALS.keys())
async def test_no_route_answers_to_a_credential_that_nobody_has(
    served: Served, rows: tuple[Route, ...], credential: str
) -> None:
    for row in rows:
        if isinstance(row.caller, Unauthenticated | BoundKey):
            continue
        for method, head in requests(row):
            reply = await answer(served, method, head, credential, row)
            assert reply.status in {401, 403, 429}, f"{method} {row.path} answered {reply.status}"


async def test_no_route_that_wants_a_proof_answers_without_one(served: Served, rows: tuple[Route, ...]) -> None:
    for row in rows:
        for method, head in requests(row) if isinstance(row.caller, BoundKey) else ():
            reply = await answer(served, method, head, "", row)
            assert 400 <= reply.status < 500, f"{method} {row.path} answered {reply.status}"


def test_every_route_for_anybody_says_why(rows: tuple[Route, ...]) -> None:
    for row in rows:
        if isinstance(row.caller, Unauthenticated):
            assert len(row.caller.reason.split()) > 3, f"{row.method} {row.path} gives no reason"


async def test_every_problem_is_one_that_its_route_has_announced(served: Served, rows: tuple[Route, ...]) -> None:
    for row in rows:
        for method, head in requests(row):
            reply = await answer(served, method, head, "Bearer hunter2", row)
            announced = {code.value for code in of_row(row)}
            if reply.status >= 400 and method != "HEAD":
                assert reply.json["code"] in announced, f"{method} {row.path} answered {reply.json['code']}"


def test_every_route_is_bounded(rows: tuple[Route, ...]) -> None:
    for row in rows:
        assert 0 < row.seconds <= 3600, f"{row.method} {row.path} may take {row.seconds} s"
        assert 0 < row.most_body <= (1 << 40 if row.raw else 4 << 20), f"{row.method} {row.path} takes {row.most_body}"
