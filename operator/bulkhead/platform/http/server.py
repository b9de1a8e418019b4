"""uvicorn with bounds: on connections, on the bytes and the time of a head, on idle time; and an orderly end.

uvicorn has no bound on a head with httptools, takes trailers for headers, and answers what it can not parse in plain
text, if need be into the middle of another answer. `BoundedProtocol`, given by its `http` option, mends that.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import resource
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from bulkhead.platform.http import answers
from bulkhead.platform.http.limits import network_of
from bulkhead.platform.http.source import source_of
from bulkhead.protocol.problems import Code, Problem

BACKLOG = 2048
LINGER_SECONDS = 1.0
OTHER_FILES = 256
"""What a process has open beside connections of callers: pools, webhooks, proxied streams, logs."""
_VERSIONS = {"1.0", "1.1"}
_TARGET = re.compile(rb"/(?!/)[\x21\x22\x24-\x7e]*")
"""Origin form: no authority, no fragment, nothing but visible ASCII."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one connection, and all of them together, may take.

    head_bytes: of request line and headers; target_bytes: of the request's target; headers: their number
    head_seconds: from the first byte of a head to its last, from the opening of a connection to its first head, and for
        the handshake of TLS before that
    idle_seconds: between two requests of a connection; above a client's period, so that it needs no new handshake
    write_seconds: for the last of an answer to leave before the connection is cut
    requests: of one connection, so that a balancer's spread follows when replicas are added
    connections, connections_per_peer: open at once; a connection beyond is closed as it is opened
    """

    head_bytes: int = 16384
    target_bytes: int = 8192
    headers: int = 64
    head_seconds: float = 10.0
    idle_seconds: int = 75
    write_seconds: float = 30.0
    requests: int = 10000
    connections: int = 16384
    connections_per_peer: int = 4096


class Connection:
    """The connection that a request came by, as the application knows it: `scope["state"]["connection"]`."""

    __slots__ = ("_flow", "_transport", "lost")

    def __init__(self, transport: asyncio.Transport, flow: FlowControl, lost: asyncio.Future[None]) -> None:
        self._transport = transport
        self._flow = flow
        self.lost = lost

    @property
    def stalled(self) -> bool:
        """Whether what was written waits for the client to read: only then does a write wait."""
        return self._flow.write_paused

    def abort(self) -> None:
        """Cut it, unsent bytes and all: for a client that does not read, and for an answer that broke off."""
        self._transport.abort()


def peer_of(client: tuple[str, int] | None) -> str:
    """What counts as one peer; empty: it has no address. Whoever has a network of IPv6 has more addresses in it than
    there are connections."""
    return network_of(source_of(client[0], None, ())) if client else ""


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, bounds: Bounds, peers: dict[str, int], **uvicorn_own: Any) -> None:
        super().__init__(**uvicorn_own)
        self._bounds = bounds
        self._peers = peers
        self._peer = ""
        self._connection: Connection | None = None
        self._in_head = True
        self._head_bytes = 0
        """That came of a head which is not whole yet."""
        self._whole_bytes = 0
        """Of target and headers as they were parsed."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._completed = False
        self._refused = False
        self._requests = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer = peer_of(self.client)
        self._peers[self._peer] = self._peers.get(self._peer, 0) + 1
        self._connection = Connection(transport, self.flow, self.loop.create_future())
        if len(self.connections) > self._bounds.connections or self._crowded():
            transport.abort()
            return
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_head_timer()
        self._peers[self._peer] -= 1
        if not self._peers[self._peer]:
            del self._peers[self._peer]
        if self._connection and not self._connection.lost.done():
            self._connection.lost.set_result(None)

    def _crowded(self) -> bool:
        return bool(self._peer) and self._peers[self._peer] > self._bounds.connections_per_peer

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._completed = False
        super().data_received(data)
        if self._in_head and not self._completed and not self._refused:
            # A head that is not whole: what httptools has gathered of it shows in no callback yet.
            self._head_bytes += len(data)
            if self._head_bytes > self._bounds.head_bytes:
                self._refuse(self._head_too_large())
            else:
                self._start_head_timer()

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._bounds.head_seconds, self._head_is_late)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._head_bytes:
            self._refuse(Problem(Code.TOO_SLOW, f"no whole head within {self._bounds.head_seconds:g} s"))
        else:
            self.transport.close()

    def on_message_begin(self) -> None:
        if self._answering:
            raise Problem(Code.REQUEST_MALFORMED, "wait for an answer before the next request")
        super().on_message_begin()
        self.scope["state"]["connection"] = self._connection
        self._whole_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._whole_bytes += len(url)
        if len(self.url) > self._bounds.target_bytes:
            raise Problem(Code.HEADERS_TOO_LARGE, f"the target is longer than {self._bounds.target_bytes} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            # uvicorn would add it to the headers of the request, which may be read only after it has come.
            raise Problem(Code.REQUEST_MALFORMED, "trailers are not taken")
        super().on_header(name, value)
        self._whole_bytes += len(name) + len(value) + 4
        if self._whole_bytes > self._bounds.head_bytes:
            raise self._head_too_large()
        if len(self.headers) > self._bounds.headers:
            raise Problem(Code.HEADERS_TOO_LARGE, f"more than {self._bounds.headers} headers")

    def on_headers_complete(self) -> None:
        if self.parser.get_http_version() not in _VERSIONS:
            raise Problem(Code.REQUEST_MALFORMED, "this is not HTTP/1.1")
        if not _TARGET.fullmatch(self.url):
            raise Problem(Code.REQUEST_MALFORMED, "the target is not a path of visible ASCII")
        self._stop_head_timer()
        self._in_head = False
        super().on_headers_complete()
        self._requests += 1
        if self._requests >= self._bounds.requests:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            # A close waits for what is unsent, for ever if the client does not read.
            self.loop.call_later(self._bounds.write_seconds, self.transport.abort)

    def timeout_keep_alive_handler(self) -> None:
        self.transport.abort()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True
        self._head_bytes = 0
        self._completed = True

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own text says less
        error = sys.exc_info()[1]
        cause = error.__context__ if error else None
        self._refuse(cause if isinstance(cause, Problem) else Problem(Code.REQUEST_MALFORMED, "this is not HTTP/1.1"))

    def _refuse(self, problem: Problem) -> None:
        """Say why nothing more is read here, and close."""
        self._refused = True
        self._stop_head_timer()
        if self._answering and not self.cycle.more_body:
            # The request before it was whole: it gets its own answer, and that is the last.
            self.cycle.keep_alive = False
            return
        if self._answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self._answering and self.cycle.response_started:
            self.transport.abort()
            return
        self.transport.write(_answer(problem))
        self._linger()

    def _linger(self) -> None:
        """Close, but not yet: unread bytes at a close would reset the connection, and the answer might be lost."""
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _head_too_large(self) -> Problem:
        return Problem(Code.HEADERS_TOO_LARGE, f"the head is longer than {self._bounds.head_bytes} bytes")

    @property
    def _answering(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete


def _answer(problem: Problem) -> bytes:
    response = answers.of_problem(problem)
    body = cast("bytes", response.body)
    headers = (*response.headers, (b"connection", b"close"), (b"content-length", b"%d" % len(body)))
    lines = [b"%s: %s\r\n" % header for header in headers]
    return b"".join((STATUS_LINE[response.status], *lines, b"\r\n", body))


class Server:
    """Serves one application on one listening socket until it is told to stop.

    drain_seconds: for requests that run when it is told; what still runs then is cut off
    """

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        *,
        bounds: Bounds,
        tls: ssl.SSLContext | None = None,
        drain_seconds: float = 30.0,
    ) -> None:
        self._listener = listener
        protocol = functools.partial(BoundedProtocol, bounds, {})
        config = uvicorn.Config(
            app,
            http=cast("type[asyncio.Protocol]", protocol),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=bounds.idle_seconds,
            timeout_graceful_shutdown=cast("int", drain_seconds),
            ssl_context_factory=None if tls is None else lambda *_: tls,
        )
        self._server = _Unsignalled(config, handshake_seconds=bounds.head_seconds)

    async def run(self) -> None:
        """Serve; ends once `stop` was called and requests have ended."""
        await self._server.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Take no further connection, close idle ones, and let running requests end within their time."""
        self._server.should_exit = True

    @property
    def connections(self) -> int:
        """Open ones."""
        return len(self._server.server_state.connections)


class _Unsignalled(uvicorn.Server):
    """Leaves signals to the process, which has more to end than its server, and bounds the handshake of TLS.

    handshake_seconds: uvicorn leaves them to asyncio, where they are 60
    """

    def __init__(self, config: uvicorn.Config, *, handshake_seconds: float) -> None:
        super().__init__(config)
        self._handshake_seconds = handshake_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on these sockets."""
        config, loop = self.config, asyncio.get_running_loop()
        # Of uvicorn's own, which typing knows as any protocol.
        protocol = functools.partial(
            cast("Callable[..., asyncio.Protocol]", config.http_protocol_class),
            config=config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        self.servers = [
            await loop.create_server(
                protocol,
                sock=each,
                backlog=config.backlog,
                ssl=config.ssl,
                ssl_handshake_timeout=self._handshake_seconds if config.ssl else None,
            )
            for each in sockets or ()
        ]
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def within_file_limit(bounds: Bounds) -> Bounds:
    """`bounds` with no more connections than this process may have files, whose limit is raised as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = bounds.connections + OTHER_FILES
    files = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return replace(bounds, connections=min(bounds.connections, files - OTHER_FILES))


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound and listens; port 0: a free one. OSError where the address can not be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=host == "::")
