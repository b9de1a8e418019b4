"""Metadata of the objects that we made for DataClusters, and of our records: enough to see drift, and no content.

Some ten objects for each of thousands of DataClusters are kept, so a record is small, equal strings are one string, and
of the annotations only ours are kept.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec

from bulkhead.api.labels import DATA_CLUSTER_UID
from bulkhead.api.meta import GROUP
from bulkhead.kube.client import FIELD_MANAGER
from bulkhead.kube.resources import Resource
from bulkhead.kube.versions import Tombstones, is_newer

_OURS = f"{GROUP}/"
_JSON = msgspec.json.Encoder(order="deterministic")

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
    ownership: int
    """Fingerprint of who owns which field, by `ownership_of`."""
    deletion_timestamp: str

    @property
    def owner(self) -> str:
        """UID of the DataCluster that it belongs to; empty where it names none."""
        return self.labels.get(DATA_CLUSTER_UID, "")


class Managed(msgspec.Struct, rename="camel"):
    """One entry of managedFields: which fields a writer owns. It holds names of fields, and no values."""

    manager: str = ""
    time: str = ""
    fields_v1: Any = None
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


def ownership_of(entries: Iterable[Managed]) -> int:
    """64 bits that are others after every write to an object by anybody, and the same after one that changes nothing;
    0 where nothing is ours: then nobody might own a field, and its removal would not show.

    The API server gives a field that is added or changed to its writer, takes one that is removed from whoever had it,
    and notes the time, to the second, at which a writer took anything. Subresources are left out: a quota's status is
    written by a controller whenever a pod comes or goes.
    """
    tracked = [entry for entry in entries if not entry.subresource]
    if not any(entry.manager == FIELD_MANAGER for entry in tracked):
        return 0
    owned = [(entry.manager, entry.time, entry.fields_v1) for entry in tracked]
    return int.from_bytes(hashlib.blake2b(_JSON.encode(owned), digest_size=8).digest())


def child_from(resource: Resource, meta: ObjectMeta) -> ChildMeta:
    """The compact form of what was decoded."""
    return ChildMeta(
        ChildKey(resource, sys.intern(meta.namespace), meta.name),
        meta.uid,
        meta.resource_version,
        {sys.intern(key): sys.intern(value) for key, value in (meta.labels or {}).items()},
        {sys.intern(key): value for key, value in (meta.annotations or {}).items() if key.startswith(_OURS)},
        ownership_of(meta.managed_fields or ()),
        meta.deletion_timestamp,
    )


class ChildStore:
    """Objects by key and by the DataCluster that they belong to, and how we left each. Older states change nothing."""

    def __init__(self) -> None:
        self._children: dict[ChildKey, ChildMeta] = {}
        self._left: dict[ChildKey, int] = {}
        self._by_owner: dict[str, dict[ChildKey, ChildMeta]] = {}
        self._gone = Tombstones()

    def __len__(self) -> int:
        return len(self._children)

    def get(self, resource: Resource, name: str, namespace: str = "") -> ChildMeta | None:
        """The newest state known, or None where there is no such object."""
        return self._children.get(ChildKey(resource, namespace, name))

    def left(self, resource: Resource, name: str, namespace: str = "") -> int | None:
        """The ownership that our own last write left behind; None where that is not known, as after a restart."""
        return self._left.get(ChildKey(resource, namespace, name))

    def confirm(self, children: Iterable[ChildMeta]) -> None:
        """Take it as known that nobody wrote to these since we did."""
        self._left.update((child.key, child.ownership) for child in children)

    def children_of(self, uid: str) -> Collection[ChildMeta]:
        """All that belongs to this DataCluster."""
        return tuple(self._by_owner.get(uid, {}).values())

    def apply(self, change: Change, child: ChildMeta) -> bool:
        """Take over what a stream reports; False where it is not news."""
        return self._remove(child) if change == "DELETED" else self._put(child)

    def put(self, resource: Resource, answer: dict[str, object]) -> bool:
        """Take over the answer to a write of ours, ahead of the stream."""
        child = child_from(resource, msgspec.convert(answer, PartialObject).metadata)
        news = self._put(child)
        if child.key in self._children:
            self._left[child.key] = child.ownership
        return news

    def _put(self, child: ChildMeta) -> bool:
        known = self._children.get(child.key)
        if known == child:
            self._keep(child)  # the stream that tells it keeps it as well: one object in place of two
            return False
        if known and not is_newer(child.resource_version, known.resource_version):
            return False
        if self._gone.covers(child.uid, child.resource_version):
            return False
        if known:
            self._unlink(known)
        self._keep(child)
        return True

    def _keep(self, child: ChildMeta) -> None:
        self._children[child.key] = child
        if child.owner:
            self._by_owner.setdefault(child.owner, {})[child.key] = child

    def _remove(self, child: ChildMeta) -> bool:
        self._gone.bury(child.uid, child.resource_version)
        known = self._children.get(child.key)
        if known is None or is_newer(known.resource_version, child.resource_version):
            return False
        del self._children[child.key]
        self._left.pop(child.key, None)
        self._unlink(known)
        return True

    def _unlink(self, child: ChildMeta) -> None:
        siblings = self._by_owner.get(child.owner, {})
        siblings.pop(child.key, None)
        if not siblings:
            self._by_owner.pop(child.owner, None)
