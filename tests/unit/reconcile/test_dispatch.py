"""Which keys an event concerns, and where the exception of a flow ends."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bulkhead.api import labels
from bulkhead.kube.children import ChildMeta
from bulkhead.kube.errors import Conflict, KubeError, Unavailable
from bulkhead.kube.resources import DATA_CLUSTERS, DATA_PLANES, NETWORK_POLICIES, PLANS, SECRETS, TENANTS, Resource
from bulkhead.reconcile import data_cluster, key
from bulkhead.reconcile.deps import DONE, RETRY, Outcome
from bulkhead.reconcile.dispatch import Dispatcher, Reconciler
from bulkhead.reconcile.key import Key
from bulkhead.reconcile.view import View
from bulkhead.runtime.mutations import MayNotAct
from tests.unit.reconcile import gen
from tests.unit.reconcile.desk import Desk

ACME, BETA = key.data_cluster("acme"), key.data_cluster("beta")
TENANT, PLANE = key.tenant("acme"), key.data_plane("default")


class Switchboard:
    """A dispatcher over a view in which the watch has shown everything once."""

    def __init__(self, *seen: Any) -> None:
        self.view: View = gen.view()
        self.enqueued: list[Key] = []
        self.later: list[Key] = []
        self.dispatcher = Dispatcher(self.view, gen.NAMESPACE, self.enqueued.append, self.later.append)
        for each in seen:
            self.show(each)
        self.enqueued.clear()
        self.later.clear()

    def show(self, each: gen.AnyObject, version: str = "10") -> set[Key]:
        """Keys that are enqueued when the watch shows this."""
        before = len(self.enqueued)
        resource = gen.resource_of(each)
        self.view.store_of(resource).put(gen.raw(each, version=version))
        self.dispatcher.object_changed(resource, each.metadata.name)
        return set(self.enqueued[before:])

    def gone(self, each: gen.AnyObject) -> set[Key]:
        before = len(self.enqueued)
        resource = gen.resource_of(each)
        self.view.store_of(resource).remove(gen.raw(each, version="1000"))
        self.dispatcher.object_changed(resource, each.metadata.name)
        return set(self.enqueued[before:])

    def child(self, each: ChildMeta) -> set[Key]:
        before = len(self.enqueued)
        self.dispatcher.child_changed("MODIFIED", each)
        return set(self.enqueued[before:])


def full() -> Switchboard:
    return Switchboard(
        gen.tenant(), gen.plan(), gen.plane(), gen.cluster(), gen.cluster("beta", tenant="globex", plane="west")
    )


def test_a_new_data_cluster_concerns_itself_and_its_tenant() -> None:
    assert Switchboard(gen.tenant()).show(gen.cluster()) == {ACME, TENANT}


def test_a_new_data_cluster_concerns_its_plane_later() -> None:
    board = Switchboard()
    board.show(gen.cluster())
    assert board.later == [PLANE]


def test_a_data_cluster_that_changes_concerns_its_plane_later_for_it_may_have_taken_what_was_kept_ready() -> None:
    board = full()
    board.show(gen.cluster(metadata={"generation": 2}), "11")
    assert board.later == [PLANE]


def test_a_data_cluster_that_went_concerns_its_tenant_and_its_plane() -> None:
    board = full()
    assert board.gone(gen.cluster()) == {ACME, TENANT}
    assert board.later == [PLANE]


def test_the_status_of_a_data_cluster_concerns_its_tenant() -> None:
    status = gen.cluster().status
    changed = gen.cluster(status=msgspec.structs.replace(status, phase="Active"))
    assert TENANT in full().show(changed, "11")


def test_a_tenant_concerns_its_own_data_clusters() -> None:
    assert full().show(gen.tenant(metadata={"generation": 2}), "11") == {TENANT, ACME}


def test_a_tenant_that_went_concerns_its_data_clusters() -> None:
    assert full().gone(gen.tenant()) == {TENANT, ACME}


def test_a_plan_concerns_every_data_cluster() -> None:
    assert full().show(gen.plan(metadata={"generation": 2}), "11") == {ACME, BETA}


def test_a_plan_that_went_concerns_every_data_cluster() -> None:
    assert full().gone(gen.plan()) == {ACME, BETA}


def test_a_plane_concerns_the_data_clusters_on_it() -> None:
    assert full().show(gen.plane(metadata={"generation": 2}), "11") == {PLANE, ACME}


def test_a_plane_that_went_concerns_the_data_clusters_on_it() -> None:
    assert full().gone(gen.plane()) == {PLANE, ACME}


@pytest.mark.parametrize(
    "what", [{"deletion_timestamp": "2026-11-22T12:00:00Z"}, {"annotations": {"bulkhead.dev/reconcile": "1"}}]
)
def test_whatever_a_tenant_is_asked_for_concerns_its_data_clusters(what: dict[str, Any]) -> None:
    assert full().show(gen.tenant(metadata=what), "11") == {TENANT, ACME}


def test_our_own_status_of_a_tenant_concerns_no_data_cluster() -> None:
    written = gen.tenant(status=msgspec.structs.replace(gen.tenant().status, phase="Active"))
    assert full().show(written, "11") == {TENANT}


def test_our_own_status_of_a_plane_concerns_nobody() -> None:
    plane = gen.plane()
    written = msgspec.structs.replace(plane, status=msgspec.structs.replace(plane.status, data_clusters=1))
    assert full().show(written, "11") == set()


def test_an_answer_is_known_before_the_watch_shows_it() -> None:
    board = full()
    board.dispatcher.answered(DATA_CLUSTERS, gen.raw(gen.cluster("fresh"), version="11"))
    assert board.view.data_cluster("fresh") is not None


def test_an_answer_wakes_whom_its_echo_would_have_woken() -> None:
    board = full()
    board.dispatcher.answered(DATA_CLUSTERS, gen.raw(gen.cluster(), version="11"))
    assert set(board.enqueued) == {ACME, TENANT}


@pytest.mark.parametrize(("finalizers", "there"), [((), False), (("another.example.com/own",), True)])
def test_what_went_with_its_last_finalizer_is_gone_though_no_watch_will_ever_show_it(
    finalizers: tuple[str, ...],
    there: bool,  # noqa: FBT001 - a row
) -> None:
    board = full()
    gone = gen.cluster(metadata={"deletion_timestamp": "2026-09-22T00:00:00Z", "finalizers": finalizers})
    board.dispatcher.answered(DATA_CLUSTERS, gen.raw(gone, version="11"))
    assert (board.view.data_cluster("acme") is not None) is there
    assert {ACME, TENANT} <= set(board.enqueued)


def test_an_answer_that_the_watch_overtook_wakes_nobody() -> None:
    board = full()
    board.dispatcher.answered(DATA_CLUSTERS, gen.raw(gen.cluster(), version="9"))
    assert board.enqueued == []


def admin(name: str = "postgres-admin", namespace: str = gen.NAMESPACE) -> ChildMeta:
    return gen.child(name, resource=SECRETS, namespace=namespace, owner_uid="")


def test_a_child_concerns_its_data_cluster() -> None:
    assert full().child(gen.child()) == {ACME}


def test_a_record_concerns_its_data_cluster() -> None:
    assert full().child(gen.record_child(gen.outline())) == {ACME}


def test_a_record_concerns_its_plane_later_for_it_may_be_nobodys() -> None:
    board = full()
    board.child(gen.record_child(gen.outline(plane="west"), version="11"))
    assert board.later == [key.data_plane("west")]


def test_a_record_that_we_removed_is_gone_before_the_watch_shows_it_and_wakes_who_waits_for_its_name() -> None:
    board = full()
    gen.show(board.view, gen.outline())
    board.dispatcher.record_removed("record-u-dc-acme")
    assert (board.view.outline("u-dc-acme"), ACME in board.enqueued) == (None, True)


def test_a_record_that_was_never_seen_is_removed_without_a_word() -> None:
    board = full()
    board.dispatcher.record_removed("record-u-nobody")
    assert (board.enqueued, board.later) == ([], [])


def test_a_child_that_is_no_news_concerns_nobody() -> None:
    board = full()
    board.child(gen.child())
    assert board.child(gen.child()) == set()


def test_a_child_that_went_concerns_its_data_cluster() -> None:
    board = full()
    board.child(gen.child())
    board.enqueued.clear()
    board.dispatcher.child_changed("DELETED", gen.child(version="11"))
    assert board.enqueued == [ACME]


def test_a_child_that_lost_the_label_that_names_its_data_cluster_concerns_it() -> None:
    board = full()
    board.child(gen.child())
    assert board.child(gen.child(owner_uid="", version="11")) == {ACME}


def test_a_child_that_names_another_data_cluster_now_concerns_both() -> None:
    board = full()
    board.child(gen.child())
    assert board.child(gen.child(marks={labels.DATA_CLUSTER: "beta"}, version="11")) == {ACME, BETA}


def test_an_object_of_nobody_concerns_nobody() -> None:
    assert full().child(gen.child(resource=NETWORK_POLICIES, owner_uid="")) == set()


def test_a_planes_secret_concerns_that_plane() -> None:
    assert full().child(admin()) == {PLANE}


def test_a_secret_that_no_plane_names_concerns_nobody() -> None:
    assert full().child(admin("another")) == set()


def test_a_secret_of_that_name_in_another_namespace_concerns_nobody() -> None:
    assert full().child(admin(namespace="tenant-acme")) == set()


class Flow:
    """The flow of DataClusters, replaced by one that notes whether it was told to suspect."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.suspected: list[bool] = []

    async def __call__(self, _name: str, _deps: Any, *, suspect: bool) -> Outcome:
        self.suspected.append(suspect)
        if self.error:
            raise self.error
        return DONE


