"""Suspending cuts every engine and takes nothing away; resuming is the exact reverse."""

from __future__ import annotations

import psycopg
import pytest

from bulkhead.kube.resources import DATA_CLUSTERS, TENANTS
from tests.integration.operator.engines import ALL, Admins, opened
from tests.world import World, eventually


async def test_suspending_closes_every_engine_and_resuming_opens_them_with_the_same_credentials(
    world: World, admins: Admins
) -> None:
    await world.ready_tenants("resting")
    bindings = await world.bindings("resting")
    assert await opened(world.plane, bindings) == ALL
    held = await admins.remains("resting")
    await world.tenant("resting", suspended=True)
    await world.reason(DATA_CLUSTERS, "resting", "Suspended", "Suspended")
    await world.reason(DATA_CLUSTERS, "resting", "Ready", "Suspended")
    await world.reason(TENANTS, "resting", "Suspended", "Suspended")
    assert await opened(world.plane, bindings) == set()
    keys = {what for what in held if what.startswith("key ")}
    assert await admins.remains("resting") == held - keys
    assert await admins.sql("SELECT body FROM notes", "resting") == [("kept",)]
    await world.tenant("resting", suspended=False)
    await world.ready("resting")
    await world.reason(DATA_CLUSTERS, "resting", "Suspended", "NotSuspended")
    assert await world.bindings("resting") == bindings
    assert await opened(world.plane, bindings) == ALL
    await world.remove_tenants("resting")


async def test_suspending_ends_the_sessions_of_the_suspended_and_of_nobody_else(world: World) -> None:
    await world.ready_tenants("evicted", "evicted2")
    uris = [(await world.bindings(slug))["postgres-binding"]["uri"] for slug in ("evicted", "evicted2")]
    async with (
        await psycopg.AsyncConnection.connect(uris[0], autocommit=True) as session,
        await psycopg.AsyncConnection.connect(uris[1], autocommit=True) as neighbours,
    ):
        await world.tenant("evicted", suspended=True)
        await world.reason(DATA_CLUSTERS, "evicted", "Suspended", "Suspended")
        with pytest.raises(psycopg.OperationalError):
            await session.execute("SELECT 1")
        await neighbours.execute("SELECT 1")
    await world.remove_tenants("evicted", "evicted2")


async def test_an_engine_that_is_down_keeps_a_suspension_unconfirmed_until_it_is_back(world: World) -> None:
    await world.ready_tenants("doubtful")
    bindings = await world.bindings("doubtful")
    await world.plane.meilisearch.stop()
    await world.tenant("doubtful", suspended=True)
    unconfirmed = await world.reason(DATA_CLUSTERS, "doubtful", "Suspended", "Suspending")
    assert unconfirmed["status"] == "Unknown"
    assert "SearchReady" in unconfirmed["message"]
    await world.plane.meilisearch.start()
    await world.reason(DATA_CLUSTERS, "doubtful", "Suspended", "Suspended")
    assert await opened(world.plane, bindings) == set()
    await world.remove_tenants("doubtful")


async def test_a_suspended_one_is_not_opened_by_a_restart_or_by_a_hand(world: World, admins: Admins) -> None:
    await world.ready_tenants("shut")
    bindings = await world.bindings("shut")
    await world.tenant("shut", suspended=True)
    await world.reason(DATA_CLUSTERS, "shut", "Suspended", "Suspended")
    await world.operator.kill()
    await world.operator.start()
    await admins.sql('ALTER ROLE "shut_1" LOGIN; GRANT "shut" TO "shut_1"')

    async def closed_again() -> bool:
        return await opened(world.plane, bindings) == set()

    await eventually(closed_again)
    await world.remove_tenants("shut")
