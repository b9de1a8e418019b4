"""A Tenant's list becomes DataClusters; nothing that is not on it is taken away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from bulkhead.api import labels
from bulkhead.api.data_cluster import (
    DataCluster,
    DataClusterSpec,
    DataClusterStatus,
    DeletionPolicy,
    Embedding,
    SearchRequest,
)
from bulkhead.api.meta import Condition, LocalRef
from bulkhead.api.tenant import DataClusterEntry, Tenant
from bulkhead.kube.errors import Conflict, Forbidden, Invalid
from bulkhead.kube.resources import CUSTOM_RESOURCE_DEFINITIONS, DATA_CLUSTERS, TENANTS, Resource
from bulkhead.reconcile import tenant
from bulkhead.reconcile.deps import DONE, RETRY, Outcome
from bulkhead.reconcile.tenant import Create, Taken, Update, decide
from tests.unit.reconcile import gen
from tests.unit.reconcile.desk import Desk
from tests.unit.reconcile.memory_kube import merged

OURS = {labels.TENANT_UID: gen.uid_of("acme")}
FINALIZERS = {"finalizers": (labels.FINALIZER,)}
LATER = Outcome(at=gen.NOW.timestamp() + tenant.PATIENCE_SECONDS)


def entry(name: str = "acme", **fields: Any) -> DataClusterEntry:
    return DataClusterEntry(name=name, **fields)


def listing(*entries: DataClusterEntry, **fields: Any) -> Tenant:
    return gen.tenant(data_clusters=entries, **fields)


def made(name: str = "acme", *, metadata: Mapping[str, Any] | None = None, **fields: Any) -> DataCluster:
    """A DataCluster that the list of `acme` made."""
    return gen.cluster(name, metadata={"labels": OURS, **(metadata or {})}, **fields)


def new_tenant(created: str) -> Tenant:
    return gen.tenant(metadata={"creation_timestamp": created, **FINALIZERS})


def decided(owner: Tenant, *existing: DataCluster) -> list[tenant.Action]:
    known: Mapping[str, DataCluster] = {each.metadata.name: each for each in existing}
    return decide(owner, {each.name: known.get(each.name) for each in tenant.listed(owner)})


def updated(owner: Tenant, cluster: DataCluster) -> DataClusterSpec:
    """The spec after the one update that the list asks for."""
    (action,) = decided(owner, cluster)
    assert isinstance(action, Update)
    return msgspec.convert(merged(msgspec.to_builtins(cluster.spec), action.spec), DataClusterSpec)


def test_a_tenant_without_a_list_has_one_of_its_own_name() -> None:
    assert [action.name for action in decided(gen.tenant())] == ["acme"]


def test_an_empty_list_asks_for_none() -> None:
    assert decided(listing()) == []


def test_what_is_listed_and_missing_is_made() -> None:
    (action,) = decided(listing(entry("beta", search=SearchRequest(indexes=("logs",)))))
    assert isinstance(action, Create)
    spec = msgspec.convert(action.spec, DataClusterSpec)
    assert (spec.tenant_ref.name, spec.search.indexes) == ("acme", ("logs",))


def test_what_is_made_lies_on_the_tenants_plane() -> None:
    (action,) = decided(listing(entry(), data_plane_ref=LocalRef(name="west")))
    assert msgspec.convert(action.spec, DataClusterSpec).data_plane_ref.name == "west"  # type: ignore[union-attr] # Create


@pytest.mark.parametrize("policy", DeletionPolicy)
def test_what_is_made_follows_the_tenants_deletion_policy(policy: DeletionPolicy) -> None:
    (action,) = decided(listing(entry(), deletion_policy=policy))
    assert isinstance(action, Create)
    assert msgspec.convert(action.spec, DataClusterSpec).deletion_policy is policy


def test_what_is_as_listed_is_left_alone() -> None:
    assert decided(listing(entry()), made()) == []


def test_what_lags_behind_its_entry_follows_it() -> None:
    found = updated(listing(entry(search=SearchRequest(indexes=("logs",)))), made())
    assert found == made(search=SearchRequest(indexes=("logs",))).spec


def test_what_an_entry_no_longer_says_goes_back_to_its_default() -> None:
    assert updated(listing(entry()), made(search=SearchRequest(indexes=("logs",)))) == made().spec


def test_a_new_deletion_policy_reaches_what_was_made() -> None:
    found = updated(listing(entry(), deletion_policy=DeletionPolicy.DELETE), made())
    assert found.deletion_policy is DeletionPolicy.DELETE


def test_an_update_leaves_alone_what_is_the_data_clusters_own() -> None:
    assert updated(listing(entry(), deletion_policy=DeletionPolicy.DELETE), made(suspended=True)).suspended


@pytest.mark.parametrize("field", ["tenantRef", "dataPlaneRef", "suspended", "deletionProtection"])
def test_an_update_never_names_what_no_entry_can_say(field: str) -> None:
    owner = listing(entry(embedding=Embedding(dimensions=8)), data_plane_ref=LocalRef(name="west"))
    (action,) = decided(owner, made(suspended=True, deletion_protection=True))
    assert isinstance(action, Update)
    assert field not in action.spec


def test_an_update_settles_it() -> None:
    owner = listing(entry(search=SearchRequest(indexes=("logs",)), embedding=Embedding(model="small")))
    after = msgspec.structs.replace(made(), spec=updated(owner, made()))
    assert decided(owner, after) == []


@pytest.mark.parametrize("cluster", [made(suspended=True), made(deletion_protection=True)])
def test_what_no_entry_can_say_is_the_data_clusters_own(cluster: DataCluster) -> None:
    assert decided(listing(entry()), cluster) == []


def test_a_data_cluster_stays_on_its_plane_when_the_tenant_turns_to_another() -> None:
    assert decided(listing(entry(), data_plane_ref=LocalRef(name="west")), made()) == []


def test_a_name_that_another_tenant_has_is_taken() -> None:
    assert decided(listing(entry()), gen.cluster(tenant="globex")) == [Taken("acme", "globex")]


def test_what_was_applied_by_hand_is_left_alone() -> None:
    assert decided(listing(entry(search=SearchRequest(indexes=("logs",)))), gen.cluster()) == []


def test_what_a_former_tenant_of_that_name_made_is_left_alone() -> None:
    former = gen.cluster(metadata={"labels": {labels.TENANT_UID: "u-former"}})
    assert decided(listing(entry(search=SearchRequest(indexes=("logs",)))), former) == []


def test_what_is_being_deleted_is_left_alone() -> None:
    going = made(metadata={"deletion_timestamp": "2026-11-22T12:00:00Z"})
    assert decided(listing(entry(search=SearchRequest(indexes=("logs",)))), going) == []


def test_what_is_no_longer_listed_is_left_alone() -> None:
    assert decided(listing(entry("beta")), made("beta"), made()) == []


async def reconciled(desk: Desk) -> Any:
    return await tenant.reconcile("acme", desk.deps)


def body(desk: Desk, resource: Resource, name: str) -> dict[str, Any]:
    found = desk.kube.stored(resource, name)
    assert found is not None
    return found


def ready(desk: Desk, name: str = "acme") -> tuple[str, str, str]:
    conditions = body(desk, TENANTS, name)["status"]["conditions"]
    (found,) = [each for each in conditions if each["type"] == "Ready"]
    return found["status"], found["reason"], found.get("message", "")


def shown(status: str, reason: str, message: str = "") -> DataClusterStatus:
    return DataClusterStatus(conditions=(Condition(type="Ready", status=status, reason=reason, message=message),))


async def test_a_tenant_that_is_gone_needs_nothing() -> None:
    desk = Desk.of()
    assert await reconciled(desk) == DONE
    assert desk.kube.writes == []


async def test_a_tenant_bears_the_finalizer_before_anything_is_made() -> None:
    desk = Desk.of(gen.tenant())
    await reconciled(desk)
    assert desk.kube.writes[:2] == [("patch", "tenants", "acme"), ("create", "dataclusters", "acme")]


async def test_what_is_made_bears_the_tenants_uid_and_no_owner() -> None:
    desk = Desk.of(gen.tenant())
    await reconciled(desk)
    metadata = body(desk, DATA_CLUSTERS, "acme")["metadata"]
    assert (metadata["labels"][labels.TENANT_UID], "ownerReferences" in metadata) == ("u-acme", False)


async def test_what_is_made_bears_the_finalizer_from_its_first_moment() -> None:
    desk = Desk.of(gen.tenant())
    await reconciled(desk)
    assert body(desk, DATA_CLUSTERS, "acme")["metadata"]["finalizers"] == [labels.FINALIZER]


async def test_what_is_made_is_known_before_the_watch_shows_it() -> None:
    desk = Desk.of(gen.tenant())
    await reconciled(desk)
    assert ("DataCluster", "acme") in desk.answers


async def test_what_the_watch_has_not_shown_yet_is_no_problem() -> None:
    desk = Desk(gen.view(gen.tenant()), Desk.of(gen.tenant(), made()).kube)
    assert await reconciled(desk) == LATER


async def test_an_update_reaches_the_data_cluster() -> None:
    desk = Desk.of(listing(entry(search=SearchRequest(indexes=("logs",)))), made())
    await reconciled(desk)
    assert body(desk, DATA_CLUSTERS, "acme")["spec"]["search"] == {"indexes": ["logs"]}


async def test_an_update_never_reaches_a_namesake_that_the_watch_has_not_shown() -> None:
    desk = Desk.of(listing(entry(search=SearchRequest(indexes=("logs",))), metadata=FINALIZERS), made())
    later = gen.raw(gen.cluster(tenant="globex", metadata={"uid": "u-later", "resource_version": "20"}))
    desk.kube.objects[DATA_CLUSTERS, "", "acme"] = later
    await reconciled(desk)
    assert desk.kube.stored(DATA_CLUSTERS, "acme") == later


async def test_a_taken_name_is_told_with_its_owner() -> None:
    desk = Desk.of(listing(entry()), gen.cluster(tenant="globex"))
    assert await reconciled(desk) == RETRY
    status, reason, message = ready(desk)
    assert (status, reason, '"globex"' in message) == ("False", "NameTaken", True)


@pytest.mark.parametrize("error", [Invalid("dimensions is immutable"), Forbidden("not by this policy")], ids=repr)
async def test_what_the_api_server_refuses_is_told_with_its_entry(error: Invalid | Forbidden) -> None:
    desk = Desk.of(listing(entry(embedding=Embedding(dimensions=8))), made())
    desk.kube.refusals["patch", DATA_CLUSTERS] = error
    assert await reconciled(desk) == RETRY
    message = ready(desk)[2]
    assert ('"acme"' in message, str(error) in message) == (True, True)


async def test_a_refused_entry_does_not_stop_the_next_one() -> None:
    desk = Desk.of(listing(entry(), entry("beta")), gen.cluster(tenant="globex"))
    await reconciled(desk)
    assert desk.kube.stored(DATA_CLUSTERS, "beta") is not None


async def test_a_paused_tenant_is_left_alone() -> None:
    desk = Desk.of(gen.tenant(metadata={"annotations": {labels.PAUSED: "true"}}))
    await reconciled(desk)
    assert desk.kube.stored(DATA_CLUSTERS, "acme") is None


@pytest.mark.parametrize(
    ("in_force", "told"),
    [(("", ""), ""), (("basic", ""), "basic"), (("basic", "basic"), "basic"), (("basic", "large"), "2 plans")],
    ids=str,
)
async def test_a_tenant_tells_the_plan_that_its_data_clusters_are_under(in_force: tuple[str, str], told: str) -> None:
    acme, beta = (
        made(name, status=msgspec.structs.replace(shown("True", "Ready"), plan=plan))
        for name, plan in zip(("acme", "beta"), in_force, strict=True)
    )
    desk = Desk.of(listing(entry(), entry("beta")), acme, beta)
    await reconciled(desk)
    assert body(desk, TENANTS, "acme")["status"].get("plan", "") == told


async def test_a_tenant_is_ready_when_each_of_its_data_clusters_is() -> None:
    desk = Desk.of(gen.tenant(), made(status=shown("True", "Ready")))
    assert await reconciled(desk) == DONE
    assert ready(desk)[:2] == ("True", "Ready")


async def test_a_data_cluster_that_says_nothing_yet_is_being_provisioned() -> None:
    desk = Desk.of(gen.tenant(), made())
    await reconciled(desk)
    assert ready(desk)[:2] == ("False", "Provisioning")


@pytest.mark.parametrize("created", ["2026-11-22T11:59:55Z", "2026-11-22T12:00:05Z"], ids=["lately", "by a fast clock"])
async def test_a_new_tenant_waits_for_the_first_word_of_what_was_made_for_it(created: str) -> None:
    desk = Desk.of(new_tenant(created), made())
    outcome = await reconciled(desk)
    assert (outcome, desk.kube.writes) == (LATER, [])


@pytest.mark.parametrize("created", ["2026-11-22T11:59:25Z", "2026-11-22T13:00:00Z"], ids=["it waited", "far clocks"])
async def test_a_new_tenant_does_not_wait_for_ever(created: str) -> None:
    desk = Desk.of(new_tenant(created), made())
    assert await reconciled(desk) == DONE
    assert ready(desk)[:2] == ("False", "Provisioning")


async def test_a_tenant_whose_data_cluster_is_made_looks_again_if_nothing_is_heard_of_it() -> None:
    assert await reconciled(Desk.of(gen.tenant(metadata=FINALIZERS))) == LATER


async def test_what_a_data_cluster_lacks_its_tenant_tells() -> None:
    desk = Desk.of(gen.tenant(), made(status=shown("False", "Conflict", "somebody has the name")))
    await reconciled(desk)
    assert ready(desk) == ("False", "Conflict", 'the data cluster "acme": somebody has the name')


async def test_a_data_cluster_by_hand_counts_too() -> None:
    desk = Desk.of(
        gen.tenant(), made(status=shown("True", "Ready")), gen.cluster("beta", status=shown("False", "Paused", "x"))
    )
    await reconciled(desk)
    assert ready(desk)[:2] == ("False", "Paused")


async def test_equal_findings_are_written_once() -> None:
    desk = Desk.of(gen.tenant(metadata=FINALIZERS), made(status=shown("True", "Ready")))
    await reconciled(desk)
    again = Desk.of(msgspec.convert(body(desk, TENANTS, "acme"), Tenant), made(status=shown("True", "Ready")))
    await reconciled(again)
    assert again.kube.writes == []


CRD = {"metadata": {"name": "tenants.bulkhead.dev", "uid": "u-crd"}}
GOING = {**FINALIZERS, "deletion_timestamp": "2026-11-22T12:00:00Z"}


def leaving(*clusters: DataCluster, crd: Mapping[str, Any] = CRD, **spec: Any) -> Desk:
    gone = gen.tenant(metadata=GOING, **spec)
    return Desk.of(gone, *clusters, more=((CUSTOM_RESOURCE_DEFINITIONS, dict(crd)),))


def finalizers(desk: Desk) -> list[str]:
    return list(body(desk, TENANTS, "acme")["metadata"]["finalizers"])


async def test_a_tenant_without_data_clusters_is_let_go() -> None:
    desk = leaving()
    await reconciled(desk)
    assert finalizers(desk) == []


async def test_what_the_list_made_is_deleted_with_its_tenant() -> None:
    desk = leaving(made())
    await reconciled(desk)
    assert ("delete", "dataclusters", "acme") in desk.kube.writes


async def test_a_tenant_waits_for_its_data_clusters() -> None:
    desk = leaving(made())
    await reconciled(desk)
    assert (finalizers(desk), ready(desk)[1]) == ([labels.FINALIZER], "Deleting")


async def test_a_data_cluster_that_can_not_be_read_is_waited_for() -> None:
    """Made by a later release, before the operator was rolled back."""
    desk = leaving()
    gen.show_unreadable(desk.view, made())
    await reconciled(desk)
    assert (finalizers(desk), ready(desk)[1]) == ([labels.FINALIZER], "Deleting")
    assert "acme" in ready(desk)[2]


async def test_what_was_applied_by_hand_is_waited_for_and_not_deleted() -> None:
    desk = leaving(gen.cluster("beta"))
    await reconciled(desk)
    assert desk.kube.stored(DATA_CLUSTERS, "beta") is not None
    assert "beta" in ready(desk)[2]


async def test_what_is_being_deleted_is_not_deleted_again() -> None:
    desk = leaving(made(metadata={"deletion_timestamp": "2026-11-22T12:00:00Z"}))
    await reconciled(desk)
    assert not [write for write in desk.kube.writes if write[0] == "delete"]


async def test_a_protected_data_cluster_is_waited_for() -> None:
    desk = leaving(made())
    desk.kube.refusals["delete", DATA_CLUSTERS] = Forbidden("deletionProtection is on")
    await reconciled(desk)
    assert finalizers(desk) == [labels.FINALIZER]


async def test_a_namesake_made_meanwhile_is_not_deleted() -> None:
    desk = leaving(made())
    desk.kube.objects[DATA_CLUSTERS, "", "acme"]["metadata"]["uid"] = "u-later"
    with pytest.raises(Conflict):
        await reconciled(desk)
    assert desk.kube.stored(DATA_CLUSTERS, "acme") is not None


async def test_nothing_is_deleted_while_the_crd_goes() -> None:
    crd = {"metadata": {**CRD["metadata"], "deletionTimestamp": "2026-11-22T12:00:00Z"}}
    desk = leaving(made(), crd=crd)
    await reconciled(desk)
    assert (ready(desk)[1], desk.kube.stored(DATA_CLUSTERS, "acme") is not None) == ("CrdTerminating", True)


async def test_nothing_is_deleted_while_the_tenant_is_protected() -> None:
    desk = leaving(made(), deletion_protection=True)
    await reconciled(desk)
    assert (ready(desk)[1], desk.kube.stored(DATA_CLUSTERS, "acme") is not None) == ("Protected", True)


async def test_a_tenant_that_bears_our_finalizer_no_longer_is_nobodys_work() -> None:
    desk = Desk.of(gen.tenant(metadata={"deletion_timestamp": "2026-11-22T12:00:00Z"}), made())
    assert await reconciled(desk) == DONE
    assert desk.kube.writes == []
