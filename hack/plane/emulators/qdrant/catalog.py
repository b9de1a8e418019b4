"""The collections and aliases of the server, and what each collection consists of."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hack.plane.emulators.qdrant.auth import Scalar
from hack.plane.emulators.qdrant.errors import already_exists, bad_input, no_such_collection, not_found
from hack.plane.emulators.qdrant.names import require_storable
from hack.plane.emulators.qdrant.payloads import Json, ValueIndex
from hack.plane.emulators.qdrant.settings import named_vectors
from hack.plane.emulators.qdrant.store import Store, StoredPoint
from hack.plane.emulators.qdrant.strict_mode import Sizes, StrictMode

if TYPE_CHECKING:
    from qdrant_client.local.local_collection import LocalCollection

FLOAT_BYTES = 4


class Collection:
    """One collection: its configuration, its payload indexes and its points, as they are stored.

    `config` is what `GET /collections/x` shows as `config`; `schema` are the payload indexes by field.
    `loaded` holds the points for searching, once somebody searched.
    """

    def __init__(self, store: Store, number: int, name: str, config: Json, schema: Json, points: int) -> None:
        self._store = store
        self.number = number
        self.name = name
        self.config = config
        self.schema = schema
        self.points = points
        self.operations = 0
        self.loaded: LocalCollection | None = None
        self._read_anew()

    @property
    def vector_params(self) -> dict[str, Json]:
        """The dense vectors by name; "" is the unnamed one."""
        return named_vectors(self.config["params"])

    @property
    def sparse_params(self) -> dict[str, Json]:
        return self.config["params"].get("sparse_vectors") or {}

    def sizes(self) -> Sizes:
        dimensions = sum(params["size"] for params in self.vector_params.values())
        vectors = self.points * dimensions * FLOAT_BYTES
        return Sizes(self.points, vectors, self._store.payload_bytes(self.number))

    def stored_points(self) -> list[StoredPoint]:
        return list(self._store.points(self.number))

    def put_point(self, key: str, point: StoredPoint) -> None:
        self.points += not self._store.has_point(self.number, point.id)
        self._store.put_point(self.number, point)
        self.values.put(key, point.payload)

    def delete_point(self, key: str, point: int | str) -> None:
        self.points -= self._store.has_point(self.number, point)
        self._store.delete_point(self.number, point)
        self.values.drop(key)

    def replace_points(self, points: Iterable[StoredPoint]) -> None:
        with self._store.transaction():
            self._store.delete_points(self.number)
            for point in points:
                self._store.put_point(self.number, point)
        self.points = self._store.point_counts().get(self.number, 0)
        self._read_anew()

    def forget_vector(self, name: str) -> None:
        """Take a named vector out of every point."""
        with self._store.transaction():
            for point in [point for point in self.stored_points() if name in point.vectors]:
                left = {kept: vector for kept, vector in point.vectors.items() if kept != name}
                self._store.put_point(self.number, replace(point, vectors=left))
        self.unload()

    def unload(self) -> None:
        """What is loaded no longer fits the configuration; the next search loads it again."""
        self.loaded = None

    def _read_anew(self) -> None:
        self.values = ValueIndex(lambda: self._store.payloads(self.number))
        self.unload()

    def holds(self, matches: Sequence[tuple[str, Scalar]]) -> bool:
        """Whether one point has all these values; with none to match, whether there is a point at all."""
        if not matches:
            return self.points > 0
        holders = [self.values.holders(name, value) for name, value in matches]
        return bool(set.intersection(*holders))


def changed(collection: Collection, *, wait: bool) -> Json:
    """The answer to a change of a collection's points, indexes or vectors."""
    collection.operations += 1
    return {"operation_id": collection.operations, "status": "completed" if wait else "acknowledged"}


class Catalog:
    """Names are unique among collections and aliases together. Every change is stored before it is answered."""

    def __init__(self, store: Store, disk_percent: Callable[[], int], now: Callable[[], float]) -> None:
        self.store = store
        self._disk_percent = disk_percent
        self._now = now
        self._collections: dict[str, Collection] = {}
        self._strict: dict[int, StrictMode] = {}
        self.aliases = store.aliases()
        # Names are added and never taken out, so `/telemetry` shows those of deleted collections until a restart.
        self.snapshot_counts: dict[str, int] = {}
        counts = store.point_counts()
        for number, name, stored in store.collections():
            self._admit(Collection(store, number, name, stored["config"], stored["schema"], counts.get(number, 0)))

    def names(self) -> list[str]:
        return sorted(self._collections)

    def resolve(self, name: str) -> str:
        return self.aliases.get(name, name)

    def exists(self, name: str) -> bool:
        return self.resolve(name) in self._collections

    def get(self, name: str) -> Collection:
        """The collection of this name or alias; raises the 404 of the server."""
        found = self._collections.get(self.resolve(name))
        if found is None:
            raise no_such_collection(name)
        return found

    def strict_mode(self, collection: Collection) -> StrictMode:
        return self._strict[collection.number]

    def create(self, name: str, config: Json, schema: Json | None = None) -> Collection:
        if name in self._collections:
            raise already_exists(name)
        if name in self.aliases:
            raise bad_input(f"Can't create collection with name {name}. Alias with the same name already exists")
        require_storable(name)
        schema = schema or {}
        number = self.store.insert_collection(name, {"config": config, "schema": schema})
        return self._admit(Collection(self.store, number, name, config, schema, points=0))

    def save(self, collection: Collection) -> None:
        self.store.update_collection(collection.number, {"config": collection.config, "schema": collection.schema})

    def drop(self, name: str) -> bool:
        """Whether there was one. An alias is not followed; the aliases of a dropped collection go with it."""
        collection = self._collections.pop(name, None)
        if collection is None:
            return False
        self.store.delete_collection(collection.number, name)
        self.aliases = {alias: target for alias, target in self.aliases.items() if target != name}
        del self._strict[collection.number]
        return True

    def aliases_of(self, collection: str) -> list[str]:
        return sorted(alias for alias, target in self.aliases.items() if target == collection)

    def create_alias(self, alias: str, collection: str) -> None:
        if collection not in self._collections:
            raise no_such_collection(collection)
        if alias in self._collections:
            raise already_exists(alias)
        self.store.put_alias(alias, collection)
        self.aliases[alias] = collection

    def delete_alias(self, alias: str) -> None:
        self.store.delete_alias(alias)
        self.aliases.pop(alias, None)

    def rename_alias(self, old: str, new: str) -> None:
        if old not in self.aliases:
            raise not_found(f"Alias {old} does not exists!")
        with self.store.transaction():
            self.store.delete_alias(old)
            self.store.put_alias(new, self.aliases[old])
        self.aliases[new] = self.aliases.pop(old)

    def value_exists(self, collection: str, matches: Sequence[tuple[str, Scalar]]) -> bool | None:
        """Whether a point of a collection has all these values; None when there is no such collection."""
        found = self._collections.get(self.resolve(collection))
        return None if found is None else found.holds(matches)

    def _admit(self, collection: Collection) -> Collection:
        strict = StrictMode(collection.sizes, self._disk_percent, self._now)
        strict.configure(collection.config.get("strict_mode_config"))
        self._strict[collection.number] = strict
        self._collections[collection.name] = collection
        self.snapshot_counts.setdefault(collection.name, 0)
        return collection
