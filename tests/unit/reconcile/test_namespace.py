"""What a namespace holds is put in place when somebody wrote to it, and left alone otherwise."""

from __future__ import annotations

from typing import Any

import msgspec

from bulkhead.kube.children import ChildMeta, PartialObject, child_from
from bulkhead.kube.resources import NETWORK_POLICIES, RESOURCE_QUOTAS
from bulkhead.reconcile import children, namespace
from tests.unit.reconcile import gen
from tests.unit.reconcile.memory_kube import Json, MemoryKube

POLICY = children.child(
    NETWORK_POLICIES, gen.owner(), "default-deny", {"spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}
)
PUT = [("update", "networkpolicies", "default-deny")]


def managed_by(manager: str) -> Json:
    return {"manager": manager, "operation": "Update", "time": "2026-11-22T12:00:00Z", "fieldsV1": {"f:spec": {}}}


OURS = managed_by("bulkhead")


class TrackingKube(MemoryKube):
    """Notes in `managedFields`, as far as that matters here, who made an object and who claimed it."""

    async def create(self, resource: Any, content: Json, namespace: str | None = None) -> Json:
        return await super().create(resource, tracked(content, OURS), namespace)

    async def replace(self, resource: Any, name: str, content: Json, namespace: str | None = None) -> Json:
        known = self._found(resource, name, namespace)["metadata"].get("managedFields", [])
        return await super().replace(resource, name, tracked(content, *known), namespace)


def tracked(content: Json, *entries: Json) -> Json:
    return {**content, "metadata": {"managedFields": list(entries), **content["metadata"]}}


class Room:
    """A namespace in which one policy is wanted."""

    def __init__(self) -> None:
        self.view = gen.view()
        self.kube = TrackingKube()

    async def furnished(self) -> list[tuple[str, str, str]]:
        """What is written when it is furnished once more."""
        before = len(self.kube.writes)
        assert (await namespace.apply_contents([POLICY], self.kube, self.view)).good
        return self.kube.writes[before:]

    @property
    def seen(self) -> ChildMeta:
        found = self.view.child(NETWORK_POLICIES, POLICY.namespace, POLICY.name)
        assert found is not None
        return found

    async def somebody_writes(self, **metadata: Any) -> None:
        """Somebody changes the policy's metadata, and the watch shows it."""
        found = await self.kube.merge_patch(NETWORK_POLICIES, POLICY.name, {"metadata": metadata}, POLICY.namespace)
        shown = child_from(NETWORK_POLICIES, msgspec.convert(found, PartialObject).metadata)
        assert self.view.apply_child("MODIFIED", shown)

    def restarts(self) -> None:
        """All that is known is what a list shows."""
        known, self.view = self.seen, gen.view()
        self.view.apply_child("ADDED", known)

    @property
    def managers(self) -> list[str]:
        stored = self.kube.stored(NETWORK_POLICIES, POLICY.name, POLICY.namespace)
        assert stored is not None
        return [entry["manager"] for entry in stored["metadata"]["managedFields"]]


async def test_what_is_missing_is_made_and_then_left_alone() -> None:
    room = Room()
    assert await room.furnished() == [("create", "networkpolicies", "default-deny")]
    assert await room.furnished() == []


async def test_what_somebody_wrote_to_is_put_in_place_once() -> None:
    room = Room()
    await room.furnished()
    await room.somebody_writes(managedFields=[OURS, managed_by("kubectl-edit")])
    assert await room.furnished() == PUT
    assert await room.furnished() == []


async def test_a_newer_version_by_which_nobody_wrote_to_any_field_is_left_alone() -> None:
    room = Room()
    await room.furnished()
    await room.somebody_writes(managedFields=[OURS, {**managed_by("kube-controller-manager"), "subresource": "status"}])
    assert await room.furnished() == []


async def test_what_is_not_known_after_a_restart_is_put_in_place_once() -> None:
    room = Room()
    await room.furnished()
    room.restarts()
    assert await room.furnished() == PUT
    assert await room.furnished() == []


async def test_what_the_record_confirms_after_a_restart_is_left_alone() -> None:
    room = Room()
    await room.furnished()
    room.restarts()
    room.view.confirm([room.seen])
    assert await room.furnished() == []


async def test_what_somebody_else_owns_too_is_put_in_place_once_and_stays_theirs_too() -> None:
    room = Room()
    await room.furnished()
    await room.somebody_writes(managedFields=[OURS, managed_by("argocd")])
    assert await room.furnished() == PUT
    assert room.managers == ["bulkhead", "argocd"]
    assert await room.furnished() == []


async def test_what_nobody_tracks_any_more_is_claimed() -> None:
    room = Room()
    await room.furnished()
    await room.somebody_writes(managedFields=[])
    assert await room.furnished() == PUT
    assert room.managers == ["bulkhead"]
    assert await room.furnished() == []


async def test_what_somebody_else_made_is_claimed() -> None:
    room = Room()
    theirs = tracked(dict(POLICY.body), managed_by("velero-server"))
    await MemoryKube.create(room.kube, NETWORK_POLICIES, theirs, POLICY.namespace)
    await room.furnished()
    assert room.managers == ["bulkhead"]
    assert await room.furnished() == []


async def test_what_is_not_wanted_like_that_any_more_is_put_in_place() -> None:
    room = Room()
    await room.furnished()
    await room.somebody_writes(annotations=None)
    assert await room.furnished() == PUT


def test_a_claim_names_every_field_and_leaves_lists_whole() -> None:
    quota = children.child(
        RESOURCE_QUOTAS, gen.owner(), "bulkhead", {"spec": {"hard": {"pods": "20"}, "scopes": ["x"]}}
    )
    (entry,) = quota.claimed()["metadata"]["managedFields"]
    metadata = quota.body["metadata"]
    assert entry["fieldsV1"] == {
        "f:spec": {"f:hard": {"f:pods": {}}, "f:scopes": {}},
        "f:metadata": {
            "f:labels": {f"f:{key}": {} for key in metadata["labels"]},
            "f:annotations": {f"f:{key}": {} for key in metadata["annotations"]},
        },
    }


def test_a_claim_changes_nothing_else() -> None:
    claimed = POLICY.claimed()
    del claimed["metadata"]["managedFields"]
    assert claimed == POLICY.body
