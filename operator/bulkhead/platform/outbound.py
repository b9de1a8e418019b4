"""Connections to addresses that others name: webhooks and issuers. Nothing of ours can be reached through them.

    Failed
    ├── Refused        the platform does not connect there (destinations.py)
    ├── Unreachable    nobody answered there, in time and in HTTP
    └── TooLarge       the answer has more bytes than its reader takes

Every address that a name resolves to is checked, and a checked one is connected to: there is no second look-up that a
hostile name server could answer otherwise. No redirect is followed, no proxy of the environment is asked, no cookie is
kept, nothing is decompressed, and each request has a connection of its own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from bulkhead.platform.destinations import Failed, Network, Refused, permitted, url

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Addresses of a host name. Raises OSError where it has none."""

MOST_HEAD_LINE = 8190
CONNECT_SECONDS = 5.0
RESOLVING = 32
"""Names that are looked up at once."""


class Unreachable(Failed):
    """No connection, no TLS, no HTTP, or not in time."""


class TooLarge(Failed):
    """More bytes than were asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. body: empty where it was not asked for."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class OwnThreads:
    """As the operating system resolves names, in threads of its own: a name server that does not answer holds a thread
    for as long as the system asks it, which no deadline ends. Those of everybody else are not among them."""

    def __init__(self, threads: int = RESOLVING) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="resolve")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Addresses of `host`. Raises OSError."""
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._executor, ask)
        return [str(each[4][0]) for each in found]


class Outbound:
    """Requests to addresses that others name.

    allowed: networks that are permitted although they are not of the internet at large
    resolve: None: as the operating system does
    trust: None: the certificates that the operating system trusts
    """

    def __init__(
        self,
        *,
        allowed: Sequence[Network] = (),
        resolve: Resolve | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = tuple(allowed)
        self._resolve = resolve or OwnThreads()
        self._trust = trust or ssl.create_default_context()

    def checked(self, text: str) -> str:
        """As `url`, with the networks of this one. Raises Refused."""
        return url(text, self._allowed)

    async def post(self, text: str, body: bytes, headers: Mapping[str, str], *, seconds: float) -> Answer:
        """Send `body`; nothing of the answer's body is read. Raises Refused, Unreachable."""
        async with self._request("POST", text, headers, body, seconds) as response:
            return Answer(response.status, dict(response.headers), b"")

    async def get(self, text: str, headers: Mapping[str, str], *, most_bytes: int, seconds: float) -> Answer:
        """Read at most `most_bytes`. Raises Refused, Unreachable, TooLarge."""
        async with self._request("GET", text, headers, None, seconds) as response:
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > most_bytes:
                    raise TooLarge(f"the answer has more than {most_bytes} bytes")
            return Answer(response.status, dict(response.headers), bytes(body))

    @asynccontextmanager
    async def _request(
        self, method: str, text: str, headers: Mapping[str, str], body: bytes | None, seconds: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        target = URL(self.checked(text), encoded=True)
        sent = {"Accept-Encoding": "identity", "User-Agent": "bulkhead", **headers}
        try:
            async with (
                self._session(seconds, public=target.scheme == "https") as session,
                session.request(method, target, data=body, headers=sent, allow_redirects=False) as response,
            ):
                yield response
                response.close()
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, Refused):
                raise error.os_error from None
            raise Unreachable(_said(error)) from None
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError, ValueError) as error:
            raise Unreachable(_said(error)) from None

    def _session(self, seconds: float, *, public: bool) -> aiohttp.ClientSession:
        check = _Check(self._allowed, public=public)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_CheckingResolver(self._resolve, check),
                socket_factory=check.socket,
                use_dns_cache=False,
                force_close=True,
                ssl=self._trust,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, CONNECT_SECONDS)),
            auto_decompress=False,
            trust_env=False,
            max_line_size=MOST_HEAD_LINE,
            max_field_size=MOST_HEAD_LINE,
        )


class _Check:
    """What stands between every request and every socket."""

    def __init__(self, allowed: Sequence[Network], *, public: bool) -> None:
        self._allowed = allowed
        self._public = public

    def require(self, text: str) -> None:
        if not permitted(ipaddress.ip_address(text), self._allowed, public=self._public):
            raise Refused("the platform does not connect to this address")

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """The last look: this is the address that is connected to, whoever resolved it."""
        family, kind, protocol, _, address = info
        self.require(str(address[0]))
        return socket.socket(family, kind, protocol)


class _CheckingResolver(AbstractResolver):
    def __init__(self, resolve: Resolve, check: _Check) -> None:
        self._resolve = resolve
        self._check = check

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """One address that is not permitted spoils them all: whoever answers so is up to something."""
        del family
        found = await self._resolve(host, port)
        for text in found:
            self._check.require(text)
        return [
            ResolveResult(
                hostname=host,
                host=text,
                port=port,
                family=socket.AF_INET6 if ":" in text else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for text in found
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _said(error: Exception) -> str:
    """The kind of error alone: texts of libraries quote what the other side sent."""
    return "it did not answer in time" if isinstance(error, TimeoutError) else type(error).__name__
