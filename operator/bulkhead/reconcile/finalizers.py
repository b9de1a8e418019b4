"""Adding and removing our finalizer, each guarded by the version that was seen."""

from __future__ import annotations

from typing import Any

from bulkhead.api.labels import FINALIZER
from bulkhead.api.meta import Meta
from bulkhead.kube.client import KubeClient
from bulkhead.kube.resources import Resource


async def add(kube: KubeClient, resource: Resource, meta: Meta) -> dict[str, Any] | None:
    """The patched object, or None where it bears our finalizer already. Raises Conflict when it changed meanwhile."""
    if FINALIZER in meta.finalizers:
        return None
    return await _write(kube, resource, meta, [*meta.finalizers, FINALIZER])


async def remove(kube: KubeClient, resource: Resource, meta: Meta) -> dict[str, Any] | None:
    """The patched object, or None where it does not bear our finalizer. Raises Conflict when it changed meanwhile."""
    if FINALIZER not in meta.finalizers:
        return None
    return await _write(kube, resource, meta, [each for each in meta.finalizers if each != FINALIZER])


async def _write(kube: KubeClient, resource: Resource, meta: Meta, finalizers: list[str]) -> dict[str, Any]:
    """One merge patch; the version in it keeps finalizers that others added meanwhile."""
    body = {"metadata": {"resourceVersion": meta.resource_version, "finalizers": finalizers}}
    return await kube.merge_patch(resource, meta.name, body)
