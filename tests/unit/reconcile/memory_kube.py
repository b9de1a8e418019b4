"""An API server in memory, as far as the flows speak to it: objects, their versions, and refusals."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

import msgspec

from bulkhead.kube.client import KubeClient
from bulkhead.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from bulkhead.kube.resources import Resource

Json = dict[str, Any]
Place = tuple[Resource, str, str]


class MemoryKube(KubeClient):
    """Keeps what was written.

    refusals: what a verb on a kind raises, such as `("create", DATA_CLUSTERS)`
    writes: verb, kind and name of each change, in order
    """

    def __init__(self, *objects: tuple[Resource, Json]) -> None:
        self.objects: dict[Place, Json] = {}
        self.refusals: dict[tuple[str, Resource], KubeError] = {}
        self.writes: list[tuple[str, str, str]] = []
        self._versions = itertools.count(1000)
        for resource, content in objects:
            self.objects[_place(resource, content)] = copy.deepcopy(content)

    def stored(self, resource: Resource, name: str, namespace: str = "") -> Json | None:
        """The object as it rests; None where there is none."""
        return self.objects.get((resource, namespace, name))

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Json:
        return copy.deepcopy(self._found(resource, name, namespace))

    async def get_metadata(self, resource: Resource, name: str, namespace: str | None = None) -> Json:
        return {"metadata": (await self.get(resource, name, namespace))["metadata"]}

    async def list(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = ""
    ) -> AsyncIterator[Json]:
        for (kind, place, _), content in tuple(self.objects.items()):
            found = content["metadata"].get("labels", {})
            if kind == resource and namespace in (None, place) and _selected(label_selector, found):
                yield copy.deepcopy(content)

    async def list_metadata(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
    ) -> AsyncIterator[Json]:
        for (kind, place, _), content in self.objects.items():
            found = content["metadata"].get("labels", {})
            if kind == resource and namespace in (None, place) and (not label_selector or label_selector in found):
                yield {"metadata": copy.deepcopy(content["metadata"])}

    async def create(self, resource: Resource, content: Json, namespace: str | None = None) -> Json:
        name = content["metadata"]["name"]
        self._begin("create", resource, name)
        if (resource, namespace or "", name) in self.objects:
            raise AlreadyExists(f'{resource.plural} "{name}" exists')
        made = copy.deepcopy(content)
        made["metadata"] = {"uid": f"u-{resource.plural}-{name}", "generation": 1, **made["metadata"]}
        return self._store(resource, made)

    async def replace(self, resource: Resource, name: str, content: Json, namespace: str | None = None) -> Json:
        self._begin("update", resource, name)
        known = self._found(resource, name, namespace)
        self._check(known, content["metadata"].get("resourceVersion", ""))
        put = copy.deepcopy(content)
        put["metadata"] = {"uid": known["metadata"]["uid"], **put["metadata"]}
        return self._store(resource, put)

    async def merge_patch(self, resource: Resource, name: str, patch: Json, namespace: str | None = None) -> Json:
        self._begin("patch", resource, name)
        known = self._found(resource, name, namespace)
        self._check(known, patch.get("metadata", {}).get("resourceVersion", ""))
        return self._store(resource, merged(known, patch))

    async def patch_status(
        self, resource: Resource, name: str, status: Json, namespace: str | None = None, *, resource_version: str = ""
    ) -> Json:
        self._begin("patch", resource, f"{name}/status")
        known = self._found(resource, name, namespace)
        self._check(known, resource_version)
        return self._store(resource, merged(known, {"status": status}))

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str = "",
        resource_version: str = "",
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",  # noqa: ARG002 - the client's shape
    ) -> None:
        self._begin("delete", resource, name)
        known = self._found(resource, name, namespace)
        self._check(known, resource_version)
        if uid and known["metadata"]["uid"] != uid:
            raise Conflict(f'{resource.plural} "{name}" has another UID')
        del self.objects[resource, namespace or "", name]

    def _begin(self, verb: str, resource: Resource, name: str) -> None:
        self.writes.append((verb, resource.plural, name))
        if refusal := self.refusals.get((verb, resource)):
            raise refusal

    def _found(self, resource: Resource, name: str, namespace: str | None) -> Json:
        try:
            return self.objects[resource, namespace or "", name]
        except KeyError:
            raise NotFound(f'{resource.plural} "{name}" does not exist') from None

    def _check(self, known: Json, version: str) -> None:
        if version and known["metadata"]["resourceVersion"] != version:
            raise Conflict("the object has been modified")

    def _store(self, resource: Resource, content: Json) -> Json:
        kept: Json = msgspec.json.decode(msgspec.json.encode(content))
        kept["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[_place(resource, kept)] = kept
        return copy.deepcopy(kept)


def _selected(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether labels fit a selector of `key=value` and `key in (a,b)`."""
    terms = re.findall(r"([^\s,=]+)(?:=([^,]*)| in \(([^)]*)\))", selector)
    return all(labels.get(key) in (value, *listed.split(",")) for key, value, listed in terms)


def _place(resource: Resource, content: Json) -> Place:
    return resource, content["metadata"].get("namespace", ""), content["metadata"]["name"]


def merged(target: Any, patch: Any) -> Any:
    """What a JSON merge patch makes of `target` (RFC 7396)."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result
