"""Metadata of the objects that we made for DataClusters, and of our records: enough to see drift, and no content.

Some ten objects for each of thousands of DataClusters are kept, so a record is small, equal strings are one string, and
of the annotations only ours are kept.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from bulkhead.api.labels import DATA_CLUSTER_UID
from bulkhead.api.meta import GROUP
from bulkhead.kube.client import FIELD_MANAGER
from bulkhead.kube.resources import Resource
from bulkhead.kube.versions import Tombstones, is_newer

_OURS = f"{GROUP}/"

Change = Literal["ADDED", "MODIFIED", "DELETED"]


class ChildKey(NamedTuple):
    """Where an object lies."""

    resource: Resource
    namespace: str
    """Empty for cluster-scoped kinds."""
    name: str


@dataclass(frozen=True, slots=True)
class ChildMeta:
    """What the watch shows of one object."""

    key: ChildKey
    uid: str
    resource_version: str
    labels: dict[str, str]
    annotations: dict[str, str]
    """Those with our prefix only."""
    foreign: bool
    """Whether somebody else wrote to it, outside its subresources, and what they wrote is still there."""
    deletion_timestamp: str

    @property
    def owner(self) -> str:
        """UID of the DataCluster that it belongs to; empty where it names none."""
        return self.labels.get(DATA_CLUSTER_UID, "")


class Managed(msgspec.Struct):
    """One entry of managedFields; the fields themselves are skipped while decoding."""

    manager: str = ""
    subresource: str = ""


class ObjectMeta(msgspec.Struct, rename="camel"):
    """Metadata as the API server sends it."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    managed_fields: list[Managed] | None = None
    deletion_timestamp: str = ""


class PartialObject(msgspec.Struct):
    """A PartialObjectMetadata, or any object of which only the metadata is wanted."""

    metadata: ObjectMeta


def child_from(resource: Resource, meta: ObjectMeta) -> ChildMeta:
    """The compact form of what was decoded."""
    return ChildMeta(
        ChildKey(resource, sys.intern(meta.namespace), meta.name),
        meta.uid,
        meta.resource_version,
        {sys.intern(key): sys.intern(value) for key, value in (meta.labels or {}).items()},
        {sys.intern(key): value for key, value in (meta.annotations or {}).items() if key.startswith(_OURS)},
        any(entry.manager != FIELD_MANAGER and not entry.subresource for entry in meta.managed_fields or ()),
        meta.deletion_timestamp,
    )


class ChildStore:
    """Objects by key and by the DataCluster that they belong to. Older states change nothing."""

    def __init__(self) -> None:
        self._children: dict[ChildKey, ChildMeta] = {}
        self._by_owner: dict[str, dict[ChildKey, ChildMeta]] = {}
        self._gone = Tombstones()

    def __len__(self) -> int:
        return len(self._children)

    def get(self, resource: Resource, name: str, namespace: str = "") -> ChildMeta | None:
        """The newest state known, or None where there is no such object."""
        return self._children.get(ChildKey(resource, namespace, name))

    def children_of(self, uid: str) -> Collection[ChildMeta]:
        """All that belongs to this DataCluster."""
        return tuple(self._by_owner.get(uid, {}).values())

    def owners(self) -> Collection[str]:
        """UIDs of all DataClusters that something belongs to."""
        return tuple(self._by_owner)

    def apply(self, change: Change, child: ChildMeta) -> bool:
        """Take over what a stream reports; False where it is not news."""
        return self._remove(child) if change == "DELETED" else self._put(child)

    def put(self, resource: Resource, answer: dict[str, object]) -> bool:
        """Take over the answer to a write of ours, ahead of the stream."""
        return self._put(child_from(resource, msgspec.convert(answer, PartialObject).metadata))

    def _put(self, child: ChildMeta) -> bool:
        known = self._children.get(child.key)
        if known and not is_newer(child.resource_version, known.resource_version):
            return False
        if self._gone.covers(child.uid, child.resource_version):
            return False
        if known:
            self._unlink(known)
        self._children[child.key] = child
        if child.owner:
            self._by_owner.setdefault(child.owner, {})[child.key] = child
        return True

    def _remove(self, child: ChildMeta) -> bool:
        self._gone.bury(child.uid, child.resource_version)
        known = self._children.get(child.key)
        if known is None or is_newer(known.resource_version, child.resource_version):
            return False
        del self._children[child.key]
        self._unlink(known)
        return True

    def _unlink(self, child: ChildMeta) -> None:
        siblings = self._by_owner.get(child.owner, {})
        siblings.pop(child.key, None)
        if not siblings:
            self._by_owner.pop(child.owner, None)
