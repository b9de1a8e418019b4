"""What a DataCluster depends on, and every rule that spans objects."""

from __future__ import annotations

from typing import Any

import pytest

from bulkhead.api.conditions import Reason
from bulkhead.api.data_cluster import DataCluster, DeletionPolicy
from bulkhead.api.data_plane import Capacity, DataPlane, Naming
from bulkhead.api.meta import LocalRef
from bulkhead.engines.contract import Access
from bulkhead.reconcile.context import Context, NotYet, Unresolved, access_wanted, deletion_policy, resolve
from bulkhead.reconcile.planes import OpenPlane, Planes
from bulkhead.reconcile.view import View
from tests.unit.reconcile import gen

OLD = {"creation_timestamp": "2025-01-01T00:00:00Z"}
YOUNG = {"creation_timestamp": "2026-06-01T00:00:00Z"}


def no_engine(*_: Any) -> Any:
    raise AssertionError("nothing is opened while a context is resolved")


async def open_planes(*uids: str) -> Planes:
    planes = Planes(no_engine)
    for uid in uids:
        await planes.publish("default", OpenPlane(uid, f"version of {uid}"))
    return planes


async def outcome(cluster: DataCluster, view: View) -> Context | NotYet | Unresolved:
    return resolve(cluster, view, await open_planes(gen.uid_of("default")))


async def reason(cluster: DataCluster, view: View) -> Reason | None:
    found = await outcome(cluster, view)
    return found.reason if isinstance(found, Unresolved) else None


async def context(cluster: DataCluster, view: View) -> Context:
    found = await outcome(cluster, view)
    assert isinstance(found, Context)
    return found


def full_plane(places: int) -> DataPlane:
    return gen.plane(capacity=Capacity(data_clusters=places))


async def test_tenant_plan_and_plane_are_found() -> None:
    found = await context(gen.cluster(), gen.world(gen.cluster()))
    assert (found.tenant, found.plan, found.plane) == (gen.tenant(), gen.plan().spec, gen.plane())


@pytest.mark.parametrize("name", ["template1", "acme--x", "pg-acme"])
async def test_a_name_that_the_api_server_would_refuse_is_refused_here_too(name: str) -> None:
    found = await outcome(gen.cluster(name), gen.world(gen.cluster(name)))
    assert isinstance(found, Unresolved)
    assert found.reason is Reason.INVALID_SPEC
    assert name in found.message


async def test_a_missing_tenant_is_named() -> None:
    found = await outcome(gen.cluster(tenant="globex"), gen.world())
    assert isinstance(found, Unresolved)
    assert (found.reason, '"globex"' in found.message) == (Reason.TENANT_NOT_FOUND, True)


async def test_a_missing_plane_is_named() -> None:
    found = await outcome(gen.cluster(plane="west"), gen.world())
    assert isinstance(found, Unresolved)
    assert (found.reason, '"west"' in found.message) == (Reason.PLANE_NOT_FOUND, True)


async def test_a_missing_plan_is_named() -> None:
    found = await outcome(gen.cluster(), gen.view(gen.tenant(), gen.plane()))
    assert isinstance(found, Unresolved)
    assert (found.reason, '"basic"' in found.message) == (Reason.PLAN_NOT_FOUND, True)


async def test_a_tenant_and_a_plane_that_name_no_plan_are_told_where_to_set_one() -> None:
    view = gen.view(gen.tenant(), gen.plan(), gen.plane(default_plan_ref=None))
    found = await outcome(gen.cluster(), view)
    assert isinstance(found, Unresolved)
    assert "spec.planRef" in found.message
    assert "spec.defaultPlanRef" in found.message


async def test_the_tenants_plan_goes_before_the_planes() -> None:
    tenant = gen.tenant(plan_ref=LocalRef(name="gold"))
    view = gen.view(tenant, gen.plan(), gen.plan("gold", data_clusters=7), gen.plane())
    assert (await context(gen.cluster(), view)).plan.data_clusters == 7


async def test_the_plans_version_changes_with_its_spec() -> None:
    later = gen.view(gen.tenant(), gen.plan(metadata={"generation": 2}), gen.plane())
    before, after = await context(gen.cluster(), gen.world()), await context(gen.cluster(), later)
    assert before.plan_version != after.plan_version


async def test_the_plans_version_changes_with_a_namesake_of_the_same_generation() -> None:
    later = gen.view(gen.tenant(), gen.plan(metadata={"uid": "u-other"}), gen.plane())
    before, after = await context(gen.cluster(), gen.world()), await context(gen.cluster(), later)
    assert before.plan_version != after.plan_version


async def test_before_the_planes_first_reconcile_nothing_is_to_be_said() -> None:
    assert isinstance(resolve(gen.cluster(), gen.world(), Planes(no_engine)), NotYet)


async def test_a_plane_that_was_made_anew_is_waited_for() -> None:
    assert isinstance(resolve(gen.cluster(), gen.world(), await open_planes("u-former")), NotYet)


async def test_a_missing_tenant_is_told_even_before_the_planes_first_reconcile() -> None:
    assert isinstance(resolve(gen.cluster(tenant="globex"), gen.world(), Planes(no_engine)), Unresolved)


async def test_a_namesake_of_the_tenant_does_not_inherit_its_data() -> None:
    view = gen.world(gen.outline(tenant_uid="u-former"))
    assert await reason(gen.cluster(), view) is Reason.TENANT_UID_CHANGED


async def test_the_same_tenant_goes_on_with_its_data() -> None:
    assert await reason(gen.cluster(), gen.world(gen.outline())) is None


