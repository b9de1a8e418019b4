"""Problems as answers (RFC 9457), and the headers that belong to some of them."""

from __future__ import annotations

from bulkhead.platform.http.route import Headers, Response
from bulkhead.platform.http.table import NotAllowed
from bulkhead.protocol import documents
from bulkhead.protocol.problems import CONTENT_TYPE, Problem


def of_problem(problem: Problem, trace_id: str = "") -> Response:
    """What a caller is told; `trace_id` is empty where a request was refused before it was one."""
    document = problem.document(trace_id)
    headers = ((b"content-type", CONTENT_TYPE.encode()), *_headers(problem, document.retry_after))
    return Response(document.status, headers, documents.encode(document))


def _headers(problem: Problem, retry_after: int | None) -> Headers:
    headers: Headers = ()
    if problem.code.status == 401:
        headers += ((b"www-authenticate", b"Bearer"),)
    if retry_after is not None:
        headers += ((b"retry-after", b"%d" % retry_after),)
    if isinstance(problem, NotAllowed):
        headers += ((b"allow", ", ".join(problem.methods).encode()),)
    return headers
