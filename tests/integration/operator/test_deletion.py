"""The end of a data cluster: access first, then its data, or nothing of it; and never anybody else's."""

from __future__ import annotations

import asyncio
import re

import pytest

from bulkhead.kube.resources import (
    DATA_CLUSTERS,
    DATA_PLANES,
    NAMESPACES,
    SECRETS,
    TENANTS,
)
from tests.integration.operator.engines import ALL, Admins, opened
from tests.world import World, eventually, metrics_of

OPERATORS = "bulkhead-system"


async def record_exists(world: World, uid: str) -> bool:
    secrets = await world.plane.kubectl("get", "secrets", f"--namespace={OPERATORS}", "--output=name")
    return f"secret/record-{uid}\n" in secrets


async def uid_of(world: World, slug: str) -> str:
    return str((await world.data_cluster(slug))["metadata"]["uid"])


async def test_delete_erases_everything_everywhere_and_the_record_last(world: World, admins: Admins) -> None:
    await world.ready_tenants("erased")
    uid, bindings = await uid_of(world, "erased"), await world.bindings("erased")
    assert await opened(world.plane, bindings) == ALL
    assert len(await admins.remains("erased")) == 9
    await world.remove_tenants("erased")
    await world.gone(NAMESPACES, "tenant-erased")
    assert await admins.remains("erased") == set()
    assert bindings["object-store-binding"]["access-key"] not in await admins.users()
    assert await opened(world.plane, bindings) == set()
    assert not await record_exists(world, uid)


async def test_a_name_that_was_erased_is_free_and_its_former_credentials_open_nothing(world: World) -> None:
    await world.ready_tenants("reborn")
    former = await world.bindings("reborn")
    await world.remove_tenants("reborn")
    await world.ready_tenants("reborn")
    assert await opened(world.plane, former) == set()
    assert await opened(world.plane, await world.bindings("reborn")) == ALL
    await world.remove_tenants("reborn")


async def test_retain_keeps_the_data_out_of_reach_and_its_names_reserved(world: World, admins: Admins) -> None:
    await world.ready_tenants("kept", deletionPolicy="Retain")
    uid, bindings = await uid_of(world, "kept"), await world.bindings("kept")
    assert await opened(world.plane, bindings) == ALL
    await world.remove_tenants("kept")
    await world.gone(NAMESPACES, "tenant-kept")
    assert await opened(world.plane, bindings) == set()
    assert {"database kept", "bucket kept-data", "collection kept_entries", "index kept_entries"} <= (
        await admins.remains("kept")
    )
    assert await admins.sql("SELECT body FROM notes", "kept") == [("kept",)]
    record = (await world.secret(f"record-{uid}", OPERATORS))["record"]
    assert not [value for value in secrets_of(bindings) if value in record], "what opens nothing is still kept"

    # As on a server that is restored to the days before.
    await admins.sql('ALTER ROLE "kept_1" LOGIN')
    await asyncio.to_thread(admins.store_admin.user_enable, bindings["object-store-binding"]["access-key"])

    async def shut_again() -> bool:
        told = [line for line in world.log().splitlines() if "retained_access_cut_again" in line and uid in line]
        return all(any(f'"{engine}"' in line for line in told) for engine in ("postgres", "objectStore"))

    await eventually(shut_again)
    assert await opened(world.plane, bindings) == set()

    await world.tenant("kept")
    reserved = await world.reason(DATA_CLUSTERS, "kept", "Ready", "NameReserved")
    assert "bulkhead_tokens" in reserved["message"]
    assert f"delete the Secret record-{uid} in" in reserved["message"]
    await world.remove_tenants("kept")
    assert "database kept" in await admins.remains("kept")
    assert await record_exists(world, uid)


