"""What no honest client sends. Every byte goes over a real socket; what counts is what comes back, and that it ends."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest

from bulkhead.platform.http import sending
from tests.integration.platform.http.served import (
    GOOD,
    ID,
    TIGHT,
    Served,
    Wire,
    World,
    bearer,
    eventually,
    get,
    post,
    request,
)

NOTE = b'{"noteText":"hello"}'
NOTES = f"/clusters/{ID}/notes"


async def refused(served: Served, data: bytes) -> tuple[int, str]:
    """Status and code of the one answer to `data`; whoever sent it is then cut off, or may go on."""
    reply = await served.say(data)
    assert reply.headers["content-type"] == "application/problem+json"
    return reply.status, reply.json["code"]


SMUGGLED = {
    "length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "the same length twice": b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "two lengths in one": b"Content-Length: 5, 5\r\n\r\nhello",
    "a length with a sign": b"Content-Length: +5\r\n\r\nhello",
    "a negative length": b"Content-Length: -5\r\n\r\nhello",
    "a length in hexadecimal": b"Content-Length: 0x5\r\n\r\nhello",
    "a length beyond 64 bits": b"Content-Length: 18446744073709551617\r\n\r\nhello",
    "an empty length": b"Content-Length: \r\n\r\nhello",
    "chunks that are compressed": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks that are not the last": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunks with a tab": b"Transfer-Encoding:\tchunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "chunks with a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"Content-Length : 5\r\n\r\nhello",
    "a folded header": b"X-One: 1\r\n Content-Length: 5\r\n\r\nhello",
    "a bare carriage return": b"X-One: 1\rContent-Length: 5\r\n\r\nhello",
    "a header without a name": b": 1\r\n\r\n",
    "a NUL in a header": b"X-One: a\x00b\r\n\r\n",
    "a NUL in a name": b"X-\x00: 1\r\n\r\n",
    "a second host": b"Host: other.test\r\n\r\n",
    "a second credential": f"{bearer()}\r\n{bearer('other')}\r\n\r\n".encode(),
    "a second type": b"Content-Type: text/html\r\nContent-Type: application/json\r\n\r\n",
    "a chunk of no size": b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "a negative chunk": b"Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n",
    "an upgrade": b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "an upgrade to HTTP/2": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
}


@pytest.mark.parametrize("head", SMUGGLED.values(), ids=SMUGGLED.keys())
async def test_a_request_that_two_readers_take_differently_reaches_no_handler(head: bytes) -> None:
    world = World()
    async with world.served() as served:
        start = f"POST {NOTES} HTTP/1.1\r\nHost: platform.test\r\n".encode()
        assert (await refused(served, start + head))[0] == 400
        assert world.log.transactions == []


LINES = {
    "an absolute target": b"GET http://other.test/open HTTP/1.1",
    "a target that begins like an authority": b"GET //other.test/open HTTP/1.1",
    "a fragment": b"GET /open#x HTTP/1.1",
    "a target with a NUL": b"GET /open\x00 HTTP/1.1",
    "a target beyond ASCII": b"GET /\xc3\xa4 HTTP/1.1",
    "CONNECT": b"CONNECT other.test:443 HTTP/1.1",
    "CONNECT to a path": b"CONNECT /open HTTP/1.1",
    "the whole server": b"OPTIONS * HTTP/1.1",
    "HTTP/0.9": b"GET /open",
    "HTTP/2 by knowledge": b"PRI * HTTP/2.0",
    "a version that there is not": b"GET /open HTTP/3.7",
    "a method that there is not": b"STEAL /open HTTP/1.1",
    "a method in lower case": b"get /open HTTP/1.1",
    "no target": b"GET  HTTP/1.1",
    "another protocol": b"SSH-2.0-OpenSSH_9.6",
    "a handshake of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
async def test_what_is_not_a_request_for_a_path_of_ours_is_refused(line: bytes) -> None:
    async with World().served() as served:
        assert (await refused(served, line + b"\r\nHost: platform.test\r\n\r\n"))[0] in {400, 405}


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "PUT", "PROPFIND"])
async def test_a_method_that_the_path_has_not_is_told_those_that_it_has(method: str) -> None:
    async with World().served() as served:
        reply = await served.say(request(method, "/open"))
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
        assert not [name for name in reply.headers if name.startswith("access-control")]


async def test_HTTP_1_1_needs_a_host() -> None:  # noqa: N802 - the name of a protocol
    async with World().served() as served:
        assert await refused(served, b"GET /open HTTP/1.1\r\n\r\n") == (400, "request_malformed")


async def test_a_trailer_is_never_taken_for_a_header() -> None:
    world = World()
    async with world.served() as served:
        head = request("POST", NOTES, "Content-Type: application/json", "Transfer-Encoding: chunked")
        body = b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (len(NOTE), NOTE, bearer().encode())
        assert (await served.say(head + body)).status in {400, 401}
        assert world.log.notes == []


async def test_a_request_that_does_not_wait_for_the_answer_before_it_is_not_read() -> None:
    world = World()
    async with world.served() as served, contextlib.aclosing(await served.connect()) as wire:
        wire.say(get("/open") + post(NOTES, NOTE, bearer()))
        assert (await wire.reply()).status == 200
        assert await wire.ended() == b""
        assert world.log.notes == []


async def test_rubbish_after_a_request_does_not_become_its_answer() -> None:
    world = World()
    async with world.served() as served, contextlib.aclosing(await served.connect()) as wire:
        wire.say(get("/slow"))
        await eventually(lambda: world.log.notes)
        wire.say(b"\x00rubbish\r\n\r\n")
        await asyncio.sleep(0)
        world.proceed.set()
        assert (await wire.reply()).status == 200
        assert await wire.ended() == b""


async def test_rubbish_inside_a_body_is_told_to_its_own_request() -> None:
    async with World().served() as served, contextlib.aclosing(await served.connect()) as wire:
        wire.say(request("POST", "/brief", "Content-Type: application/json", "Transfer-Encoding: chunked"))
        wire.say(b"3\r\nabc\r\n")
        await eventually(lambda: served.server.connections)
        wire.say(b"rubbish\r\n")
        assert (await wire.reply()).status == 400
        assert await wire.ended() == b""


async def test_a_target_over_its_bound_is_refused() -> None:
    async with World().served() as served:
        assert await refused(served, get("/" + "a" * TIGHT.target_bytes)) == (431, "headers_too_large")


async def test_a_head_over_its_bound_is_refused_once_it_is_there() -> None:
    async with World().served() as served:
        assert await refused(served, get("/open", "X-Long: " + "a" * TIGHT.head_bytes)) == (431, "headers_too_large")


async def test_too_many_headers_are_refused() -> None:
    async with World().served() as served:
        headers = [f"X-{number}: 1" for number in range(TIGHT.headers)]
        assert await refused(served, get("/open", *headers)) == (431, "headers_too_large")


@pytest.mark.parametrize(
    "piece", [b"X-A: aaaaaaaa\r\n", b"a" * 100, b"\r\n" * 50], ids=["headers", "a name", "nothing"]
)
async def test_a_head_without_an_end_is_cut_off_by_its_bytes(piece: bytes) -> None:
    async with World().served() as served, contextlib.aclosing(await served.connect()) as wire:
        wire.say(b"" if piece.startswith(b"\r\n") else b"GET /open HTTP/1.1\r\n")
        for _ in range(TIGHT.head_bytes // len(piece) + 1):
            wire.say(piece)
        assert (await wire.reply()).json["code"] == "headers_too_large"
        assert await wire.ended() == b""


async def test_a_head_that_dribbles_is_cut_off_by_its_time() -> None:
    async with World().served() as served, contextlib.aclosing(await served.connect()) as wire:
        dribbling = asyncio.create_task(dribble(wire, b"GET /open HTTP/1.1\r\nX-Slow: " + b"a" * 1000))
        assert (await wire.reply()).json["code"] == "too_slow"
        dribbling.cancel()


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with World().served() as served, contextlib.aclosing(await served.connect()) as wire:
        assert await wire.ended() == b""


async def test_a_second_head_that_dribbles_is_cut_off_like_the_first() -> None:
    async with World().served() as served, contextlib.aclosing(await served.connect()) as wire:
        wire.say(get("/open"))
        assert (await wire.reply()).status == 200
        dribbling = asyncio.create_task(dribble(wire, b"\r\n" * 500))
        assert (await wire.reply()).json["code"] == "too_slow"
        dribbling.cancel()


async def test_an_idle_connection_is_closed() -> None:
    async with World().served() as served, contextlib.aclosing(await served.connect()) as wire:
        wire.say(get("/open"))
        assert (await wire.reply()).status == 200
        assert await wire.ended() == b""


async def test_a_body_that_dribbles_is_cut_off_by_the_time_of_its_route() -> None:
    async with World().served() as served, contextlib.aclosing(await served.connect()) as wire:
        wire.say(request("POST", "/brief", "Content-Type: application/json", "Content-Length: 1000"))
        dribbling = asyncio.create_task(dribble(wire, b" " * 900))
        assert (await wire.reply()).json["code"] == "too_slow"
        dribbling.cancel()


async def test_a_body_over_its_bound_by_its_own_account_is_never_asked_for() -> None:
    async with World().served() as served:
        headers = ("Content-Type: application/json", "Content-Length: 70000", "Expect: 100-continue", bearer())
        reply = await served.say(request("POST", NOTES, *headers))
        assert (reply.status, reply.json["code"], reply.headers["connection"]) == (413, "body_too_large", "close")


async def test_a_body_over_its_bound_in_fact_is_refused_and_the_answer_arrives() -> None:
    async with World().served() as served, contextlib.aclosing(await served.connect()) as wire:
        wire.say(request("POST", NOTES, "Content-Type: application/json", "Transfer-Encoding: chunked", bearer()))
        for _ in range(12):
            wire.say(b"2000\r\n" + b" " * 0x2000 + b"\r\n")
        assert (await wire.reply()).json["code"] == "body_too_large"


async def test_a_body_within_its_bound_is_asked_for() -> None:
    async with World().served() as served, contextlib.aclosing(await served.connect()) as wire:
        headers = ("Content-Type: application/json", f"Content-Length: {len(NOTE)}", "Expect: 100-continue", bearer())
        wire.say(request("POST", NOTES, *headers))
        assert (await wire.reply()).status == 100
        wire.say(NOTE)
        assert (await wire.reply()).status == 201


async def test_a_body_that_never_ends_after_its_refusal_ends_with_its_connection() -> None:
    async with World().served() as served, contextlib.aclosing(await served.connect()) as wire:
        wire.say(request("POST", NOTES, "Content-Type: application/json", "Transfer-Encoding: chunked"))
        flood = asyncio.create_task(pour(wire, b"1000\r\n" + b" " * 0x1000 + b"\r\n"))
        reply = await wire.reply()
        assert (reply.status, reply.headers["connection"]) == (401, "close")
        await wire.ended()
        flood.cancel()


async def test_a_small_body_of_a_refused_request_does_not_cost_the_connection() -> None:
    async with World().served() as served, contextlib.aclosing(await served.connect()) as wire:
        wire.say(post(NOTES, NOTE, bearer("bad")))
        assert (await wire.reply()).status == 401
        wire.say(post(NOTES, NOTE, bearer(GOOD)))
        assert (await wire.reply()).status == 201


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "WRITE_SECONDS", 0.3)
    world = World()
    async with world.served() as served, contextlib.aclosing(await served.connect()) as wire:
        wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
        wire.say(get("/endless"))
        await eventually(lambda: world.log.streams == ["open", "closed"])
        await eventually(lambda: served.server.connections == 0)


async def test_a_client_that_never_takes_the_last_of_an_answer_is_cut_off() -> None:
    world = World()
    async with world.served() as served, contextlib.aclosing(await served.connect()) as wire:
        wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
        wire.say(get("/large", "Connection: close"))
        await eventually(lambda: "large" in world.log.notes)
        await eventually(lambda: served.server.connections == 0)


async def test_a_connection_beyond_those_of_one_peer_is_closed_at_once() -> None:
    # They say nothing, which must not end the first before the last is open.
    patient = replace(TIGHT, head_seconds=20.0, idle_seconds=20)
    async with World().served(patient) as served, contextlib.AsyncExitStack() as stack:
        held = [
            await stack.enter_async_context(contextlib.aclosing(await served.connect()))
            for _ in range(patient.connections_per_peer)
        ]
        await eventually(lambda: served.server.connections == len(held))
        over = await stack.enter_async_context(contextlib.aclosing(await served.connect()))
        over.say(get("/open"))
        assert await over.ended() == b""
        held[0].say(get("/open"))
        assert (await held[0].reply()).status == 200


async def test_a_connection_ends_after_so_many_requests() -> None:
    async with World().served() as served, contextlib.aclosing(await served.connect()) as wire:
        for _ in range(TIGHT.requests - 1):
            wire.say(get("/open"))
            assert "connection" not in (await wire.reply()).headers
        wire.say(get("/open"))
        assert (await wire.reply()).headers["connection"] == "close"
        assert await wire.ended() == b""


BODIES = {
    "another type": b'{"noteText":17}',
    "an unknown field": b'{"noteText":"a","other":1}',
    "a missing field": b"{}",
    "a NUL": b'{"noteText":"a\\u0000b"}',
    "a NUL in bytes": b'{"noteText":"a\x00b"}',
    "half a surrogate": b'{"noteText":"\\ud800"}',
    "no UTF-8": b'{"noteText":"\xff"}',
    "no JSON": b"note=hello",
    "nothing": b"",
    "a list": b"[]",
    "JSON twice": NOTE + NOTE,
    "depth": b'{"noteText":' + b"[" * 50000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_body_that_is_not_of_the_closed_type_reaches_no_handler(body: bytes) -> None:
    world = World()
    async with world.served() as served:
        assert await refused(served, post(NOTES, body, bearer())) == (422, "body_invalid")
        assert world.log.transactions == []


async def test_what_is_wrong_with_a_body_is_told_by_its_field_and_never_by_its_value() -> None:
    async with World().served() as served:
        reply = await served.say(post(NOTES, b'{"noteText":"a","times":"bhk-secret"}', bearer()))
        assert reply.json["detail"] == "Expected `int`, got `str` - at `$.times`"


async def test_a_body_where_none_belongs_is_refused() -> None:
    async with World().served() as served:
        assert await refused(served, request("GET", "/open", "Content-Length: 2") + b"{}") == (422, "body_invalid")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
async def test_a_body_of_another_content_type_is_refused(kind: str) -> None:
    async with World().served() as served:
        data = request("POST", NOTES, f"Content-Type: {kind}", f"Content-Length: {len(NOTE)}", bearer()) + NOTE
        assert await refused(served, data) == (415, "media_type")


async def test_a_compressed_body_is_refused() -> None:
    async with World().served() as served:
        assert (await refused(served, post(NOTES, NOTE, bearer(), "Content-Encoding: gzip")))[0] == 415


@pytest.mark.parametrize(
    "query", ["mostRows=a", "mostRows", "other=1", "mostRows=1&mostRows=2", "mostRows=%00", "%ff=1"]
)
async def test_a_query_that_is_not_of_the_closed_type_is_refused(query: str) -> None:
    async with World().served() as served:
        assert await refused(served, get(f"/page?{query}")) == (400, "request_malformed")


async def test_a_query_where_none_belongs_is_refused() -> None:
    async with World().served() as served:
        assert await refused(served, get("/open?debug=1")) == (400, "request_malformed")


@pytest.mark.parametrize(
    "path",
    [
        f"/clusters/{str(ID).upper()}/notes",
        f"/clusters/{ID.hex}/notes",
        f"/clusters/%7B{ID}%7D/notes",
        f"/clusters/{ID}/notes/",
        f"/clusters//{ID}/notes",
        f"/clusters/x/../{ID}/notes",
        f"/clusters/{ID}%2Fnotes",
        "/clusters/%/notes",
    ],
)
async def test_another_spelling_of_a_path_is_another_path(path: str) -> None:
    async with World().served() as served:
        assert await refused(served, post(path, NOTE, bearer())) == (404, "not_found")


async def test_a_service_key_does_not_find_another_identity() -> None:
    world = World()
    async with world.served() as served:
        path = NOTES.replace("0001", "0002")
        assert await refused(served, post(path, NOTE, bearer())) == (404, "not_found")
        assert world.log.transactions == []


async def dribble(wire: Wire, data: bytes) -> None:
    """Send byte by byte."""
    for number in range(len(data)):
        wire.say(data[number : number + 1])
        await asyncio.sleep(0.02)


async def pour(wire: Wire, data: bytes) -> None:
    """Send the same for ever."""
    with contextlib.suppress(ConnectionError):
        while True:
            wire.say(data)
            await wire.writer.drain()
