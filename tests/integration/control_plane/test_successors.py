"""An object that was deleted and made anew under its name, unseen by us, is never written for its predecessor."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from bulkhead.api import labels
from bulkhead.api.meta import API_VERSION
from bulkhead.kube.client import KubeClient
from bulkhead.kube.errors import NotFound
from bulkhead.kube.resources import DATA_CLUSTERS, DATA_PLANES, TENANTS, Resource
from bulkhead.reconcile.deps import RETRY, Outcome
from bulkhead.reconcile.dispatch import Reconciler
from bulkhead.reconcile.key import Key
from bulkhead.reconcile.view import View
from bulkhead.runtime.mutations import Mutations
from hack.plane.installation import NAMESPACE, Installation
from tests.integration.control_plane.flows import reconciler
from tests.integration.kube.cluster import access, client_of, fresh

Json = dict[str, Any]

SPECS: dict[Resource, Json] = {
    TENANTS: {"dataClusters": []},
    DATA_CLUSTERS: {"tenantRef": {"name": "nobody"}},
    DATA_PLANES: {"postgres": {"host": "127.0.0.1", "adminSecretRef": {"name": "absent"}}},
}
KINDS = pytest.mark.parametrize("resource", SPECS, ids=lambda each: each.kind)


@dataclass(frozen=True, slots=True)
class Lagging:
    """A user, and an operator that sees only what it is shown."""

    user: KubeClient
    view: View
    reconciler: Reconciler

    async def predecessor(self, resource: Resource, name: str, spec: Json, **metadata: Any) -> Json:
        """An object that the operator sees."""
        made = await self._apply(resource, name, spec, metadata)
        self.view.store_of(resource).put(made)
        self.view.changed(resource, name)
        return made

    async def successor(self, resource: Resource, before: Json, **metadata: Any) -> Json:
        """Another object in its place, unseen by the operator."""
        name = before["metadata"]["name"]
        await self.user.merge_patch(resource, name, {"metadata": {"finalizers": None}})
        with contextlib.suppress(NotFound):  # it was being deleted already
            await self.user.delete(resource, name)
        return await self._apply(resource, name, before["spec"], metadata)

    async def reconcile(self, resource: Resource, name: str) -> Outcome:
        return await self.reconciler(Key(resource.kind, name))

    async def _apply(self, resource: Resource, name: str, spec: Json, metadata: Json) -> Json:
        body = {"apiVersion": API_VERSION, "kind": resource.kind, "metadata": {"name": name, **metadata}, "spec": spec}
        return await self.user.create(resource, body)


@pytest.fixture
async def lagging(installed: Installation) -> AsyncIterator[Lagging]:
    ours = access(installed.kubeconfig)
    mutations = Mutations(lambda *_: None, lambda: True)
    async with client_of(access(installed.plane.kubeconfig)) as user, client_of(ours, mutations=mutations) as kube:
        view = View(NAMESPACE)
        yield Lagging(user, view, reconciler(kube, mutations, view))


@KINDS
async def test_a_status_is_never_written_into_a_successor(lagging: Lagging, resource: Resource) -> None:
    name = fresh(resource.kind.lower())
    ours = {"finalizers": [labels.FINALIZER]}
    before = await lagging.predecessor(resource, name, SPECS[resource], **ours)
    after = await lagging.successor(resource, before)
    assert await lagging.reconcile(resource, name) == RETRY
    assert await lagging.user.get(resource, name) == after


@KINDS
async def test_a_status_reaches_the_object_that_was_seen(lagging: Lagging, resource: Resource) -> None:
    name = fresh(resource.kind.lower())
    await lagging.predecessor(resource, name, SPECS[resource])
    await lagging.reconcile(resource, name)
    await lagging.reconcile(resource, name)
    found = await lagging.user.get(resource, name)
    assert found["status"]["observedGeneration"] == 1


@pytest.mark.parametrize("resource", [TENANTS, DATA_PLANES], ids=lambda each: each.kind)
async def test_a_finalizer_is_never_put_on_a_successor(lagging: Lagging, resource: Resource) -> None:
    name = fresh(resource.kind.lower())
    before = await lagging.predecessor(resource, name, SPECS[resource])
    after = await lagging.successor(resource, before)
    assert await lagging.reconcile(resource, name) == RETRY
    assert await lagging.user.get(resource, name) == after


@KINDS
async def test_a_finalizer_is_never_taken_off_a_successor(lagging: Lagging, resource: Resource) -> None:
    name = fresh(resource.kind.lower())
    ours = {"finalizers": [labels.FINALIZER]}
    before = await lagging.predecessor(resource, name, SPECS[resource], **ours)
    await lagging.user.delete(resource, name)
    lagging.view.store_of(resource).put(await lagging.user.get(resource, name))
    lagging.view.changed(resource, name)
    after = await lagging.successor(resource, before, **ours)
    assert await lagging.reconcile(resource, name) == RETRY
    assert await lagging.user.get(resource, name) == after


async def test_a_tenants_list_never_changes_the_successor_of_what_it_made(lagging: Lagging) -> None:
    ours = {"finalizers": [labels.FINALIZER]}
    lists = {"dataClusters": [{"name": "listed", "search": {"indexes": ["logs"]}}]}
    tenant = await lagging.predecessor(TENANTS, "lists", lists, **ours)
    marks = {labels.TENANT_UID: tenant["metadata"]["uid"]}
    before = await lagging.predecessor(DATA_CLUSTERS, "listed", {"tenantRef": {"name": "lists"}}, labels=marks)
    after = await lagging.successor(DATA_CLUSTERS, before)
    await lagging.reconcile(TENANTS, "lists")
    assert await lagging.user.get(DATA_CLUSTERS, "listed") == after
