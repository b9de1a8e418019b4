"""How results and errors are wrapped."""

import msgspec
from starlette.responses import Response

from hack.plane.emulators.qdrant.errors import ApiError


def _json(status: int, content: object, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, "application/json")


def accepted() -> Response:
    return _json(202, {"status": "accepted", "time": 0.0})


def succeeded(result: object, seconds: float) -> Response:
    return _json(200, {"result": result, "status": "ok", "time": seconds})


def failed(error: ApiError, seconds: float) -> Response:
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    if error.plain:
        return Response(error.text, error.status, headers)
    return _json(error.status, {"status": {"error": error.text}, "time": seconds}, headers)


def unknown_route() -> Response:
    return Response(b"", 404)
