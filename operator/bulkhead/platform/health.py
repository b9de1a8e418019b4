"""What balancers and people ask of a replica without a credential: health, readiness, the API's document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bulkhead.platform.http import openapi
from bulkhead.platform.http.route import Call, Response, Route, Unauthenticated
from bulkhead.protocol.documents import PROTOCOL
from bulkhead.protocol.problems import Code, Problem

Check = Callable[[], str]
"""What is wrong, as a sentence; empty where nothing is. Must not block."""

ASKED = Unauthenticated("balancers ask it, and it tells nothing but yes or no")
PUBLISHED = Unauthenticated("it is published with the source")

_TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)
_JSON = ((b"content-type", b"application/json"),)


def routes(*, healthy: Check, ready: Check) -> tuple[Route, ...]:
    """Rows for balancers, which ask where they send requests. Prometheus and kubelets have a listener of their own."""
    return (
        Route("GET", "/healthz", "Whether the process works", ASKED, _verdict(healthy), raw=True),
        Route("GET", "/readyz", "Whether requests should be sent here", ASKED, _verdict(ready), raw=True),
    )


def with_document(rows: Sequence[Route]) -> tuple[Route, ...]:
    """`rows`, and one that answers with the document of them all."""

    async def answer(_: Call[Any, None]) -> Response:
        return Response(200, _JSON, document)

    every = (*rows, Route("GET", "/openapi.json", "This document", PUBLISHED, answer, raw=True))
    document = openapi.text(every, version=str(PROTOCOL)).encode()
    return every


def _verdict(check: Check) -> Callable[[Call[Any, None]], Any]:
    async def answer(_: Call[Any, None]) -> Response:
        if check():
            raise Problem(Code.UNAVAILABLE)
        return Response(200, _TEXT, b"ok")

    return answer
