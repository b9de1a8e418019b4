"""The vectors' core: the official client's local mode over the points that the catalog stores."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from qdrant_client.http import models
from qdrant_client.local.local_collection import LocalCollection
from qdrant_client.local.qdrant_local import QdrantLocal

from hack.plane.emulators.qdrant.catalog import Catalog, Collection
from hack.plane.emulators.qdrant.errors import ApiError, bad_input, bad_request, not_found
from hack.plane.emulators.qdrant.payloads import Json
from hack.plane.emulators.qdrant.store import StoredPoint, key_of

# What the core says -> what the server says of the same.
TRANSLATIONS: Sequence[tuple[re.Pattern[str], Callable[[str], ApiError]]] = (
    (
        re.compile(r"Point (\S+) is not found in the collection"),
        lambda found: not_found(f"No point with id {found} found"),
    ),
    (
        re.compile(r"(?:Dense vector|Sparse vector|Multivector|Vector) (\S*) (?:is )?not found.*"),
        lambda found: bad_input(f"Not existing vector name error: {found}"),
    ),
    (re.compile(r"Wrong input: (.*?)(?: for vector '')?"), bad_input),
    (re.compile(r"(Empty update request|No filter or points provided)"), bad_request),
    (re.compile(r"(.*)", re.DOTALL), bad_input),
)


class Rows:
    """Where a loaded collection writes its points through to; the storage that local mode expects."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def persist(self, point: models.PointStruct) -> None:
        stored = StoredPoint(stored_id(point.id), point.payload or {}, _plain_vectors(point.vector))
        self._collection.put_point(key_of(stored.id), stored)

    def delete(self, point: int | str) -> None:
        self._collection.delete_point(key_of(stored_id(point)), stored_id(point))

    def close(self) -> None:
        """Nothing is held open."""


class Loaded(dict[str, LocalCollection]):
    """The collections of local mode: each is loaded when its name or alias is first looked up."""

    def __init__(self, load: Callable[[Collection], LocalCollection], catalog: Catalog) -> None:
        super().__init__()
        self._load = load
        self._catalog = catalog

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._catalog.exists(name)

    def __getitem__(self, name: str) -> LocalCollection:
        return self._load(self._catalog.get(name))


