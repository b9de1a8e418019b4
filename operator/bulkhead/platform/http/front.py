"""The front door: every request goes through every line of it.

    head checked -> row of the table -> authenticated as the row says -> quota -> permitted -> query and body decoded
    -> handler, in one transaction that opens when it asks for it -> commit -> answer

What a handler raises rolls its transaction back. A Problem is told to the caller as it is; anything else is a fault of
ours, of which the caller learns the trace id alone.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import msgspec
import psycopg
import structlog
from starlette.types import Receive, Scope, Send

from bulkhead.platform.http import answers, decoding, sending, trace
from bulkhead.platform.http.incoming import Incoming, Left, index
from bulkhead.platform.http.limits import Allowance, Failures, Large, quota_headers, spend
from bulkhead.platform.http.metrics import HttpMetrics
from bulkhead.platform.http.route import (
    WITHOUT_HEADER,
    Anonymous,
    Call,
    Caller,
    Headers,
    Joined,
    Principal,
    Response,
    Route,
    Tx,
    Unauthenticated,
    User,
    permit,
)
from bulkhead.platform.http.source import Network, source_of
from bulkhead.platform.http.spans import Attributes, Spans
from bulkhead.platform.http.table import Match, Table
from bulkhead.protocol import documents
from bulkhead.protocol.problems import Code, Problem

log = structlog.get_logger(__name__)

UNAVAILABLE = (psycopg.OperationalError, psycopg.InterfaceError)
"""A database that does not answer, has no connection left, or asks to try again: classes 08, 40, 53 and 57."""
RETRY_SECONDS = 2
USUAL_BYTES = documents.MOST_BYTES
"""Of a body; what is larger is gathered for a few callers at a time."""
CLOSED_SECONDS = 30
"""After which to ask again who was told that all is closed."""
SLOW_SECONDS = 1.0
"""Beyond it a request is in the log even though all went well."""

_ALWAYS: Headers = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_JSON: Headers = ((b"content-type", b"application/json"),)
_FRAMES = 6


class Authenticator(Protocol):
    """Who a request is from. Raises Problem with status 401; scope and ability are looked at by the front."""

    async def __call__(self, caller: Any, request: Incoming, /) -> Principal: ...


Transaction = Callable[[Principal], AbstractAsyncContextManager[Tx]]
"""Opens one in a principal's scope; commits at the end of the block, rolls back what raises."""
Quota = Callable[[Principal], Awaitable[Sequence[Allowance]]]
"""Counts one request of a principal; a `remaining` below nought is one too many."""

Audit = Callable[[object, str], Awaitable[None]]
"""Writes what a Problem says for the audit, in a transaction of its own; the second argument is the caller's source."""


@dataclass(slots=True)
class _Exchange:
    """One request on its way through. failures: to authenticate, that its line in the log stands for"""

    request: Incoming
    started: float
    row: Route | None = None
    allowances: Sequence[Allowance] = ()
    problem: Problem | None = None
    failures: int | None = None


