"""One request as it came in: a head that no two readers take differently, and a body that comes piece by piece."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass

from starlette.types import Receive

from bulkhead.platform.http.trace import Trace
from bulkhead.protocol.problems import Code, Problem

SINGLE = {
    b"authorization",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"host",
    b"traceparent",
    b"transfer-encoding",
    b"upgrade",
}
"""Headers that a request has once or not at all: of two, one reader would take the first and another the last."""
PIECE_SECONDS = 30.0
"""How long a body that is read in pieces may pause between two of them."""

_LENGTH = re.compile(rb"[0-9]{1,18}")
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]{1,8192}=*) *")


class Left(Exception):
    """The client went away before its request was whole."""


@dataclass(slots=True, repr=False)
class Incoming:
    """Head and body of one request. Has no repr of its own: its headers are secrets.

    path, query: as they were sent, undecoded
    headers: by lower-case name; the values of a repeated one joined by commas
    repeated: names of `SINGLE` that came more than once
    source: the address of who calls: the peer, or what a trusted proxy says of it
    """

    method: str
    http_version: str
    path: bytes
    query: bytes
    headers: Mapping[bytes, bytes]
    repeated: frozenset[bytes]
    source: str
    trace: Trace
    receive: Receive
    has_body: bool
    """Whether the head announces one."""
    read: int = 0
    whole: bool = False

    def check(self) -> None:
        """Raise Problem for a head that two readers could take differently, or that asks for more than HTTP."""
        headers = self.headers
        if self.repeated:
            name = min(self.repeated).decode()
            raise Problem(Code.REQUEST_MALFORMED, f"the header {name} came more than once: send it once")
        if self.http_version == "1.1" and not headers.get(b"host"):
            raise Problem(Code.REQUEST_MALFORMED, "the header host is missing")
        if b"transfer-encoding" in headers:
            self._check_transfer_encoding(headers)
        elif not _LENGTH.fullmatch(headers.get(b"content-length", b"0")):
            raise Problem(Code.REQUEST_MALFORMED, "content-length is not a number of bytes")
        if b"upgrade" in headers or self.method == "CONNECT":
            raise Problem(Code.FRAMING_REFUSED, "HTTP/1.1 is all that is spoken here")
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise Problem(Code.MEDIA_TYPE, "send the body without content-encoding")

    def _check_transfer_encoding(self, headers: Mapping[bytes, bytes]) -> None:
        if b"content-length" in headers:
            raise Problem(Code.FRAMING_REFUSED)
        if headers[b"transfer-encoding"].lower() != b"chunked" or self.http_version != "1.1":
            raise Problem(Code.FRAMING_REFUSED, "the only transfer-encoding is chunked, and only in HTTP/1.1")

    @property
    def announced(self) -> int:
        """Bytes of the body by the head's own account; 0: none, or it does not say."""
        length = self.headers.get(b"content-length", b"0")
        return int(length) if _LENGTH.fullmatch(length) else 0

    @property
    def waits(self) -> bool:
        """Whether the client sends its body only once we have read from it (`Expect: 100-continue`)."""
        return b"expect" in self.headers and not self.read

    @property
    def unread(self) -> bool:
        """Whether some of its body was not read, and stands before any next request of its connection."""
        return self.has_body and not self.whole

    async def drop(self, most: int) -> None:
        """Read on for nothing, until the body ends or `most` bytes more have come."""
        with contextlib.suppress(Left, Problem):
            while await self._piece(self.read + most):
                pass

    @property
    def bearer(self) -> str:
        """The credential of the Authorization header: a secret. Raises Problem where there is none of this form."""
        header = self.headers.get(b"authorization")
        if header is None:
            raise Problem(Code.UNAUTHENTICATED)
        matched = _BEARER.fullmatch(header)
        if matched is None:
            raise Problem(Code.CREDENTIAL_MALFORMED, "the header authorization is not of the form Bearer CREDENTIAL")
        return matched[1].decode()

    async def body(self, most: int) -> bytes:
        """All of it. Problem where it is longer than `most` bytes, by its own account or in fact; Left."""
        self._check_length(most)
        pieces = []
        while piece := await self._piece(most):
            pieces.append(piece)
        return b"".join(pieces)

    async def stream(self, most: int) -> AsyncIterator[bytes]:
        """The body in pieces as they come. Problem beyond `most` bytes or after `PIECE_SECONDS` of silence; Left."""
        self._check_length(most)
        while piece := await self._piece_in_time(most):
            yield piece

    async def left(self) -> None:
        """Return once the client has gone away. For who has read all of the body: whatever comes is dropped."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def _check_length(self, most: int) -> None:
        # Before the first byte: a client that waits for 100 Continue then never sends what would be refused.
        if self.announced > most:
            raise too_large(most)

    async def _piece_in_time(self, most: int) -> bytes:
        try:
            async with asyncio.timeout(PIECE_SECONDS):
                return await self._piece(most)
        except TimeoutError:
            raise Problem(Code.TOO_SLOW, "the body stopped coming") from None

    async def _piece(self, most: int) -> bytes:
        """The next bytes; none at the end."""
        while not self.whole:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Left
            self.whole = not message.get("more_body", False)
            piece: bytes = message.get("body", b"")
            self.read += len(piece)
            if self.read > most:
                raise too_large(most)
            if piece:
                return piece
        return b""


def too_large(most: int) -> Problem:
    """What is told about a body of more than `most` bytes."""
    return Problem(Code.BODY_TOO_LARGE, f"the body is longer than {most} bytes")


def index(headers: Iterable[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], frozenset[bytes]]:
    """Headers by lower-case name, and those of `SINGLE` that came more than once."""
    found: dict[bytes, bytes] = {}
    repeated: set[bytes] = set()
    for name, value in headers:
        if name not in found:
            found[name] = value
        elif name in SINGLE:
            repeated.add(name)
        else:
            found[name] += b", " + value
    return found, frozenset(repeated)
