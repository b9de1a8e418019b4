"""The endpoints of collections: their life, configuration, aliases, payload indexes and named vectors."""

from typing import Any

from hack.plane.emulators.qdrant import filters, settings
from hack.plane.emulators.qdrant.access import Need
from hack.plane.emulators.qdrant.bodies import Body
from hack.plane.emulators.qdrant.calls import Call
from hack.plane.emulators.qdrant.catalog import Catalog, Collection, changed
from hack.plane.emulators.qdrant.errors import bad_request
from hack.plane.emulators.qdrant.names import require_new_collection_name, require_vector_name
from hack.plane.emulators.qdrant.payloads import Json
from hack.plane.emulators.qdrant.routing import Router
from hack.plane.emulators.qdrant.strict_mode import Demand

NO_MEMORY = {"ram_bytes": 0, "disk_bytes": 0, "cached_bytes": 0}


class Collections:
    """`peer` is the number of this server."""

    def __init__(self, catalog: Catalog, peer: int) -> None:
        self._catalog = catalog
        self._peer = peer

    def register(self, router: Router) -> None:
        one = "/collections/*"
        router.add("GET", "/collections", self.list_all)
        router.add("GET", "/aliases", self.list_aliases)
        router.add("POST", "/collections/aliases", self.change_aliases)
        router.add("PUT", one, self.create)
        router.add("GET", one, self.get)
        router.add("PATCH", one, self.update)
        router.add("DELETE", one, self.delete)
        router.add("GET", f"{one}/exists", self.exists)
        router.add("GET", f"{one}/aliases", self.list_own_aliases)
        router.add("PUT", f"{one}/index", self.create_index)
        router.add("DELETE", f"{one}/index/*", self.delete_index)
        router.add("PUT", f"{one}/vectors/*", self.create_vector_name)
        router.add("DELETE", f"{one}/vectors/*", self.delete_vector_name)
        router.add("GET", f"{one}/optimizations", self.optimizations)
        router.add("GET", f"{one}/memory", self.memory)
        router.add("GET", f"{one}/cluster", self.cluster)
        router.add("POST", f"{one}/cluster", self.change_cluster)
        router.add("GET", f"{one}/shards", self.shard_keys)
        router.add("PUT", f"{one}/shards", self.change_cluster)
        router.add("POST", f"{one}/shards/delete", self.change_cluster)
        router.add("POST", f"{one}/shards/*/cleanup", self.cleanup)
        router.add("POST", f"{one}/truncate_unapplied_wal", self.truncate_log)

    def list_all(self, call: Call) -> Json:
        return {"collections": [{"name": name} for name in self._catalog.names() if call.access.sees(name)]}

    def create(self, call: Call) -> bool:
        require_new_collection_name(call.path[0])
        config = settings.created(call.json())
        call.number("timeout", minimum=1)
        call.access.require_global(Need.MANAGE)
        self._catalog.create(call.path[0], config)
        return True

    def get(self, call: Call) -> Json:
        collection = self._open(call)
        return {
            "status": "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": 0,
            "points_count": collection.points,
            "segments_count": collection.config["optimizer_config"]["default_segment_number"] or 1,
            "config": collection.config,
            "payload_schema": {name: _index_info(collection, name) for name in collection.schema},
            "update_queue": {"length": 0},
        }

    def update(self, call: Call) -> bool:
        body = call.json()
        settings.checked_update(body)
        call.number("timeout", minimum=1)
        call.access.require_global(Need.MANAGE)
        collection = self._catalog.get(call.collection)
        collection.config = settings.patched(collection.config, body)
        self._catalog.save(collection)
        if body.fields.get("strict_mode_config") is not None:
            self._catalog.strict_mode(collection).configure(collection.config["strict_mode_config"])
        return True

    def delete(self, call: Call) -> bool:
        name = call.collection
        call.number("timeout", minimum=1)
        call.access.require_global(Need.MANAGE)
        return self._catalog.drop(name)

    def exists(self, call: Call) -> Json:
        call.access.require(call.collection)
        return {"exists": self._catalog.exists(call.collection)}

    def list_aliases(self, call: Call) -> Json:
        seen = [(alias, target) for alias, target in self._catalog.aliases.items() if call.access.sees(target)]
        return {"aliases": [{"alias_name": alias, "collection_name": target} for alias, target in sorted(seen)]}

    def list_own_aliases(self, call: Call) -> Json:
        name = call.collection
        call.access.require(name)
        aliases = self._catalog.aliases_of(name)
        return {"aliases": [{"alias_name": alias, "collection_name": name} for alias in aliases]}

    def change_aliases(self, call: Call) -> bool:
        body = call.json()
        if not isinstance(body.fields.get("actions"), list):
            raise body.missing("actions")
        actions = [_alias_action(body, action) for action in body.fields["actions"]]
        call.access.require_global(Need.MANAGE)
        for kind, given in actions:
            self._change_alias(kind, given)
        return True

    def create_index(self, call: Call) -> Json:
        body = call.json()
        field, schema = _index(body)
        collection = self._open(call)
        demand = Demand(grows=True, adds_index=True)
        self._catalog.strict_mode(collection).check([demand], collection.schema, timeout=call.number("timeout"))
        if schema is None:
            raise bad_request("Can't auto-detect field type, please specify `field_schema` in the request")
        call.access.require(call.collection, Need.WRITE | Need.EXTRAS)
        collection.schema[field] = schema
        self._catalog.save(collection)
        collection.unload()
        return changed(collection, wait=call.flag("wait"))

    def delete_index(self, call: Call) -> Json:
        call.access.require(call.collection, Need.WRITE | Need.EXTRAS)
        collection = self._catalog.get(call.collection)
        collection.schema.pop(call.path[1], None)
        self._catalog.save(collection)
        collection.unload()
        return changed(collection, wait=call.flag("wait"))

    def create_vector_name(self, call: Call) -> Json:
        body = call.json()
        name = call.path[1]
        kind, config = settings.vector_config(body)
        require_vector_name(name, kind)
        collection = self._open(call)
        self._catalog.strict_mode(collection).check([Demand(grows=True, adds_index=False)], collection.schema)
        call.access.require(call.collection, Need.WRITE | Need.EXTRAS)
        self._set_params(collection, settings.with_vector(collection.config["params"], name, kind, config))
        return changed(collection, wait=call.flag("wait"))

    def delete_vector_name(self, call: Call) -> Json:
        call.access.require(call.collection, Need.WRITE | Need.EXTRAS)
        collection = self._catalog.get(call.collection)
        params = settings.without_vector(collection.config["params"], call.path[1])
        if params != collection.config["params"]:
            # The points first: a crash in between leaves a vector that no point has, never one that nothing describes.
            collection.forget_vector(call.path[1])
            self._set_params(collection, params)
        return changed(collection, wait=call.flag("wait"))

    def optimizations(self, call: Call) -> Json:
        self._open(call)
        summary = {"queued_optimizations": 0, "queued_segments": 0, "queued_points": 0, "idle_segments": 1}
        return {"summary": summary, "running": []}

    def memory(self, call: Call) -> Json:
        self._open(call)
        return {"total": NO_MEMORY, "vectors": [], "sparse_vectors": [], "payload": NO_MEMORY, "payload_index": []}

    def cluster(self, call: Call) -> Json:
        call.access.require(call.collection, Need.EXTRAS)
        collection = self._catalog.get(call.collection)
        shard = {"shard_id": 0, "points_count": collection.points, "state": "Active"}
        return {
            "peer_id": self._peer,
            "shard_count": 1,
            "local_shards": [shard],
            "remote_shards": [],
            "shard_transfers": [],
        }

    def change_cluster(self, call: Call) -> None:
        call.json()
        call.access.require(call.collection, Need.WRITE | Need.MANAGE | Need.EXTRAS)
        raise bad_request("Distributed mode disabled")

    def shard_keys(self, call: Call) -> Json:
        self._open(call)
        return {"shard_keys": []}

    def cleanup(self, call: Call) -> Json:
        call.access.require(call.collection, Need.WRITE)
        return changed(self._catalog.get(call.collection), wait=call.flag("wait"))

    def truncate_log(self, call: Call) -> bool:
        call.access.require_global(Need.MANAGE)
        self._catalog.get(call.collection)
        return True

    def _open(self, call: Call) -> Collection:
        call.access.require(call.collection)
        return self._catalog.get(call.collection)

    def _set_params(self, collection: Collection, params: Json) -> None:
        collection.config["params"] = params
        self._catalog.save(collection)
        collection.unload()

    def _change_alias(self, kind: str, given: Json) -> None:
        match kind:
            case "create_alias":
                self._catalog.create_alias(given["alias_name"], given["collection_name"])
            case "delete_alias":
                self._catalog.delete_alias(given["alias_name"])
            case _:
                self._catalog.rename_alias(given["old_alias_name"], given["new_alias_name"])


