"""The platform connects nowhere that its own network could be reached by."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bulkhead.platform.destinations import Refused
from bulkhead.platform.outbound import Outbound, TooLarge, Unreachable

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


@asynccontextmanager
async def serving(answer: bytes, *, endless: bytes = b"") -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers these bytes to every head, then `endless` for ever. Gives its port and what it was sent."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            while endless:
                writer.write(endless)
                await writer.drain()
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], seen
    finally:
        server.close()


def resolving(*answers: Sequence[str]) -> tuple[Callable[[str, int], Coroutine[Any, Any, Sequence[str]]], list[str]]:
    """A resolver that gives one answer after the other, as a rebinding name server does, and the names it was asked."""
    left, asked = list(answers), []

    async def resolve(host: str, _: int) -> Sequence[str]:
        asked.append(host)
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve, asked


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "64:ff9b::7f00:1"])
async def test_a_name_that_leads_inside_is_not_connected_to(address: str) -> None:
    resolve, _ = resolving([address])
    with pytest.raises(Refused):
        await Outbound(resolve=resolve).post("https://hooks.example.com/", b"{}", {}, seconds=5)


async def test_one_address_inside_spoils_all_of_a_name() -> None:
    resolve, _ = resolving(["8.8.8.8", "127.0.0.1"])
    with pytest.raises(Refused):
        await Outbound(resolve=resolve).post("https://hooks.example.com/", b"{}", {}, seconds=5)


async def test_a_name_is_looked_up_once_so_that_a_second_answer_changes_nothing() -> None:
    async with serving(b"HTTP/1.1 204 No Content\r\n\r\n") as (port, seen):
        resolve, asked = resolving(["127.0.0.1"], ["10.0.0.1"])
        outbound = Outbound(allowed=LOOPBACK, resolve=resolve)
        answer = await outbound.post(f"http://hooks.example.com:{port}/a?b", b"{}", {}, seconds=5)
    assert answer.status == 204
    assert asked == ["hooks.example.com"]
    assert seen[0].startswith(b"POST /a?b HTTP/1.1\r\nHost: hooks.example.com:")


async def test_plain_http_to_a_name_outside_the_allowed_networks_is_refused_once_resolved() -> None:
    resolve, _ = resolving(["8.8.8.8"])
    with pytest.raises(Refused):
        await Outbound(allowed=LOOPBACK, resolve=resolve).post("http://hooks.example.com/", b"{}", {}, seconds=5)


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with serving(b"HTTP/1.1 307 X\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n") as (
        port,
        seen,
    ):
        answer = await Outbound(allowed=LOOPBACK).post(f"http://127.0.0.1:{port}/", b"{}", {}, seconds=5)
    assert answer.status == 307
    assert len(seen) == 1


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(b"HTTP/1.1 502 X\r\n\r\n") as (proxy, asked), serving(b"HTTP/1.1 200 X\r\n\r\n") as (port, _):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        answer = await Outbound(allowed=LOOPBACK).post(f"http://127.0.0.1:{port}/", b"{}", {}, seconds=5)
    assert answer.status == 200
    assert asked == []


async def test_the_body_of_an_answer_to_a_post_is_not_read() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", endless=b"x" * 65536) as (port, _):
        answer = await Outbound(allowed=LOOPBACK).post(f"http://127.0.0.1:{port}/", b"{}", {}, seconds=5)
    assert (answer.status, answer.body) == (200, b"")


async def test_an_endless_body_is_read_to_its_bound() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", endless=b"x" * 65536) as (port, _):
        with pytest.raises(TooLarge):
            await Outbound(allowed=LOOPBACK).get(f"http://127.0.0.1:{port}/", {}, most_bytes=1000, seconds=5)


@pytest.mark.parametrize("endless", [b"X-Header: x\r\n", b"X-" + b"x" * 4096, b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_endless_headers_end(endless: bytes) -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n", endless=endless) as (port, _):
        with pytest.raises(Unreachable):
            await Outbound(allowed=LOOPBACK).post(f"http://127.0.0.1:{port}/", b"{}", {}, seconds=2)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"SSH-2.0-x\r\n", b"HTTP/1.1 999999 X\r\n\r\n"])
async def test_whoever_says_nothing_or_nonsense_did_not_answer(answer: bytes) -> None:
    async with serving(answer) as (port, _):
        with pytest.raises(Unreachable):
            await Outbound(allowed=LOOPBACK).post(f"http://127.0.0.1:{port}/", b"{}", {}, seconds=0.5)


async def test_nobody_there_is_told_without_a_word_of_the_other_side() -> None:
    with pytest.raises(Unreachable, match=r"^ClientConnectorError$"):
        await Outbound(allowed=LOOPBACK).post("http://127.0.0.1:1/", b"{}", {}, seconds=5)


async def test_threads_that_everybody_shares_are_not_what_names_are_looked_up_in() -> None:
    """Whoever names hosts of a server that does not answer would hold them all."""
    held = threading.Event()
    loop = asyncio.get_running_loop()
    shared = ThreadPoolExecutor(1)
    loop.set_default_executor(shared)
    waiting = loop.run_in_executor(None, held.wait)
    try:
        with pytest.raises(Refused):
            await Outbound().get("https://localhost/", {}, most_bytes=1, seconds=20.0)
    finally:
        held.set()
        await waiting
        loop.set_default_executor(ThreadPoolExecutor())  # all other tests have this loop too
        shared.shutdown()
