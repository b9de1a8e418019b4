"""The requests to Qdrant that we need, each with the shape of its answer (REST, 1.16 and later)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from bulkhead.api.ownership import Stamp
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.http import ERASE_SECONDS, HttpClient, Reply, decoded
from bulkhead.engines.qdrant.decide import STAMP_KEY
from bulkhead.engines.qdrant.errors import error_of
from bulkhead.engines.qdrant.steps import CreateCollection, Entry, Limits, Snapshot, Stranger
from bulkhead.engines.qdrant.tokens import COLLECTION_FIELD, REGISTER, REGISTER_FIELD, point_id

IDENTITY_KEY = "identity"
PAGE = 1000

T = TypeVar("T")


class Vector(msgspec.Struct, frozen=True):
    size: int = 0
    distance: str = ""


class Params(msgspec.Struct, frozen=True):
    vectors: dict[str, Any] | None = None

    @property
    def vector(self) -> Vector:
        """The single unnamed vector; an empty one where there are none or several, under names."""
        try:
            return msgspec.convert(self.vectors or {}, Vector)
        except msgspec.ValidationError:
            return Vector()


class StrictMode(msgspec.Struct, frozen=True):
    enabled: bool | None = None
    max_points_count: int | None = None
    upsert_max_batchsize: int | None = None

    @property
    def limits(self) -> Limits | None:
        if not self.enabled or self.max_points_count is None or self.upsert_max_batchsize is None:
            return None
        return Limits(self.max_points_count, self.upsert_max_batchsize)


class Config(msgspec.Struct, frozen=True):
    params: Params = Params()
    strict_mode_config: StrictMode | None = None
    metadata: dict[str, Any] | None = None


class Collection(msgspec.Struct, frozen=True):
    config: Config = Config()
    payload_schema: dict[str, dict[str, Any]] = {}

    @property
    def mark(self) -> str | None:
        return _text(self.config.metadata, STAMP_KEY)

    @property
    def identity(self) -> str:
        return _text(self.config.metadata, IDENTITY_KEY) or ""

    @property
    def keyword_indexes(self) -> frozenset[str]:
        return frozenset(field for field, kind in self.payload_schema.items() if kind.get("data_type") == "keyword")


class _Point(msgspec.Struct, frozen=True):
    id: str | int
    payload: dict[str, Any] | None = None


class _Page(msgspec.Struct, frozen=True):
    points: list[_Point]
    next_page_offset: str | int | None = None


class _Named(msgspec.Struct, frozen=True):
    name: str


class _Names(msgspec.Struct, frozen=True):
    collections: list[_Named]


class _Count(msgspec.Struct, frozen=True):
    count: int


class _Root(msgspec.Struct, frozen=True):
    version: str


class QdrantApi:
    """Raises Unavailable, Refused or Insecure, saying what failed while doing what."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def version(self) -> str:
        doing = "asking Qdrant for its version"
        reply = await self._accepted("GET", "/", doing)
        return decoded(reply, _Root, doing).version

    async def ping(self) -> None:
        await self._accepted("GET", f"/collections/{REGISTER}/exists", "asking Qdrant whether it is there")

    async def answers_to(self, headers: Mapping[str, Sensitive], path: str) -> Reply:
        """What the server answers to somebody with these headers and no others."""
        return await self._client.call("GET", path, doing="trying what Qdrant refuses", headers=headers)

    async def collections(self) -> frozenset[str]:
        listed = await self._result("GET", "/collections", "listing collections", _Names)
        return frozenset(collection.name for collection in listed.collections)

    async def collection(self, name: str) -> Collection | None:
        doing = f'looking at collection "{name}"'
        reply = await self._client.call("GET", _path(name), doing=doing)
        return None if reply.status == 404 else _result_of(reply, Collection, doing)

    async def is_empty(self, name: str) -> bool:
        counted = await self._result(
            "POST", f"{_path(name)}/points/count", f'counting points of "{name}"', _Count, {"exact": True}
        )
        return counted.count == 0

    async def create_collection(self, step: CreateCollection) -> bool:
        """True: made; False: the name was taken. Stamped in the same call, so there is never one without."""
        body = {
            "vectors": {"size": step.dimensions, "distance": step.distance, "on_disk": True},
            "on_disk_payload": True,
            "shard_number": 1,
            # Lean, or a thousand small tenants would cost gigabytes: a segment per core, 32 MB of log each.
            "optimizers_config": {"default_segment_number": 1},
            "wal_config": {"wal_capacity_mb": 1},
            "hnsw_config": {"on_disk": True},
            "strict_mode_config": _strict_mode(step.limits),
            "metadata": {STAMP_KEY: str(step.stamp)},
        }
        return await self._create(step.name, body)

    async def create_register(self, stamp: Stamp, identity: str) -> bool:
        """True: made; False: there is one already."""
        body = {
            "vectors": {"size": 1, "distance": "Dot"},
            "shard_number": 1,
            "optimizers_config": {"default_segment_number": 1},
            "wal_config": {"wal_capacity_mb": 1},
            "metadata": {STAMP_KEY: str(stamp), IDENTITY_KEY: identity},
        }
        return await self._create(REGISTER, body)

    async def stamp_collection(self, name: str, stamp: Stamp) -> None:
        await self._accepted("PATCH", _path(name), f'stamping "{name}"', {"metadata": {STAMP_KEY: str(stamp)}})

    async def limit_collection(self, name: str, limits: Limits) -> None:
        body = {"strict_mode_config": _strict_mode(limits)}
        await self._accepted("PATCH", _path(name), f'limiting collection "{name}"', body)

    async def index_field(self, name: str, field: str) -> None:
        body = {"field_name": field, "field_schema": "keyword"}
        doing = f'indexing field "{field}" of collection "{name}"'
        await self._accepted("PUT", f"{_path(name)}/index?wait=true", doing, body)

    async def delete_collection(self, name: str) -> None:
        """Success too where there is none."""
        await self._erased(_path(name), f'deleting collection "{name}"')

    async def snapshots(self, name: str, shard: int | None = None) -> tuple[Snapshot, ...]:
        """None of a collection that does not exist: what it left behind shows only when the name is used again."""
        doing = f'listing snapshots of collection "{name}"'
        reply = await self._client.call("GET", _snapshots_path(name, shard), doing=doing)
        found = [] if reply.status == 404 else _result_of(reply, list[_Named], doing)
        return tuple(Snapshot(snapshot.name, shard) for snapshot in found)

    async def delete_snapshot(self, name: str, snapshot: Snapshot) -> None:
        path = f"{_snapshots_path(name, snapshot.shard)}/{quote(snapshot.name, safe='')}?wait=true"
        await self._erased(path, f'deleting snapshot "{snapshot.name}" of collection "{name}"')

    async def entry(self, stamp: Stamp) -> Entry | None:
        """What the register holds of `stamp`'s owner; None also where there is no register. Whatever else is in that
        point, its tokens are that owner's, and alive."""
        doing = "reading the register of tokens"
        body = {"ids": [point_id(stamp)], "with_payload": True, "with_vector": False}
        reply = await self._client.call("POST", f"{_path(REGISTER)}/points", doing=doing, body=body)
        points = [] if reply.status == 404 else _result_of(reply, list[_Point], doing)
        if not points:
            return None
        found = _entry_of(points[0])
        return found if found and found.stamp == stamp else Entry(stamp, "", _tokens_in(points[0]))

    async def stranger(self, stamp: Stamp, collection: str) -> Stranger | None:
        """Some point with tokens for `collection` that is not the one of `stamp`; None also where there is no
        register."""
        doing = "looking in the register of tokens for those of others"
        kept = {
            "must": [{"key": COLLECTION_FIELD, "match": {"value": collection}}],
            "must_not": [{"has_id": [point_id(stamp)]}, {"is_empty": {"key": REGISTER_FIELD}}],
        }
        body = {"filter": kept, "limit": 1, "with_payload": True, "with_vector": False}
        reply = await self._client.call("POST", f"{_path(REGISTER)}/points/scroll", doing=doing, body=body)
        points = [] if reply.status == 404 else _result_of(reply, _Page, doing).points
        return Stranger(str(points[0].id), _text(points[0].payload, "stamp")) if points else None

    async def entries(self) -> AsyncIterator[Entry]:
        """All of the register, page by page."""
        doing, offset = "reading the register of tokens", None
        while True:
            body = {"limit": PAGE, "with_payload": True, "with_vector": False, "offset": offset}
            page = await self._result("POST", f"{_path(REGISTER)}/points/scroll", doing, _Page, body)
            for entry in filter(None, map(_entry_of, page.points)):
                yield entry
            offset = page.next_page_offset
            if offset is None:
                return

    async def register(self, entry: Entry) -> None:
        payload = {"stamp": str(entry.stamp), COLLECTION_FIELD: entry.collection, REGISTER_FIELD: list(entry.tokens)}
        body = {"points": [{"id": point_id(entry.stamp), "vector": [1.0], "payload": payload}]}
        await self._accepted("PUT", f"{_path(REGISTER)}/points?wait=true", "writing the register of tokens", body)

    async def unregister(self, stamp: Stamp) -> None:
        path, body = f"{_path(REGISTER)}/points/delete?wait=true", {"points": [point_id(stamp)]}
        await self._accepted("POST", path, "removing an entry from the register of tokens", body)

    async def _accepted(self, method: str, path: str, doing: str, body: object = None) -> Reply:
        reply = await self._client.call(method, path, doing=doing, body=body)
        if not reply.good:
            raise error_of(reply, doing)
        return reply

    async def _result(self, method: str, path: str, doing: str, kind: type[T], body: object = None) -> T:
        return _result_of(await self._client.call(method, path, doing=doing, body=body), kind, doing)

    async def _create(self, name: str, body: object) -> bool:
        doing = f'creating collection "{name}"'
        reply = await self._client.call("PUT", _path(name), doing=doing, body=body)
        if not (reply.good or reply.status == 409):
            raise error_of(reply, doing)
        return reply.good

    async def _erased(self, path: str, doing: str) -> None:
        reply = await self._client.call("DELETE", path, doing=doing, seconds=ERASE_SECONDS)
        if not (reply.good or reply.status == 404):
            raise error_of(reply, doing)


