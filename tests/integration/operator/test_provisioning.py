"""From `kubectl apply` of a Tenant to a data cluster that works, stays quiet, and heals."""

from __future__ import annotations

import psycopg
import pytest

from bulkhead.kube.resources import DATA_CLUSTERS, NAMESPACES, NETWORK_POLICIES, SECRETS, TENANTS
from tests.world import World, eventually


async def test_a_tenant_that_is_only_a_name_becomes_ready(world: World) -> None:
    await world.ready_tenants("plain")
    await world.reason(TENANTS, "plain", "Ready", "Ready")
    assert (await world.kube.get(TENANTS, "plain"))["status"]["plan"] == "basic", "the DataPlane's default"
    namespace = await world.kube.get(NAMESPACES, "tenant-plain")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    bindings = await world.bindings("plain")
    async with await psycopg.AsyncConnection.connect(bindings["postgres-binding"]["uri"]) as connection:
        await connection.execute("CREATE TABLE notes (body text)")
    await world.remove_tenants("plain")
    await world.gone(NAMESPACES, "tenant-plain")


async def test_a_deleted_network_policy_is_back_within_two_seconds(world: World) -> None:
    await world.ready_tenants("policed")
    before = await world.kube.get_metadata(NETWORK_POLICIES, "default-deny", "tenant-policed")
    await world.kube.delete(NETWORK_POLICIES, "default-deny", "tenant-policed")

    async def back() -> bool:
        after = await world.kube.get_metadata(NETWORK_POLICIES, "default-deny", "tenant-policed")
        return bool(after["metadata"]["uid"] != before["metadata"]["uid"])

    await eventually(back, seconds=2.0)
    await world.remove_tenants("policed")


async def test_a_deleted_or_edited_secret_heals_without_a_new_password(world: World) -> None:
    await world.ready_tenants("healed")
    before = await world.bindings("healed")
    await world.kube.delete(SECRETS, "postgres-binding", "tenant-healed")
    edit = '{"data": {"api-key": "AAAA", "added": "AAAA"}}'
    await world.plane.kubectl("patch", "secret", "search-binding", "-n", "tenant-healed", "--type=merge", "-p", edit)

    async def healed() -> bool:
        return await world.bindings("healed") == before

    await eventually(healed)
    await world.remove_tenants("healed")


async def test_a_lost_status_is_written_again_and_nothing_else(world: World) -> None:
    await world.ready_tenants("stateless")
    before = await world.bindings("stateless")
    await world.kube.patch_status(DATA_CLUSTERS, "stateless", {"conditions": None, "phase": None})
    await world.ready("stateless")
    assert await world.bindings("stateless") == before
    await world.remove_tenants("stateless")


@pytest.mark.parametrize("name", ["tenant-occupied"])
async def test_a_namespace_of_somebody_else_is_a_conflict_and_stays_untouched(world: World, name: str) -> None:
    await world.plane.kubectl("create", "namespace", name)
    before = await world.kube.get_metadata(NAMESPACES, name)
    await world.tenant("occupied")
    conflict = await world.reason(DATA_CLUSTERS, "occupied", "NamespaceReady", "Conflict")
    after = await world.kube.get_metadata(NAMESPACES, name)
    assert name in conflict["message"]
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    await world.remove_tenants("occupied")
    await world.plane.kubectl("delete", "namespace", name, "--wait=false")
