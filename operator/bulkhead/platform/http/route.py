"""A row of the platform's table of routes, and what its handler is given.

The table is the one place that says what exists: dispatch, limits, the OpenAPI document, the list of problem codes and
the test that walks every route derive from it. A row can not be written without saying who may call it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
from psycopg import AsyncConnection

from bulkhead.platform.http.incoming import Incoming
from bulkhead.platform.http.trace import Trace
from bulkhead.protocol import documents
from bulkhead.protocol.problems import Code, Problem

Tx = AsyncConnection[Any]
"""A connection inside a transaction, with the row-level scope of its caller set."""

C = TypeVar("C")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """A plane or a data cluster, by a service key. Where the path has an `id`, it is the caller's own, or not found.

    kinds: which of the two ("plane", "cluster")
    scope: what the key must be good for
    accepts: states in which a key is refused elsewhere and taken here, such as "deleted" and "fenced"
    """

    kinds: tuple[str, ...]
    scope: str
    accepts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UserWith:
    """A person or a service account, by OIDC or an API token, with this ability."""

    ability: str


@dataclass(frozen=True, slots=True)
class UserOrPlane:
    """A user with this ability, or a plane, for what is its own, by a service key of this scope."""

    ability: str
    scope: str


@dataclass(frozen=True, slots=True)
class RegistrationToken:
    """Who presents a one-time registration token; the handler redeems it."""


@dataclass(frozen=True, slots=True)
class BoundKey:
    """A plane or a data cluster, by a proof in the body, signed with the key that it joined with.

    The handler verifies it, and says by `Call.proven` whom it has found.
    """


@dataclass(frozen=True, slots=True)
class Unauthenticated:
    """Anybody.

    reason: why that is right; a sentence, shown in the API's document
    """

    reason: str


@dataclass(frozen=True, slots=True)
class PlatformAdmin:
    """Who administers the platform itself: organisations, grants, planes, issuers. No ability of an organisation."""


Caller = ServiceKey | UserWith | UserOrPlane | PlatformAdmin | RegistrationToken | BoundKey | Unauthenticated

WITHOUT_HEADER = (BoundKey, Unauthenticated)
"""Callers that show nothing in their Authorization header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A plane or data cluster that has joined, known by the service key `key_id`.

    organisation_id: None: a plane, which belongs to none
    plane_id: a plane is its own
    found: all that was looked up of the key, so that nothing is looked up again
    """

    identity_id: UUID
    kind: str
    organisation_id: UUID | None
    plane_id: UUID
    key_id: str
    scopes: frozenset[str]
    found: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody of an organisation.

    subject, issuer: as the identity provider calls them
    source: human, worker or mcp: what the credential says they are
    token_id: of the API token that was shown; None: OIDC
    """

    organisation_id: UUID
    subject: str
    issuer: str
    abilities: frozenset[str]
    source: str
    token_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """Somebody who administers the platform. Fields as in `User`."""

    subject: str
    issuer: str
    source: str
    token_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenHolder:
    """Who presents a registration token that there is. The handler decides whether it is still good.

    token_id: of its row
    organisation_id, plane_id: that it is for, as far as it is for one
    found: all that was looked up of it
    """

    token_id: UUID
    organisation_id: UUID | None = None
    plane_id: UUID | None = None
    found: Any = None


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Nobody yet, or for ever."""


Principal = Joined | User | Admin | TokenHolder | Anonymous


def permit(caller: Caller, principal: Principal, path: Mapping[str, str]) -> None:
    """Let `principal` do what a row is for, or raise the Problem that says what is missing."""
    match caller, principal:
        case ServiceKey(kinds=kinds, scope=scope), Joined():
            if principal.kind not in kinds:
                raise Problem(
                    Code.CREDENTIAL_WRONG_KIND, f"this is for a {' or '.join(kinds)}, not for a {principal.kind}"
                )
            if path.get("id", own := str(principal.identity_id)) != own:
                raise Problem(Code.NOT_FOUND, "a service key reaches its own identity alone")
            _need_scope(scope, principal)
        case UserOrPlane(scope=scope), Joined():
            if principal.kind != "plane":
                raise Problem(Code.CREDENTIAL_WRONG_KIND, f"this is for a user or a plane, not for a {principal.kind}")
            _need_scope(scope, principal)
        case ((UserWith(ability=ability) | UserOrPlane(ability=ability)), User()):
            if ability not in principal.abilities:
                raise Problem(Code.ABILITY_MISSING, ability)
        case (
            (PlatformAdmin(), Admin())
            | (RegistrationToken(), TokenHolder())
            | (BoundKey() | Unauthenticated(), Anonymous())
        ):
            return
        case _:
            raise TypeError(f"an authenticator answered {type(principal).__name__} to {type(caller).__name__}")


def _need_scope(scope: str, joined: Joined) -> None:
    if scope not in joined.scopes:
        raise Problem(Code.SCOPE_MISSING, scope)


Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer that is not simply the row's struct with the row's status.

    headers: lower-case names; Content-Length is added where the body is in one piece
    body: whole, or in pieces as they come; pieces are closed (`aclose`) where the client leaves
    """

    status: int
    headers: Headers = ()
    body: bytes | AsyncGenerator[bytes, None] = b""

    @classmethod
    def json(cls, value: msgspec.Struct, *, status: int = 200, headers: Headers = ()) -> Response:
        """`value` as JSON, with another status than the row's."""
        return cls(status, ((b"content-type", b"application/json"), *headers), documents.encode(value))


