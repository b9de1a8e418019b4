"""The end of a DataCluster: what decides whether its data goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from bulkhead.api import labels
from bulkhead.api.conditions import Reason
from bulkhead.api.data_cluster import CredentialStatus, DataCluster, DataClusterStatus, DeletionPolicy, Identity
from bulkhead.api.record import EngineName, Record
from bulkhead.engines.errors import Refused
from bulkhead.kube.resources import CUSTOM_RESOURCE_DEFINITIONS, DATA_CLUSTERS, TENANTS, Resource
from bulkhead.reconcile import deletion
from bulkhead.reconcile.deps import DONE, RETRY
from bulkhead.reconcile.planes import OpenPlane
from bulkhead.reconcile.report import waiting
from bulkhead.reconcile.retained import NOT_CUT
from tests.unit.reconcile import gen
from tests.unit.reconcile.desk import Desk
from tests.unit.reconcile.memory_engine import Database, Gated, MemoryEngine
from tests.unit.reconcile.memory_kube import MemoryKube

OURS = Database("bulkhead:here:u-dc-acme")
SHUT = Database(OURS.stamp, open=False)
CRD = {"metadata": {"name": "dataclusters.bulkhead.dev", "resourceVersion": "1", "uid": "u-crd"}}
RETAIN, DELETE = DeletionPolicy.RETAIN, DeletionPolicy.DELETE
GOING = gen.cluster(
    deletion_policy=DELETE,
    metadata={"deletion_timestamp": "2026-11-22T12:00:00Z", "finalizers": (labels.FINALIZER,)},
)


@pytest.fixture
async def gated() -> AsyncIterator[Gated]:
    async with Gated(MemoryEngine(databases={"acme": OURS})) as gated:
        yield gated


async def before(
    gated: Gated, live: dict[str, Any] | None, record: Record | None = None, cluster: DataCluster = GOING
) -> Desk:
    """A DataCluster and a Tenant that both say Delete, as the watches show them; `live`: the Tenant as it is by now."""
    crd, tenant = (CUSTOM_RESOURCE_DEFINITIONS, CRD), ((TENANTS, live),) if live else ()
    desk = Desk.of(gen.plan(), gen.plane(), cluster, more=(crd, *tenant))
    gen.show(desk.view, gen.tenant(deletion_policy=DELETE))
    await desk.deps.records.draft(record or gen.record()).save()
    engines = {EngineName.POSTGRES: gated.opened}
    await desk.deps.planes.publish("default", OpenPlane(gen.uid_of("default"), "v-1", engines, engines))
    return desk


async def after(gated: Gated, live: dict[str, Any] | None, record: Record | None = None) -> Desk:
    """The same once one deletion has run."""
    desk = await before(gated, live, record)
    await deletion.run(GOING, desk.deps)
    return desk


def is_let_go(desk: Desk) -> bool:
    found = desk.kube.stored(DATA_CLUSTERS, "acme")
    assert found is not None
    return labels.FINALIZER not in found["metadata"]["finalizers"]


async def test_what_tenant_and_data_cluster_both_give_up_is_erased(gated: Gated) -> None:
    desk = await after(gated, gen.raw(gen.tenant(deletion_policy=DELETE)))
    assert (gated.engine.databases, is_let_go(desk)) == ({}, True)
    assert desk.answers[-1] == ("DataCluster", "acme"), "what is let go is known to be"


async def test_what_lies_on_a_server_that_took_the_place_of_the_former_is_erased_there(gated: Gated) -> None:
    gated.opened = replace(gated.opened, predecessors=("server-0",))
    held = {EngineName.POSTGRES: gen.holding(server="server-0")}
    desk = await after(gated, None, gen.record(holdings=held))
    assert (gated.engine.databases, is_let_go(desk)) == ({}, True)


async def test_what_a_tenant_that_is_gone_left_to_be_erased_is_erased(gated: Gated) -> None:
    desk = await after(gated, None)
    assert (gated.engine.databases, is_let_go(desk)) == ({}, True)


async def test_what_is_out_of_use_when_it_is_to_be_erased_keeps_the_deletion_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between cut and erasure its admin Secret goes. What was cut there must not pass for erased."""
    gated = Gated(MemoryEngine(databases={"acme": OURS}))
    desk = await before(gated, None)
    out_of_use = {EngineName.POSTGRES: waiting(Reason.SECRET_MISSING, "it is gone")}

    async def get(resource: Resource, name: str, namespace: str | None = None) -> dict[str, Any]:
        if resource == TENANTS:
            await desk.deps.planes.publish("default", OpenPlane(gen.uid_of("default"), "v-2", out_of_use))
        return await MemoryKube.get(desk.kube, resource, name, namespace)

    monkeypatch.setattr(desk.kube, "get", get)
    assert await deletion.run(GOING, desk.deps) == RETRY
    assert (gated.engine.databases, is_let_go(desk)) == ({"acme": SHUT}, False)
    assert await desk.deps.records.load(Record, GOING.metadata.uid) is not None


async def test_a_tenant_that_wants_the_data_kept_is_heard_before_its_watch_shows_it(gated: Gated) -> None:
    desk = await after(gated, gen.raw(gen.tenant(deletion_policy=RETAIN)))
    assert (gated.engine.databases, is_let_go(desk)) == ({"acme": SHUT}, True)


async def test_access_is_cut_and_nothing_erased_while_nobody_can_read_what_the_tenant_wants(gated: Gated) -> None:
    live = gen.raw(gen.tenant())
    live["spec"]["deletionPolicy"] = "Archive"
    desk = await after(gated, live)
    assert (gated.engine.databases, is_let_go(desk)) == ({"acme": SHUT}, False)
    (ready,) = [each for each in stored_conditions(desk) if each["type"] == "Ready"]
    assert (ready["reason"], "apply the CRDs" in ready["message"]) == ("InvalidSpec", True)


