"""The ASGI application: all routes over one engine, and the scheduler beside them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from starlette import routing
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from hack.plane.emulators.meilisearch.engine import Engine
from hack.plane.emulators.meilisearch.http import Route, nothing, serve
from hack.plane.emulators.meilisearch.routes import (
    chats,
    documents,
    experimental,
    indexes,
    instance,
    keys,
    search,
    settings,
    tasks,
    webhooks,
)

# Starlette tries them in this order, so what is called most comes first.
ROUTES: Final = (
    *tasks.ROUTES,
    *indexes.ROUTES,
    *keys.ROUTES,
    *documents.ROUTES,
    *search.ROUTES,
    *instance.ROUTES,
    *settings.ROUTES,
    *webhooks.ROUTES,
    *chats.ROUTES,
    *experimental.ROUTES,
)


def _endpoint(engine: Engine, route: Route) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        return await serve(engine, route, request)

    return handle


async def _empty(_request: Request, error: Exception) -> Response:
    """Unknown routes and methods are answered without a body."""
    return nothing(error.status_code if isinstance(error, HTTPException) else 500)


def build(engine: Engine, on_crash: Callable[[], None]) -> Starlette:
    """The application; `on_crash` is called if the scheduler dies, because no task would ever finish again."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        scheduler = asyncio.create_task(engine.scheduler.run())
        scheduler.add_done_callback(lambda task: None if task.cancelled() else on_crash())
        try:
            yield
        finally:
            scheduler.cancel()
            await asyncio.gather(scheduler, return_exceptions=True)
            engine.store.close()

    return Starlette(
        routes=[routing.Route(each.path, _endpoint(engine, each), methods=[each.method]) for each in ROUTES],
        exception_handlers={HTTPException: _empty},
        lifespan=lifespan,
    )
