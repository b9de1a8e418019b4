"""The newest state of our own kinds, whatever comes in whatever order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.api.tenant import Tenant
from bulkhead.kube.resources import TENANTS
from bulkhead.kube.store import ObjectStore, Undecodable
from bulkhead.kube.versions import Tombstones, is_newer

Json = dict[str, Any]


def tenant(version: str, name: str = "acme", uid: str = "u-1", **spec: Any) -> Json:
    fields = [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]
    metadata = {"name": name, "uid": uid, "resourceVersion": version, "managedFields": fields}
    return {"metadata": metadata, "spec": spec}


def store_with(*objects: Json) -> ObjectStore[Tenant]:
    store = ObjectStore(TENANTS, Tenant)
    for raw in objects:
        store.put(raw)
    return store


def display_name(store: ObjectStore[Tenant], name: str = "acme") -> str | None:
    found = store.get(name)
    return found.spec.display_name if isinstance(found, Tenant) else None


def test_an_object_is_decoded() -> None:
    assert display_name(store_with(tenant("5", displayName="Acme"))) == "Acme"


def test_a_newer_state_takes_the_place_of_an_older_one() -> None:
    assert display_name(store_with(tenant("9", displayName="old"), tenant("10", displayName="new"))) == "new"


def test_an_older_state_changes_nothing() -> None:
    store = store_with(tenant("10", displayName="new"))
    assert not store.put(tenant("9", displayName="old"))
    assert display_name(store) == "new"


def test_the_same_state_is_no_news() -> None:
    store = store_with(tenant("10"))
    assert not store.put(tenant("10"))


def test_a_deletion_removes() -> None:
    store = store_with(tenant("10"))
    assert store.remove(tenant("11"))
    assert store.get("acme") is None


def test_the_deletion_of_an_older_object_of_that_name_changes_nothing() -> None:
    store = store_with(tenant("20", uid="u-2"))
    assert not store.remove(tenant("11", uid="u-1"))
    assert store.get("acme") is not None


def test_the_late_answer_to_a_write_does_not_bring_a_deleted_object_back() -> None:
    store = store_with(tenant("10"))
    store.remove(tenant("12"))
    assert not store.put(tenant("11"))
    assert store.get("acme") is None


def test_a_name_can_be_used_again() -> None:
    store = store_with(tenant("10"))
    store.remove(tenant("11"))
    assert store.put(tenant("12", uid="u-2"))


def test_a_spec_that_does_not_fit_is_kept_with_what_is_wrong() -> None:
    found = store_with(tenant("10", suspended="hunter2")).get("acme")
    assert isinstance(found, Undecodable)
    assert found.metadata.uid == "u-1"
    assert "spec.suspended" in found.error
    assert "hunter2" not in found.error


def test_a_spec_that_fits_again_is_decoded_again() -> None:
    store = store_with(tenant("10", suspended="maybe"), tenant("11", suspended=True))
    assert isinstance(store.get("acme"), Tenant)


def test_a_field_that_we_do_not_know_is_passed_over() -> None:
    assert display_name(store_with(tenant("10", displayName="Acme", fromTheFuture=1))) == "Acme"


def test_the_second_copy_of_the_spec_is_not_kept() -> None:
    raw = tenant("10")
    raw["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "x": "y"}
    found = store_with(raw).get("acme")
    assert found is not None
    assert found.metadata.annotations == {"x": "y"}


def test_what_a_list_did_not_show_is_dropped_and_named() -> None:
    store = store_with(tenant("5", "acme"), tenant("6", "globex", "u-2"))
    assert store.retain({"acme"}, "100") == ("globex",)
    assert [known.metadata.name for known in store] == ["acme"]


def test_what_was_made_after_a_list_stays() -> None:
    store = store_with(tenant("101"))
    assert store.retain(set(), "100") == ()
    assert store.get("acme") is not None


@pytest.mark.parametrize(
    ("candidate", "known", "newer"),
    [("10", "9", True), ("9", "10", False), ("9", "9", False), ("b", "a", True), ("a", "a", False), ("", "5", True)],
)
def test_versions_are_numbers_where_they_can_be(candidate: str, known: str, newer: bool) -> None:  # noqa: FBT001 - a table
    assert is_newer(candidate, known) is newer


def test_only_the_latest_deletions_are_remembered() -> None:
    stones = Tombstones()
    for number in range(10_000):
        stones.bury(f"u-{number}", "5")
    assert not stones.covers("u-0", "4")
    assert stones.covers("u-9999", "4")


@given(st.permutations(range(1, 8)), st.integers(min_value=1, max_value=7))
def test_in_any_order_the_newest_wins_and_the_deleted_stays_deleted(order: list[int], last: int) -> None:
    """Versions up to `last` are states of one object; `last` itself is its deletion."""
    store = store_with()
    for version in order:
        if version < last:
            store.put(tenant(str(version)))
        if version == last:
            store.remove(tenant(str(version)))
    assert store.get("acme") is None
