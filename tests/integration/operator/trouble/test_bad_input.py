"""What is asked for can not be had: a condition says why and what to do, nobody else notices, and it heals by itself.

What the API server itself refuses is in `control_plane/test_api_server.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from bulkhead.kube.resources import DATA_CLUSTERS, DATA_PLANES, TENANTS
from hack.plane import installation
from hack.plane.certificates import Authority
from hack.plane.plane import now
from tests.integration.operator.engines import ALL, Admins, opened
from tests.world import World, eventually


@asynccontextmanager
async def undisturbed(world: World, slug: str) -> AsyncIterator[None]:
    """A neighbour that works before and after, with the same credentials and without one write to it."""
    await world.ready_tenants(slug)
    before, bindings = await world.data_cluster(slug), await world.bindings(slug)
    yield
    assert await opened(world.plane, bindings) == ALL
    assert await world.data_cluster(slug) == before
    await world.remove_tenants(slug)


async def change_secret(world: World, name: str, values: dict[str, str]) -> None:
    """Replace a Secret of the operator's namespace."""
    await world.plane.kubectl("delete", "secret", name, f"--namespace={installation.NAMESPACE}")
    await installation.apply(world.plane, installation.secret(name, values))


async def test_of_two_tenants_that_want_one_name_the_later_one_is_told_and_gets_it_when_it_is_free(
    world: World,
) -> None:
    await world.ready_tenants("earlier")
    await world.tenant("later", dataClusters=[{"name": "earlier"}])
    taken = await world.reason(TENANTS, "later", "Ready", "NameTaken")
    assert '"earlier"' in taken["message"]
    assert "choose another name" in taken["message"]
    assert (await world.ready("earlier"))["spec"]["tenantRef"]["name"] == "earlier"
    await world.remove_tenants("earlier")

    async def inherited() -> bool:
        return bool((await world.data_cluster("earlier"))["spec"]["tenantRef"]["name"] == "later")

    await eventually(inherited)
    await world.ready("earlier")
    await world.remove_tenants("later")


async def test_an_unknown_plan_is_named_and_taken_up_once_it_exists(world: World) -> None:
    async with undisturbed(world, "planned"):
        await world.tenant("planless", planRef={"name": "gold"})
        missing = await world.reason(DATA_CLUSTERS, "planless", "Ready", "PlanNotFound")
        assert '"gold"' in missing["message"]
        await installation.apply(world.plane, installation.plan("gold"))
        await world.ready("planless")
        await world.remove_tenants("planless")
        await world.plane.kubectl("delete", "plan", "gold")


async def test_an_extension_that_is_not_allowed_holds_up_the_database_alone(world: World) -> None:
    await world.tenant("extended", dataClusters=[{"name": "extended", "postgres": {"extensions": ["dblink"]}}])
    refused = await world.reason(DATA_CLUSTERS, "extended", "PostgresReady", "InvalidSpec")
    assert "dblink" in refused["message"]
    for part in ("NamespaceReady", "ObjectStoreReady", "VectorsReady", "SearchReady"):
        await world.reason(DATA_CLUSTERS, "extended", part, "Ready")
    await world.tenant("extended", dataClusters=[{"name": "extended", "postgres": {"extensions": []}}])
    await world.ready("extended")
    await world.remove_tenants("extended")


async def make_database(admins: Admins) -> None:
    await admins.sql('CREATE DATABASE "occupied"')


async def make_role(admins: Admins) -> None:
    await admins.sql('CREATE ROLE "occupied"')


async def drop_role(admins: Admins) -> None:
    await admins.sql('DROP ROLE "occupied"')


async def make_bucket(admins: Admins) -> None:
    await asyncio.to_thread(admins.store.make_bucket, "occupied-data")


async def make_collection(admins: Admins) -> None:
    vectors = {"vectors": {"size": 4, "distance": "Cosine"}}
    assert (await admins.vectors.ask("PUT", "/collections/occupied_entries", vectors)).status == 200


async def make_index(admins: Admins) -> None:
    assert await admins.search.done("POST", "/indexes", {"uid": "occupied_entries"}) == "succeeded"


Doing = Callable[[Admins], Awaitable[object]]
IN_THE_WAY: dict[str, tuple[str, str, Doing, Doing]] = {
    "database": ("PostgresReady", "occupied", make_database, lambda admins: admins.drop_database("occupied")),
    "role": ("PostgresReady", "occupied", make_role, drop_role),
    "bucket": ("ObjectStoreReady", "occupied-data", make_bucket, lambda admins: admins.drop_bucket("occupied-data")),
    "collection": (
        "VectorsReady",
        "occupied_entries",
        make_collection,
        lambda admins: admins.drop_collection("occupied_entries"),
    ),
    "index": ("SearchReady", "occupied_entries", make_index, lambda admins: admins.drop_index("occupied_entries")),
}