class Core:
    """Searches and changes points; errors are those of the server."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._engine = QdrantLocal(":memory:")
        self._engine.collections = Loaded(self.load, catalog)

    def load(self, collection: Collection) -> LocalCollection:
        if collection.loaded is None:
            collection.loaded = _load(collection)
        return collection.loaded

    def query(self, name: str, request: models.QueryRequest) -> list[Json]:
        query: Any = request.query  # an id or a bare vector is taken too, whatever the declared type says
        with server_errors():
            response = self._engine.query_points(
                collection_name=name,
                query=query,
                using=request.using,
                prefetch=request.prefetch,
                query_filter=request.filter,
                search_params=request.params,
                limit=_or(request.limit, default=10),
                offset=request.offset,
                with_payload=_or(request.with_payload, default=False),
                with_vectors=_or(request.with_vector, default=False),
                score_threshold=request.score_threshold,
                lookup_from=request.lookup_from,
            )
        return [scored(point) for point in response.points]

    def groups(self, name: str, request: models.QueryGroupsRequest) -> list[Json]:
        with server_errors():
            found = self._engine.query_points_groups(
                collection_name=name,
                group_by=request.group_by,
                query=request.query,
                using=request.using,
                prefetch=request.prefetch,
                query_filter=request.filter,
                search_params=request.params,
                limit=_or(request.limit, default=10),
                group_size=_or(request.group_size, default=3),
                with_payload=_or(request.with_payload, default=False),
                with_vectors=_or(request.with_vector, default=False),
                score_threshold=request.score_threshold,
                with_lookup=request.with_lookup,
                lookup_from=request.lookup_from,
            )
        return [_group(group) for group in found.groups]

    def scroll(self, collection: Collection, request: models.ScrollRequest) -> Json:
        with server_errors():
            points, following = self.load(collection).scroll(
                scroll_filter=request.filter,
                limit=_or(request.limit, default=10),
                order_by=request.order_by,
                offset=request.offset,
                with_payload=_or(request.with_payload, default=True),
                with_vectors=_or(request.with_vector, default=False),
            )
        return {"points": [record(point) for point in points], "next_page_offset": following}

    def retrieve(self, collection: Collection, request: models.PointRequest) -> list[Json]:
        with server_errors():
            points = self.load(collection).retrieve(
                request.ids,
                with_payload=_or(request.with_payload, default=True),
                with_vectors=_or(request.with_vector, default=False),
            )
        return [record(point) for point in points]

    def count(self, collection: Collection, filter_: models.Filter | None) -> int:
        with server_errors():
            return int(self.load(collection).count(filter_).count)

    def facet(self, collection: Collection, request: models.FacetRequest) -> list[Json]:
        with server_errors():
            found = self.load(collection).facet(request.key, request.filter, _or(request.limit, default=10))
        return [{"value": hit.value, "count": hit.count} for hit in found.hits]

    def matrix(self, collection: Collection, request: models.SearchMatrixRequest) -> models.SearchMatrixOffsetsResponse:
        with server_errors():
            return self.load(collection).search_matrix_offsets(
                query_filter=request.filter,
                limit=_or(request.limit, default=3),
                sample=_or(request.sample, default=10),
                using=request.using,
            )

    def apply(self, collection: Collection, operations: Sequence[Any]) -> None:
        """Make changes, each one whole or, when it names a point that is not there, all of it but that."""
        with self._catalog.store.transaction(), server_errors():
            self.load(collection).batch_update_points(list(operations))


@contextmanager
def server_errors() -> Iterator[None]:
    """Turn what the core raises into what the server answers."""
    try:
        yield
    except KeyError as error:
        raise not_found(f"No point with id {error.args[0]} found") from error
    except (ValueError, TypeError, NotImplementedError) as error:
        raise _translated(str(error)) from error


def record(point: models.Record) -> Json:
    return {"id": point.id} | _content(point) | _present("order_value", point.order_value)


def scored(point: models.ScoredPoint) -> Json:
    return {"id": point.id, "version": 0, "score": _float32(point.score)} | _content(point)


def stored_id(point: object) -> int | str:
    return point if isinstance(point, int) else str(point)


def _translated(text: str) -> ApiError:
    for pattern, error in TRANSLATIONS:
        if found := pattern.fullmatch(text):
            return error(found[1])
    raise AssertionError("the last pattern matches every text")


def _load(collection: Collection) -> LocalCollection:
    dense = {name: _vector_params(params) for name, params in collection.vector_params.items()}
    sparse = {name: _sparse_params(params) for name, params in collection.sparse_params.items()}
    vectors = dense[""] if dense.keys() == {""} else dense
    loaded = LocalCollection(models.CreateCollection(vectors=vectors, sparse_vectors=sparse))
    if points := [_point(stored, dense) for stored in collection.stored_points()]:
        loaded.upsert(points)
    loaded.storage = Rows(collection)  # type: ignore[assignment]  # declared as None, used as any storage of this shape
    return loaded


def _vector_params(params: Json) -> models.VectorParams:
    used = {name: params[name] for name in ("size", "distance", "multivector_config") if name in params}
    return models.VectorParams.model_validate(used)


def _sparse_params(params: Json) -> models.SparseVectorParams:
    return models.SparseVectorParams.model_validate({"modifier": params.get("modifier")})


def _point(stored: StoredPoint, dense: dict[str, models.VectorParams]) -> models.PointStruct:
    vectors = {
        name: vector if name in dense else models.SparseVector.model_validate(vector)
        for name, vector in stored.vectors.items()
    }
    return models.PointStruct(id=stored.id, payload=stored.payload, vector=vectors)


def _plain_vectors(vectors: Any) -> Json:
    named = vectors if isinstance(vectors, dict) else {"": vectors}
    return {name: _plain(vector) for name, vector in named.items() if vector is not None}


def _plain(vector: Any) -> Any:
    """A vector as JSON: a list, a list of lists, or indices and values."""
    if isinstance(vector, models.SparseVector):
        return {"indices": vector.indices, "values": vector.values}
    return vector.tolist() if isinstance(vector, np.ndarray) else vector


def _content(point: models.Record | models.ScoredPoint) -> Json:
    return _present("payload", point.payload) | _present("vector", _answered(point.vector))


def _answered(vector: Any) -> Any:
    """A vector, or vectors by name, with single-precision numbers as the server writes them."""
    if isinstance(vector, dict):
        return {name: _answered(named) for name, named in vector.items()}
    if isinstance(vector, models.SparseVector):
        return {"indices": vector.indices, "values": _answered(vector.values)}
    if isinstance(vector, list) and vector and isinstance(vector[0], list):
        return [_answered(inner) for inner in vector]
    return None if vector is None else [_float32(number) for number in vector]


def _present(name: str, value: object) -> Json:
    return {} if value is None else {name: value}


def _group(group: models.PointGroup) -> Json:
    looked_up = None if group.lookup is None else record(group.lookup)
    return {"id": group.id, "hits": [scored(hit) for hit in group.hits]} | _present("lookup", looked_up)


def _float32(number: float) -> float:
    """A number in single precision, with as many digits as that needs."""
    return float(str(np.float32(number)))


def _or(value: Any, *, default: Any) -> Any:
    return default if value is None else value
