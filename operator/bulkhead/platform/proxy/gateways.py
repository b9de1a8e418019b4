"""Connections to gateways. Those of one plane's target serve no other, those of one cluster no other cluster.

The URL of a request names the cluster, and the address that is connected to comes from the target: so aiohttp's pool,
which tells connections apart by host, the server name of TLS, what its certificate is verified for, and the header Host
are one and the same name.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from bulkhead.platform.destinations import Network, Refused, permitted
from bulkhead.platform.outbound import OwnThreads, Resolve
from bulkhead.platform.proxy import target as targets
from bulkhead.platform.proxy.target import Address, Target
from bulkhead.platform.signing.sealing import Sealing
from bulkhead.protocol.assertions import server_name

PRIVATE: tuple[Network, ...] = (
    ipaddress.IPv4Network("10.0.0.0/8"),
    ipaddress.IPv4Network("172.16.0.0/12"),
    ipaddress.IPv4Network("192.168.0.0/16"),
    ipaddress.IPv4Network("100.64.0.0/10"),
    ipaddress.IPv6Network("fc00::/7"),
)
"""Where gateways may be beside the internet at large: an administrator set them. Not on this host, not link-local."""

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 15.0
"""How long a connection is kept for the next request."""
FRESH_SECONDS = 2.0
"""How long one is kept for the next write: less than any gateway keeps it, for a write that meets its end is lost."""
UNUSED_SECONDS = 300.0
SWEEP_SECONDS = 30.0
MOST_HEAD_LINE = 8190
MOST_HEADERS = 64

_OURS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""What aiohttp would add by itself."""


class BrokeOff(aiohttp.ClientError):
    """The connection ended before an answer. Another class than aiohttp's own, after which it sends once more."""


class Gateways:
    """One gateway for each plane, opened when it is first asked for.

    allowed: networks that are connected to although they are neither private nor of the internet at large
    """

    def __init__(self, *, sealing: Sealing, allowed: Sequence[Network] = (), resolve: Resolve | None = None) -> None:
        self._sealing = sealing
        self._allowed = (*allowed, *PRIVATE)
        self._resolve = resolve or OwnThreads()
        self._open: dict[UUID, Gateway] = {}
        self._retired: list[Gateway] = []

    def of(self, target: Target) -> Gateway:
        """The gateway of a target as it is set now, to be used soon. Raises Unsealable, Unusable."""
        known = self._open.get(target.plane)
        if known is not None and known.target == target:
            known.keep()
            return known
        key = self._sealing.open(target.key, targets.place(target.plane)).decode()
        context = targets.context(ca=target.ca, certificate=target.certificate, key=key)
        connector = _Way(targets.address(target.address), self._allowed, self._resolve)
        if known is not None:
            self._retired.append(known)
        self._open[target.plane] = opened = Gateway(target, connector, context)
        return opened

    def check(self, address: Address) -> None:
        """Raise Refused for a literal address that is not connected to."""
        _Way(address, self._allowed, self._resolve).check_literal()

    async def run(self) -> None:
        """Close what is unused, for ever; all at the end."""
        try:
            while True:
                await asyncio.sleep(SWEEP_SECONDS)
                await self.sweep(asyncio.get_running_loop().time() - UNUSED_SECONDS)
        finally:
            await self.close()

    async def close(self) -> None:
        """End all connections."""
        for gateway in (*self._open.values(), *self._retired):
            await gateway.close()
        self._open.clear()
        self._retired.clear()

    async def sweep(self, before: float) -> None:
        """Close what nobody has used or asked for since `before`, by the loop's clock.

        What was replaced as well: it may have been given to a request that is recorded before it is sent.
        """
        for gateway in [each for each in self._open.values() if each.idle_since < before]:
            self._retired.append(self._open.pop(gateway.target.plane))
        unused = [gateway for gateway in self._retired if gateway.idle_since < before]
        self._retired = [gateway for gateway in self._retired if gateway.idle_since >= before]
        for gateway in unused:
            await gateway.close()


