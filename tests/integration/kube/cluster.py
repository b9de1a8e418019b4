"""Shorthand for tests against a real API server."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from bulkhead.kube.access import Access, find_access
from bulkhead.kube.client import KubeClient, Mutations, Unrecorded
from bulkhead.kube.errors import NotFound
from bulkhead.kube.resources import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, OWN_KINDS, Resource
from hack.plane.plane import Plane

Json = dict[str, Any]


def fresh(prefix: str) -> str:
    """A name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def admin(plane: Plane) -> Access:
    """Access of a cluster administrator."""
    return access(plane.kubeconfig)


def access(kubeconfig: Path) -> Access:
    """Access by this kubeconfig."""
    return find_access({"KUBECONFIG": str(kubeconfig)})


class Requests:
    """Takes note of every request of a client."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int]] = []

    def __call__(self, verb: str, resource: str, code: int, seconds: float) -> None:
        assert seconds >= 0
        self.seen.append((verb, resource, code))


@contextlib.asynccontextmanager
async def client_of(
    access: Access, observe: Requests | None = None, mutations: Mutations | None = None
) -> AsyncIterator[KubeClient]:
    """A client without retries worth mentioning."""
    seam = mutations or Unrecorded()
    async with access.open_session() as session:
        yield KubeClient(session, access.server, seam, observe=observe or Requests(), jitter=lambda: 0.0)


@contextlib.asynccontextmanager
async def namespace_in(client: KubeClient) -> AsyncIterator[str]:
    """A namespace for the time of the block."""
    name = fresh("kube")
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    with contextlib.suppress(NotFound):
        await client.delete(NAMESPACES, name)


def config_map(name: str, *, labels: dict[str, str] | None = None, data: dict[str, str] | None = None) -> Json:
    """A ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels or {}},
        "data": data or {},
    }


def secret(name: str, **data: str) -> Json:
    """A Secret."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def own_kind(resource: Resource) -> Json:
    """A CRD for one of our kinds that takes any content: what the shipped ones refuse is not the subject here."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": resource.version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": anything}}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group}"},
        "spec": {
            "group": resource.group,
            "scope": "Cluster",
            "names": {"plural": resource.plural, "kind": resource.kind},
            "versions": [version],
        },
    }


async def install_own_kinds(client: KubeClient) -> None:
    """Our four kinds, served or about to be."""
    for resource in OWN_KINDS:
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, own_kind(resource))


async def remove_own_kinds(client: KubeClient) -> None:
    """Begin to remove them, with all their objects."""
    for resource in OWN_KINDS:
        with contextlib.suppress(NotFound):
            await client.delete(CUSTOM_RESOURCE_DEFINITIONS, f"{resource.plural}.{resource.group}")


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so, for things that the API server gives no sign of."""
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - another process changes it, so there is no event
            await asyncio.sleep(0.1)
