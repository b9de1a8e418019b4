"""The newest watched state, and the indexes over it."""

from __future__ import annotations

import msgspec
import pytest

from bulkhead.api import labels
from bulkhead.kube.resources import DATA_CLUSTERS, NAMESPACES, SECRETS, TENANTS
from bulkhead.reconcile.view import References, View
from tests.unit.reconcile import gen

HOME = gen.child("tenant-acme", resource=NAMESPACES, namespace="")


def clusters_of(view: View, tenant: str = "acme") -> set[str]:
    return {each.metadata.name for each in view.data_clusters_of(tenant)}


def clusters_on(view: View, plane: str = "default") -> set[str]:
    return {each.metadata.name for each in view.data_clusters_on(plane)}


def slugs(view: View, slug: str = "acme") -> set[str]:
    return {each.uid for each in view.outlines_of_slug(slug)}


def test_objects_are_found_by_kind_and_name() -> None:
    view = gen.world(gen.cluster())
    found = (view.tenant("acme"), view.plan("basic"), view.data_plane("default"), view.data_cluster("acme"))
    assert found == (gen.tenant(), gen.plan(), gen.plane(), gen.cluster())


def test_what_does_not_exist_is_none() -> None:
    view = gen.view()
    assert (view.tenant("x"), view.plan("x"), view.data_plane("x"), view.data_cluster("x")) == (None,) * 4


def test_what_does_not_fit_our_structs_is_nobodys_input() -> None:
    view = gen.view()
    view.tenants.put({"metadata": {"name": "acme", "uid": "u-1"}, "spec": {"suspended": "maybe"}})
    assert view.tenant("acme") is None


def test_the_data_clusters_of_a_tenant_are_found() -> None:
    assert clusters_of(gen.view(gen.cluster(), gen.cluster("theirs", tenant="globex"))) == {"acme"}


def test_the_data_clusters_on_a_plane_are_found_and_counted() -> None:
    view = gen.view(gen.cluster(), gen.cluster("beta"), gen.cluster("far", plane="west"))
    assert (clusters_on(view), view.count_on("default")) == ({"acme", "beta"}, 2)


def test_a_data_cluster_that_went_is_in_no_index() -> None:
    view = gen.view(gen.cluster())
    gen.remove(view, gen.cluster())
    assert (clusters_of(view), clusters_on(view), view.count_on("default")) == (set(), set(), 0)


def test_a_data_cluster_made_anew_for_another_tenant_is_found_under_that_one_only() -> None:
    view = gen.view(gen.cluster())
    gen.show(view, gen.cluster(tenant="globex"), version="11")
    assert (clusters_of(view), clusters_of(view, "globex")) == (set(), {"acme"})


def test_a_data_cluster_that_changes_is_counted_once() -> None:
    view = gen.view(gen.cluster())
    gen.show(view, gen.cluster(), version="11")
    assert (view.count_on("default"), len(view.data_clusters_on("default"))) == (1, 1)


@pytest.mark.parametrize(
    "spec",
    [{}, None, "?", {"tenantRef": {}, "dataPlaneRef": "default"}, {"tenantRef": {"name": 1}}],
    ids=["nothing", "null", "a word", "no names", "no name"],
)
def test_a_data_cluster_that_can_not_be_read_any_more_is_nobodys_input_and_counts_where_it_did(spec: object) -> None:
    view = gen.view(gen.cluster(plane="west"))
    view.clusters.put({"metadata": {"name": "acme", "uid": "u-dc-acme", "resourceVersion": "11"}, "spec": spec})
    view.changed(DATA_CLUSTERS, "acme")
    assert (clusters_of(view), clusters_on(view, "west")) == (set(), set())
    assert (view.count_on("west"), view.names_of("acme"), view.names_plane("west")) == (1, ("acme",), True)


def test_a_data_cluster_that_never_could_be_read_counts_where_it_says() -> None:
    view = gen.view()
    gen.show_unreadable(view, gen.cluster(plane="west"))
    assert (view.count_on("west"), view.names_of("acme")) == (1, ("acme",))


def test_a_change_tells_whom_a_data_cluster_named_and_names() -> None:
    view = gen.view(gen.cluster())
    view.clusters.put(gen.raw(gen.cluster(tenant="globex"), version="11"))
    assert view.changed(DATA_CLUSTERS, "acme") == (References("acme", "default"), References("globex", "default"))


def test_a_change_of_another_kind_names_nobody() -> None:
    assert gen.world().changed(TENANTS, "acme") == (None, None)


