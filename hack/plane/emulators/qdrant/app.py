"""The server as an ASGI application: who calls, which endpoint, and how its result is wrapped."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hack.plane.emulators.qdrant import answers
from hack.plane.emulators.qdrant.access import FULL, Access
from hack.plane.emulators.qdrant.auth import Authenticator
from hack.plane.emulators.qdrant.calls import Call
from hack.plane.emulators.qdrant.errors import ApiError, service_error
from hack.plane.emulators.qdrant.routing import Endpoint, Router
from hack.plane.emulators.qdrant.service import OPEN_PATHS

LARGEST_BODY = 32 * 1024 * 1024
MULTIPART = "multipart/form-data"

logger = logging.getLogger(__name__)


class App:
    """One process, one event loop: an endpoint runs to its end before the next one starts, so none sees half a change.

    `register_points` adds the endpoints of points. Their library takes longer to import than everything else to start,
    so it is imported beside the first requests; a request that finds no endpoint before that is done waits for it.
    """

    def __init__(self, router: Router, authenticator: Authenticator, register_points: Callable[[], None]) -> None:
        self._router = router
        self._authenticator = authenticator
        self._register_points = register_points
        self._points: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        request = Request(scope, receive)
        response = await self._answer(request)
        await response(scope, receive, send)
        return None

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._points = asyncio.create_task(asyncio.to_thread(self._register_points))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, request: Request) -> Response:
        started = time.monotonic()
        try:
            result = await self._result(request)
        except ApiError as error:
            return answers.failed(error, time.monotonic() - started)
        except Exception:
            logger.exception("while answering %s %s", request.method, request.url.path)
            return answers.failed(service_error("the emulator failed, its log says how"), time.monotonic() - started)
        return result if isinstance(result, Response) else answers.succeeded(result, time.monotonic() - started)

    async def _result(self, request: Request) -> Any:
        """What the endpoint returns: a value to be wrapped, or a whole response."""
        access = self._access(request)
        found = await self._endpoint(request)
        if found is None:
            return answers.unknown_route()
        endpoint, path = found
        return endpoint(Call(access, path, request.query_params, request.headers, await _body(request)))

    def _access(self, request: Request) -> Access:
        open_to_all = (request.url.path.rstrip("/") or "/") in OPEN_PATHS
        return FULL if open_to_all else self._authenticator.authenticate(request.headers)

    async def _endpoint(self, request: Request) -> tuple[Endpoint, tuple[str, ...]] | None:
        raw_path = request.scope["raw_path"].decode("ascii", "replace")
        found = self._router.find(request.method, raw_path)
        if found is None and self._points is not None:
            await asyncio.shield(self._points)
            found = self._router.find(request.method, raw_path)
        return found


async def _body(request: Request) -> bytes:
    limit = None if request.headers.get("content-type", "").startswith(MULTIPART) else LARGEST_BODY
    chunks, length = [], 0
    async for chunk in request.stream():
        length += len(chunk)
        # Read to the end all the same: a connection that is closed on a writing client shows it no answer.
        if limit is None or length <= limit:
            chunks.append(chunk)
    if limit is not None and length > limit:
        raise ApiError(400, f"JSON payload ({length} bytes) is larger than allowed (limit: {limit} bytes).")
    return b"".join(chunks)