ALIAS_ACTIONS = {
    "create_alias": ("collection_name", "alias_name"),
    "delete_alias": ("alias_name",),
    "rename_alias": ("old_alias_name", "new_alias_name"),
}


def _alias_action(body: Body, action: Any) -> tuple[str, Json]:
    for kind, members in ALIAS_ACTIONS.items():
        given = action.get(kind) if isinstance(action, dict) else None
        if isinstance(given, dict) and all(isinstance(given.get(member), str) for member in members):
            return kind, given
    raise body.no_variant("actions", "AliasOperations")


def _index(body: Body) -> tuple[str, Any]:
    """The field and the schema that a body asks for an index of."""
    given = body.fields
    if not isinstance(given.get("field_name"), str):
        raise body.missing("field_name")
    member = "field_type" if "field_type" in given else "field_schema"
    schema = given.get(member)
    kind = schema.get("type") if isinstance(schema, dict) else schema
    if schema is not None and not (isinstance(kind, str) and kind in filters.SERVES):
        raise body.no_variant(member, "PayloadFieldSchema")
    return given["field_name"], schema


def _index_info(collection: Collection, field: str) -> Json:
    schema = collection.schema[field]
    params = {"params": schema} if isinstance(schema, dict) else {}
    return {"data_type": filters.schema_type(schema), "points": collection.values.count(field)} | params
