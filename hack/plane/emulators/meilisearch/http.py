"""From a request to an answer: authorise, read, handle, show. What a route does is in `routes/`."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from hack.plane.emulators.meilisearch import json_text, shapes
from hack.plane.emulators.meilisearch.auth import EVERYTHING, Access
from hack.plane.emulators.meilisearch.engine import Engine
from hack.plane.emulators.meilisearch.errors import ApiError
from hack.plane.emulators.meilisearch.indexes import uid_of_path
from hack.plane.emulators.meilisearch.json_text import JsonSyntaxError
from hack.plane.emulators.meilisearch.shapes import Json, Reader, Shape
from hack.plane.emulators.meilisearch.tasks import NewTask, summary

Answer = Response
T = TypeVar("T")

JSON_TYPE: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has been let in."""

    engine: Engine
    access: Access
    request: Request
    body: bytes

    @property
    def path(self) -> Mapping[str, str]:
        """The variable parts of the path."""
        return self.request.path_params

    @property
    def query(self) -> str:
        """What follows the question mark."""
        return self.request.url.query

    @property
    def index_uid(self) -> str:
        """The index in the path; raises `invalid_index_uid`."""
        return uid_of_path(self.path["index_uid"])

    def media_type(self, *accepted: str) -> str:
        """The body's type; raises `missing_content_type` or `invalid_content_type`."""
        header = self.request.headers.get("content-type")
        known = f"Accepted values for the Content-Type header are: {shapes.quoted(accepted)}"
        if header is None:
            raise ApiError("missing_content_type", f"A Content-Type header is missing. {known}")
        found = header.partition(";")[0].strip().lower()
        if found not in accepted:
            raise ApiError("invalid_content_type", f"The Content-Type `{found}` is invalid. {known}")
        return found

    def json(self) -> Json:
        """The body as JSON."""
        self.media_type(JSON_TYPE)
        limit = self.engine.options.payload_limit
        if len(self.body) > limit:
            message = f"JSON payload ({len(self.body)} bytes) is larger than allowed (limit: {limit} bytes)."
            raise ApiError("internal", message)
        return read_body(self.body)

    def read(self, reader: Reader) -> Any:
        """The body as what a reader makes of it."""
        return shapes.read_json(reader, self.json())

    def parameters(self, shape: Shape) -> dict[str, Any]:
        """The parameters of the URL."""
        return shapes.read_query(shape, self.query)


def read_body(body: bytes) -> Json:
    """Parse a body; raises `missing_payload` or `malformed_payload`."""
    if not body:
        raise ApiError("missing_payload", "A json payload is missing.")
    try:
        return json_text.decode(body)
    except JsonSyntaxError as error:
        raise ApiError("malformed_payload", f"The json payload provided is malformed. `{error}`.") from error


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method and path, the actions that it needs (none: open to all), and what it does."""

    method: str
    path: str
    actions: tuple[str, ...]
    handler: Handler


def answer(body: Json, status: int = 200) -> Answer:
    """JSON."""
    return Response(msgspec.json.encode(body), status, media_type=JSON_TYPE)


def nothing(status: int = 204) -> Answer:
    """An empty answer."""
    return Response(None, status)


def refusal(error: ApiError) -> Answer:
    """An error as JSON."""
    return Response(msgspec.json.encode(error.body()), error.status, media_type=JSON_TYPE)


async def enqueued(call: Call, task: NewTask, status: int = 202) -> Answer:
    """Enqueue, and answer with the summary."""
    return answer(summary(await call.engine.scheduler.enqueue(task)), status)


async def serve(engine: Engine, route: Route, request: Request) -> Answer:
    """Authorise before the body is read, as the server does; then handle."""
    try:
        access = EVERYTHING
        if route.actions:
            header = request.headers.get("authorization")
            access = engine.gate.admit(header, route.actions, request.path_params.get("index_uid"))
        return await route.handler(Call(engine, access, request, await request.body()))
    except ApiError as error:
        return refusal(error)
