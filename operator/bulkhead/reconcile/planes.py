"""The open engines of each DataPlane: opened once per endpoint and admin credential, shared by all its tenants."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bulkhead.api.conditions import Reason
from bulkhead.api.data_plane import (
    DataPlane,
    DataPlaneSpec,
    ObjectStoreEndpoint,
    PostgresEndpoint,
    SearchEndpoint,
    VectorsEndpoint,
)
from bulkhead.api.meta import LocalRef
from bulkhead.api.record import EngineName, Holding
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.contract import Engine
from bulkhead.reconcile.key import Key
from bulkhead.reconcile.report import Verdict, waiting
from bulkhead.runtime.gate import Gate

ADMIN_KEYS: Mapping[EngineName, tuple[str, ...]] = {
    EngineName.POSTGRES: ("username", "password"),
    EngineName.OBJECT_STORE: ("access-key", "secret-key"),
    EngineName.VECTORS: ("api-key",),
    EngineName.SEARCH: ("master-key",),
}
"""Keys that the Secret of `adminSecretRef` must hold."""
CA_KEY = "ca.crt"
_SENDABLE: Mapping[EngineName, re.Pattern[str]] = {
    EngineName.POSTGRES: re.compile(r"[^\0]+"),
    EngineName.OBJECT_STORE: re.compile(r"[!-~]+"),
    EngineName.VECTORS: re.compile(r"[ -~]+"),
    EngineName.SEARCH: re.compile(r"[!-~]+"),
}
"""What those can be. Those of the others than Postgres travel in HTTP headers."""

Endpoint = PostgresEndpoint | ObjectStoreEndpoint | VectorsEndpoint | SearchEndpoint


@dataclass(frozen=True, slots=True)
class AdminAccess:
    """How an engine is administered: what its factory is given."""

    endpoint: Endpoint
    admin: Mapping[str, Sensitive]
    ca_pem: str | None

    def fingerprint(self) -> str:
        """Changes whenever the engine must be opened anew; tells nothing of the secrets in it."""
        text = "\n".join((*(f"{key}={value.reveal()}" for key, value in sorted(self.admin.items())), self.ca_pem or ""))
        endpoint = msgspec.json.encode(self.endpoint, order="deterministic")
        return hashlib.sha256(endpoint + b"\n" + text.encode()).hexdigest()[:16]


EngineFactory = Callable[[str, EngineName, AdminAccess], tuple[Engine[Any, Any], Gate[Key]]]
"""Opens an engine behind a gate; lives in the composition root, where the vendors' clients are made. Raises Refused
where the access can not be used, such as a CA that is none."""


@dataclass(frozen=True, slots=True)
class OpenEngine:
    """One engine in use."""

    engine: Engine[Any, Any]
    gate: Gate[Key]
    fingerprint: str
    identity: str = ""
    """Who the server was when it was last looked at; the record of each tenant holds the same."""
    predecessors: tuple[str, ...] = ()
    """The servers in whose place this one was accepted."""
    barred: Verdict | None = None
    """Why nothing may be put on it (it is insecure), though what is there may still be cut and erased."""

    def taken_over(self, held: Holding) -> Holding:
        """What a DataCluster holds, on this server if it is on a predecessor. Data must be found there, with our stamp;
        claims are dropped, because it was the other server on which our names were seen absent."""
        if held.server not in self.predecessors:
            return held
        return msgspec.structs.replace(held, server=self.identity, claimed_at="", claimed=())


@dataclass(frozen=True, slots=True)
class OpenPlane:
    """What tenants' reconciles need of their plane."""

    uid: str
    version: str
    """Changes whenever a tenant's reconcile could come to another result."""
    engines: Mapping[EngineName, OpenEngine | Verdict] = field(default_factory=dict)
    """Each engine that the plane offers: in use, or why it is not."""
    opened: Mapping[EngineName, OpenEngine] = field(default_factory=dict)
    """Every engine that is open, whether tenants may use it or not: kept until its access changes."""


def offered(spec: DataPlaneSpec) -> dict[EngineName, Endpoint]:
    """The endpoints that a plane declares."""
    declared: dict[EngineName, Endpoint | None] = {
        EngineName.POSTGRES: spec.postgres,
        EngineName.OBJECT_STORE: spec.object_store,
        EngineName.VECTORS: spec.vectors,
        EngineName.SEARCH: spec.search,
    }
    return {name: endpoint for name, endpoint in declared.items() if endpoint is not None}


def not_offered(name: EngineName, plane: str) -> Verdict:
    """Of an engine that left its plane while something of a DataCluster is there."""
    return waiting(
        Reason.PLANE_NOT_READY,
        f'the DataPlane "{plane}" does not offer {name.value} now, so what is there can neither be looked after nor '
        "cut: bring it back",
    )


def secret_names(spec: DataPlaneSpec) -> set[str]:
    """Names of all Secrets that the plane needs, in the operator's own namespace."""
    endpoints = offered(spec).values()
    refs = [ref for endpoint in endpoints for ref in (endpoint.admin_secret_ref, endpoint.tls.ca_secret_ref)]
    if spec.platform is not None:
        refs += [spec.platform.registration_token_secret_ref, spec.platform.ca_secret_ref]
    return {ref.name for ref in refs if ref is not None}