@pytest.mark.parametrize("kind", IN_THE_WAY)
async def test_what_exists_already_is_a_conflict_and_is_never_touched(world: World, admins: Admins, kind: str) -> None:
    condition, name, make, drop = IN_THE_WAY[kind]
    await make(admins)
    await world.tenant("occupied")
    conflict = await world.reason(DATA_CLUSTERS, "occupied", condition, "Conflict")
    assert f'the {kind} "{name}" exists already' in conflict["message"]
    others = {"NamespaceReady", "PostgresReady", "ObjectStoreReady", "VectorsReady", "SearchReady"} - {condition}
    for part in others:
        await world.reason(DATA_CLUSTERS, "occupied", part, "Ready")
    await world.remove_tenants("occupied")
    assert len(await admins.remains("occupied")) == 1, "a deletion took, or left, what it should not have"
    await world.tenant("occupied")
    await world.reason(DATA_CLUSTERS, "occupied", condition, "Conflict")
    await drop(admins)
    await world.ready("occupied")
    await world.remove_tenants("occupied")


async def test_a_secret_that_lacks_a_key_is_named_with_the_key_and_taken_up_once_it_is_added(world: World) -> None:
    password = world.plane.postgres.password
    async with undisturbed(world, "witness"):
        await installation.apply(world.plane, installation.secret("second-admin", {"username": "postgres"}))
        second = installation.data_plane(world.plane, "second")
        engine = {**second["spec"]["postgres"], "adminSecretRef": {"name": "second-admin"}}
        await installation.apply(world.plane, {**second, "spec": {**second["spec"], "postgres": engine}})
        for resource, name in ((DATA_PLANES, "second"), (DATA_CLUSTERS, "lacking")):
            if resource is DATA_CLUSTERS:
                await world.tenant("lacking", dataPlaneRef={"name": "second"})
            found = await world.reason(resource, name, "PostgresReady", "SecretIncomplete")
            assert '"second-admin"' in found["message"]
            assert '"password"' in found["message"]
        await world.reason(DATA_CLUSTERS, "lacking", "SearchReady", "Ready")
        complete = {"username": "postgres", "password": password}
        await installation.apply(world.plane, installation.secret("second-admin", complete))
        await world.ready("lacking")
        await world.remove_tenants("lacking")
        await world.plane.kubectl("delete", "dataplane", "second")


async def test_a_wrong_certificate_authority_is_said_and_healed_by_the_right_one(world: World) -> None:
    await world.ready_tenants("certified")
    bindings = await world.bindings("certified")
    await change_secret(world, "engines-ca", {"ca.crt": Authority("stranger", now()).certificate})
    found = await world.reason(DATA_PLANES, "default", "ObjectStoreReady", "EngineRefused")
    assert "caSecretRef" in found["message"]
    await world.reason(DATA_CLUSTERS, "certified", "ObjectStoreReady", "EngineRefused")
    await world.reason(DATA_CLUSTERS, "certified", "PostgresReady", "Ready")
    assert await opened(world.plane, bindings) == ALL
    await change_secret(world, "engines-ca", {"ca.crt": world.plane.ca_pem})
    await world.plane_ready()
    await world.ready("certified")
    assert await world.bindings("certified") == bindings
    await world.remove_tenants("certified")


async def test_a_key_that_no_header_can_carry_stops_its_own_engine_alone_and_nobody_stays_open_over_it(
    world: World,
) -> None:
    await world.ready_tenants("keyed")
    bindings, key = await world.bindings("keyed"), world.plane.qdrant.api_key
    await change_secret(world, "qdrant-admin", {"api-key": f"{key[:20]}\r\n{key[20:]}"})
    found = await world.reason(DATA_PLANES, "default", "VectorsReady", "EngineRefused")
    assert '"api-key" of the Secret "qdrant-admin"' in found["message"]
    assert key[:20] not in found["message"]
    await world.operator.stop()
    await world.operator.start()
    await world.tenant("keyed", suspended=True)
    await world.reason(DATA_CLUSTERS, "keyed", "Suspended", "Suspending")

    async def all_else_is_shut() -> bool:
        return await opened(world.plane, bindings) == {"vectors"}

    await eventually(all_else_is_shut)
    await change_secret(world, "qdrant-admin", {"api-key": f"{key}\r\n"})  # as a file of Windows has it
    await world.plane_ready()
    await world.reason(DATA_CLUSTERS, "keyed", "Suspended", "Suspended")
    assert await opened(world.plane, bindings) == set()
    await change_secret(world, "qdrant-admin", {"api-key": key})
    await world.tenant("keyed", suspended=False)
    await world.ready("keyed")
    await world.remove_tenants("keyed")


async def test_while_postgres_is_down_all_else_is_made_and_the_rest_follows_when_it_is_back(world: World) -> None:
    await world.ready_tenants("standing")
    bindings = await world.bindings("standing")
    await world.plane.postgres.stop()
    down = await world.reason(DATA_PLANES, "default", "PostgresReady", "EngineUnavailable")
    assert down["status"] == "Unknown"
    await world.tenant("newcomer")
    await world.reason(DATA_CLUSTERS, "newcomer", "PostgresReady", "EngineUnavailable")
    for part in ("NamespaceReady", "ObjectStoreReady", "VectorsReady", "SearchReady"):
        await world.reason(DATA_CLUSTERS, "newcomer", part, "Ready")
    await world.reason(DATA_CLUSTERS, "standing", "PostgresReady", "EngineUnavailable")
    await world.plane.postgres.start()
    await world.ready("newcomer")
    await world.ready("standing")
    await world.plane_ready()
    assert await world.bindings("standing") == bindings
    assert await opened(world.plane, bindings) == ALL
    await world.remove_tenants("standing", "newcomer")
