"""A front with a small table of its own on a loopback port, and clients that say exactly the bytes they are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
from prometheus_client import CollectorRegistry

from bulkhead.platform.http.front import Front
from bulkhead.platform.http.incoming import Incoming
from bulkhead.platform.http.limits import Allowance, Failures
from bulkhead.platform.http.metrics import HttpMetrics
from bulkhead.platform.http.route import (
    Call,
    Joined,
    Principal,
    Response,
    Route,
    ServiceKey,
    Tx,
    Unauthenticated,
    User,
    UserWith,
)
from bulkhead.platform.http.server import Bounds, Server, listen
from bulkhead.platform.http.table import Table
from bulkhead.protocol.problems import Code, Problem

ID = uuid.UUID("6f1c2a3e-0000-4000-8000-000000000001")
GOOD = "good-key"
TIGHT = Bounds(
    head_bytes=4096,
    target_bytes=1024,
    headers=24,
    head_seconds=0.4,
    idle_seconds=1,
    write_seconds=0.5,
    requests=50,
    connections=40,
    connections_per_peer=30,
)
SECONDS = 20.0
LARGE = 16 * 1024 * 1024
"""More than the buffers of a socket hold."""


class Note(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    note_text: str
    times: int = 1


class Page(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    most_rows: int = 10


@dataclass
class Log:
    """What happened behind the front."""

    transactions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    streams: list[str] = field(default_factory=list)


class World:
    """The table's handlers and everything that a front is given."""

    def __init__(self) -> None:
        self.log = Log()
        self.proceed = asyncio.Event()
        self.draining = False
        self.failures = Failures(clock=time.monotonic, burst=5.0, per_second=0.001)
        self.allowances: Sequence[Allowance] = ()
        self.fail_commit: Exception | None = None
        self.fail_audit: Exception | None = None

    def rows(self) -> tuple[Route, ...]:
        key = ServiceKey(("cluster",), "heartbeat")
        anybody = Unauthenticated("a test says so")
        return (
            Route("GET", "/open", "says who asks", anybody, self.open, answer=Note),
            Route("GET", "/page", "reads its query", anybody, self.page, query=Page, answer=Page),
            Route("POST", "/clusters/{id:uuid}/notes", "writes", key, self.note, body=Note, answer=Note, status=201),
            Route("POST", "/clusters/{id:uuid}/refused", "is refused", key, self.refuse, body=Note),
            Route("POST", "/clusters/{id:uuid}/broken", "has a fault", key, self.broken, body=Note),
            Route("GET", "/slow", "waits", anybody, self.slow, seconds=SECONDS),
            Route("POST", "/brief", "has little time", anybody, self.brief, body=Note, seconds=0.3),
            Route("GET", "/late", "is never done", anybody, self.late, seconds=0.3),
            Route("GET", "/endless", "streams for ever", anybody, self.endless, raw=True),
            Route("GET", "/quiet", "streams once and then waits", anybody, self.quiet, raw=True),
            Route("GET", "/large", "answers much", anybody, self.large, raw=True),
            Route("GET", "/torn", "breaks off", anybody, self.torn, raw=True),
            Route("POST", "/echo", "streams back", anybody, self.echo, raw=True, most_body=10 * 1024 * 1024),
            Route("GET", "/users", "for users", UserWith("CLUSTER_READ"), self.users, status=204),
            Route("ANY", "/any/{path:path}", "takes all", anybody, self.anything, raw=True),
        )

    async def open(self, call: Call[Any, None]) -> Note:
        return Note(note_text=f"{call.source} {call.trace.trace_id}")

    async def page(self, call: Call[Any, None]) -> Page:
        return cast("Page", call.query)

    async def note(self, call: Call[Joined, Note]) -> Note:
        assert await call.tx() is await call.tx()
        self.log.notes.append(call.body.note_text)
        call.after_commit(lambda: self.log.transactions.append("after"))
        return call.body

    async def refuse(self, call: Call[Joined, Note]) -> None:
        await call.tx()
        raise Problem(Code.NOT_FOUND, "no such thing", audit="refusal")

    async def broken(self, call: Call[Joined, Note]) -> None:
        await call.tx()
        raise RuntimeError(f"fault with {call.body.note_text}")

    async def slow(self, _: Call[Any, None]) -> None:
        self.log.notes.append("slow")
        await self.proceed.wait()

    async def brief(self, _: Call[Any, Note]) -> None:
        return None

    async def late(self, _: Call[Any, None]) -> None:
        await asyncio.Event().wait()

    async def endless(self, _: Call[Any, None]) -> Response:
        return Response(200, (), self._pieces(forever=True))

    async def quiet(self, _: Call[Any, None]) -> Response:
        return Response(200, (), self._pieces(forever=False))

    async def large(self, _: Call[Any, None]) -> Response:
        self.log.notes.append("large")
        return Response(200, (), b"x" * LARGE)

    async def torn(self, _: Call[Any, None]) -> Response:
        async def pieces() -> AsyncGenerator[bytes, None]:
            yield b"first"
            raise RuntimeError("torn")

        return Response(200, (), pieces())

    async def _pieces(self, *, forever: bool) -> AsyncGenerator[bytes, None]:
        self.log.streams.append("open")
        try:
            yield b"x" * 1024
            while forever:
                yield b"x" * 65536
            await asyncio.Event().wait()
        finally:
            self.log.streams.append("closed")

    async def echo(self, call: Call[Any, None]) -> Response:
        async def pieces() -> AsyncGenerator[bytes, None]:
            async for piece in call.request.stream(10 * 1024 * 1024):
                yield piece

        return Response(200, (), pieces())

    async def users(self, _: Call[User, None]) -> None:
        return None

    async def anything(self, call: Call[Any, None]) -> Response:
        return Response(200, (), f"{call.request.method} {call.path['path']}".encode())

    async def service_key(self, _: ServiceKey, request: Incoming) -> Principal:
        if request.bearer != GOOD:
            self.failures.check(request.source)
            raise Problem(Code.KEY_UNKNOWN)
        return Joined(
            identity_id=ID,
            kind="cluster",
            organisation_id=ID,
            plane_id=ID,
            key_id="k1",
            scopes=frozenset({"heartbeat"}),
        )

    async def user(self, _: UserWith, request: Incoming) -> Principal:
        if request.bearer != GOOD:
            raise Problem(Code.API_TOKEN_UNKNOWN)
        return User(organisation_id=ID, subject="ada", issuer="i", abilities=frozenset(), source="human")

    async def quota(self, _: Principal) -> Sequence[Allowance]:
        return self.allowances

    async def audit(self, entry: object, source: str) -> None:
        if self.fail_audit:
            raise self.fail_audit
        self.log.transactions.append(f"{entry} of {source}")

    @contextlib.asynccontextmanager
    async def transaction(self, _: Principal) -> AsyncIterator[Tx]:
        self.log.transactions.append("begin")
        try:
            yield cast("Tx", object())
        except BaseException:
            self.log.transactions.append("rollback")
            raise
        if self.fail_commit:
            raise self.fail_commit
        self.log.transactions.append("commit")

    def front(self) -> Front:
        return Front(
            Table(self.rows()),
            authenticators={ServiceKey: self.service_key, UserWith: self.user},
            transaction=self.transaction,
            quota=self.quota,
            audit=self.audit,
            failures=self.failures,
            metrics=HttpMetrics(CollectorRegistry()),
            randomness=os.urandom,
            draining=lambda: self.draining,
        )

    @contextlib.asynccontextmanager
    async def served(self, bounds: Bounds = TIGHT, **options: Any) -> AsyncIterator[Served]:
        """This world on a port of its own for the time of the block."""
        async with serving(self.front(), bounds, **options) as running:
            yield running
            self.proceed.set()


