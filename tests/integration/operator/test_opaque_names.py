"""A DataPlane with `naming: Opaque`, for engines that show everybody's names to everybody: none tells who is there."""

from __future__ import annotations

import asyncio

from bulkhead.kube.resources import DATA_PLANES, NAMESPACES
from hack.plane import installation
from tests.integration.operator.engines import ALL, Admins, opened
from tests.world import World

SLUG = "initech"
COMMENTS = "SELECT description FROM pg_shdescription"


async def test_where_names_are_opaque_a_tenant_works_and_no_engine_shows_what_it_is_called(
    world: World, admins: Admins
) -> None:
    spec = installation.data_plane(world.plane)["spec"]
    await world.apply("DataPlane", "opaque", {**spec, "naming": "Opaque"})
    await world.ready_tenants(SLUG, dataPlaneRef={"name": "opaque"})
    names = (await world.data_cluster(SLUG))["status"]["identity"]
    stem = names["database"]
    bindings = await world.bindings(stem)
    assert await opened(world.plane, bindings) == ALL
    assert len(await admins.remains(stem)) == 9
    shown = await all_shown(admins)
    assert stem in shown
    assert SLUG not in shown
    await world.remove_tenants(SLUG)
    await world.gone(NAMESPACES, names["namespace"])
    assert await admins.remains(stem) == set()
    assert stem not in await all_shown(admins)
    assert await opened(world.plane, bindings) == set()
    await world.delete(DATA_PLANES, "opaque")
    await world.gone(DATA_PLANES, "opaque")


async def all_shown(admins: Admins) -> str:
    """Names in all engines, and what is written beside them."""
    shown = (
        *await asyncio.gather(admins.databases(), admins.roles(), admins.sql(COMMENTS), admins.buckets()),
        *await asyncio.gather(admins.users(), asyncio.to_thread(admins.store_admin.policy_list)),
        *await asyncio.gather(admins.vectors.names(), admins.search.indexes(), admins.search.keys()),
    )
    return "\n".join(map(str, shown))