async def test_the_name_of_retained_data_is_reserved() -> None:
    view = gen.world(gen.outline(uid="u-former", retained_at="2026-01-01T00:00:00Z"))
    assert await reason(gen.cluster(), view) is Reason.NAME_RESERVED


async def test_the_name_of_a_former_one_that_is_not_retained_yet_is_reserved_too() -> None:
    assert await reason(gen.cluster(), gen.world(gen.outline(uid="u-former"))) is Reason.NAME_RESERVED


async def test_a_name_is_free_where_it_is_retained_on_another_plane() -> None:
    assert await reason(gen.cluster(), gen.world(gen.outline(uid="u-former", plane="west"))) is None


async def test_retained_data_of_another_name_reserves_nothing() -> None:
    assert await reason(gen.cluster(), gen.world(gen.outline("globex", uid="u-former"))) is None


async def test_within_the_plan_everybody_fits() -> None:
    view = gen.view(gen.tenant(), gen.plan(data_clusters=2), gen.plane(), gen.cluster(), gen.cluster("beta"))
    assert await reason(gen.cluster("beta"), view) is None


@pytest.mark.parametrize(("name", "expected"), [("older", None), ("younger", Reason.PLAN_EXCEEDED)])
async def test_of_two_for_one_place_in_the_plan_the_older_one_wins(name: str, expected: Reason | None) -> None:
    rivals = {"older": gen.cluster("older", metadata=OLD), "younger": gen.cluster("younger", metadata=YOUNG)}
    assert await reason(rivals[name], gen.world(*rivals.values())) is expected


@pytest.mark.parametrize(("name", "expected"), [("alpha", None), ("beta", Reason.PLAN_EXCEEDED)])
async def test_of_two_of_the_same_second_exactly_one_wins(name: str, expected: Reason | None) -> None:
    rivals = {"alpha": gen.cluster("alpha"), "beta": gen.cluster("beta")}
    assert await reason(rivals[name], gen.world(*rivals.values())) is expected


async def test_another_tenants_data_clusters_take_no_place_in_the_plan() -> None:
    view = gen.world(gen.tenant("globex"), gen.cluster(), gen.cluster("theirs", tenant="globex", metadata=OLD))
    assert await reason(gen.cluster(), view) is None


async def test_a_stricter_plan_takes_nothing_away() -> None:
    rivals = (gen.cluster("older", metadata=OLD), gen.cluster(metadata=YOUNG))
    assert await reason(rivals[1], gen.world(*rivals, gen.outline())) is None


@pytest.mark.parametrize(("name", "expected"), [("older", None), ("younger", Reason.CAPACITY_EXHAUSTED)])
async def test_of_two_for_the_last_place_on_a_plane_the_older_one_wins(name: str, expected: Reason | None) -> None:
    rivals = {
        "older": gen.cluster("older", tenant="globex", metadata=OLD),
        "younger": gen.cluster("younger", metadata=YOUNG),
    }
    view = gen.view(gen.tenant(), gen.tenant("globex"), gen.plan(), full_plane(1), *rivals.values())
    assert await reason(rivals[name], view) is expected


async def test_a_plane_with_less_capacity_takes_nothing_away() -> None:
    rivals = (gen.cluster("older", tenant="globex", metadata=OLD), gen.cluster(metadata=YOUNG))
    view = gen.view(gen.tenant(), gen.tenant("globex"), gen.plan(), full_plane(1), *rivals, gen.outline())
    assert await reason(rivals[1], view) is None


async def test_a_plane_without_capacity_takes_nobody() -> None:
    view = gen.view(gen.tenant(), gen.plan(), full_plane(0), gen.cluster())
    assert await reason(gen.cluster(), view) is Reason.CAPACITY_EXHAUSTED


@pytest.mark.parametrize(
    ("cluster", "tenant", "access"),
    [(False, False, Access.OPEN), (True, False, Access.CUT), (False, True, Access.CUT), (True, True, Access.CUT)],
)
def test_suspending_either_cuts_access(*, cluster: bool, tenant: bool, access: Access) -> None:
    assert access_wanted(gen.cluster(suspended=cluster), gen.view(gen.tenant(suspended=tenant))) is access


def test_a_suspended_data_cluster_stays_cut_without_its_tenant() -> None:
    assert access_wanted(gen.cluster(suspended=True), gen.view()) is Access.CUT


RETAIN, DELETE = DeletionPolicy.RETAIN, DeletionPolicy.DELETE


@pytest.mark.parametrize(
    ("cluster", "tenant", "policy"),
    [(DELETE, DELETE, DELETE), (RETAIN, DELETE, RETAIN), (DELETE, RETAIN, RETAIN), (RETAIN, RETAIN, RETAIN)],
)
def test_data_is_erased_only_if_nobody_wants_to_keep_it(
    cluster: DeletionPolicy, tenant: DeletionPolicy, policy: DeletionPolicy
) -> None:
    found = deletion_policy(gen.cluster(deletion_policy=cluster), gen.tenant(deletion_policy=tenant))
    assert found is policy


async def test_a_suspended_tenant_shows_in_the_context() -> None:
    view = gen.view(gen.tenant(suspended=True), gen.plan(), gen.plane())
    assert (await context(gen.cluster(), view)).access is Access.CUT


@pytest.mark.parametrize(("naming", "opaque"), [(Naming.SLUG, False), (Naming.OPAQUE, True)])
async def test_the_plane_says_whether_names_hide_the_slug(naming: Naming, *, opaque: bool) -> None:
    view = gen.view(gen.tenant(), gen.plan(), gen.plane(naming=naming))
    assert (await context(gen.cluster(), view)).opaque is opaque
