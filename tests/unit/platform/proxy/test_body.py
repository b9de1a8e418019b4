"""The body of a request on its way to a cluster that refuses it before it is whole."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any, cast
from unittest.mock import Mock

import aiohttp
import pytest
from starlette.types import Message
from yarl import URL

from bulkhead.platform.http import sending, trace
from bulkhead.platform.http.incoming import Incoming
from bulkhead.platform.proxy.forwarding import Limits, Outcome, Passage
from bulkhead.platform.proxy.gateways import Gateway


class Refusing:
    """A gateway that answers 409 once it was sent one piece, and takes more of the body when a test says so."""

    def __init__(self) -> None:
        self.body: AsyncIterator[bytes] | None = None

    async def send(self, _: str, __: URL, ___: Any, body: AsyncIterator[bytes], **____: Any) -> aiohttp.ClientResponse:
        self.body = body
        assert await anext(body) == b"first"
        return Mock(aiohttp.ClientResponse, status=409, connection=None, raw_headers=((b"content-length", b"0"),))

    def begin(self) -> None:
        pass

    def end(self) -> None:
        pass


def in_chunks(*pieces: bytes) -> Incoming:
    messages = [{"type": "http.request", "body": piece, "more_body": piece is not pieces[-1]} for piece in pieces]

    async def receive() -> Message:
        return messages.pop(0)

    return Incoming(
        method="POST",
        http_version="1.1",
        path=b"/",
        query=b"",
        headers={b"transfer-encoding": b"chunked"},
        repeated=frozenset(),
        source="203.0.113.9",
        trace=trace.begin(None, None, os.urandom),
        receive=receive,
        has_body=True,
    )


async def nothing(_: Outcome | None = None) -> None:
    pass


async def test_a_body_whose_rest_was_dropped_never_ends_at_the_cluster() -> None:
    request, gateway = in_chunks(b"first", b"second", b"third"), Refusing()
    passage = Passage(request, cast("Gateway", gateway), limits=Limits(), look=nothing, ended=nothing)
    assert (await passage.send(URL("https://acme/"), {}))[0] == 409
    await sending.settle(request)
    assert request.whole
    assert gateway.body is not None
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await anext(gateway.body)
    await passage.aclose()
