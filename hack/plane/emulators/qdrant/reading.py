"""The endpoints that read points.

The order of checks is the server's: the body, the right to read, that the collection exists, its limits, then the
collections that are looked up, and only then whether the vectors fit.
"""

from collections.abc import Callable, Sequence

from qdrant_client.http import models

from hack.plane.emulators.qdrant import filters, queries
from hack.plane.emulators.qdrant.bodies import Body
from hack.plane.emulators.qdrant.calls import Call
from hack.plane.emulators.qdrant.catalog import Catalog, Collection
from hack.plane.emulators.qdrant.core import Core
from hack.plane.emulators.qdrant.errors import bad_input, not_found
from hack.plane.emulators.qdrant.payloads import Json
from hack.plane.emulators.qdrant.requests import is_point_id, parsed, require_point_ids
from hack.plane.emulators.qdrant.routing import Router
from hack.plane.emulators.qdrant.strict_mode import Demand

Translation = Callable[[Body, Json], Json]

INDEX_HELP = "Check https://qdrant.tech/documentation/concepts/indexing/#payload-index to see which payload schemas"


class Reading:
    def __init__(self, catalog: Catalog, core: Core) -> None:
        self._catalog = catalog
        self._core = core

    def register(self, router: Router) -> None:
        base = "/collections/*/points"
        router.add("GET", f"{base}/*", self.get_one)
        for start in (base, "/collections/*/shards/*/points"):
            router.add("POST", start, self.retrieve)
            router.add("POST", f"{start}/scroll", self.scroll)
            router.add("POST", f"{start}/count", self.count)
        router.add("POST", "/collections/*/facet", self.facet)
        router.add("POST", f"{base}/search/matrix/pairs", self.matrix_pairs)
        router.add("POST", f"{base}/search/matrix/offsets", self.matrix_offsets)
        router.add("POST", f"{base}/query", lambda call: {"points": self.one(call, queries.from_query)})
        router.add("POST", f"{base}/query/batch", self.query_batch)
        router.add("POST", f"{base}/query/groups", lambda call: self.groups(call, queries.from_query))
        for kind, translation in OLDER_KINDS.items():
            self._register_older(router, f"{base}/{kind}", translation)
        router.add("POST", f"{base}/search/groups", lambda call: self.groups(call, queries.from_search))
        router.add("POST", f"{base}/recommend/groups", lambda call: self.groups(call, queries.from_recommend))

    def _register_older(self, router: Router, path: str, translation: Translation) -> None:
        router.add("POST", path, lambda call: self.one(call, translation))
        router.add("POST", f"{path}/batch", lambda call: self.batch(call, translation))

    def get_one(self, call: Call) -> Json:
        point = call.path[1]
        if not is_point_id(int(point) if point.isdecimal() else point):
            raise bad_input(f'Can not recognize "{point}" as point id')
        collection = self._open(call, [Demand()])
        request = models.PointRequest(ids=[int(point) if point.isdecimal() else point], with_vector=True)
        self._catalog.strict_mode(collection).take_read(1)
        found = self._core.retrieve(collection, request)
        if not found:
            raise not_found(f"Point with id {point} does not exists!")
        return found[0]

    def retrieve(self, call: Call) -> list[Json]:
        body = call.json()
        if "ids" not in body.fields:
            raise body.missing("ids")
        request = parsed(body, models.PointRequest, body.fields)
        require_point_ids(body.fields["ids"])
        collection = self._open(call, [Demand()])
        self._catalog.strict_mode(collection).take_read(len(request.ids))
        return self._core.retrieve(collection, request)

    def scroll(self, call: Call) -> Json:
        body = call.json()
        given = body.fields
        queries.require_minimum(given, "scroll_request", limit=1)
        request = parsed(body, models.ScrollRequest, given)
        collection = self._open(call, [Demand(limit=request.limit, read_filter=given.get("filter"))])
        self._require_range_index(collection, given.get("order_by"))
        self._take(collection, given)
        return self._core.scroll(collection, request)

    def count(self, call: Call) -> Json:
        body = call.json()
        request = parsed(body, models.CountRequest, body.fields)
        exact = request.exact is None or request.exact
        collection = self._open(call, [Demand(read_filter=body.fields.get("filter"), exact=exact)])
        self._take(collection, body.fields)
        return {"count": self._core.count(collection, request.filter)}

    def facet(self, call: Call) -> Json:
        body = call.json()
        given = body.fields
        queries.require_minimum(given, "facet_request", limit=1)
        request = parsed(body, models.FacetRequest, given)
        demand = Demand(limit=request.limit, read_filter=given.get("filter"), exact=bool(request.exact))
        collection = self._open(call, [demand])
        self._require_match_index(collection, request.key)
        self._take(collection, given)
        return {"hits": self._core.facet(collection, request)}

    def matrix_pairs(self, call: Call) -> Json:
        matrix = self._matrix(call)
        offsets = zip(matrix.offsets_row, matrix.offsets_col, matrix.scores, strict=True)
        return {"pairs": [{"a": matrix.ids[row], "b": matrix.ids[col], "score": score} for row, col, score in offsets]}

    def matrix_offsets(self, call: Call) -> Json:
        return self._matrix(call).model_dump()

    def one(self, call: Call, translation: Translation) -> list[Json]:
        body = call.json()
        query = translation(body, body.fields)
        return self._run(call, body, [query])[0]

    def batch(self, call: Call, translation: Translation) -> list[list[Json]]:
        body = call.json()
        searches = [translation(body, search) for search in self._searches(body)]
        return self._run(call, body, searches, batch=len(searches))

    def query_batch(self, call: Call) -> list[Json]:
        return [{"points": points} for points in self.batch(call, queries.from_query)]

    def groups(self, call: Call, translation: Translation) -> Json:
        body = call.json()
        given = body.fields
        if "group_by" not in given:
            raise body.missing("group_by")
        query = queries.grouped(translation(body, given), given)
        request = parsed(body, models.QueryGroupsRequest, query)
        collection = self._open_for_queries(call, [query])
        return {"groups": self._core.groups(collection.name, request)}

    def _run(self, call: Call, body: Body, searches: Sequence[Json], batch: int | None = None) -> list[list[Json]]:
        requests = [parsed(body, models.QueryRequest, query) for query in searches]
        collection = self._open_for_queries(call, searches, batch)
        return [self._core.query(collection.name, request) for request in requests]

    def _open(self, call: Call, demands: Sequence[Demand], batch: int | None = None) -> Collection:
        call.access.require(call.collection)
        collection = self._catalog.get(call.collection)
        self._catalog.strict_mode(collection).check(
            demands, collection.schema, timeout=call.number("timeout", minimum=1), searches=batch
        )
        return collection

    def _open_for_queries(self, call: Call, searches: Sequence[Json], batch: int | None = None) -> Collection:
        collection = self._open(call, [queries.demand(query) for query in searches], batch)
        looked_up = [name for query in searches for name in queries.lookups(query)]
        for name in looked_up:
            if not call.access.sees(name):
                call.access.require(name)
        for name in looked_up:
            if not self._catalog.exists(name):
                raise not_found(f"Collection {name} not found")
        for query in searches:
            queries.require_dimensions(collection, query)
            self._require_range_index(collection, _order_by(query))
            self._take(collection, query)
        return collection

    def _matrix(self, call: Call) -> models.SearchMatrixOffsetsResponse:
        body = call.json()
        given = body.fields
        queries.require_minimum(given, "search_request", sample=2, limit=1)
        request = parsed(body, models.SearchMatrixRequest, given)
        asked = [value for value in (request.limit, request.sample) if value is not None]
        limit = asked[0] * asked[-1] if len(asked) == 2 else next(iter(asked), None)
        collection = self._open(call, [Demand(limit=limit, read_filter=given.get("filter"))])
        self._take(collection, given)
        return self._core.matrix(collection, request)

    def _searches(self, body: Body) -> list[Json]:
        searches = body.fields.get("searches")
        if not isinstance(searches, list) or not all(isinstance(search, dict) for search in searches):
            raise body.missing("searches")
        return searches

    def _take(self, collection: Collection, given: Json) -> None:
        self._catalog.strict_mode(collection).take_read(1 + filters.count(given.get("filter")))

    def _require_range_index(self, collection: Collection, order_by: str | Json | None) -> None:
        if order_by is None:
            return
        key = order_by if isinstance(order_by, str) else order_by["key"]
        if not self._is_served(collection, key, " range"):
            raise bad_input(
                f"No range index for `order_by` key: `{key}`. Please create one to use `order_by`. "
                f"{INDEX_HELP} support Range conditions"
            )

    def _require_match_index(self, collection: Collection, key: str) -> None:
        if not self._is_served(collection, key, " match"):
            raise bad_input(
                f"No appropriate index for faceting: `{key}`. Please create one to facet on this field. "
                f"{INDEX_HELP} support Match conditions"
            )

    def _is_served(self, collection: Collection, key: str, kind: str) -> bool:
        schema = collection.schema.get(key)
        return schema is not None and any(served.endswith(kind) for served in filters.serves(schema))


OLDER_KINDS: dict[str, Translation] = {
    "search": queries.from_search,
    "recommend": queries.from_recommend,
    "discover": queries.from_discover,
}


def _order_by(query: Json) -> str | Json | None:
    wanted = query.get("query")
    return wanted.get("order_by") if isinstance(wanted, dict) else None
