"""What the platform's client takes for an answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from bulkhead.protocol.documents import PROTOCOL
from bulkhead.protocol.heartbeat import Heartbeat, HeartbeatAnswer
from bulkhead.protocol.problems import CONTENT_TYPE, Code, Problem
from bulkhead.protocol.proofs import IdentityKind
from bulkhead.protocol.sync import Phase
from bulkhead.registration.client import ANSWER_SECONDS, MOST_BYTES, Platform
from bulkhead.registration.decide import service_key
from bulkhead.registration.errors import PlatformError, Refused, Silent, Unintelligible, Unusable
from bulkhead.registration.silence import Silence
from tests.scripted_platform import ScriptedPlatform, refused
from tests.unit.protocol.gen import KEY, UID
from tests.unit.registration import gen

HELD = gen.joined()
BEAT = Heartbeat(
    protocol=PROTOCOL,
    release="0.1.0",
    phase=Phase.ACTIVE,
    engines={},
    applied_generation=0,
    acknowledged_key=KEY.public.kid,
)
Beat = Callable[[], Awaitable[HeartbeatAnswer]]


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedPlatform]:
    async with ScriptedPlatform.serving() as platform:
        yield platform


@pytest.fixture
async def beat(scripted: ScriptedPlatform) -> AsyncIterator[Beat]:
    client = gen.client(scripted.url, seconds=20.0)
    yield lambda: client.heartbeat(IdentityKind.CLUSTER, UID, service_key(HELD), BEAT)
    await client.close()


def nonsense() -> dict[str, web.Response]:
    ours = Problem(Code.IDENTITY_REVOKED).document()
    return {
        "a bare 401": web.Response(status=401),
        "a bare 403": web.Response(status=403, text="Forbidden"),
        "a bare 404": web.Response(status=404, text="not found"),
        "a bare 410": web.Response(status=410, text="gone"),
        "a page": web.Response(text="<html>Welcome</html>", content_type="text/html"),
        "a page that is an error": web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html"),
        "JSON of another shape": web.json_response({"serverTime": "yesterday"}),
        "JSON that is none": web.Response(body=b'{"serverTime": ', content_type="application/json"),
        "a problem of somebody else": web.Response(
            status=403, text='{"type": "about:blank", "status": 403}', content_type=CONTENT_TYPE
        ),
        "a problem of ours as plain JSON": web.json_response({"code": ours.code, "status": 403}, status=403),
        "a problem whose status is another": web.Response(
            status=200, body=refused(Problem(Code.IDENTITY_REVOKED)).body, content_type=CONTENT_TYPE
        ),
        "a redirect": web.Response(status=307, headers={"Location": "http://127.0.0.1:1/"}),
        "nothing": web.Response(),
        "too much": web.Response(body=b" " * (MOST_BYTES + 1), content_type="application/json"),
        "something compressed": web.Response(
            body=b"\x1f\x8b\x08\x00", headers={"Content-Encoding": "gzip"}, content_type="application/json"
        ),
    }


@pytest.mark.parametrize("name", nonsense())
async def test_what_is_not_the_platforms_says_nothing(scripted: ScriptedPlatform, beat: Beat, name: str) -> None:
    scripted.instead = lambda *_: nonsense()[name]
    with pytest.raises(Unintelligible):
        await beat()


async def test_a_problem_of_ours_is_told_by_our_own_words_alone(scripted: ScriptedPlatform, beat: Beat) -> None:
    scripted.instead = lambda *_: refused(Problem(Code.IDENTITY_REVOKED, "somebody else's text"))
    with pytest.raises(Refused, match="identity_revoked") as error:
        await beat()
    assert "somebody else" not in str(error.value)


async def test_a_platform_that_is_not_there_is_silent(scripted: ScriptedPlatform, beat: Beat) -> None:
    await scripted.stop()
    with pytest.raises(Silent, match="can not be reached"):
        await beat()


@pytest.mark.parametrize(
    "drops", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n"], ids=["nothing", "a drop at a time"]
)
async def test_a_platform_that_takes_for_ever_is_silent_when_the_time_of_a_call_is_over(drops: bytes) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone = asyncio.create_task(reader.read())
        with contextlib.suppress(ConnectionError):
            writer.write(drops)
            while not gone.done():
                writer.write(b" " if drops else b"")
                await writer.drain()
                await asyncio.wait({gone}, timeout=0.05)
        await asyncio.gather(gone, return_exceptions=True)
        writer.close()  # since Python 3.12 the server waits for that

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        client = gen.client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seconds=0.5)
        began = asyncio.get_running_loop().time()
        with pytest.raises(Silent, match="did not answer in time"):
            await client.heartbeat(IdentityKind.CLUSTER, UID, service_key(HELD), BEAT)
        assert asyncio.get_running_loop().time() - began < ANSWER_SECONDS
        await client.close()


async def test_no_error_shows_the_service_key_nor_does_its_cause(scripted: ScriptedPlatform, beat: Beat) -> None:
    for name in nonsense():
        scripted.instead = lambda *_, name=name: nonsense()[name]
        with pytest.raises(PlatformError) as error:
            await beat()
        assert HELD.secret.reveal() not in f"{error.value!r}{error.value.__cause__!r}"
        assert error.value.__suppress_context__ or error.value.__context__ is None


async def test_a_client_that_was_closed_opens_no_connection_again(scripted: ScriptedPlatform) -> None:
    client = gen.client(scripted.url)
    await client.close()
    with pytest.raises(Silent):
        await client.heartbeat(IdentityKind.CLUSTER, UID, service_key(HELD), BEAT)
    assert scripted.calls == []


@pytest.mark.parametrize("ca", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nä\n-----END CERTIFICATE-----"])
def test_a_ca_that_is_none_is_refused_and_never_means_the_systems(ca: str) -> None:
    with pytest.raises(Unusable, match=r"ca\.crt"):
        Platform("https://platform.example.com", ca, Silence(lambda: 0.0, lambda _: None))
