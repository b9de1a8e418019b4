"""Newest state of every object of our own kinds, decoded, as the API server last showed it.

Fed from three sides at once, in any order: the watch, answers to our own writes, and the periodic list. So whatever is
older than what is known changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from bulkhead.api.meta import Meta
from bulkhead.kube.resources import Resource
from bulkhead.kube.versions import Tombstones, is_newer

Json = dict[str, Any]

# A second copy of the spec, in every object that came by `kubectl apply`.
_NOT_KEPT = "kubectl.kubernetes.io/last-applied-configuration"


class Identified(Protocol):
    """Every struct of our API."""

    @property
    def metadata(self) -> Meta: ...


T = TypeVar("T", bound=Identified)


@dataclass(frozen=True, slots=True)
class Undecodable:
    """An object whose content does not fit our structs: made under another version of the CRD."""

    metadata: Meta
    error: str
    """Where it does not fit; values are not quoted."""
    spec: Any
    """As it rests: what an object that can not be read names is not free for that."""


class ObjectStore(Generic[T]):
    """Objects of one cluster-scoped kind, by name."""

    def __init__(self, resource: Resource, kind: type[T]) -> None:
        self.resource = resource
        self._kind = kind
        self._objects: dict[str, T | Undecodable] = {}
        self._gone = Tombstones()

    def __iter__(self) -> Iterator[T | Undecodable]:
        return iter(tuple(self._objects.values()))

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, name: str) -> T | Undecodable | None:
        """The newest state known, or None where there is no such object."""
        return self._objects.get(name)

    def put(self, raw: Json) -> bool:
        """Take over a state; False where it is not news."""
        meta = msgspec.convert(raw["metadata"], Meta)
        known = self._objects.get(meta.name)
        if known and not is_newer(meta.resource_version, known.metadata.resource_version):
            return False
        if self._gone.covers(meta.uid, meta.resource_version):
            return False
        self._objects[meta.name] = self._decode(raw, meta)
        return True

    def remove(self, raw: Json) -> bool:
        """Take over a deletion; False where the object is not known or a newer one of that name is."""
        meta = msgspec.convert(raw["metadata"], Meta)
        return self._remove(meta.name, meta.uid, meta.resource_version)

    def retain(self, names: Collection[str], resource_version: str) -> tuple[str, ...]:
        """Drop what a complete list of that version did not show, and name it. What is newer than the list stays."""
        missing = [known.metadata for known in self if known.metadata.name not in names]
        return tuple(meta.name for meta in missing if self._remove(meta.name, meta.uid, resource_version))

    def _remove(self, name: str, uid: str, resource_version: str) -> bool:
        self._gone.bury(uid, resource_version)
        known = self._objects.get(name)
        if known is None or is_newer(known.metadata.resource_version, resource_version):
            return False
        del self._objects[name]
        return True

    def _decode(self, raw: Json, meta: Meta) -> T | Undecodable:
        meta.annotations.pop(_NOT_KEPT, None)
        try:
            decoded = msgspec.convert(raw, self._kind)
        except msgspec.ValidationError as error:
            return Undecodable(meta, str(error), raw.get("spec"))
        decoded.metadata.annotations.pop(_NOT_KEPT, None)
        return decoded