class Front:
    """The ASGI application over a table. ValueError where a row names a caller that nobody can authenticate.

    quota: None: nobody has one
    spans: is told of every request; None: nobody wants to know
    trusted: networks of proxies whose X-Forwarded-For is believed
    draining: whether this process is about to end; answers then close their connections
    closed: why nothing is taken but from whoever may call without a credential; empty: everything is
    """

    def __init__(
        self,
        table: Table,
        *,
        authenticators: Mapping[type[Caller], Authenticator],
        transaction: Transaction,
        quota: Quota | None,
        audit: Audit,
        failures: Failures,
        metrics: HttpMetrics,
        randomness: Callable[[int], bytes],
        spans: Spans | None = None,
        trusted: Sequence[Network] = (),
        draining: Callable[[], bool] = lambda: False,
        closed: Callable[[], str] = lambda: "",
    ) -> None:
        callers = {type(row.caller) for row in table.rows} - set(WITHOUT_HEADER)
        if missing := sorted(kind.__name__ for kind in callers - authenticators.keys()):
            raise ValueError(f"no authenticator for {', '.join(missing)}")
        self._table = table
        self._authenticators = authenticators
        self._transaction = transaction
        self._quota = quota
        self._audit = audit
        self._failures = failures
        self._metrics = metrics
        self._randomness = randomness
        self._spans = spans
        self._large = Large()
        self._trusted = trusted
        self._draining = draining
        self._closed = closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request of one connection of `server.BoundedProtocol`."""
        exchange = _Exchange(self._incoming(scope, receive), time.monotonic())
        structlog.contextvars.bind_contextvars(trace_id=exchange.request.trace.trace_id)
        self._metrics.began()
        status = 0
        try:
            response = await self._respond(exchange)
            status = response.status
            await sending.settle(exchange.request)
            await sending.send_response(
                response, self._headers(exchange), exchange.request, send, scope["state"]["connection"]
            )
        except Left:
            status = 0
        finally:
            self._account(exchange, status)

    def _incoming(self, scope: Scope, receive: Receive) -> Incoming:
        headers, repeated = index(scope["headers"])
        peer = scope["client"]
        traceparent = None if b"traceparent" in repeated else headers.get(b"traceparent")
        return Incoming(
            method=scope["method"],
            http_version=scope["http_version"],
            path=scope["raw_path"],
            query=scope["query_string"],
            headers=headers,
            repeated=repeated,
            source=source_of(peer[0] if peer else None, headers.get(b"x-forwarded-for"), self._trusted),
            trace=trace.begin(traceparent, headers.get(b"tracestate"), self._randomness),
            receive=receive,
            has_body=b"transfer-encoding" in headers or headers.get(b"content-length", b"0").strip(b"0") != b"",
        )

    async def _respond(self, exchange: _Exchange) -> Response:
        """The answer, whatever happens. Left where there is nobody to answer."""
        try:
            exchange.request.check()
            match = self._table.find(exchange.request.method, exchange.request.path)
            exchange.row = match.row
            return await self._in_time(exchange, match)
        except Problem as problem:
            exchange.problem = await self._audited(exchange, problem)
        except UNAVAILABLE as error:
            exchange.problem = _unavailable(error)
        except asyncio.CancelledError:
            # The drain is over, and this is the task's last act: its client learns that nothing was decided.
            exchange.problem = Problem(Code.UNAVAILABLE, "this replica ends", retry_after=RETRY_SECONDS)
        except Left:
            raise
        except Exception as error:  # noqa: BLE001 - a fault in one handler is told, not spread
            log.critical("request_failed", error=type(error).__name__, at=_frames(error))
            exchange.problem = Problem(Code.INTERNAL)
        return answers.of_problem(exchange.problem, exchange.request.trace.trace_id)

    async def _audited(self, exchange: _Exchange, problem: Problem) -> Problem:
        """The problem, once it is counted and the audit has it: what leaves no trace could be tried without end."""
        if problem.code.status == 401:
            self._failures.failed(exchange.request.source)
            exchange.failures = self._failures.untold(exchange.request.source, problem.code)
        if problem.audit is None:
            return problem
        try:
            await self._audit(problem.audit, exchange.request.source)
        except UNAVAILABLE as error:
            return _unavailable(error)
        return problem

    async def _in_time(self, exchange: _Exchange, match: Match) -> Response:
        deadline = asyncio.timeout(match.row.seconds)
        try:
            async with deadline:
                return await self._answered(exchange, match)
        except TimeoutError:
            if not deadline.expired():
                raise
            if exchange.request.has_body and not exchange.request.whole:
                raise Problem(Code.TOO_SLOW, "the body did not come in time") from None
            raise Problem(Code.UNAVAILABLE, "it took too long", retry_after=RETRY_SECONDS) from None

    async def _answered(self, exchange: _Exchange, match: Match) -> Response:
        row, request = match.row, exchange.request
        if (reason := self._closed()) and not isinstance(row.caller, Unauthenticated):
            raise Problem(Code.UNAVAILABLE, reason, retry_after=CLOSED_SECONDS)
        principal = await self._authenticated(row, request)
        await self._count(exchange, principal)
        permit(row.caller, principal, match.path)
        with self._large.place(_payer(principal)) if _is_large(row, request) else nullcontext():
            return await self._handled(exchange, match, principal)

    async def _count(self, exchange: _Exchange, principal: Principal) -> None:
        """One request of `principal`. Problem where its quota is used up."""
        if self._quota:
            exchange.allowances = await self._quota(principal)
            spend(exchange.allowances)

    async def _handled(self, exchange: _Exchange, match: Match, principal: Principal) -> Response:
        row, request = match.row, exchange.request
        query, body = _query(row, request), await _body(row, request)
        async with AsyncExitStack() as around:
            call = Call(
                caller=principal,
                path=match.path,
                query=query,
                body=body,
                request=request,
                open_transaction=self._transaction,
                around=around,
                count=partial(self._count, exchange),
            )
            response = _encoded(row, await row.handler(call))
        for act in call.committed:
            _do(act)
        return response

    async def _authenticated(self, row: Route, request: Incoming) -> Principal:
        if isinstance(row.caller, WITHOUT_HEADER):
            return Anonymous()
        return await self._authenticators[type(row.caller)](row.caller, request)

    def _headers(self, exchange: _Exchange) -> Headers:
        """What every answer has."""
        headers = (
            *_ALWAYS,
            (b"traceresponse", exchange.request.trace.traceparent.encode()),
            *quota_headers(exchange.allowances),
        )
        return (*headers, sending.CLOSE) if self._draining() else headers

    def _account(self, exchange: _Exchange, status: int) -> None:
        seconds = time.monotonic() - exchange.started
        method, route = (exchange.row.method, exchange.row.path) if exchange.row else ("", "")
        self._metrics.ended(method, route, status, seconds)
        if self._spans:
            attributes: Attributes = {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
            }
            self._spans(exchange.request.trace, f"{method} {route}".strip(), seconds, attributes)
        code = exchange.problem.code.value if exchange.problem else ""
        if code:
            self._metrics.refused(route, code)
        note = log.info if _is_told(exchange, status, seconds) else log.debug
        note(
            "request",
            method=method,
            route=route,
            status=status,
            code=code,
            seconds=round(seconds, 4),
            source=exchange.request.source,
            **({"failures": exchange.failures} if exchange.failures else {}),
        )


def _is_told(exchange: _Exchange, status: int, seconds: float) -> bool:
    """Whether a request is in the log. One address that fails for ever fills no disk: what its limit refuses is counted
    by the metrics alone, and what it fails to authenticate is told once a minute, with how often that was."""
    if seconds > SLOW_SECONDS:
        return True
    if status == 401:
        return exchange.failures is not None
    return exchange.problem is not None and status != 429


def _is_large(row: Route, request: Incoming) -> bool:
    """Whether the body may be one that not everybody may have gathered here at once; one that does not say its length
    may be."""
    if row.raw or row.most_body <= USUAL_BYTES or not request.has_body:
        return False
    return not 0 < request.announced <= USUAL_BYTES


def _payer(principal: Principal) -> UUID | None:
    """Whose places a large body takes; None: those that are nobody's in particular."""
    match principal:
        case Joined():
            return principal.plane_id
        case User():
            return principal.organisation_id
        case _:
            return None


