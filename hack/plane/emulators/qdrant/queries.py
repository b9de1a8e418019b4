"""Every kind of search as one: the bodies of the older endpoints turned into that of `/points/query`."""

from collections.abc import Iterator
from typing import Any

from hack.plane.emulators.qdrant.bodies import BODY, Body
from hack.plane.emulators.qdrant.catalog import Collection
from hack.plane.emulators.qdrant.errors import bad_input, invalid
from hack.plane.emulators.qdrant.payloads import Json
from hack.plane.emulators.qdrant.strict_mode import Demand

DEFAULT_LIMIT = 10
DEFAULT_GROUP_SIZE = 3
SHARED = {
    "filter",
    "params",
    "limit",
    "offset",
    "with_payload",
    "with_vector",
    "score_threshold",
    "lookup_from",
    "using",
}
QUERY = SHARED | {"query", "prefetch"}
GROUPED = SHARED | {"group_by", "group_size", "with_lookup"}


def from_query(_body: Body, given: Json) -> Json:
    require_minimum(given, "internal", limit=1)
    return _known(given, QUERY)


def from_search(body: Body, given: Json) -> Json:
    vector = _required(body, given, "vector")
    _required(body, given, "limit")
    require_minimum(given, "search_request", limit=1)
    using = {}
    if isinstance(vector, dict) and "vector" in vector:
        using = {"using": vector.get("name", "")}
        vector = vector["vector"]
    return _known(given, SHARED) | using | {"query": {"nearest": vector}}


def from_recommend(body: Body, given: Json) -> Json:
    _required(body, given, "limit")
    require_minimum(given, "recommend_request", limit=1)
    examples = {name: given[name] for name in ("positive", "negative", "strategy") if name in given}
    return _known(given, SHARED) | {"query": {"recommend": examples}}


def from_discover(body: Body, given: Json) -> Json:
    _required(body, given, "limit")
    require_minimum(given, "discover_request", limit=1)
    context = given.get("context") or []
    if given.get("target") is None:
        return _known(given, SHARED) | {"query": {"context": context}}
    return _known(given, SHARED) | {"query": {"discover": {"target": given["target"], "context": context}}}


def grouped(query: Json, given: Json) -> Json:
    """A query in groups: what the ungrouped one asks, and how to group."""
    require_minimum(given, "search_group_request.group_request", limit=1, group_size=1)
    return query | _known(given, GROUPED)


def require_minimum(given: Json, where: str, **minima: int) -> None:
    """Raises the 422 for a member below its minimum; `where` is how the server calls the holder."""
    for name, minimum in minima.items():
        value = given.get(name)
        if isinstance(value, int) and value < minimum:
            raise invalid(BODY, f"{where}.{name}", f"value {value} invalid, must be {minimum} or larger")


def demand(query: Json) -> Demand:
    """What a query asks, and its prefetches, for the limits of the collection."""
    limit = query.get("limit")
    limit = DEFAULT_LIMIT if limit is None else limit
    if "group_by" in query:
        limit *= query.get("group_size") or DEFAULT_GROUP_SIZE
    return Demand(
        limit=limit,
        read_filter=query.get("filter"),
        params=query.get("params") or {},
        group_by=query.get("group_by"),
        prefetch=tuple(demand(inner) for inner in prefetches(query)),
    )


def prefetches(query: Json) -> list[Json]:
    given = query.get("prefetch") or []
    return [_known(inner, QUERY) for inner in (given if isinstance(given, list) else [given])]


def lookups(query: Json) -> Iterator[str]:
    """The other collections that a query reads, those of its prefetches too, in the order of the server's check."""
    if given := query.get("lookup_from"):
        yield given["collection"]
    for inner in prefetches(query):
        yield from lookups(inner)
    if given := query.get("with_lookup"):
        yield given if isinstance(given, str) else given["collection"]


def require_dimensions(collection: Collection, query: Json) -> None:
    """Raises the 400 for a vector of the wrong size, or for a vector name that the collection has not."""
    for inner in prefetches(query):
        require_dimensions(collection, inner)
    inputs = list(_inputs(query.get("query")))
    name = query.get("using") or ""
    params = collection.vector_params.get(name)
    if inputs and params is None and name not in collection.sparse_params:
        raise bad_input(f"Not existing vector name error: {name}")
    for vector in [vector for given in inputs for vector in _dense_vectors(given)]:
        if params is not None and len(vector) != params["size"]:
            raise bad_input(f"Vector dimension error: expected dim: {params['size']}, got {len(vector)}")


def _inputs(wanted: Any) -> Iterator[Any]:
    """The points and vectors that a query starts from: ids, dense, sparse or several vectors."""
    match wanted:
        case None:
            return
        case {"nearest": given}:
            yield given
        case {"recommend": examples}:
            yield from [*(examples.get("positive") or []), *(examples.get("negative") or [])]
        case {"discover": {"target": target, "context": context}}:
            yield target
            yield from _inputs({"context": context})
        case {"context": pairs}:
            for pair in pairs if isinstance(pairs, list) else [pairs]:
                yield from (pair["positive"], pair["negative"])
        case dict() if "indices" not in wanted:
            return  # fusion, order, samples, formulas
        case _:
            yield wanted


def _dense_vectors(given: Any) -> list[list[float]]:
    if not isinstance(given, list):
        return []
    return given if given and isinstance(given[0], list) else [given]


def _known(given: Json, members: set[str]) -> Json:
    return {name: value for name, value in given.items() if name in members}


def _required(body: Body, given: Json, name: str) -> Any:
    if given.get(name) is None:
        raise body.missing(name)
    return given[name]
