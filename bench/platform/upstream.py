"""What stands behind both proxies: a server of TLS that costs as little as it can, and asks for a client's certificate.

    GET …/bytes/N     N bytes
    anything else     reads the body, and answers how many bytes it had, as JSON

Bodies that come are of a length that is announced; nothing of them is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
from pathlib import Path
from typing import cast

import uvloop

PIECE = bytes(65536)
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_BYTES = b"/bytes/"


class Answering(asyncio.Protocol):
    """One connection: a request after the other."""

    def __init__(self) -> None:
        self._head = b""
        self._body, self._body_left = 0, 0
        self._answer_left = 0
        self._paused = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._write_on()

    def data_received(self, data: bytes) -> None:
        if self._body_left:
            self._took(data)
            return
        self._head += data
        head, found, rest = self._head.partition(_HEAD_END)
        if not found:
            return
        self._head = b""
        target = head.split(b" ", 2)[1]
        if _BYTES in target:
            self._give(int(target.rpartition(_BYTES)[2]))
            return
        self._body = self._body_left = announced(head)
        self._took(rest)

    def _took(self, data: bytes) -> None:
        self._body_left -= len(data)
        if not self._body_left:
            body = b'{"bytes":%d}' % self._body
            self._write(_head(b"application/json", len(body)) + body)

    def _give(self, count: int) -> None:
        self._answer_left = count
        self._write(_head(b"application/octet-stream", count) + self._next())
        self._write_on()

    def _write_on(self) -> None:
        while self._answer_left and not self._paused:
            self._write(self._next())

    def _next(self) -> bytes:
        piece = PIECE[: self._answer_left]
        self._answer_left -= len(piece)
        return piece

    def _write(self, data: bytes) -> None:
        assert self._transport
        self._transport.write(data)


def announced(head: bytes) -> int:
    """Bytes of the body by its head."""
    _, found, rest = head.lower().partition(_LENGTH)
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


def _head(media: bytes, length: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (media, length)


async def serve(options: argparse.Namespace) -> None:
    """For ever."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(options.certificate, options.key)
    context.load_verify_locations(options.client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.get_running_loop().create_server(Answering, options.host, options.port, ssl=context)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    for name in ("--certificate", "--key", "--client-ca"):
        parser.add_argument(name, type=Path, required=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