@dataclass(slots=True)
class Call(Generic[C, B]):
    """One request that may be made, decoded.

    caller: who makes it
    path: the row's path parameters, decoded; a `uuid` in its one spelling
    query, body: of the row's types; None where the row has none
    request: the rest of it; what a `raw` row reads its body from
    """

    caller: C
    path: Mapping[str, str]
    query: Any
    body: B
    request: Incoming
    open_transaction: Callable[[Any], AbstractAsyncContextManager[Tx]]
    around: AsyncExitStack
    count: Callable[[Any], Awaitable[None]]
    committed: list[Callable[[], None]] = field(default_factory=list)
    opened: Tx | None = None

    def transaction(self) -> AbstractAsyncContextManager[Tx]:
        """One more transaction in the caller's scope, for a handler that is to end it itself."""
        return self.open_transaction(self.caller)

    async def proven(self, principal: C) -> None:
        """From here on this call is made by `principal`: its proof in the body was verified. It counts towards its
        quota; raises Problem where that is used up."""
        if self.opened is not None:
            raise RuntimeError("a transaction of another scope is open already")
        self.caller = principal
        await self.count(principal)

    async def tx(self) -> Tx:
        """The transaction of this call, opened when it is first asked for.

        It has the scope of the caller, is committed before the answer leaves, and rolled back by any exception.
        """
        if self.opened is None:
            self.opened = await self.around.enter_async_context(self.transaction())
        return self.opened

    def id(self, name: str) -> UUID:
        """A `uuid` path parameter."""
        return UUID(self.path[name])

    def after_commit(self, act: Callable[[], None]) -> None:
        """Do this once all is committed, before the answer leaves. What it raises is logged and changes nothing."""
        self.committed.append(act)

    @property
    def source(self) -> str:
        """The address of who calls: the peer, or what a trusted proxy says of it."""
        return self.request.source

    @property
    def trace(self) -> Trace:
        """Its place in a distributed trace; `headers()` of it go with every request that this one causes."""
        return self.request.trace


Handler = Callable[[Call[Any, Any]], Awaitable[msgspec.Struct | Response | None]]


ANY = "ANY"
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
"""What `ANY` stands for. A GET row also answers HEAD, without the body."""

_PATH = re.compile(r"(?:/[a-z0-9.-]+|/\{[a-z_]+(?::uuid)?\})+(?:/\{[a-z_]+:path\})?")
_PARAMETER = re.compile(r"\{([a-z_]+)(?::(uuid|path))?\}")


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    method: GET, OPTIONS, POST, PUT, PATCH, DELETE or ANY
    path: literal segments and parameters: `{name}` is one segment of text, `{id:uuid}` a UUID in its canonical
        spelling, `{path:path}` at the end all the rest as it was sent, undecoded
    summary: one line for the document
    query, body: closed types that a request is decoded into; None: a request that brings one is refused
    answer: what is encoded; None: no body
    status: of success
    codes: problem codes of its own, beside those that any route may answer
    most_body: bytes
    seconds: until the whole answer is sent; of an answer in pieces, until the first of them
    raw: the handler reads query and body from `call.request` itself, by `stream(most_body)`
    """

    method: str
    path: str
    summary: str
    caller: Caller
    handler: Handler
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    answer: Any = None
    status: int = 200
    codes: tuple[Code, ...] = ()
    most_body: int = 65536
    seconds: float = 10.0
    raw: bool = False

    def __post_init__(self) -> None:
        if self.method not in {*METHODS, ANY} - {"HEAD"}:
            raise ValueError(f"{self.method} {self.path}: no such method")
        if not _PATH.fullmatch(self.path):
            raise ValueError(f"{self.method} {self.path}: the path is not of literal segments and parameters")
        if self.raw and (self.body or self.query):
            raise ValueError(f"{self.method} {self.path}: a raw row decodes nothing")
        if ("id", "") in self.parameters:
            raise ValueError(f"{self.method} {self.path}: an id is a uuid: {{id:uuid}}")

    @property
    def methods(self) -> tuple[str, ...]:
        """All methods that lead here."""
        if self.method == ANY:
            return METHODS
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)

    @property
    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Names of the path's parameters with their forms: "", "uuid" or "path"."""
        return tuple((found[1], found[2] or "") for found in _PARAMETER.finditer(self.path))
