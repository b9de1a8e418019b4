"""Answers on their way out: in one piece or in many, never waiting for ever for a client that does not read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import structlog
from starlette.types import Message, Send

from bulkhead.platform.http.incoming import Incoming, Left
from bulkhead.platform.http.route import Headers, Response
from bulkhead.platform.http.server import Connection

log = structlog.get_logger(__name__)

WRITE_SECONDS = 30.0
"""How long one piece may take to leave; a client that reads slower is cut off."""
LINGER_BYTES = 65536
LINGER_SECONDS = 1.0
"""Of a body that nobody wants any more so much is read and dropped, so that the answer arrives before the end."""

CLOSE = (b"connection", b"close")

_NO_BODY = {204, 304}


async def send_response(
    response: Response, headers: Headers, request: Incoming, send: Send, connection: Connection
) -> None:
    """Send all of it. Left where the client went away, did not read, or got an answer that broke off.

    headers: what every answer has
    """
    if request.unread:
        headers = (*headers, CLOSE)
    outlet = _Outlet(send, connection)
    body = response.body
    if isinstance(body, bytes):
        length = () if response.status in _NO_BODY else ((b"content-length", b"%d" % len(body)),)
        await outlet.start(response.status, (*headers, *response.headers, *length))
        await outlet.piece(body, last=not request.unread)
    else:
        async with contextlib.aclosing(body):
            await outlet.start(response.status, (*headers, *response.headers))
            await _send_pieces(body, outlet, connection)
            await outlet.piece(b"", last=not request.unread)
    if request.unread:
        await _linger(request)
        await outlet.piece(b"", last=True)


async def _send_pieces(body: AsyncGenerator[bytes, None], outlet: _Outlet, connection: Connection) -> None:
    """Everything that `body` gives, unless the client leaves while it has nothing to give."""
    watch = asyncio.timeout(None)

    def leave(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the block has ended by itself in this moment
            watch.reschedule(0)

    connection.lost.add_done_callback(leave)
    try:
        async with watch:
            async for piece in body:
                await outlet.piece(piece)
    except Left:
        raise
    except Exception as error:
        if connection.lost.done():
            raise Left from None
        # Cut and not ended: a client must not take a part for the whole.
        connection.abort()
        log.warning("answer_broke_off", error=type(error).__name__)
        raise Left from error
    finally:
        connection.lost.remove_done_callback(leave)


async def settle(request: Incoming) -> None:
    """Take a small body that nobody read out of the way of the connection's next request."""
    if request.unread and request.announced <= LINGER_BYTES:
        await _linger(request)


async def _linger(request: Incoming) -> None:
    if request.waits:
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            await request.drop(LINGER_BYTES)


class _Outlet:
    """Sends messages of ASGI, each within its time."""

    def __init__(self, send: Send, connection: Connection) -> None:
        self._send = send
        self._connection = connection

    async def start(self, status: int, headers: Headers) -> None:
        await self._put({"type": "http.response.start", "status": status, "headers": headers})

    async def piece(self, body: bytes, *, last: bool = False) -> None:
        await self._put({"type": "http.response.body", "body": body, "more_body": not last})

    async def _put(self, message: Message) -> None:
        if not self._connection.stalled:
            await self._send(message)
            return
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._send(message)
        except TimeoutError:
            self._connection.abort()
            raise Left from None
