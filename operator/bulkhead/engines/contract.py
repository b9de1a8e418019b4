"""What an engine is to the reconciler: observe, decide (pure), act; the same flow for all of them.

    seen     = await engine.observe(request)      read only, no secrets in the result
    decision = engine.decide(request, seen)       pure: every rule of ownership and loss is in there
    for step in decision.steps: await engine.act(step)

A step is one mutating call, idempotent, a frozen dataclass: tests compare them, the reconciler counts them at one
seam, so a fault can be
placed before or after each. `survey` sees all tenants in O(1) calls and `fingerprint` says what it should see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, ClassVar, Protocol, TypeVar

from bulkhead.api.data_cluster import DataClusterSpec
from bulkhead.api.names import PhysicalNames
from bulkhead.api.ownership import Stamp
from bulkhead.api.plan import PlanSpec
from bulkhead.api.record import Credential, EngineName, Holding


class Access(Enum):
    """What the tenant's credentials shall open."""

    OPEN = "open"
    CUT = "cut"
    """Suspended or being deleted: no credential opens anything, data and names stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Everything that an engine needs to know of one DataCluster."""

    stamp: Stamp
    names: PhysicalNames
    spec: DataClusterSpec
    plan: PlanSpec
    holding: Holding
    access: Access
    closely: bool = False
    """Look also at what would cost too much each time, such as whether the server still takes the credentials. Asked
    for after a difference, and of a few DataClusters a cycle."""

    @property
    def published(self) -> Credential:
        """The credential for a binding. Raises ValueError where none was issued: then there is nothing to publish."""
        credential = self.holding.published
        if credential is None:
            raise ValueError("a binding needs an issued credential")
        return credential


class Step(Protocol):
    """One idempotent, mutating call. Its repr is logged: secrets are `Sensitive` or left out of it."""

    def __str__(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Do:
    """Run the steps in order; none: in sync. `provisions` names the objects with tenant data that are complete
    afterwards."""

    steps: Sequence[Step] = ()
    provisions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ClaimFirst:
    """Our names are free and something must be created: the record must say so before."""

    names: frozenset[str] = frozenset()
    """Those that come and go with the spec, as they will stand in `provisions`; the others are claimed all at once."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """An object that does not bear our stamp is in the way. It is never touched."""

    kind: str
    name: str
    owner: str = ""
    """What is known of whose it is, for the message: another UID, another installation, no stamp."""


@dataclass(frozen=True, slots=True)
class DataMissing:
    """What was provisioned is gone. It is never silently made anew."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class EngineChanged:
    """Another server answers behind the same address: no writes."""

    remembered: str
    found: str


def engine_changed(remembered: str, found: str) -> EngineChanged | None:
    """`EngineChanged` where another server answers than the one that is remembered; None where it is that one, or the
    first that answers."""
    return EngineChanged(remembered, found) if remembered and remembered != found else None


@dataclass(frozen=True, slots=True)
class Invalid:
    """The spec asks for what this engine can not or must not give; nothing is done until the spec changes."""

    field: str
    """Path in the spec, such as `spec.postgres.extensions`."""
    message: str
    """What is wrong and the way out."""


Decision = Do | ClaimFirst | Conflict | DataMissing | EngineChanged | Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRequest:
    """What the operator wants of a server as a whole: its own marker and preparations, none of a tenant's."""

    stamp: Stamp
    """Installation and UID of the DataPlane."""
    holding: Holding
    """Of the plane's record; `holding.server` is the identity remembered, empty at first contact."""
    proposal: str
    """A fresh identity for servers that have none of their own (Qdrant, Meilisearch): written into our marker there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Who answers."""

    identity: str
    """The server's own id, or that of our marker; empty where it bears none yet."""
    version: str
    advisories: tuple[str, ...] = ()
    """Known holes of this server that do not forbid tenants, each with what closes it; for `BackendSecure`."""


S = TypeVar("S")
V = TypeVar("V")


class Engine(Protocol[S, V]):
    """One server, opened with the plane's admin credential. S: what is seen of a tenant; V: what is seen of the
    server."""

    name: ClassVar[EngineName]

    async def close(self) -> None:
        """Give connections back; the object is not used afterwards."""

    async def ping(self) -> None:
        """One cheap authenticated call, for the breaker. Raises EngineError."""

    async def observe_server(self, request: ServerRequest) -> V:
        """Identity, version, known holes, our own preparations. Raises Insecure where tenants must not be put."""

    def server_of(self, seen: V) -> Server:
        """Identity and version in what was seen."""

    def decide_server(self, request: ServerRequest, seen: V) -> Decision:
        """Steps that prepare the server (marker, operator-owned objects, warm databases)."""

    def credentials(
        self, names: PhysicalNames, stamp: Stamp, holding: Holding, now: datetime
    ) -> tuple[Credential, ...]:
        """The credentials that should be in force: those held, renewed or signed anew where needed, or a first one."""

    async def observe(self, request: Request) -> S:
        """What there is under our names, incl. the server's identity. Read only."""

    def decide(self, request: Request, seen: S) -> Decision:
        """How `seen` becomes what is wanted, for `request.access`."""

    def decide_removal(self, request: Request, seen: S) -> Do | Conflict | EngineChanged:
        """Steps that erase what is ours, leftovers first; none when nothing of ours is left. What is not ours
        is passed over; `Conflict` where what was provisioned may be ours still and can not be told to be."""

    async def act(self, step: Any) -> None:
        """One step. Raises EngineError."""

    def binding(self, request: Request) -> Mapping[str, str]:
        """Content of the Service Binding Secret, complete for any client; needs `holding.published`."""

    def fingerprint(self, request: Request) -> str:
        """Digest of what `survey` should show for this tenant."""

    async def survey(self) -> Mapping[str, str]:
        """Digest by UID of the DataCluster, for all that bear our installation's stamp; O(1) calls, paged."""