def _path(name: str) -> str:
    return f"/collections/{quote(name, safe='')}"


def _snapshots_path(name: str, shard: int | None) -> str:
    return f"{_path(name)}/snapshots" if shard is None else f"{_path(name)}/shards/{shard}/snapshots"


def _strict_mode(limits: Limits) -> dict[str, object]:
    return {"enabled": True, "max_points_count": limits.points, "upsert_max_batchsize": limits.batch}


def _result_of(reply: Reply, kind: type[T], doing: str) -> T:
    if not reply.good:
        raise error_of(reply, doing)
    body = decoded(reply, dict[str, msgspec.Raw], doing)
    return decoded(Reply(reply.status, bytes(body.get("result", b"null"))), kind, doing)


def _text(values: Mapping[str, Any] | None, key: str) -> str | None:
    """The text under `key`. Anything else there is somebody's, and shown as such rather than taken for nothing."""
    found = (values or {}).get(key)
    return found if found is None or isinstance(found, str) else repr(found)


def _entry_of(point: _Point) -> Entry | None:
    payload = point.payload or {}
    stamp = Stamp.parse(_text(payload, "stamp"))
    if stamp is None or not isinstance(payload.get(REGISTER_FIELD), list):
        return None
    return Entry(stamp, _text(payload, COLLECTION_FIELD) or "", _tokens_in(point))


def _tokens_in(point: _Point) -> tuple[str, ...]:
    """Sorted. A single one that is in no list counts for the server too."""
    tokens = (point.payload or {}).get(REGISTER_FIELD) or []
    return tuple(sorted(map(str, tokens if isinstance(tokens, list) else (tokens,))))
