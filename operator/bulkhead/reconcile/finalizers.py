"""Adding and removing our finalizer, each bound to the version that was seen, and so to its UID."""

from __future__ import annotations

from typing import Any

from bulkhead.api.labels import FINALIZER
from bulkhead.api.meta import Meta
from bulkhead.kube.resources import Resource
from bulkhead.reconcile.deps import Deps


async def add(resource: Resource, meta: Meta, deps: Deps) -> None:
    """Put ours beside what is there, if it is not. Raises Conflict when the object changed meanwhile."""
    if FINALIZER not in meta.finalizers:
        deps.answered(resource, await _write(resource, meta, [*meta.finalizers, FINALIZER], deps))


async def remove(resource: Resource, meta: Meta, deps: Deps) -> None:
    """Take ours off, if it is there; the object may be gone then. Raises Conflict when it changed meanwhile."""
    if FINALIZER in meta.finalizers:
        left = [each for each in meta.finalizers if each != FINALIZER]
        deps.answered(resource, await _write(resource, meta, left, deps))


async def _write(resource: Resource, meta: Meta, finalizers: list[str], deps: Deps) -> dict[str, Any]:
    """One merge patch; the version in it keeps finalizers that others added meanwhile."""
    body = {"metadata": {"resourceVersion": meta.resource_version, "finalizers": finalizers}}
    return await deps.kube.merge_patch(resource, meta.name, body)