class Gateway:
    """The gateway of one plane."""

    def __init__(self, target: Target, way: _Way, context: ssl.SSLContext) -> None:
        self.target = target
        self._in_use = 0
        self._used_at = asyncio.get_running_loop().time()
        self._port = way.address.port
        self._reads = _session(way, context, idle=IDLE_SECONDS)
        self._writes = _session(way, context, _once, idle=FRESH_SECONDS)

    @property
    def idle_since(self) -> float:
        """By the loop's clock; in the future while it is in use."""
        return float("inf") if self._in_use else self._used_at

    def url(self, cluster: str, sent: bytes) -> URL | None:
        """The URL of a request to `cluster`; None: it would not be sent as it is."""
        try:
            found = URL(f"https://{server_name(cluster)}:{self._port}{sent.decode('ascii')}", encoded=True)
        except ValueError:
            return None
        return found if found.raw_path_qs.encode() == sent else None

    async def send(
        self, method: str, url: URL, headers: dict[str, str], body: Any, *, repeatable: bool
    ) -> aiohttp.ClientResponse:
        """The head of the answer; its body is read from it, undecoded.

        repeatable: a request that may arrive twice is sent once more, over a new connection, if the kept one was just
            closed by the other side. Any other is sent once, over a connection that nothing else uses and that was
            used a moment ago, or over a new one.

        Raises:
            aiohttp.ClientError, ssl.SSLError, Refused, OSError
        """
        session = self._reads if repeatable else self._writes
        return await session.request(method, url, headers=headers, data=body, allow_redirects=False)

    def keep(self) -> None:
        """It was used now, or is about to be."""
        self._used_at = asyncio.get_running_loop().time()

    def begin(self) -> None:
        """One more request uses it."""
        self._in_use += 1

    def end(self) -> None:
        """A request does not use it any more."""
        self._in_use -= 1
        self.keep()

    async def close(self) -> None:
        """End all connections."""
        await self._reads.close()
        await self._writes.close()


class _Way(AbstractResolver):
    """Leads each name to the gateway's address, and looks at each address that is connected to."""

    def __init__(self, address: Address, allowed: Sequence[Network], resolve: Resolve) -> None:
        self.address = address
        self._allowed = allowed
        self._resolve = resolve

    def check_literal(self) -> None:
        """Raise Refused where the target names an address that is not permitted."""
        try:
            literal = ipaddress.ip_address(self.address.host)
        except ValueError:
            return
        self._require(str(literal))

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """The last look: this is what is connected to."""
        family, kind, protocol, _, address = info
        self._require(str(address[0]))
        return socket.socket(family, kind, protocol)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The gateway's addresses, whatever cluster is asked for."""
        del family
        return [
            ResolveResult(
                hostname=host,
                host=text,
                port=port,
                family=socket.AF_INET6 if ":" in text else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for text in await self._resolve(self.address.host, port)
        ]

    async def close(self) -> None:
        """Nothing is held."""

    def _require(self, text: str) -> None:
        if not permitted(ipaddress.ip_address(text), self._allowed):
            raise Refused("the platform does not connect to this address")


def _session(
    way: _Way, context: ssl.SSLContext, *middlewares: aiohttp.ClientMiddlewareType, idle: float
) -> aiohttp.ClientSession:
    """idle: seconds that a connection is kept for the next request"""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=way,
            socket_factory=way.open_socket,
            use_dns_cache=False,
            ssl=context,
            limit=0,  # requests are bounded before they come here
            keepalive_timeout=idle,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=_OURS,
        max_line_size=MOST_HEAD_LINE,
        max_field_size=MOST_HEAD_LINE,
        max_headers=MOST_HEADERS,
        middlewares=middlewares,
    )


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """aiohttp repeats idempotent methods after a connection that broke off: a DELETE would arrive twice."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise BrokeOff from error