async def test_what_is_left_without_its_finalizer_is_listed_and_neither_erased_nor_given_to_another(
    world: World, admins: Admins
) -> None:
    await world.tenant("orphaned", dataClusters=[])
    references = {"tenantRef": {"name": "orphaned"}, "dataPlaneRef": {"name": "default"}}
    await world.apply("DataCluster", "orphaned", references)
    await world.ready("orphaned")
    uid, held = await uid_of(world, "orphaned"), await admins.remains("orphaned")
    await world.kube.merge_patch(DATA_CLUSTERS, "orphaned", {"metadata": {"finalizers": None}})
    await world.delete(DATA_CLUSTERS, "orphaned")
    told = await world.reason(DATA_PLANES, "default", "OrphanedRecords", "FinalizerRemoved")
    assert f'"orphaned" ({uid})' in told["message"]
    assert "bulkhead_orphaned_records 1.0" in await metrics_of(world.operator)
    await world.plane_ready()

    await world.apply("DataCluster", "orphaned", references)
    reserved = await world.reason(DATA_CLUSTERS, "orphaned", "Ready", "NameReserved")
    assert f"delete the Secret record-{uid} in" in reserved["message"]
    assert await admins.remains("orphaned") == held
    await world.delete(DATA_CLUSTERS, "orphaned")
    await world.gone(DATA_CLUSTERS, "orphaned")
    assert await record_exists(world, uid)

    await world.kube.delete(SECRETS, f"record-{uid}", OPERATORS)
    await world.reason(DATA_PLANES, "default", "OrphanedRecords", "NoOrphans")
    assert "bulkhead_orphaned_records 0.0" in await metrics_of(world.operator)
    assert await admins.remains("orphaned") == held
    await world.delete(NAMESPACES, "tenant-orphaned")
    await world.remove_tenants("orphaned")


def secrets_of(bindings: dict[str, dict[str, str]]) -> set[str]:
    return {values[key] for values in bindings.values() for key in ("password", "api-key") if key in values}


@pytest.mark.parametrize("policies", [("Retain", "Delete"), ("Delete", "Retain")])
async def test_where_tenant_and_data_cluster_differ_the_data_is_kept(
    world: World, admins: Admins, policies: tuple[str, str]
) -> None:
    slug = f"torn-{policies[0].lower()}"
    await world.tenant(slug, deletionPolicy=policies[0], dataClusters=[])
    references = {"tenantRef": {"name": slug}, "dataPlaneRef": {"name": "default"}}
    await world.apply("DataCluster", slug, {**references, "deletionPolicy": policies[1]})
    await world.ready(slug)
    await world.delete(DATA_CLUSTERS, slug)
    await world.gone(DATA_CLUSTERS, slug)
    assert f"database {slug}" in await admins.remains(slug)
    await world.remove_tenants(slug)


async def test_deleting_one_never_touches_another_whose_name_begins_the_same(world: World, admins: Admins) -> None:
    await world.ready_tenants("acme", "acme2", "acme-2")
    before = {slug: (await admins.remains(slug), await world.bindings(slug)) for slug in ("acme2", "acme-2")}
    clusters = {slug: await world.data_cluster(slug) for slug in before}
    await world.remove_tenants("acme")
    assert await admins.remains("acme") == set()
    for slug, (held, bindings) in before.items():
        assert await admins.remains(slug) == held
        assert await world.data_cluster(slug) == clusters[slug]
        assert await opened(world.plane, bindings) == ALL
    await world.remove_tenants("acme2", "acme-2")


async def test_an_engine_that_is_down_holds_up_its_own_part_alone(world: World, admins: Admins) -> None:
    await world.ready_tenants("stuck")
    bindings = await world.bindings("stuck")
    await world.plane.qdrant.stop()
    await world.delete(TENANTS, "stuck")
    await world.gone(NAMESPACES, "tenant-stuck")

    async def rest_is_erased() -> bool:
        assert "stuck" not in await admins.databases()
        assert "stuck-data" not in await admins.buckets()
        return not [name for name in await admins.search.indexes() if name.startswith("stuck_")]

    await eventually(rest_is_erased)
    told = await world.reason(DATA_CLUSTERS, "stuck", "VectorsReady", "EngineUnavailable")
    assert told["message"]
    ready = await world.reason(DATA_CLUSTERS, "stuck", "Ready", "Deleting")
    assert "VectorsReady" in ready["message"]
    await world.plane.qdrant.start()
    await world.gone(TENANTS, "stuck")
    assert await admins.remains("stuck") == set()
    assert await opened(world.plane, bindings) == set()