def reconciler(monkeypatch: pytest.MonkeyPatch, flow: Flow) -> tuple[Reconciler, Desk]:
    monkeypatch.setattr(data_cluster, "reconcile", flow)
    desk = Desk.of(gen.cluster())
    return Reconciler(desk.deps), desk


@pytest.mark.parametrize(
    "error",
    [Conflict("changed"), Unavailable("down"), KubeError("?"), MayNotAct("?"), ValueError(gen.PASSWORD)],
    ids=repr,
)
async def test_a_flow_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    work, _ = reconciler(monkeypatch, Flow(error))
    assert await work(ACME) == RETRY


async def test_the_text_of_an_unforeseen_exception_is_not_logged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work, _ = reconciler(monkeypatch, Flow(ValueError(gen.PASSWORD)))
    await work(ACME)
    shown = capsys.readouterr()
    assert gen.PASSWORD not in shown.out + shown.err


async def test_a_flow_that_ends_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    work, _ = reconciler(monkeypatch, Flow())
    assert await work(ACME) == DONE


async def test_who_is_suspect_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    work, desk = reconciler(monkeypatch, Flow())
    work.suspect(ACME)
    assert desk.enqueued == [ACME]


async def test_a_suspicion_lasts_for_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = Flow()
    work, _ = reconciler(monkeypatch, flow)
    work.suspect(ACME)
    await work(ACME)
    await work(ACME)
    assert flow.suspected == [True, False]


