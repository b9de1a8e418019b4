"""An API server that answers each request with the next line of a script, however badly."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import aiohttp
from aiohttp import web

from bulkhead.kube.client import KubeClient, Mutations, Unrecorded

Json = dict[str, Any]
Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]

DEADLINE_SECONDS = 10.0


class ScriptedApi:
    """Takes note of every request; what comes after the end of the script waits until the test is over."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies)
        self.requests: list[web.Request] = []
        self.bodies: list[Any] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._over = asyncio.Event()
        self._arrived = asyncio.Condition()

    def then(self, *replies: Reply) -> None:
        """Continue the script."""
        self._replies.extend(replies)

    def query(self, number: int) -> Mapping[str, str]:
        """Query of a request, counted from 0."""
        return self.requests[number].query

    async def received(self, count: int) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(DEADLINE_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    @contextlib.asynccontextmanager
    async def client(
        self, *, mutations: Mutations | None = None, pauses: list[float] | None = None, request_seconds: float = 5.0
    ) -> AsyncIterator[KubeClient]:
        """A client of this server, for the time of the block. Its pauses are noted and not waited for."""

        async def sleep(seconds: float) -> None:
            if pauses is not None:
                pauses.append(seconds)
            await asyncio.sleep(0)

        async with self._serving() as url, aiohttp.ClientSession() as session:
            yield KubeClient(
                session,
                url,
                mutations or Unrecorded(),
                observe=lambda *_: None,
                jitter=lambda: 0.0,
                sleep=sleep,
                request_seconds=request_seconds,
            )

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[str]:
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            self._over.set()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(request)
        self.bodies.append(json.loads(body) if body else None)
        async with self._arrived:
            self._arrived.notify_all()
        if not self._replies:
            await self._over.wait()
            return web.Response(status=500)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._replies.pop(0)(request)
        finally:
            self.in_flight -= 1


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON document."""

    async def reply(_: web.Request) -> web.Response:
        return web.json_response(body, status=status, headers=headers)

    return reply


def text(body: str, status: int = 200) -> Reply:
    """What a proxy would say."""

    async def reply(_: web.Request) -> web.Response:
        return web.Response(text=body, status=status, content_type="text/html")

    return reply


def refusal(status: int, reason: str, *, headers: Mapping[str, str] | None = None, **details: Any) -> Reply:
    """A Status, as the API server refuses with."""
    content = {"kind": "Status", "code": status, "reason": reason, "message": f"it is {reason}", "details": details}
    return answer(content, status, headers)


def slow(reply: Reply, seconds: float) -> Reply:
    """The same, later."""

    async def later(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await reply(request)

    return later


def hang() -> Reply:
    """No answer at all."""

    async def reply(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    return reply


def cut() -> Reply:
    """A connection that breaks before the head of the answer."""

    async def reply(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return reply


def listed(*objects: Json, version: str = "100", continuation: str = "") -> Reply:
    """A page of a list; `null` for no items, as the API server has it for metadata."""
    return answer({"metadata": {"resourceVersion": version, "continue": continuation}, "items": list(objects) or None})


def streamed(*events: Json | bytes, ending: str = "end") -> Reply:
    """A watch that sends these events, then ends, is `cut`, or goes `silent`."""

    async def reply(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for event in events:
            await response.write(event if isinstance(event, bytes) else json.dumps(event).encode() + b"\n")
        if ending == "silent":
            await asyncio.Event().wait()
        if ending == "cut" and request.transport:
            request.transport.abort()
        return response

    return reply


def metadata(name: str, version: str, **more: Any) -> Json:
    """One object's metadata."""
    content = {"namespace": "tenant-acme", "uid": f"uid-{name}", **more}
    return {"metadata": {"name": name, "resourceVersion": version, **content}}


def event(kind: str, name: str, version: str, **more: Any) -> Json:
    """One event of a watch."""
    return {"type": kind, "object": metadata(name, version, **more)}


def bookmark(version: str) -> Json:
    """The event that only carries a version."""
    return {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}


def failure(code: int, reason: str) -> Json:
    """The event that ends a watch badly."""
    return {"type": "ERROR", "object": {"kind": "Status", "code": code, "reason": reason, "message": reason}}
