"""Whatever a gateway does, its caller is told by a code, and no part is taken for the whole."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from uuid import UUID

import pytest

from bulkhead.platform.proxy import gateways
from bulkhead.protocol.assertions import HEADER, server_name
from tests.integration.platform.http.served import Reply, Served, Wire
from tests.integration.platform.proxy.gen import Yard
from tests.integration.platform.proxy.test_requests import ask, ended, request
from tests.world import eventually

Act = Callable[["Raw"], Awaitable[None]]
ALL_IS_WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@dataclass
class Raw:
    """One connection of the platform to a gateway that is a script."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes = b""

    async def take_head(self) -> bytes:
        self.head = await self.reader.readuntil(b"\r\n\r\n")
        return self.head

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


@dataclass
class Script:
    """A gateway that does what a test says. heads: what came; gone: set when a connection was ended by the platform."""

    act: Act
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        raw = Raw(reader, writer)
        try:
            self.heads.append(await raw.take_head())
            await self.act(raw)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.gone.set()
        finally:
            writer.close()


@pytest.fixture
async def cluster(grounds: Yard) -> UUID:
    return await grounds.cluster()


@contextlib.asynccontextmanager
async def scripted(grounds: Yard, cluster: UUID, act: Act) -> AsyncIterator[tuple[Served, Script]]:
    """The proxy before a gateway that acts so, with the certificate of `cluster`."""
    script = Script(act)
    own = grounds.stand_in.served.clusters[str(cluster)]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as pem:
        pem.write(own.certificate + own.key)
        pem.flush()
        context.load_cert_chain(pem.name)
    async with await asyncio.start_server(
        script.serve, "127.0.0.1", 0, ssl=context, ssl_shutdown_timeout=1.0
    ) as server:
        await grounds.aim(server.sockets[0].getsockname()[1])
        try:
            async with grounds.served() as served:
                yield served, script
        finally:
            await grounds.aim()


async def outcome(grounds: Yard, cluster: UUID, act: Act, method: str = "GET") -> Reply:
    async with scripted(grounds, cluster, act) as (served, _):
        return await ask(served, "writer", method, cluster, "x", body=None if method == "GET" else b"")


def saying(data: bytes) -> Act:
    async def act(raw: Raw) -> None:
        await raw.say(data)

    return act


