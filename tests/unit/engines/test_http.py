from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import yarl
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from multidict import CIMultiDict, CIMultiDictProxy

from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.errors import EngineError, Insecure, Refused, Unavailable
from bulkhead.engines.http import (
    HttpClient,
    Reply,
    address_of,
    decoded,
    is_loopback,
    status_error,
    tls_context,
    transport_error,
)
from hack.plane.certificates import Authority
from hack.plane.private import write_private

SECRET = "a-key-that-nobody-may-read-0123456789"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def echo(request: web.Request) -> web.StreamResponse:
    body = await request.text()
    return web.json_response({"path": request.raw_path, "key": request.headers.get("api-key"), "body": body})


@asynccontextmanager
async def serving(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    server = TestServer(app, host="127.0.0.1", scheme="https" if context else "http")
    await server.start_server(ssl=context)
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


@asynccontextmanager
async def client_of(url: str, ca_pem: str | None = None) -> AsyncIterator[HttpClient]:
    client = HttpClient(url, ca_pem=ca_pem, headers={"api-key": Sensitive(SECRET)})
    try:
        yield client
    finally:
        await client.close()


async def failure(client: HttpClient, *, seconds: float = 5.0) -> EngineError:
    with pytest.raises(EngineError) as raised:
        await client.call("GET", "/x", doing="asking", seconds=seconds)
    assert str(raised.value).startswith("while asking: ")
    assert SECRET not in str(raised.value)
    return raised.value


def authority_of_its_own() -> Authority:
    return Authority("test", datetime.now(UTC))


def tls_of(authority: Authority, folder: Path) -> ssl.SSLContext:
    own = authority.server("engine")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(write_private(folder / "crt", own.certificate), write_private(folder / "key", own.key))
    return context


async def test_a_call_sends_the_key_the_body_and_the_path_as_it_is() -> None:
    async with serving(echo) as url, client_of(url) as client:
        reply = await client.call("POST", "/a%2Fb?wait=true", doing="asking", body={"x": 1})
    assert decoded(reply, dict[str, str], "asking") == {"path": "/a%2Fb?wait=true", "key": SECRET, "body": '{"x":1}'}


async def test_a_path_in_the_address_is_kept() -> None:
    async with serving(echo) as url, client_of(f"{url}/qdrant/") as client:
        reply = await client.call("GET", "/x", doing="asking")
    assert b'"/qdrant/x"' in reply.body


async def test_a_probe_sends_its_own_headers_and_not_the_key() -> None:
    async with serving(echo) as url, client_of(url) as client:
        reply = await client.call("GET", "/x", doing="asking", headers={})
    assert SECRET.encode() not in reply.body


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\0", "\nhost: elsewhere", "ключ"])
async def test_a_key_that_no_header_can_carry_is_refused_with_the_way_out_and_not_repeated(end: str) -> None:
    async with serving(echo) as url:
        client = HttpClient(url, ca_pem=None, headers={"api-key": Sensitive(SECRET + end)})
        with pytest.raises(Refused, match=r"while asking: .*header api-key .*adminSecretRef") as refusal:
            await client.call("GET", "/", doing="asking")
        await client.close()
    assert SECRET not in str(refusal.value)


async def test_a_status_that_is_no_success_is_an_answer() -> None:
    async def refuse(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=409, text="taken")

    async with serving(refuse) as url, client_of(url) as client:
        reply = await client.call("PUT", "/x", doing="asking")
    assert (reply.status, reply.good, reply.body) == (409, False, b"taken")


async def test_the_key_does_not_follow_a_redirect() -> None:
    async def redirect(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "http://elsewhere.invalid/"})

    async with serving(redirect) as url, client_of(url) as client:
        assert (await client.call("GET", "/x", doing="asking")).status == 307


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with client_of(f"http://127.0.0.1:{unused_port()}") as client:
        assert isinstance(await failure(client), Unavailable)


async def test_a_server_that_takes_too_long_is_unavailable() -> None:
    async def never(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(never) as url, client_of(url) as client:
        error = await failure(client, seconds=0.05)
    assert isinstance(error, Unavailable)
    assert "in time" in str(error)


async def test_an_answer_that_breaks_off_is_unavailable() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b'{"result":')
        assert request.transport is not None
        request.transport.close()
        return response

    async with serving(cut) as url, client_of(url) as client:
        assert isinstance(await failure(client), Unavailable)