async def test_engines_that_nobody_can_reach_any_more_are_given_up_together(gated: Gated) -> None:
    """Each names the annotation, which has one value: whoever set it for one and then the other would wait for ever."""
    holdings = {name: gen.holding() for name in (EngineName.POSTGRES, EngineName.SEARCH)}
    this, other = "2026-11-22T12:00:00Z", "2026-11-21T12:00:00Z"
    for value, let_go in (
        ("postgres,search", False),
        (f"postgres:{other},search:{other}", False),
        (f"postgres:{this}", False),
        (f"postgres:{this},search:{this}", True),
    ):
        going = replace_annotations(GOING, {labels.ABANDON: value})
        desk = Desk.of(
            gen.plan(), gen.tenant(deletion_policy=DELETE), going, more=((CUSTOM_RESOURCE_DEFINITIONS, CRD),)
        )
        await desk.deps.records.draft(gen.record(holdings=holdings)).save()
        await deletion.run(going, desk.deps)
        assert is_let_go(desk) is let_go
        if not let_go:
            (search,) = [each for each in stored_conditions(desk) if each["type"] == "SearchReady"]
            assert f"{labels.ABANDON}=search:{this} (several: with commas)" in search["message"]
    assert gated.engine.databases == {"acme": OURS}


PROVISIONED = {
    "identity": DataClusterStatus(identity=Identity(namespace="tenant-acme")),
    "credentials": DataClusterStatus(credentials={"postgres": CredentialStatus(generation=1, issued_to="acme_1")}),
}


@pytest.mark.parametrize("told", PROVISIONED)
async def test_one_whose_record_and_namespace_are_both_gone_is_not_let_go_without_a_word(told: str) -> None:
    going = msgspec.structs.replace(GOING, status=PROVISIONED[told])
    desk = Desk.of(gen.plan(), gen.plane(), gen.tenant(), going, more=((CUSTOM_RESOURCE_DEFINITIONS, CRD),))
    assert await deletion.run(going, desk.deps) == RETRY
    (ready,) = [each for each in stored_conditions(desk) if each["type"] == "Ready"]
    assert (ready["reason"], is_let_go(desk)) == ("RecordUnreadable", False)


async def test_one_for_which_nothing_was_ever_made_is_let_go() -> None:
    desk = Desk.of(gen.plan(), gen.plane(), gen.tenant(), GOING, more=((CUSTOM_RESOURCE_DEFINITIONS, CRD),))
    assert await deletion.run(GOING, desk.deps) == DONE
    assert is_let_go(desk)


async def test_one_whose_record_went_at_its_end_is_let_go_after_a_crash(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is gone and the finalizer not yet taken off."""
    going = msgspec.structs.replace(GOING, status=PROVISIONED["identity"])
    desk = await before(gated, None, cluster=going)
    with monkeypatch.context() as crash:
        crash.setattr(deletion, "_let_go", lambda *_: asyncio.sleep(0, RETRY))
        await deletion.run(going, desk.deps)
    assert await desk.deps.records.load(Record, going.metadata.uid) is None
    newest = desk.view.data_cluster("acme")
    assert newest is not None
    assert await deletion.run(newest, desk.deps) == DONE
    assert is_let_go(desk)


async def test_an_end_is_written_down_and_let_go_in_one_go(gated: Gated) -> None:
    going = msgspec.structs.replace(GOING, status=PROVISIONED["identity"])
    desk = await before(gated, None, cluster=going)
    assert await deletion.run(going, desk.deps) == DONE
    assert is_let_go(desk)


GIVEN_UP = {labels.ABANDON: "postgres:2026-11-22T12:00:00Z"}


async def given_up(gated: Gated, policy: DeletionPolicy) -> Desk:
    """After a deletion that gave the engine up although it is there."""
    desk = await before(gated, gen.raw(gen.tenant(deletion_policy=policy)))
    await deletion.run(replace_annotations(GOING, GIVEN_UP), desk.deps)
    return desk


@pytest.mark.parametrize("policy", DeletionPolicy)
async def test_an_engine_that_is_given_up_and_answers_is_cut_and_nothing_there_erased(
    gated: Gated, policy: DeletionPolicy
) -> None:
    desk = await given_up(gated, policy)
    assert (gated.engine.databases, is_let_go(desk)) == ({"acme": SHUT}, True)


@pytest.mark.parametrize("policy", DeletionPolicy)
async def test_an_engine_that_is_given_up_and_refuses_holds_up_nothing(gated: Gated, policy: DeletionPolicy) -> None:
    gated.engine.fails = Refused("no right")
    assert is_let_go(await given_up(gated, policy))


@pytest.mark.parametrize(
    ("error", "expected"), [(None, "acme cut"), (Refused("no right"), NOT_CUT)], ids=["cut", "not cut"]
)
async def test_of_retained_data_a_survey_should_show_that_it_is_shut(
    gated: Gated, error: Refused | None, expected: str
) -> None:
    gated.engine.fails = error
    desk = await given_up(gated, RETAIN)
    outline = desk.view.outline("u-dc-acme")
    assert outline is not None
    assert outline.fingerprints == {EngineName.POSTGRES: expected}


def replace_annotations(cluster: DataCluster, annotations: dict[str, str]) -> DataCluster:
    metadata = msgspec.structs.replace(cluster.metadata, annotations=annotations)
    return msgspec.structs.replace(cluster, metadata=metadata)


def stored_conditions(desk: Desk) -> list[dict[str, Any]]:
    found = desk.kube.stored(DATA_CLUSTERS, "acme")
    assert found is not None
    return list(found["status"]["conditions"])
