"""Memory stays flat however much streams: neither way gathers anything."""

from __future__ import annotations

import asyncio
import contextlib
import os
from uuid import UUID

from bench.measure import resident_bytes
from tests.integration.platform.proxy.gen import Yard
from tests.integration.platform.proxy.test_requests import request

SIZE = 256 << 20
PIECE = 65536
MOST_GROWTH = 48 << 20


async def test_memory_stays_flat_while_much_comes_back(grounds: Yard) -> None:
    cluster, before = await grounds.cluster(), resident_bytes(os.getpid())
    async with grounds.served() as served, contextlib.aclosing(await served.connect()) as wire:
        wire.say(request("reader", "GET", cluster, f"bytes/{SIZE}"))
        await wire.reader.readuntil(b"\r\n\r\n")
        got, most = 0, 0
        while got < SIZE:
            got += len(await wire.reader.read(PIECE))
            most = max(most, resident_bytes(os.getpid())) if got % 64 == 0 else most
        assert got == SIZE
    assert resident_bytes(os.getpid()) - before < MOST_GROWTH
    assert most - before < MOST_GROWTH


async def test_memory_stays_flat_while_much_goes_in(grounds: Yard) -> None:
    cluster: UUID = await grounds.cluster()
    before, most = resident_bytes(os.getpid()), 0
    async with grounds.served() as served, contextlib.aclosing(await served.connect()) as wire:
        wire.say(request("writer", "PUT", cluster, "x", f"Content-Length: {SIZE}"))
        for number in range(SIZE // PIECE):
            wire.say(bytes(PIECE))
            await wire.writer.drain()
            most = max(most, resident_bytes(os.getpid())) if number % 64 == 0 else most
        async with asyncio.timeout(60):
            assert (await wire.reply()).json["bytes"] == SIZE
    assert most - before < MOST_GROWTH
