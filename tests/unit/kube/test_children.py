"""Metadata of children: compact, indexed by owner, newest first."""

from __future__ import annotations

import json
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


def managed_by(manager: str, *fields: str, subresource: str = "") -> dict[str, Any]:
    owned: dict[str, Any] = {"f:data": {field: {} for field in fields}}
    entry = {"manager": manager, "operation": "Update", "time": "2026-11-22T12:00:00Z", "fieldsV1": owned}
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


def test_a_state_that_is_told_twice_is_kept_once() -> None:
    store, told = store_with(child()), child()
    assert store.apply("MODIFIED", told) is False
    assert store.get(SECRETS, "binding", "tenant-acme") is told
    assert [each is told for each in store.children_of("u-acme")] == [True]


def test_all_children_of_an_owner_are_found() -> None:
    store = store_with(child("binding"), child("deny", resource=NETWORK_POLICIES), child("other", owner="u-globex"))
    assert {one.key.name for one in store.children_of("u-acme")} == {"binding", "deny"}


def test_an_owner_whose_last_child_went_has_none() -> None:
    store = store_with(child())
    store.apply("DELETED", child(version="6"))
    assert store.children_of("u-acme") == ()


def test_a_child_that_changes_its_owner_is_found_under_the_new_one_only() -> None:
    store = store_with(child(owner="u-acme"))
    store.apply("MODIFIED", child(version="6", owner="u-globex"))
    assert (len(store.children_of("u-acme")), len(store.children_of("u-globex"))) == (0, 1)


def test_a_child_without_an_owner_is_nobodys() -> None:
    store = store_with(child(owner=""))
    assert store.children_of("") == ()
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


OURS = managed_by("bulkhead", "f:a", "f:b")

WRITES: dict[str, list[dict[str, Any]]] = {
    "somebody added a field": [OURS, managed_by("kubectl-edit", "f:c")],
    "somebody changed a field": [managed_by("bulkhead", "f:a"), managed_by("kubectl-edit", "f:b")],
    "somebody changed all fields": [managed_by("kubectl-edit", "f:a", "f:b")],
    "somebody removed a field": [managed_by("bulkhead", "f:a")],
    "somebody removed a field that we own together": [managed_by("argocd", "f:a"), managed_by("bulkhead", "f:a")],
    "somebody removed all fields": [managed_by("bulkhead")],
    "somebody wrote under our name": [{**OURS, "time": "2026-11-22T12:00:01Z"}],
    "somebody owns an equal field too": [OURS, managed_by("argocd", "f:a")],
    "tracking was switched off": [],
}


def ownership(*entries: dict[str, Any]) -> int:
    return child(managedFields=list(entries)).ownership


@pytest.mark.parametrize("what", WRITES)
def test_every_write_shows_in_the_ownership(what: str) -> None:
    assert ownership(*WRITES[what]) != ownership(OURS)


def test_a_controller_that_writes_a_status_does_not_show() -> None:
    assert ownership(OURS, managed_by("kube-controller-manager", "f:used", subresource="status")) == ownership(OURS)


UNOWNED: dict[str, list[dict[str, Any]]] = {
    "tracking was switched off": [],
    "only its status is tracked": [managed_by("bulkhead", "f:used", subresource="status")],
    "somebody else made it": [managed_by("velero-server", "f:a", "f:b")],
}


@pytest.mark.parametrize("what", UNOWNED)
def test_where_nothing_is_ours_the_ownership_is_0(what: str) -> None:
    assert ownership(*UNOWNED[what]) == 0


@pytest.mark.parametrize("entry", [{}, {"manager": "x", "fieldsV1": None}, {"manager": "x", "fieldsV1": [1]}], ids=str)
def test_an_odd_entry_is_one_like_another(entry: dict[str, Any]) -> None:
    assert ownership(OURS, entry) != ownership(OURS)


def test_the_answer_to_a_write_and_the_stream_give_the_same_ownership() -> None:
    fields: dict[str, Any] = {"f:<a>&\u2028é": {}, 'k:{"uid":"1"}': {".": {}}}
    entry = {**OURS, "fieldsV1": fields}
    metadata = {"name": "binding", "resourceVersion": "5", "managedFields": [entry]}
    # As Go writes it.
    escaped = json.dumps({"metadata": metadata}, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")
    shown = child_from(SECRETS, msgspec.json.decode(escaped, type=PartialObject).metadata)
    assert shown.ownership == ownership(entry)


def answer(version: str = "5", *entries: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "binding", "namespace": "tenant-acme", "uid": "uid-binding", "resourceVersion": version}
    return {"metadata": {**metadata, "labels": {OWNER: "u-acme"}, "managedFields": list(entries or (OURS,))}}


def left(store: ChildStore) -> int | None:
    return store.left(SECRETS, "binding", "tenant-acme")


def written() -> ChildStore:
    """A store that knows of one write of ours, and has seen its echo."""
    store = ChildStore()
    store.put(SECRETS, answer())
    store.apply("ADDED", child(managedFields=[OURS]))
    return store


def test_how_our_write_left_a_child_is_remembered() -> None:
    assert left(written()) == ownership(OURS)


def test_how_a_child_that_was_only_seen_was_left_is_not_known() -> None:
    assert left(store_with(child(managedFields=[OURS]))) is None


def test_a_write_of_somebody_else_does_not_change_how_we_left_it() -> None:
    store = written()
    store.apply("MODIFIED", child(version="6", managedFields=[managed_by("kubectl-edit", "f:a")]))
    assert left(store) == ownership(OURS)


def test_a_write_of_somebody_else_that_was_shown_before_the_answer_to_ours_does_not_hide_how_we_left_it() -> None:
    store = store_with(child(version="6", managedFields=[managed_by("kubectl-edit", "f:a")]))
    assert not store.put(SECRETS, answer("5"))
    assert left(store) == ownership(OURS)


def test_a_write_of_ours_that_changed_nothing_tells_how_we_left_it() -> None:
    shared = [managed_by("argocd", "f:a", "f:b"), OURS]
    store = store_with(child(version="5", managedFields=shared))
    store.put(SECRETS, answer("5", *shared))
    assert left(store) == ownership(*shared)


def test_what_is_confirmed_is_as_we_left_it() -> None:
    store = store_with(child(managedFields=[OURS]))
    store.confirm(store.children_of("u-acme"))
    assert left(store) == ownership(OURS)


def test_how_a_child_that_went_was_left_is_forgotten() -> None:
    store = written()
    store.apply("DELETED", child(version="6"))
    assert left(store) is None


def test_nothing_is_remembered_of_a_write_to_what_is_gone_already() -> None:
    store = ChildStore()
    store.apply("DELETED", child(version="6"))
    store.put(SECRETS, answer("5"))
    assert left(store) is None


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
    parts = (one, one.key, one.labels, one.annotations, one.key.name, one.uid, one.resource_version, one.ownership)
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
