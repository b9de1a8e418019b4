"""The endpoints that change points.

The order of checks is the server's, and it shows: whoever may read a collection learns of a wrong dimension before he
is told that he may not write.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from qdrant_client.http import models

from hack.plane.emulators.qdrant.access import Need
from hack.plane.emulators.qdrant.bodies import Body
from hack.plane.emulators.qdrant.calls import Call
from hack.plane.emulators.qdrant.catalog import Catalog, Collection, changed
from hack.plane.emulators.qdrant.core import Core
from hack.plane.emulators.qdrant.errors import ApiError, bad_input
from hack.plane.emulators.qdrant.payloads import Json
from hack.plane.emulators.qdrant.requests import parsed, require_point_ids
from hack.plane.emulators.qdrant.routing import Router
from hack.plane.emulators.qdrant.strict_mode import Demand

Operation = tuple[str, Json]

MODELS: dict[str, type[BaseModel]] = {
    "upsert": models.UpsertOperation,
    "delete": models.DeleteOperation,
    "set_payload": models.SetPayloadOperation,
    "overwrite_payload": models.OverwritePayloadOperation,
    "delete_payload": models.DeletePayloadOperation,
    "clear_payload": models.ClearPayloadOperation,
    "update_vectors": models.UpdateVectorsOperation,
    "delete_vectors": models.DeleteVectorsOperation,
}
GROWING = {"set_payload", "overwrite_payload"}


class Writing:
    def __init__(self, catalog: Catalog, core: Core) -> None:
        self._catalog = catalog
        self._core = core

    def register(self, router: Router) -> None:
        base = "/collections/*/points"
        self._register(router, "PUT", base, "upsert")
        self._register(router, "POST", f"{base}/delete", "delete")
        self._register(router, "POST", f"{base}/payload", "set_payload")
        self._register(router, "PUT", f"{base}/payload", "overwrite_payload")
        self._register(router, "POST", f"{base}/payload/delete", "delete_payload")
        self._register(router, "POST", f"{base}/payload/clear", "clear_payload")
        self._register(router, "PUT", f"{base}/vectors", "update_vectors")
        self._register(router, "POST", f"{base}/vectors/delete", "delete_vectors")
        router.add("POST", f"{base}/batch", self.batch)

    def _register(self, router: Router, method: str, path: str, kind: str) -> None:
        router.add(method, path, lambda call: self.change(call, kind))

    def change(self, call: Call, kind: str) -> Json:
        body = call.json()
        return self._apply(call, body, [(kind, body.fields)])[0]

    def batch(self, call: Call) -> list[Json]:
        body = call.json()
        given = body.fields.get("operations")
        if not isinstance(given, list):
            raise body.missing("operations")
        return self._apply(call, body, [_operation(body, operation) for operation in given])

    def _apply(self, call: Call, body: Body, operations: Sequence[Operation]) -> list[Json]:
        wait, timeout = call.flag("wait"), call.number("timeout")
        requests = [_request(body, operation) for operation in operations]
        call.access.require(call.collection)
        collection = self._catalog.get(call.collection)
        strict = self._catalog.strict_mode(collection)
        for operation in operations:
            strict.check([_demand(operation)], collection.schema, timeout=timeout)
        for vectors in _upserted_vectors(operations):
            _require_dimensions(collection, vectors)
        call.access.require(call.collection, Need.WRITE)
        return [
            self._change(collection, operation, request, wait=wait)
            for operation, request in zip(operations, requests, strict=True)
        ]

    def _change(self, collection: Collection, operation: Operation, request: Any, *, wait: bool) -> Json:
        self._catalog.strict_mode(collection).take_write(lambda: self._cost(collection, operation, request))
        try:
            self._core.apply(collection, [request])
        except ApiError as error:
            # Whoever does not wait is told "acknowledged" before the server finds that a point is not there.
            if wait or error.text.startswith("Bad request"):
                raise
        return changed(collection, wait=wait)

    def _cost(self, collection: Collection, operation: Operation, request: Any) -> int:
        """One for each point that is changed."""
        kind, given = operation
        filter_ = getattr(getattr(request, kind), "filter", None)
        changed_points = len(_ids(given)) if filter_ is None else self._core.count(collection, filter_)
        return max(1, changed_points)


def _operation(body: Body, given: Any) -> Operation:
    kinds = [kind for kind in MODELS if isinstance(given, dict) and isinstance(given.get(kind), dict)]
    if not kinds:
        raise body.no_variant("operations", "UpdateOperation")
    return kinds[0], given[kinds[0]]


def _request(body: Body, operation: Operation) -> Any:
    kind, given = operation
    require_point_ids(_ids(given))
    if kind in {"upsert", "update_vectors"}:
        given = _with_named_vectors(given)
    return parsed(body, MODELS[kind], {kind: given})


def _ids(given: Json) -> list[Any]:
    """The points that an operation names: as ids, as points with an id, or as a batch of columns."""
    batch, points = given.get("batch"), given.get("points")
    if isinstance(batch, dict):
        points = batch.get("ids")
    if not isinstance(points, list):
        return []
    return [point.get("id") if isinstance(point, dict) else point for point in points]


def _with_named_vectors(given: Json) -> Json:
    """The unnamed vector under its name "": a collection that has named ones besides wants it so."""
    if not isinstance(given.get("points"), list):
        return given
    return given | {"points": [_with_named_vector(point) for point in given["points"]]}


def _with_named_vector(point: Any) -> Any:
    if isinstance(point, dict) and isinstance(point.get("vector"), list):
        return point | {"vector": {"": point["vector"]}}
    return point


def _demand(operation: Operation) -> Demand:
    kind, given = operation
    if kind == "upsert":
        return Demand(batch=("upsert limit", len(_ids(given))), grows=True)
    if kind == "update_vectors":
        return Demand(batch=("update limit", len(_ids(given))), grows=True)
    return Demand(write_filter=given.get("filter"), grows=kind in GROWING)


def _upserted_vectors(operations: Sequence[Operation]) -> Iterator[Any]:
    for kind, given in operations:
        if kind != "upsert":
            continue
        if "batch" in given:
            yield from _batch_vectors(given["batch"])
        else:
            yield from (point.get("vector") for point in given["points"])


def _batch_vectors(batch: Json) -> Iterator[Any]:
    vectors = batch.get("vectors") or []
    if isinstance(vectors, list):
        yield from vectors
        return
    for name, column in vectors.items():
        yield from ({name: vector} for vector in column)


def _require_dimensions(collection: Collection, vectors: Any) -> None:
    named = vectors if isinstance(vectors, dict) else {"": vectors}
    for name, vector in named.items():
        params = collection.vector_params.get(name)
        if params is None or not isinstance(vector, list):
            continue  # sparse, or a name that the collection has not: found out when the point is written
        suffix = f" for vector '{name}'" if isinstance(vectors, dict) else ""
        for dense in vector if vector and isinstance(vector[0], list) else [vector]:
            if len(dense) != params["size"]:
                raise bad_input(f"Vector dimension error: expected dim: {params['size']}, got {len(dense)}{suffix}")
