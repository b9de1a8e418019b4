"""Somebody removes the CRD: no tenant is to pay for it with its data."""

from __future__ import annotations

from bulkhead.kube.resources import CUSTOM_RESOURCE_DEFINITIONS, DATA_CLUSTERS, SECRETS, TENANTS
from hack.plane.installation import NAMESPACE
from tests.integration.operator.engines import ALL, Admins, opened
from tests.world import World


async def test_while_its_crd_is_being_removed_nothing_is_cut_or_erased(world: World, admins: Admins) -> None:
    await world.ready_tenants("bystander")
    bindings, held = await world.bindings("bystander"), await admins.remains("bystander")
    uid = (await world.data_cluster("bystander"))["metadata"]["uid"]
    await world.delete(CUSTOM_RESOURCE_DEFINITIONS, "dataclusters.bulkhead.dev")
    await world.reason(DATA_CLUSTERS, "bystander", "Ready", "CrdTerminating")
    await world.delete(TENANTS, "bystander")
    await world.reason(TENANTS, "bystander", "Ready", "Deleting")
    await world.operator.stop()
    await world.operator.start()
    assert await opened(world.plane, bindings) == ALL
    assert await admins.remains("bystander") == held
    assert await world.secret("postgres-binding", "tenant-bystander") == bindings["postgres-binding"]
    await world.kube.get_metadata(SECRETS, f"record-{uid}", NAMESPACE)
