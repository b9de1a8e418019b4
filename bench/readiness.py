"""When Tenants became ready, told by a watch: the same judge for both contenders.

Who asks again and again instead sees nothing between two looks, and slows down what he measures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp
import msgspec

from bulkhead.kube.access import Access
from bulkhead.kube.resources import TENANTS

DEADLINE_SECONDS = 1800


class _Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    resource_version: str = ""


class _Status(msgspec.Struct):
    phase: str = ""


class _Tenant(msgspec.Struct):
    metadata: _Metadata
    status: _Status = msgspec.field(default_factory=_Status)


class _Event(msgspec.Struct):
    object: _Tenant


class _List(msgspec.Struct):
    metadata: _Metadata


_EVENTS = msgspec.json.Decoder(_Event)


class Judge:
    """Knows which Tenants became ready since it was made."""

    def __init__(self) -> None:
        self._ready: dict[str, float] = {}
        self._news = asyncio.Event()

    async def ready(self, names: Collection[str]) -> list[float]:
        """When each of them was, by `time.monotonic`, in order of time. Waits for all."""
        while not self._ready.keys() >= set(names):
            self._news.clear()
            await self._news.wait()
        return sorted(self._ready[name] for name in names)

    async def follow(self, events: aiohttp.StreamReader) -> None:
        """Take in a watch of Tenants, which must not end."""
        async for line in events:
            tenant = _EVENTS.decode(line).object
            if tenant.status.phase == "Active":
                self._ready.setdefault(tenant.metadata.name, time.monotonic())
                self._news.set()
        raise EOFError("the watch of Tenants ended before all were ready")


@asynccontextmanager
async def judge(access: Access) -> AsyncIterator[Judge]:
    """A judge for the time of the block, on a connection of its own."""
    address = f"{access.server}{TENANTS.collection()}"
    async with access.open_session(connections=1) as session, asyncio.TaskGroup() as group:
        async with session.get(f"{address}?limit=1", raise_for_status=True) as response:
            version = msgspec.json.decode(await response.read(), type=_List).metadata.resource_version
        query = f"watch=true&resourceVersion={version}&timeoutSeconds={DEADLINE_SECONDS}"
        async with await _opened(session, f"{address}?{query}") as response:
            found = Judge()
            following = group.create_task(found.follow(response.content))
            yield found
            following.cancel()


async def _opened(session: aiohttp.ClientSession, address: str) -> aiohttp.ClientResponse:
    """The answer, once the server has filled its cache of a kind that was just declared."""
    limits = aiohttp.ClientTimeout(total=DEADLINE_SECONDS)
    while True:
        response = await session.get(address, timeout=limits)
        if response.status != HTTPStatus.TOO_MANY_REQUESTS:
            response.raise_for_status()
            return response
        response.release()
        await asyncio.sleep(1.0)
