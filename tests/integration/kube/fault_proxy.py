"""A proxy between us and a real API server that can spoil watches: freeze, cut, or say something into them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
from aiohttp import web

from bulkhead.kube.access import Access, Token

_HOP_BY_HOP = {"transfer-encoding", "content-length", "connection", "host"}


class FaultProxy:
    """Passes everything on, until it is told otherwise. Faults are for the watches of one kind that run now."""

    def __init__(self, access: Access) -> None:
        self._behind = access
        self._watches: dict[web.StreamResponse, str] = {}
        self._frozen = asyncio.Event()
        self._arrived = asyncio.Condition()
        self.access = access

    @classmethod
    @contextlib.asynccontextmanager
    async def before(cls, access: Access) -> AsyncIterator[FaultProxy]:
        """A proxy that runs for the time of the block; its `access` leads through it."""
        proxy = cls(access)
        app = web.Application()
        async with access.open_session(connections=100) as session:
            app.router.add_route("*", "/{path:.*}", functools.partial(proxy._pass, session))
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            server = f"http://127.0.0.1:{runner.addresses[0][1]}"
            proxy.access = replace(access, server=server, certificate=b"", ca=b"", token=Token())
            try:
                yield proxy
            finally:
                await runner.cleanup()

    async def watched(self, plural: str, count: int = 1) -> None:
        """Wait until so many watches of that kind run."""
        async with asyncio.timeout(60), self._arrived:
            await self._arrived.wait_for(lambda: list(self._watches.values()).count(plural) >= count)

    async def say(self, plural: str, event: dict[str, Any]) -> None:
        """Send an event that the API server never sent."""
        for response in self._of(plural):
            await response.write(json.dumps(event).encode() + b"\n")

    def freeze(self) -> None:
        """From now on nothing that is sent in a watch arrives, and no connection ends."""
        self._frozen.set()

    def thaw(self) -> None:
        """Watches that begin from now on are passed on again; the frozen ones stay frozen."""
        self._frozen = asyncio.Event()

    def _of(self, plural: str) -> list[web.StreamResponse]:
        return [response for response, kind in self._watches.items() if kind == plural]

    async def _pass(self, session: aiohttp.ClientSession, request: web.Request) -> web.StreamResponse:
        kept = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        async with session.request(
            request.method,
            f"{self._behind.server}{request.path_qs}",
            data=await request.read() or None,
            headers=kept,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            response.content_type = answer.content_type
            await response.prepare(request)
            if "watch" in request.query:
                return await self._pass_watch(request, answer, response)
            await response.write(await answer.read())
            return response

    async def _pass_watch(
        self, request: web.Request, answer: aiohttp.ClientResponse, response: web.StreamResponse
    ) -> web.StreamResponse:
        frozen = self._frozen
        self._watches[response] = request.path.rpartition("/")[2]
        async with self._arrived:
            self._arrived.notify_all()
        try:
            async for data in answer.content.iter_any():
                if frozen.is_set():
                    await asyncio.Event().wait()
                await response.write(data)
        except ConnectionResetError:
            # Whoever watched has gone.
            pass
        finally:
            del self._watches[response]
        return response
