"""Metadata of children: compact, indexed by owner, newest first."""

from __future__ import annotations

import sys
import time
from typing import Any

import msgspec
import pytest

from bulkhead.kube.children import ChildMeta, ChildStore, PartialObject, child_from
from bulkhead.kube.resources import NAMESPACES, NETWORK_POLICIES, SECRETS, Resource

OWNER = "bulkhead.dev/data-cluster-uid"


def child(
    name: str = "binding",
    version: str = "5",
    *,
    owner: str = "u-acme",
    uid: str = "",
    resource: Resource = SECRETS,
    namespace: str = "tenant-acme",
    **more: Any,
) -> ChildMeta:
    metadata = {
        "name": name,
        "namespace": namespace,
        "uid": uid or f"uid-{name}",
        "resourceVersion": version,
        "labels": {OWNER: owner} if owner else {},
        **more,
    }
    return child_from(resource, msgspec.convert({"metadata": metadata}, PartialObject).metadata)


def managed_by(manager: str, subresource: str = "") -> dict[str, Any]:
    entry = {"manager": manager, "operation": "Update", "fieldsV1": {"f:data": {}}}
    return entry | ({"subresource": subresource} if subresource else {})


def store_with(*children: ChildMeta) -> ChildStore:
    store = ChildStore()
    for one in children:
        store.apply("ADDED", one)
    return store


def test_a_child_is_found_by_its_place() -> None:
    store = store_with(child())
    assert store.get(SECRETS, "binding", "tenant-acme") == child()
    assert store.get(SECRETS, "binding", "tenant-globex") is None


def test_all_children_of_an_owner_are_found() -> None:
    store = store_with(child("binding"), child("deny", resource=NETWORK_POLICIES), child("other", owner="u-globex"))
    assert {one.key.name for one in store.children_of("u-acme")} == {"binding", "deny"}


def test_an_owner_whose_last_child_went_is_forgotten() -> None:
    store = store_with(child())
    store.apply("DELETED", child(version="6"))
    assert (store.children_of("u-acme"), store.owners()) == ((), ())


def test_a_child_that_changes_its_owner_is_found_under_the_new_one_only() -> None:
    store = store_with(child(owner="u-acme"))
    store.apply("MODIFIED", child(version="6", owner="u-globex"))
    assert store.owners() == ("u-globex",)


def test_a_child_without_an_owner_is_nobodys() -> None:
    store = store_with(child(owner=""))
    assert store.owners() == ()
    assert store.get(SECRETS, "binding", "tenant-acme") is not None


def test_an_older_state_changes_nothing() -> None:
    store = store_with(child(version="10"))
    assert not store.apply("MODIFIED", child(version="9"))
    assert not store.apply("DELETED", child(version="9"))
    assert len(store) == 1


def test_a_late_state_does_not_bring_a_deleted_child_back() -> None:
    store = store_with(child(version="10"))
    store.apply("DELETED", child(version="12"))
    assert not store.apply("MODIFIED", child(version="11"))


def test_a_child_that_got_its_label_back_is_there_again() -> None:
    store = store_with(child(version="10"))
    store.apply("DELETED", child(version="12"))
    assert store.apply("ADDED", child(version="13"))


def test_the_answer_to_a_write_can_be_taken_over_before_the_stream_shows_it() -> None:
    store = ChildStore()
    answer = {
        "metadata": {
            "name": "binding",
            "namespace": "tenant-acme",
            "uid": "u",
            "resourceVersion": "5",
            "labels": {OWNER: "u-acme"},
        },
        "data": {"password": "aHVudGVyMg=="},
    }
    assert store.put(SECRETS, answer)
    assert len(store.children_of("u-acme")) == 1


@pytest.mark.parametrize(
    ("entries", "foreign"),
    [
        ([], False),
        ([managed_by("bulkhead")], False),
        ([managed_by("bulkhead"), managed_by("kube-controller-manager", "status")], False),
        ([managed_by("bulkhead"), managed_by("kubectl-edit")], True),
        ([managed_by("kubectl-edit")], True),
    ],
)
def test_a_write_by_somebody_else_shows(entries: list[dict[str, Any]], foreign: bool) -> None:  # noqa: FBT001 - a table
    assert child(managedFields=entries).foreign is foreign


def test_of_the_annotations_only_ours_are_kept() -> None:
    annotations = {"bulkhead.dev/content-hash": "abc", "example.com/huge": "x" * 100_000, "bulkhead.development": "y"}
    assert child(annotations=annotations).annotations == {"bulkhead.dev/content-hash": "abc"}


def test_a_deletion_under_way_shows() -> None:
    assert child(deletionTimestamp="2026-01-01T00:00:00Z").deletion_timestamp == "2026-01-01T00:00:00Z"


def test_a_cluster_scoped_child_has_no_namespace() -> None:
    store = store_with(child("tenant-acme", resource=NAMESPACES, namespace=""))
    assert store.get(NAMESPACES, "tenant-acme") is not None


def test_equal_strings_of_many_children_are_one_string() -> None:
    one, other = (child(name, owner=f"u-{number}") for name, number in (("a", 7), ("b", 7)))
    assert one.owner is other.owner
    assert one.key.namespace is other.key.namespace


def test_a_child_is_small() -> None:
    one = child(annotations={"bulkhead.dev/content-hash": "0123456789abcdef"})
    parts = (one, one.key, one.labels, one.annotations, one.key.name, one.uid, one.resource_version)
    assert sum(map(sys.getsizeof, parts)) < 1000


def test_the_children_of_one_owner_are_found_without_looking_at_the_others() -> None:
    few = store_with(*(child(f"c-{n}", owner=f"u-{n % 10}") for n in range(100)))
    many = store_with(*(child(f"c-{n}", owner=f"u-{n % 2000}") for n in range(20_000)))

    def cost(store: ChildStore) -> float:
        began = time.process_time()
        for _ in range(2000):
            store.children_of("u-5")
        return time.process_time() - began

    assert cost(many) < 20 * cost(few) + 0.01