async def test_a_suspicion_outlasts_a_look_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = Flow(Unavailable("down"))
    work, _ = reconciler(monkeypatch, flow)
    work.suspect(ACME)
    await work(ACME)
    await work(ACME)
    assert flow.suspected == [True, True]


async def test_the_suspicion_of_one_is_not_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = Flow()
    work, _ = reconciler(monkeypatch, flow)
    work.suspect(BETA)
    await work(ACME)
    assert flow.suspected == [False]


@pytest.mark.parametrize(
    ("resource", "wanted"),
    [(TENANTS, key.tenant("acme")), (DATA_PLANES, key.data_plane("acme")), (DATA_CLUSTERS, ACME)],
)
async def test_what_is_gone_needs_nothing(resource: Resource, wanted: Key) -> None:
    desk = Desk.of()
    assert await Reconciler(desk.deps)(wanted) == DONE
    assert (desk.kube.writes, resource.kind) == ([], wanted.kind)


async def test_an_object_that_can_not_be_read_says_so_in_its_status() -> None:
    raw = gen.raw(gen.tenant())
    raw["spec"] = {"suspended": "maybe"}
    desk = Desk(gen.view(), Desk.of(gen.tenant()).kube)
    desk.view.tenants.put(raw)
    await Reconciler(desk.deps)(TENANT)
    found = desk.kube.stored(TENANTS, "acme")
    assert found is not None
    assert {each["type"]: each["reason"] for each in found["status"]["conditions"]}["Ready"] == "InvalidSpec"


def test_plans_have_no_flow_of_their_own() -> None:
    assert not [each for each in full().show(gen.plan(metadata={"generation": 3}), "12") if each.kind == PLANS.kind]