async def test_a_server_that_our_ca_signed_is_believed(tmp_path: Path) -> None:
    authority = authority_of_its_own()
    async with serving(echo, tls_of(authority, tmp_path)) as url, client_of(url, authority.certificate) as client:
        assert (await client.call("GET", "/x", doing="asking")).good


async def test_a_server_that_another_ca_signed_is_refused_with_the_way_out(tmp_path: Path) -> None:
    stranger = authority_of_its_own().certificate
    async with serving(echo, tls_of(authority_of_its_own(), tmp_path)) as url, client_of(url, stranger) as client:
        error = await failure(client)
    assert isinstance(error, Refused)
    assert "tls.caSecretRef" in str(error)


async def test_the_systems_cas_do_not_vouch_for_a_private_server(tmp_path: Path) -> None:
    async with serving(echo, tls_of(authority_of_its_own(), tmp_path)) as url, client_of(url) as client:
        assert isinstance(await failure(client), Refused)


def test_nothing_older_than_tls_1_2_is_spoken() -> None:
    context = tls_context(yarl.URL("https://h"), None, "asking")
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


async def test_a_server_that_does_not_speak_tls_is_no_success() -> None:
    async with (
        serving(echo) as url,
        client_of(url.replace("http:", "https:"), authority_of_its_own().certificate) as client,
    ):
        assert isinstance(await failure(client), Refused)


@pytest.mark.parametrize("ca_pem", ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "ü"])
async def test_a_ca_that_is_none_is_refused_with_the_way_out(ca_pem: str) -> None:
    async with client_of("https://127.0.0.1:1", ca_pem) as client:
        error = await failure(client)
    assert isinstance(error, Refused)
    assert "tls.caSecretRef" in str(error)


@pytest.mark.parametrize("url", ["http://qdrant.data.svc:6333", "http://10.0.0.1", "ftp://127.0.0.1", "ws://localhost"])
async def test_a_key_never_travels_in_the_clear(url: str) -> None:
    async with client_of(url) as client:
        assert isinstance(await failure(client), Refused)


@pytest.mark.parametrize("url", ["", "qdrant", "https://", "https://h:99999", "http://[::1", "//h"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        address_of(url, "asking")


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(Refused) as raised:
        address_of(f"http://admin:{SECRET}@qdrant.data.svc", "asking")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "localhost.evil.example", "127.0.0.1.evil.example", ""])
def test_no_other_machine_is_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"x":', b'{"x":"y"}', b"\xff"])
def test_a_body_that_is_something_else_is_unavailable(body: bytes) -> None:
    with pytest.raises(Unavailable, match="while asking"):
        decoded(Reply(200, body), dict[str, int], "asking")


def subclasses(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for sub in kind.__subclasses__():
        yield from subclasses(sub)


def sample(kind: type[BaseException]) -> BaseException:
    """An error of that class whose request carries the key, made without its many constructors."""
    url = yarl.URL("http://h")
    info = aiohttp.RequestInfo(url, "GET", CIMultiDictProxy(CIMultiDict({"api-key": SECRET})), url)
    error = kind.__new__(kind, 1, SECRET) if issubclass(kind, OSError) else kind.__new__(kind)
    for name, value in {
        "request_info": info,
        "status": 500,
        "message": SECRET,
        "headers": info.headers,
        "_os_error": OSError(111, "refused"),
        "_certificate_error": ssl.SSLCertVerificationError("no"),
    }.items():
        if hasattr(error, "__dict__"):
            error.__dict__[name] = value
    return error


KINDS = {
    *subclasses(aiohttp.ClientError),
    *subclasses(ssl.SSLError),
    *(kind for kind in subclasses(OSError) if kind.__module__ in {"builtins", "socket"}),
}


@pytest.mark.parametrize("kind", sorted(KINDS, key=str))
def test_every_transport_error_is_one_of_ours_and_shows_no_header(kind: type[BaseException]) -> None:
    error = transport_error(sample(kind), "asking", "https://h:1")
    assert type(error) in {Unavailable, Refused}
    assert str(error).startswith("while asking: ")
    assert "api-key" not in str(error)


def test_every_status_is_one_of_ours() -> None:
    kinds = {type(status_error(status, "", "asking", "act")) for status in [*range(100, 200), *range(300, 1000)]}
    assert kinds == {Unavailable, Refused}


def test_no_status_calls_a_server_insecure() -> None:
    assert not any(isinstance(status_error(status, "", "asking", "act"), Insecure) for status in range(300, 1000))
