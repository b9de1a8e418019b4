"""The flow of a DataCluster, from its object to what its engines were asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
import pytest

from bulkhead.api import labels
from bulkhead.api.record import EngineName, Record
from bulkhead.engines.errors import Refused
from bulkhead.kube.children import PartialObject, child_from
from bulkhead.kube.errors import AlreadyExists, Forbidden
from bulkhead.kube.resources import DATA_CLUSTERS, NAMESPACES, NETWORK_POLICIES, SECRETS, Resource
from bulkhead.reconcile import data_cluster, key
from bulkhead.reconcile.deps import DONE, RETRY, Outcome
from bulkhead.reconcile.dispatch import Reconciler
from bulkhead.reconcile.planes import OpenPlane
from tests.unit.reconcile import gen
from tests.unit.reconcile.desk import Desk
from tests.unit.reconcile.memory_engine import Database, Gated, MemoryEngine
from tests.unit.reconcile.memory_kube import Json

OURS = Database("bulkhead:here:u-dc-acme")


@pytest.fixture
async def gated() -> AsyncIterator[Gated]:
    async with Gated(MemoryEngine()) as gated:
        yield gated


@pytest.fixture
async def desk(gated: Gated) -> Desk:
    """Of a DataCluster that is in place."""
    desk = Desk.of(gen.tenant(), gen.plan(), gen.plane(), gen.cluster())
    await desk.deps.planes.publish(
        "default", OpenPlane(gen.uid_of("default"), "v-1", {EngineName.POSTGRES: gated.opened})
    )
    await data_cluster.reconcile("acme", desk.deps)
    assert gated.engine.databases == {"acme": OURS}
    desk.repairs.clear()
    return desk


async def look_closely(desk: Desk) -> dict[str, str]:
    """One reconcile after a survey has shown a difference. Returns the reasons of the conditions by then."""
    desk.view.clusters.put(as_stored(desk))
    await data_cluster.reconcile("acme", desk.deps, suspect=True)
    return {each["type"]: each["reason"] for each in as_stored(desk)["status"]["conditions"]}


def as_stored(desk: Desk) -> Json:
    found = desk.kube.stored(DATA_CLUSTERS, "acme")
    assert found is not None
    return found


async def test_a_repair_is_told(desk: Desk, gated: Gated) -> None:
    gated.engine.databases["acme"] = Database(OURS.stamp, open=False)
    assert (await look_closely(desk))["PostgresReady"] == "Ready"
    assert desk.repairs == [("u-dc-acme", EngineName.POSTGRES)]


async def test_what_nobody_foresaw_in_an_engine_leaves_nothing_ready_or_settled_and_heals(
    desk: Desk, gated: Gated
) -> None:
    gated.engine.fails = KeyError("?")
    told = await look_closely(desk)
    assert (told["Ready"], told["PostgresReady"], told["NamespaceReady"]) == ("InternalError", "InternalError", "Ready")
    assert await data_cluster.reconcile("acme", desk.deps) == RETRY, "it is not taken for settled"
    gated.engine.fails = None
    assert (await look_closely(desk))["Ready"] == "Ready"


async def test_access_is_cut_in_the_other_engines_where_one_breaks(desk: Desk, gated: Gated) -> None:
    async with Gated(MemoryEngine(fails=KeyError("?"))) as broken:
        engines = {EngineName.POSTGRES: gated.opened, EngineName.SEARCH: broken.opened}
        await desk.deps.planes.publish("default", OpenPlane(gen.uid_of("default"), "v-2", engines))
        await desk.kube.merge_patch(DATA_CLUSTERS, "acme", {"spec": {"suspended": True}})
        told = await look_closely(desk)
    assert gated.engine.databases == {"acme": Database(OURS.stamp, open=False)}
    assert (told["PostgresReady"], told["SearchReady"], told["Suspended"]) == ("Ready", "InternalError", "Suspending")


@pytest.mark.parametrize("suspended", [False, True])
async def test_what_lies_in_an_engine_that_the_plane_no_longer_offers_is_neither_in_order_nor_shut(
    desk: Desk, gated: Gated, *, suspended: bool
) -> None:
    held = {EngineName.POSTGRES: gen.holding(), EngineName.SEARCH: gen.holding(provisioned=("index/acme_entries",))}
    record = await desk.deps.records.load(Record, "u-dc-acme")
    assert record is not None
    record.record = msgspec.structs.replace(record.record, holdings=held)
    await record.save()
    await desk.kube.merge_patch(DATA_CLUSTERS, "acme", {"spec": {"suspended": suspended}})
    told = await look_closely(desk)
    assert (told["Ready"], told["SearchReady"]) == ("PlaneNotReady", "PlaneNotReady")
    assert told["Suspended"] == ("Suspending" if suspended else "NotSuspended")
    assert gated.engine.databases == {"acme": Database(OURS.stamp, open=not suspended)}
    assert await data_cluster.reconcile("acme", desk.deps) == RETRY


async def test_an_engine_in_which_nothing_was_begun_is_not_missed_when_the_plane_no_longer_offers_it(
    desk: Desk,
) -> None:
    record = await desk.deps.records.load(Record, "u-dc-acme")
    assert record is not None
    record.record = record.record.with_holding(EngineName.SEARCH, gen.holding(claimed_at="", provisioned=()))
    await record.save()
    assert "SearchReady" not in await look_closely(desk)


async def test_one_whose_flow_broke_says_so_and_is_shut_where_it_must_be(
    desk: Desk, gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError(gen.PASSWORD)

    monkeypatch.setattr(gated.engine, "fingerprint", fail)
    monkeypatch.setattr(gated.engine, "credentials", fail)
    await desk.kube.merge_patch(DATA_CLUSTERS, "acme", {"spec": {"suspended": True}})
    desk.view.clusters.put(as_stored(desk))
    assert await Reconciler(desk.deps)(key.data_cluster("acme")) == RETRY
    told = {each["type"]: each for each in as_stored(desk)["status"]["conditions"]}
    assert (told["Ready"]["status"], told["Ready"]["reason"]) == ("False", "InternalError")
    assert (told["Suspended"]["status"], gen.PASSWORD in str(told)) == ("Unknown", False)
    assert gated.engine.databases == {"acme": Database(OURS.stamp, open=False)}


async def test_a_look_that_finds_nothing_to_do_tells_no_repair_and_writes_nothing(desk: Desk) -> None:
    await look_closely(desk)
    writes = len(desk.kube.writes)
    await look_closely(desk)
    assert (desk.repairs, desk.kube.writes[writes:]) == ([], [])


async def test_a_loss_that_nothing_can_be_done_about_tells_no_repair(desk: Desk, gated: Gated) -> None:
    gated.engine.databases.clear()
    assert (await look_closely(desk))["PostgresReady"] == "DataMissing"
    assert desk.repairs == []


async def test_engines_are_looked_at_closely_on_suspicion_alone_and_again_after_what_was_done(
    desk: Desk, gated: Gated
) -> None:
    assert set(gated.engine.closely) == {False}
    gated.engine.closely.clear()
    gated.engine.databases["acme"] = Database(OURS.stamp, open=False)
    await look_closely(desk)
    assert gated.engine.closely == [True, True]


async def test_a_record_that_no_watch_has_shown_is_made_once_and_then_read(gated: Gated) -> None:
    cluster = gen.cluster(metadata={"finalizers": (labels.FINALIZER,)})
    elsewhere = Desk.of(gen.tenant(), gen.plan(), gen.plane(), cluster)
    await elsewhere.deps.records.draft(gen.record()).save()
    late = Desk(gen.world(cluster), elsewhere.kube)
    await late.deps.planes.publish(
        "default", OpenPlane(gen.uid_of("default"), "v-1", {EngineName.POSTGRES: gated.opened})
    )
    with pytest.raises(AlreadyExists):
        await data_cluster.reconcile("acme", late.deps)
    assert gated.engine.databases == {}
    await data_cluster.reconcile("acme", late.deps)
    loaded = await late.deps.records.load(Record, "u-dc-acme")
    assert loaded is not None
    assert (
        loaded.record.holding(EngineName.POSTGRES).credentials == gen.record().holding(EngineName.POSTGRES).credentials
    )


@pytest.mark.parametrize("refusal", [Forbidden("namespaces are made by ticket"), None], ids=["refused", "taken"])
async def test_nothing_is_written_into_a_namespace_that_is_not_known_to_be_ours(
    gated: Gated, refusal: Forbidden | None
) -> None:
    theirs = {"metadata": {"name": "tenant-acme", "uid": "u-theirs", "resourceVersion": "1"}}
    desk = Desk.of(gen.tenant(), gen.plan(), gen.plane(), gen.cluster(), more=((NAMESPACES, theirs),))
    if refusal is not None:
        desk.kube.refusals["create", NAMESPACES] = refusal
    await desk.deps.planes.publish(
        "default", OpenPlane(gen.uid_of("default"), "v-1", {EngineName.POSTGRES: gated.opened})
    )
    await data_cluster.reconcile("acme", desk.deps)
    assert gated.engine.databases == {"acme": OURS}, "engines go on"
    assert [place for _, place, _ in desk.kube.objects if place == "tenant-acme"] == []
    reasons = {each["type"]: each["reason"] for each in as_stored(desk)["status"]["conditions"]}
    assert reasons["NamespaceReady"] == ("Conflict" if refusal is None else "ClusterRefused")


async def test_secrets_are_published_into_our_namespace_where_something_else_in_it_is_refused(gated: Gated) -> None:
    desk = Desk.of(gen.tenant(), gen.plan(), gen.plane(), gen.cluster())
    desk.kube.refusals["create", NETWORK_POLICIES] = Forbidden("no policies")
    await desk.deps.planes.publish(
        "default", OpenPlane(gen.uid_of("default"), "v-1", {EngineName.POSTGRES: gated.opened})
    )
    await data_cluster.reconcile("acme", desk.deps)
    assert desk.kube.stored(SECRETS, "postgres-binding", "tenant-acme") is not None


async def test_secrets_are_renewed_in_our_namespace_although_the_repair_of_its_labels_is_refused(desk: Desk) -> None:
    home = desk.kube.stored(NAMESPACES, "tenant-acme")
    assert home is not None
    kept = {name: value for name, value in home["metadata"]["labels"].items() if "pod-security" not in name}
    desk.view.put_child(
        NAMESPACES, {**home, "metadata": {**home["metadata"], "labels": kept, "resourceVersion": "99999"}}
    )
    desk.kube.refusals["patch", NAMESPACES] = Forbidden("labels of namespaces are set by ticket")
    gone = desk.view.child(SECRETS, "tenant-acme", "postgres-binding")
    assert gone is not None
    desk.view.apply_child("DELETED", gone)
    del desk.kube.objects[SECRETS, "tenant-acme", "postgres-binding"]
    assert (await look_closely(desk))["NamespaceReady"] == "ClusterRefused"
    assert desk.kube.stored(SECRETS, "postgres-binding", "tenant-acme") is not None


async def test_what_breaks_at_the_platforms_part_is_tried_again_and_writes_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_: object) -> Outcome:
        raise KeyError

    desk.view.clusters.put(as_stored(desk))
    monkeypatch.setattr("bulkhead.reconcile.registered.keep", breaks)
    before = list(desk.kube.writes)
    assert await Reconciler(desk.deps)(key.data_cluster("acme")) == RETRY
    assert desk.kube.writes == before


async def test_a_conflict_is_looked_at_closely_until_it_is_gone(desk: Desk, gated: Gated) -> None:
    gated.engine.databases["acme"] = replace(OURS, stamp="bulkhead:here:u-former")
    assert (await look_closely(desk))["PostgresReady"] == "Conflict"
    gated.engine.closely.clear()
    desk.view.clusters.put(as_stored(desk))
    await data_cluster.reconcile("acme", desk.deps)
    assert gated.engine.closely == [True]


async def test_a_paused_data_cluster_waits_for_nothing_but_its_watch() -> None:
    desk = Desk.of(
        gen.tenant(), gen.plan(), gen.plane(), gen.cluster(metadata={"annotations": {labels.PAUSED: "true"}})
    )
    assert await data_cluster.reconcile("acme", desk.deps) == DONE
    assert [each["reason"] for each in as_stored(desk)["status"]["conditions"] if each["type"] == "Ready"] == ["Paused"]


async def test_what_is_to_be_made_anew_stays_claimed_until_it_is(desk: Desk, gated: Gated) -> None:
    gated.engine.databases.clear()
    gated.engine.fails, gated.engine.fails_at = Refused("the disk is full"), "Create"
    await desk.kube.merge_patch(DATA_CLUSTERS, "acme", {"metadata": {"annotations": {labels.RECREATE: "postgres"}}})
    await look_closely(desk)
    opened = await desk.deps.records.load(Record, "u-dc-acme")
    assert opened is not None
    held = opened.record.holding(EngineName.POSTGRES)
    assert (held.claimed, held.provisioned) == (("database",), ())


async def suspended_without_a_plan(gated: Gated, *more: tuple[Resource, Json]) -> Desk:
    """A DataCluster that can not be resolved and must be shut all the same, after one look; in front of `more`."""
    desk = Desk.of(gen.tenant(), gen.plane(), gen.cluster(suspended=True), more=more)
    await desk.deps.planes.publish(
        "default", OpenPlane(gen.uid_of("default"), "v-1", {EngineName.POSTGRES: gated.opened})
    )
    gated.engine.databases["acme"] = OURS
    return desk


async def test_what_must_be_shut_is_shut_although_its_outline_can_not_be_read(gated: Gated) -> None:
    desk = await suspended_without_a_plan(gated)
    await desk.deps.records.draft(gen.record()).save()
    assert desk.view.outline("u-dc-acme") is None
    await data_cluster.reconcile("acme", desk.deps)
    assert gated.engine.databases == {"acme": Database(OURS.stamp, open=False)}


async def test_what_can_not_be_shut_because_its_record_is_unreadable_is_told_with_all_that_is_missing(
    gated: Gated,
) -> None:
    metadata = {"name": "record-u-dc-acme", "namespace": gen.NAMESPACE, "uid": "u-secret", "resourceVersion": "1"}
    desk = await suspended_without_a_plan(gated, (SECRETS, {"metadata": metadata, "data": {"record": "bm8gcmVjb3Jk"}}))
    gen.show(desk.view, gen.outline())
    assert await data_cluster.reconcile("acme", desk.deps) == RETRY
    told = {each["type"]: each for each in as_stored(desk)["status"]["conditions"]}
    assert (told["Ready"]["reason"], told["Suspended"]["status"]) == ("RecordUnreadable", "Unknown")
    assert 'Secret "record-u-dc-acme"' in told["Ready"]["message"]
    assert 'the Plan "basic" does not exist' in told["Ready"]["message"]
    assert gated.engine.databases == {"acme": OURS}


async def restarted(desk: Desk, gated: Gated) -> Desk:
    """One that knows no more than what is listed."""
    later = Desk(gen.world(), desk.kube)
    await later.deps.planes.publish(
        "default", OpenPlane(gen.uid_of("default"), "v-1", {EngineName.POSTGRES: gated.opened})
    )
    for resource, _, _ in desk.kube.objects:
        if resource != DATA_CLUSTERS:
            for listed in [content async for content in desk.kube.list_metadata(resource)]:
                child = child_from(resource, msgspec.convert(listed, PartialObject).metadata)
                later.view.apply_child("ADDED", child)
    later.view.clusters.put(as_stored(desk))
    later.view.changed(DATA_CLUSTERS, "acme")
    return later


async def written_by_a_close_look(desk: Desk) -> list[tuple[str, str, str]]:
    before = len(desk.kube.writes)
    await data_cluster.reconcile("acme", desk.deps, suspect=True)
    return desk.kube.writes[before:]


async def test_a_close_look_right_after_a_restart_writes_nothing_where_the_record_knows_the_children(
    desk: Desk, gated: Gated
) -> None:
    await look_closely(desk)
    assert await written_by_a_close_look(await restarted(desk, gated)) == []


async def test_what_was_written_to_a_child_before_a_restart_has_them_all_put_once(desk: Desk, gated: Gated) -> None:
    await look_closely(desk)
    tracked = {"managedFields": [{"manager": "bulkhead", "fieldsV1": {"f:spec": {}}}]}
    await desk.kube.merge_patch(NETWORK_POLICIES, "default-deny", {"metadata": tracked}, "tenant-acme")
    later = await restarted(desk, gated)
    assert ("update", "networkpolicies", "default-deny") in await written_by_a_close_look(later)
    assert await written_by_a_close_look(later) == []