@dataclass(frozen=True)
class Reply:
    """One answer, as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """A running server."""

    server: Server
    port: int
    running: asyncio.Task[None]

    async def connect(self) -> Wire:
        return Wire(*await asyncio.open_connection("127.0.0.1", self.port))

    async def say(self, request: bytes) -> Reply:
        """A connection of its own for one request; the first answer to it."""
        async with contextlib.aclosing(await self.connect()) as wire:
            wire.say(request)
            return await wire.reply()


@contextlib.asynccontextmanager
async def serving(front: Front, bounds: Bounds, **options: Any) -> AsyncIterator[Served]:
    """A front on a port of its own for the time of the block."""
    listener = listen("127.0.0.1", 0)
    server = Server(front, listener, bounds=bounds, **{"drain_seconds": 5.0, **options})
    port: int = listener.getsockname()[1]
    running = asyncio.create_task(server.run())
    try:
        yield Served(server, port, running)
    finally:
        server.stop()
        await running


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def reply(self, *, method: str = "GET") -> Reply:
        """The next answer. AssertionError where none comes in time."""
        async with _in_time():
            line, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(each.split(": ", 1) for each in lines if each)
            status = int(line.split(" ")[1])
            if headers.get("transfer-encoding") == "chunked":
                body = await self._chunks()
            elif method == "HEAD":
                body = b""
            else:
                body = await self.reader.readexactly(int(headers.get("content-length", "0")))
            return Reply(status, headers, body)

    async def _chunks(self) -> bytes:
        pieces = []
        while size := int(await self.reader.readline(), 16):
            pieces.append(await self.reader.readexactly(size))
            await self.reader.readline()
        await self.reader.readline()
        return b"".join(pieces)

    async def ended(self) -> bytes:
        """What still comes before the other side ends the connection. AssertionError where it does not in time."""
        async with _in_time():
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def aclose(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(SECONDS):
            yield
    except TimeoutError:
        raise AssertionError(f"nothing came for {SECONDS:.0f} s") from None


def get(path: str, *headers: str) -> bytes:
    return request("GET", path, *headers)


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A request with a JSON body and its length."""
    return request("POST", path, "Content-Type: application/json", f"Content-Length: {len(body)}", *headers) + body


def request(method: str, path: str, *headers: str) -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: platform.test", *headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def bearer(credential: str = GOOD) -> str:
    return f"Authorization: Bearer {credential}"


async def eventually(look: Callable[[], object]) -> None:
    """Wait until `look` gives something true."""
    async with _in_time():
        while not look():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