def test_a_child_is_found_by_its_place() -> None:
    view = gen.view(gen.child())
    assert view.child(gen.child().key.resource, "tenant-acme", "default-deny") == gen.child()


def test_the_children_of_a_data_cluster_are_its_namespace_and_what_lies_in_there() -> None:
    assert {each.key.name for each in gen.view(HOME, gen.child()).children_of("u-dc-acme")} == {
        "tenant-acme",
        "default-deny",
    }


def test_what_bears_copied_labels_in_another_namespace_is_not_a_child() -> None:
    view = gen.view(HOME, gen.child(namespace="kube-system"))
    assert view.children_of("u-dc-acme") == [HOME]


def test_the_record_is_not_a_child() -> None:
    assert gen.view(HOME, gen.outline()).children_of("u-dc-acme") == [HOME]


def test_a_child_that_went_is_no_child() -> None:
    view = gen.view(HOME, gen.child())
    view.apply_child("DELETED", gen.child(version="11"))
    assert view.children_of("u-dc-acme") == [HOME]


def test_the_same_state_is_no_news() -> None:
    assert not gen.view(gen.child()).apply_child("MODIFIED", gen.child())


def test_the_answer_to_a_write_is_seen_before_the_watch_shows_it() -> None:
    view = gen.view()
    answer = {"metadata": {"name": "b", "namespace": "tenant-acme", "uid": "u-b", "resourceVersion": "5"}}
    view.put_child(SECRETS, answer)
    assert view.child(SECRETS, "tenant-acme", "b") is not None


def test_the_outline_of_a_record_is_known() -> None:
    assert gen.view(gen.outline()).outline("u-dc-acme") == gen.outline()


def test_a_newer_outline_takes_the_place_of_an_older_one() -> None:
    view, newer = gen.view(gen.outline()), gen.outline(settled="yes")
    view.apply_child("MODIFIED", gen.record_child(newer, version="11"))
    assert view.outline("u-dc-acme") == newer


def test_an_older_outline_changes_nothing() -> None:
    view = gen.view(gen.outline())
    view.apply_child("MODIFIED", gen.record_child(gen.outline(settled="yes"), version="9"))
    assert view.outline("u-dc-acme") == gen.outline()


def test_the_outline_of_a_record_that_went_is_forgotten() -> None:
    view = gen.view(gen.outline())
    view.apply_child("DELETED", gen.record_child(gen.outline(), version="11"))
    assert (view.outline("u-dc-acme"), list(view.outlines()), slugs(view)) == (None, [], set())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"uid": 1}', "null"])
def test_an_outline_that_can_not_be_read_is_none(text: str) -> None:
    view = gen.view(gen.record_child(None, uid="u-dc-acme", text=text))
    assert view.outline("u-dc-acme") is None


@pytest.mark.parametrize("text", [None, "not an outline"], ids=["readable", "damaged"])
def test_whoever_has_a_record_is_known_to_have_one(text: str | None) -> None:
    view = gen.view(gen.record_child(gen.outline(), text=text))
    assert (view.has_record("u-dc-acme"), view.has_record("u-dc-globex")) == (True, False)


def test_records_of_all_that_ever_had_a_name_are_found() -> None:
    former = gen.outline(uid="u-former", retained_at="2026-01-01T00:00:00Z")
    assert slugs(gen.view(gen.outline(), former, gen.outline("globex"))) == {"u-dc-acme", "u-former"}


def test_all_outlines_are_listed_those_of_retained_data_too() -> None:
    view = gen.view(gen.outline(), gen.outline("globex", retained_at="2026-01-01T00:00:00Z"))
    assert {each.slug for each in view.outlines()} == {"acme", "globex"}


def test_a_secret_of_a_tenant_that_looks_like_a_record_is_none() -> None:
    forged = gen.child(
        "record-u-dc-acme",
        resource=SECRETS,
        namespace="tenant-acme",
        marks={labels.RECORD: labels.RECORD_DATA_CLUSTER},
        annotations={labels.OUTLINE: msgspec.json.encode(gen.outline()).decode()},
    )
    assert gen.view(forged).outline("u-dc-acme") is None


def test_the_record_of_a_plane_has_no_outline() -> None:
    plane = gen.child(
        "plane-u-default",
        resource=SECRETS,
        namespace=gen.NAMESPACE,
        owner_uid="",
        marks={labels.RECORD: labels.RECORD_DATA_PLANE},
    )
    assert list(gen.view(plane).outlines()) == []