async def test_an_engine_that_is_given_up_is_waited_for_no_longer(world: World, admins: Admins) -> None:
    await world.ready_tenants("resigned")
    await world.plane.meilisearch.stop()
    await world.delete(TENANTS, "resigned")
    await world.plane.kubectl("annotate", "datacluster", "resigned", "bulkhead.dev/abandon=search")  # of no deletion

    async def way_out() -> str:
        told = await world.reason(DATA_CLUSTERS, "resigned", "SearchReady", "EngineUnavailable")
        found = re.search(r"annotation (bulkhead\.dev/abandon=search:\S+) ", told["message"])
        assert found is not None, told
        return found[1]

    await world.plane.kubectl("annotate", "--overwrite", "datacluster", "resigned", await eventually(way_out))
    await world.gone(TENANTS, "resigned")
    await world.plane.meilisearch.start()
    left = await admins.remains("resigned")
    assert {what.split()[0] for what in left} == {"index", "key"}
    for index in ("resigned_entries", "resigned_datasets"):
        await admins.drop_index(index)
    await world.plane_ready()


async def test_one_that_lost_record_and_namespace_is_not_let_go_without_a_word(world: World, admins: Admins) -> None:
    await world.ready_tenants("forgotten")
    uid = await uid_of(world, "forgotten")
    await world.operator.stop()
    secret = await world.kube.get(SECRETS, f"record-{uid}", OPERATORS)
    await world.kube.delete(SECRETS, f"record-{uid}", OPERATORS)
    await world.delete(NAMESPACES, "tenant-forgotten")
    await world.gone(NAMESPACES, "tenant-forgotten")
    await world.delete(TENANTS, "forgotten")
    await world.operator.start()
    told = await world.reason(DATA_CLUSTERS, "forgotten", "Ready", "RecordUnreadable")
    assert "restore that Secret" in told["message"]
    metadata = {key: secret["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
    await world.kube.create(SECRETS, {**secret, "metadata": metadata}, OPERATORS)
    await world.gone(TENANTS, "forgotten")
    assert await admins.remains("forgotten") == set()


async def test_lost_data_does_not_hold_up_a_deletion(world: World, admins: Admins) -> None:
    await world.ready_tenants("bereft")
    await admins.drop_database("bereft")
    await admins.drop_collection("bereft_entries")
    await world.reason(DATA_CLUSTERS, "bereft", "PostgresReady", "DataMissing")
    await world.remove_tenants("bereft")
    assert await admins.remains("bereft") == set()


async def test_deletion_goes_on_although_it_was_paused(world: World, admins: Admins) -> None:
    await world.ready_tenants("halted")
    await world.plane.kubectl("annotate", "datacluster", "halted", "bulkhead.dev/paused=true")
    await world.reason(DATA_CLUSTERS, "halted", "Ready", "Paused")
    await world.remove_tenants("halted")
    assert await admins.remains("halted") == set()


async def test_what_is_protected_is_not_deleted_until_it_no_longer_is(world: World, admins: Admins) -> None:
    await world.tenant("locked", dataClusters=[])
    references = {"tenantRef": {"name": "locked"}, "dataPlaneRef": {"name": "default"}}
    spec = {**references, "deletionPolicy": "Delete"}
    await world.apply("DataCluster", "locked", {**spec, "deletionProtection": True})
    await world.ready("locked")
    bindings = await world.bindings("locked")
    with pytest.raises(Exception, match="deletionProtection"):
        await world.plane.kubectl("delete", "datacluster", "locked")
    assert await opened(world.plane, bindings) == ALL
    await world.apply("DataCluster", "locked", {**spec, "deletionProtection": False})
    await world.delete(DATA_CLUSTERS, "locked")
    await world.gone(DATA_CLUSTERS, "locked")
    assert await admins.remains("locked") == set()
    await world.remove_tenants("locked")