def _query(row: Route, request: Incoming) -> Any:
    if row.raw:
        return None
    if row.query is None:
        if request.query:
            raise Problem(Code.REQUEST_MALFORMED, "query: this takes none")
        return None
    return decoding.query(row.query, request.query)


async def _body(row: Route, request: Incoming) -> Any:
    if row.raw:
        return None
    if row.body is None:
        if request.has_body:
            raise Problem(Code.BODY_INVALID, "this takes none")
        return None
    media, _, _ = request.headers.get(b"content-type", b"").lower().partition(b";")
    if media.strip() != b"application/json":
        raise Problem(Code.MEDIA_TYPE)
    return decoding.body(row.body, await request.body(row.most_body), most=row.most_body)


def _encoded(row: Route, answer: msgspec.Struct | Response | None) -> Response:
    if isinstance(answer, Response):
        return answer
    if answer is None:
        return Response(row.status)
    return Response(row.status, _JSON, documents.encode(answer))


def _unavailable(error: psycopg.Error) -> Problem:
    cause = error.__cause__ if isinstance(error.__cause__, psycopg.Error) else error
    log.warning("database_unavailable", error=type(cause).__name__, sqlstate=cause.sqlstate)
    return Problem(Code.UNAVAILABLE, "its database does not answer", retry_after=RETRY_SECONDS)


def _do(act: Callable[[], None]) -> None:
    """What is committed stays committed, whatever comes after it."""
    try:
        act()
    except Exception as error:  # noqa: BLE001 - see above
        log.critical("after_commit_failed", error=type(error).__name__, at=_frames(error))


def _frames(error: BaseException) -> list[str]:
    """Where it was raised. Its text is left out: those of libraries quote what was sent."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