REFUSED = {
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
    b"0\r\n\r\n",
    "no length": b"HTTP/1.1 200 OK\r\n\r\nok",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "a long header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 10_000 + b"\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("answer", REFUSED.values(), ids=REFUSED.keys())
async def test_an_answer_that_is_not_plain_http_is_not_passed_on(grounds: Yard, cluster: UUID, answer: bytes) -> None:
    reply = await outcome(grounds, cluster, saying(answer))
    assert reply.status == 502, reply
    assert reply.json["code"] in {"target_answer_refused", "target_unreachable"}


async def test_headers_without_end_cost_no_memory_and_end(grounds: Yard, cluster: UUID) -> None:
    async def act(raw: Raw) -> None:
        await raw.say(b"HTTP/1.1 200 OK\r\n")
        while True:
            await raw.say(b"X-Y: " + b"y" * 4000 + b"\r\n")

    assert (await outcome(grounds, cluster, act)).json["code"] == "target_answer_refused"


async def test_no_redirect_is_followed_and_none_is_passed_on(grounds: Yard, cluster: UUID) -> None:
    answer = (
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/meta-data/\r\nSet-Cookie: a=b\r\n"
        b"Refresh: 0; url=http://evil.example\r\nLink: <http://evil.example>\r\nContent-Length: 0\r\n\r\n"
    )
    async with scripted(grounds, cluster, saying(answer)) as (served, script):
        reply = await ask(served, "reader", "GET", cluster, "x")
        assert reply.status == 302
        assert not {"location", "set-cookie", "refresh", "link"} & reply.headers.keys()
        assert script.connections == 1


async def test_a_cookie_is_neither_passed_on_nor_kept(grounds: Yard, cluster: UUID) -> None:
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with scripted(grounds, cluster, saying(answer)) as (served, script):
        for _ in range(2):
            assert "set-cookie" not in (await ask(served, "reader", "GET", cluster, "x")).headers
        assert not any(b"cookie" in head.lower() for head in script.heads)


async def test_nothing_is_decompressed(grounds: Yard, cluster: UUID) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x00\x00"
    reply = await outcome(grounds, cluster, saying(answer))
    assert (reply.headers["content-encoding"], reply.body) == ("gzip", b"\x1f\x8b\x00\x00")


async def test_interim_answers_are_passed_over(grounds: Yard, cluster: UUID) -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert (await outcome(grounds, cluster, saying(answer))).body == b"ok"


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_is_whole_at_once(grounds: Yard, cluster: UUID, status: int) -> None:
    reply = await outcome(grounds, cluster, saying(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status))
    assert (reply.status, reply.body) == (status, b"")


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"
CUT = {
    "shorter than it says": (LENGTH, b""),
    "chunks without end": (CHUNKS, b""),
    "a chunk that is none": (CHUNKS, b"zz\r\n"),
    "a chunk that says two sizes": (CHUNKS, b"4\rx\n4\r\nmore\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize(("first", "then"), CUT.values(), ids=CUT.keys())
async def test_a_part_is_never_taken_for_the_whole(grounds: Yard, cluster: UUID, first: bytes, then: bytes) -> None:
    proceed = asyncio.Event()

    async def act(raw: Raw) -> None:
        await raw.say(first)
        await proceed.wait()
        await raw.say(then)

    async with scripted(grounds, cluster, act) as (served, _):
        async with contextlib.aclosing(await served.connect()) as wire:
            wire.say(request("reader", "GET", cluster, "x"))
            await wire.reader.readuntil(b"part")
            proceed.set()
            assert not (await wire.ended()).endswith(b"0\r\n\r\n")
        assert (await ended(grounds, cluster))["details"]["code"] in {"target_unreachable", "target_answer_refused"}


async def test_more_than_it_says_reaches_nobody(grounds: Yard, cluster: UUID) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    async with scripted(grounds, cluster, saying(answer)) as (served, _):
        for _ in range(3):
            assert (await ask(served, "reader", "GET", cluster, "x")).body == b"ok"


async def stalled(raw: Raw) -> None:
    await raw.reader.read()
    raise ConnectionResetError


async def reset(raw: Raw) -> None:
    raw.writer.transport.abort()


async def go_on(raw: Raw) -> None:
    while True:
        await raw.say(ALL_IS_WELL)
        await raw.take_head()


async def test_a_gateway_that_does_not_answer_is_told_from_one_that_breaks_off(grounds: Yard, cluster: UUID) -> None:
    grounds.limits = replace(grounds.limits, stall_seconds=0.3)
    try:
        assert (await outcome(grounds, cluster, stalled)).json["code"] == "target_timeout"
        # It counts from before the connection: a slow machine would not get as far as the reset.
        grounds.limits = replace(grounds.limits, stall_seconds=60.0)
        assert (await outcome(grounds, cluster, reset)).json["code"] == "target_unreachable"
    finally:
        grounds.limits = replace(grounds.limits, stall_seconds=60.0)


async def test_a_gateway_that_is_not_there_is_unreachable(grounds: Yard, cluster: UUID) -> None:
    await grounds.aim(1)
    try:
        async with grounds.served() as served:
            reply = await ask(served, "reader", "GET", cluster, "x")
            assert (reply.status, reply.json["code"]) == (502, "target_unreachable")
    finally:
        await grounds.aim()


async def test_an_answer_that_stops_in_between_ends(grounds: Yard, cluster: UUID) -> None:
    async def act(raw: Raw) -> None:
        await raw.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
        await raw.reader.read()

    grounds.limits = replace(grounds.limits, pause_seconds=0.3)
    try:
        async with scripted(grounds, cluster, act) as (served, _):
            async with contextlib.aclosing(await served.connect()) as wire:
                wire.say(request("reader", "GET", cluster, "x"))
                assert (await wire.ended()).endswith(b"part")
            assert (await ended(grounds, cluster))["details"]["code"] == "target_timeout"
    finally:
        grounds.limits = replace(grounds.limits, pause_seconds=120.0)


async def test_an_answer_beyond_its_bytes_is_cut(grounds: Yard, cluster: UUID) -> None:
    async def act(raw: Raw) -> None:
        await raw.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await raw.say(b"1000\r\n" + bytes(4096) + b"\r\n")

    grounds.limits = replace(grounds.limits, most_answer=100_000)
    try:
        async with scripted(grounds, cluster, act) as (served, script):
            async with contextlib.aclosing(await served.connect()) as wire:
                wire.say(request("reader", "GET", cluster, "x"))
                assert len(await wire.ended()) < 300_000
            await script.gone.wait()
            assert (await ended(grounds, cluster))["details"]["code"] == "target_answer_refused"
    finally:
        grounds.limits = replace(grounds.limits, most_answer=1 << 36)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_write_is_sent_once_whatever_becomes_of_it(grounds: Yard, cluster: UUID, method: str) -> None:
    async with scripted(grounds, cluster, reset) as (served, script):
        reply = await ask(served, "writer", method, cluster, "x", body=None if method == "DELETE" else b"")
        assert (reply.status, reply.json["code"]) == (502, "target_unreachable")
        assert script.connections == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_write_is_sent_once_also_over_a_connection_that_was_used_before(
    grounds: Yard, cluster: UUID, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways, "FRESH_SECONDS", 600.0)
    second: list[bytes] = []

    async def act(raw: Raw) -> None:
        await raw.say(ALL_IS_WELL)
        second.append(await raw.take_head())
        raise ConnectionResetError

    async with scripted(grounds, cluster, act) as (served, script):
        body = None if method == "DELETE" else b""
        assert (await ask(served, "writer", method, cluster, "x", body=body)).status == 200
        reply = await ask(served, "writer", method, cluster, "x", body=body)
        assert (reply.status, reply.json["code"]) == (502, "target_unreachable")
        assert (script.connections, len(second)) == (1, 1)


async def test_reads_and_writes_have_connections_of_their_own(
    grounds: Yard, cluster: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways, "FRESH_SECONDS", 600.0)
    async with scripted(grounds, cluster, go_on) as (served, script):
        for method in ("GET", "GET", "DELETE", "DELETE"):
            assert (await ask(served, "writer", method, cluster, "x")).status == 200
        assert script.connections == 2, "one for both reads, one for both writes"


async def test_a_write_never_uses_a_connection_that_has_rested(
    grounds: Yard, cluster: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways, "FRESH_SECONDS", 0.0)
    async with scripted(grounds, cluster, go_on) as (served, script):
        for method in ("GET", "GET", "DELETE", "DELETE"):
            assert (await ask(served, "writer", method, cluster, "x")).status == 200
        assert script.connections == 3, "one for both reads, one for each write"


async def test_a_body_beyond_its_bytes_is_never_whole_at_the_cluster(grounds: Yard, cluster: UUID) -> None:
    got = bytearray()

    async def act(raw: Raw) -> None:
        while piece := await raw.reader.read(65536):
            got.extend(piece)
        raise ConnectionResetError

    grounds.limits = replace(grounds.limits, most_body=10_000)
    try:
        async with scripted(grounds, cluster, act) as (served, script):
            async with contextlib.aclosing(await served.connect()) as wire:
                wire.say(request("writer", "POST", cluster, "x", "Transfer-Encoding: chunked"))
                for _ in range(4):
                    wire.say(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                wire.say(b"0\r\n\r\n")
                reply = await wire.reply()
            assert (reply.status, reply.json["code"]) == (413, "body_too_large")
            await script.gone.wait()
        assert not got.endswith(b"0\r\n\r\n")
        assert (await ended(grounds, cluster))["details"]["code"] == "body_too_large"
    finally:
        grounds.limits = replace(grounds.limits, most_body=1 << 36)


async def test_a_caller_who_leaves_in_its_body_leaves_no_whole_request_at_the_cluster(
    grounds: Yard, cluster: UUID
) -> None:
    got = bytearray()

    async def act(raw: Raw) -> None:
        while piece := await raw.reader.read(65536):
            got.extend(piece)
        raise ConnectionResetError

    async with scripted(grounds, cluster, act) as (served, script):
        wire = await served.connect()
        wire.say(request("writer", "POST", cluster, "x", "Transfer-Encoding: chunked") + b"4\r\npart\r\n")

        async def arrived() -> bool:
            return b"part" in got

        await eventually(arrived)
        await wire.aclose()
        await script.gone.wait()
        assert not got.endswith(b"0\r\n\r\n")
        assert (await ended(grounds, cluster))["details"]["reason"] == "cut off"


async def test_a_caller_who_leaves_while_the_cluster_thinks_ends_its_request(grounds: Yard, cluster: UUID) -> None:
    async with scripted(grounds, cluster, stalled) as (served, script):
        wire = await served.connect()
        wire.say(request("writer", "POST", cluster, "x", body=b"whole"))

        async def arrived() -> bool:
            return bool(script.heads)

        await eventually(arrived)
        await wire.aclose()
        await asyncio.wait_for(script.gone.wait(), 20)
        assert (await ended(grounds, cluster))["details"]["reason"] == "cut off"


async def test_a_refusal_in_the_middle_of_a_body_arrives(grounds: Yard, cluster: UUID) -> None:
    async def act(raw: Raw) -> None:
        await raw.say(b"HTTP/1.1 413 X\r\nContent-Length: 3\r\n\r\nbig")
        await raw.reader.read()

    async with scripted(grounds, cluster, act) as (served, _):
        wire = await served.connect()
        async with contextlib.aclosing(wire):
            wire.say(request("writer", "POST", cluster, "x", "Content-Length: 1000000") + bytes(1000))
            reply = await wire.reply()
        assert (reply.status, reply.body) == (413, b"big")


async def test_an_answer_that_begins_before_the_body_ended_loses_nothing_of_it(grounds: Yard, cluster: UUID) -> None:
    size = 1_000_000

    async def act(raw: Raw) -> None:
        await raw.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        await raw.say(await raw.reader.readexactly(size))

    body = bytes(range(250)) * (size // 250)
    async with scripted(grounds, cluster, act) as (served, _):
        assert (await ask(served, "writer", "POST", cluster, "x", body=body)).body == body


async def test_a_cluster_that_does_not_read_is_given_up(grounds: Yard, cluster: UUID) -> None:
    given_up = asyncio.Event()

    async def act(_: Raw) -> None:
        await given_up.wait()

    grounds.limits = replace(grounds.limits, stall_seconds=0.5)
    try:
        async with scripted(grounds, cluster, act) as (served, _):
            wire = await served.connect()
            wire.say(request("writer", "POST", cluster, "x", f"Content-Length: {1 << 30}"))
            feeding = asyncio.create_task(feed(wire))
            reply = await wire.reply()
            assert (reply.status, reply.json["code"]) == (504, "target_timeout")
            feeding.cancel()
            await wire.aclose()
            given_up.set()
    finally:
        grounds.limits = replace(grounds.limits, stall_seconds=60.0)


async def feed(wire: Wire) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            wire.say(bytes(65536))
            await wire.writer.drain()


async def test_a_cluster_is_asked_by_its_own_name(grounds: Yard, cluster: UUID) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with scripted(grounds, cluster, saying(answer)) as (served, script):
        await ask(served, "reader", "GET", cluster, "a%41?b")
        (head,) = script.heads
    lines = head.decode().split("\r\n")
    assert lines[0] == "GET /a%41?b HTTP/1.1"
    assert f"host: {server_name(str(cluster))}" in lines
    assert sum(line.startswith(f"{HEADER}: ") for line in lines) == 1


async def test_no_proxy_of_the_environment_is_asked(
    grounds: Yard, cluster: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert (await outcome(grounds, cluster, saying(answer))).body == b"ok"
