"""The promise: a tenant's credential opens nothing of any other tenant."""

from __future__ import annotations

from hack.isolation import matrix
from hack.isolation.attempt import Tenant
from tests.world import World

SLUGS = ("iso", "iso2", "other")
"""One name is a prefix of another: what matches by prefix anywhere lets `iso` into `iso2`."""


async def tenant(world: World, slug: str) -> Tenant:
    found = await world.bindings(slug)
    return Tenant(
        slug,
        postgres=found["postgres-binding"],
        object_store=found["object-store-binding"],
        vectors=found["vectors-binding"],
        search=found["search-binding"],
    )


async def test_no_tenant_reaches_another_by_any_way_into_any_engine(world: World) -> None:
    await world.ready_tenants(*SLUGS)
    tenants = [await tenant(world, slug) for slug in SLUGS]
    outcomes = [outcome async for outcome in matrix.run(tenants)]
    assert [outcome for outcome in outcomes if not outcome.holds] == []
    assert len({(each.attacker, each.victim) for each in outcomes}) == len(SLUGS) ** 2
    await world.remove_tenants(*SLUGS)