def access_of(
    name: EngineName, endpoint: Endpoint, secrets: Mapping[str, Mapping[str, str] | None]
) -> AdminAccess | Verdict:
    """Credentials of one engine out of the plane's Secrets, or what is missing and where to put it."""
    admin = _values(endpoint.admin_secret_ref, ADMIN_KEYS[name], secrets, f"spec.{name.value}.adminSecretRef")
    if isinstance(admin, Verdict):
        return admin
    if unsendable := [key for key, value in admin.items() if not _SENDABLE[name].fullmatch(value.reveal())]:
        return _unsendable(endpoint.admin_secret_ref, unsendable, f"spec.{name.value}.adminSecretRef")
    ca_ref = endpoint.tls.ca_secret_ref
    if ca_ref is None:
        return AdminAccess(endpoint, admin, None)
    ca = _values(ca_ref, (CA_KEY,), secrets, f"spec.{name.value}.tls.caSecretRef")
    if isinstance(ca, Verdict):
        return ca
    return AdminAccess(endpoint, admin, ca[CA_KEY].reveal())


class Planes:
    """Keeps engines open across reconciles; the only state is what is open."""

    def __init__(self, factory: EngineFactory) -> None:
        self._factory = factory
        self._open: dict[str, OpenPlane] = {}
        self._opening: dict[str, dict[EngineName, OpenEngine]] = {}

    def open_plane(self, plane: DataPlane) -> OpenPlane | None:
        """The plane as last published; None before its own first reconcile, or after it was made anew."""
        found = self._open.get(plane.metadata.name)
        return found if found is not None and found.uid == plane.metadata.uid else None

    def all(self) -> Iterable[tuple[str, OpenPlane]]:
        """Every open plane by name."""
        return tuple(self._open.items())

    def is_down(self, plane: str, name: EngineName) -> bool:
        """Whether the engine that is open there now is known to be down."""
        found = self._open.get(plane)
        opened = found.opened.get(name) if found is not None else None
        return opened is not None and opened.gate.is_open

    def engine(self, plane: DataPlane, name: EngineName, access: AdminAccess) -> OpenEngine:
        """The open engine for this access; a changed endpoint, credential or CA opens another one."""
        fingerprint = access.fingerprint()
        before = self._open.get(plane.metadata.name)
        held = before.opened.get(name) if before is not None and before.uid == plane.metadata.uid else None
        opening = self._opening.setdefault(plane.metadata.name, {})
        for each in (held, opening.get(name)):
            if each is not None and each.fingerprint == fingerprint:
                return each
        engine, gate = self._factory(plane.metadata.name, name, access)
        opening[name] = OpenEngine(engine, gate, fingerprint)
        return opening[name]

    async def publish(self, name: str, plane: OpenPlane) -> bool:
        """Put `plane` in place; what is no longer used is closed. Returns whether tenants must look again."""
        before = self._open.get(name)
        opening = self._opening.pop(name, {})
        self._open[name] = plane
        await _close([*_opened(before), *opening.values()], keep=plane)
        return before is None or before.version != plane.version

    async def close(self, name: str) -> None:
        """Close everything of a plane that is gone."""
        opening = self._opening.pop(name, {})
        await _close([*_opened(self._open.pop(name, None)), *opening.values()], keep=None)


async def _close(engines: Iterable[OpenEngine], keep: OpenPlane | None) -> None:
    """Close each once, apart from those that `keep` has."""
    kept = {id(opened.engine) for opened in _opened(keep)}
    for engine, gate in {id(opened.engine): (opened.engine, opened.gate) for opened in engines}.values():
        if id(engine) not in kept:
            await gate.close()
            await engine.close()


def _opened(plane: OpenPlane | None) -> list[OpenEngine]:
    return list(plane.opened.values()) if plane is not None else []


def _values(
    ref: LocalRef, keys: Iterable[str], secrets: Mapping[str, Mapping[str, str] | None], path: str
) -> dict[str, Sensitive] | Verdict:
    values = secrets.get(ref.name)
    if values is None:
        return waiting(
            Reason.SECRET_MISSING,
            f'{path} names the Secret "{ref.name}", which does not exist in the operator\'s namespace: create it there',
        )
    lacking = [key for key in keys if not values.get(key)]
    if lacking:
        listed = ", ".join(f'"{key}"' for key in lacking)
        return waiting(Reason.SECRET_INCOMPLETE, f'the Secret "{ref.name}" ({path}) lacks {listed}: add it, not empty')
    return {key: Sensitive(values[key]) for key in keys}


def _unsendable(ref: LocalRef, keys: Iterable[str], path: str) -> Verdict:
    """Told here, where it is known which key of which Secret it is; no client could say that."""
    listed = ", ".join(f'"{key}"' for key in keys)
    return waiting(
        Reason.ENGINE_REFUSED,
        f'{listed} of the Secret "{ref.name}" ({path}) holds a character, such as a line break inside, that can not be '
        "sent to the server: write it there again, as the server has it and as one line",
    )
