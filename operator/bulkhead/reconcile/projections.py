"""The tenant's Secrets: projections of the record, never read back. Pure rendering.

One Secret per engine in the Service Binding format, and `data-api-secrets` with all of them for the Data API.
Deleting or editing one heals without a new password, because nothing in them originates here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping

from bulkhead.api.record import EngineName, Registration
from bulkhead.kube.resources import SECRETS
from bulkhead.protocol.documents import encode
from bulkhead.reconcile.children import Child, Owner, child
from bulkhead.registration.decide import jwks

BINDING_SECRETS: Mapping[EngineName, str] = {
    EngineName.POSTGRES: "postgres-binding",
    EngineName.OBJECT_STORE: "object-store-binding",
    EngineName.VECTORS: "vectors-binding",
    EngineName.SEARCH: "search-binding",
}
DATA_API_SECRET = "data-api-secrets"  # noqa: S105 - a name


def secrets(
    owner: Owner,
    bindings: Mapping[EngineName, Mapping[str, str]],
    joined: Registration | None = None,
    *,
    complete: bool,
) -> Iterator[Child]:
    """The Secrets for the engines whose bindings are known; an engine without one keeps the Secret that it has.

    `complete` is False while a provisioned engine's binding can not be told (its admin Secret is gone): then the Data
    API keeps the Secret that it reads, rather than losing an engine from it. `joined`: how the platform knows it.
    """
    for engine, binding in sorted(bindings.items()):
        yield _secret(owner, BINDING_SECRETS[engine], binding, f"servicebinding.io/{binding['type']}")
    if bindings and complete:
        yield _secret(owner, DATA_API_SECRET, {**dict(_environment(bindings)), **dict(_platform(joined))}, "Opaque")


def _environment(bindings: Mapping[EngineName, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    """`POSTGRES_URI`, `OBJECT_STORE_ACCESS_KEY`, …: each binding's keys as names of environment variables."""
    for engine, binding in bindings.items():
        prefix = BINDING_SECRETS[engine].removesuffix("-binding")
        for key, value in binding.items():
            yield re.sub(r"[^A-Z0-9]", "_", f"{prefix}_{key}".upper()), value


def _platform(joined: Registration | None) -> Iterator[tuple[str, str]]:
    """What the Data API verifies the platform's assertions with; default deny leaves it no way to ask for it."""
    if joined is not None:
        yield "PLATFORM_URL", joined.platform
        yield "PLATFORM_CLUSTER_ID", joined.identity
        yield "PLATFORM_JWKS", encode(jwks(joined)).decode()


def _secret(owner: Owner, name: str, values: Mapping[str, str], kind: str) -> Child:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in sorted(values.items())}
    return child(SECRETS, owner, name, {"type": kind, "data": data})
