"""Searching: one index, several, facets, and similar documents."""

from typing import Any, Final

from hack.plane.emulators.meilisearch import facets, federation, filters, search, shapes
from hack.plane.emulators.meilisearch.documents import ident_of
from hack.plane.emulators.meilisearch.errors import ApiError
from hack.plane.emulators.meilisearch.http import Answer, Call, Route, answer
from hack.plane.emulators.meilisearch.search import Query
from hack.plane.emulators.meilisearch.shapes import Field, Json, Place, Shape

_PATH: Final = "/indexes/{index_uid}"
_FROM_SEARCH: Final = (
    "q", "vector", "media", "hybrid", "filter", "matchingStrategy", "attributesToSearchOn", "rankingScoreThreshold",
    "locales",
)  # fmt: skip
_FACET_SEARCH: Final = Shape(
    (
        Field("facetQuery", shapes.nullable(shapes.string), "invalid_facet_search_query", default=None),
        Field(
            "facetName",
            shapes.string,
            "invalid_facet_search_facet_name",
            required=True,
            missing_code="missing_facet_search_facet_name",
        ),
        *(each for each in search.FIELDS if each.name in _FROM_SEARCH),
        Field(
            "exhaustiveFacetCount",
            shapes.nullable(shapes.boolean),
            "invalid_facet_search_exhaustive_facet_count",
            default=None,
        ),
        Field("useNetwork", shapes.nullable(shapes.boolean), "invalid_search_use_network", default=None),
    ),
    ignores_unknown=True,
)


def _similar_id(value: Json, place: Place) -> Json:
    try:
        ident_of(value)
    except ApiError as error:
        raise place.wrong_value(
            "the value of `id` is invalid. A document identifier can be of type integer or string, only composed of "
            "alphanumeric characters (a-z A-Z 0-9), hyphens (-) and underscores (_), and can not be more than 511 "
            "bytes."
        ) from error
    return value


_THRESHOLD: Final = "the value of `rankingScoreThreshold` is invalid, expected a float between `0.0` and `1.0`."
_SIMILAR: Final = Shape((
    Field("id", _similar_id, "invalid_similar_id", required=True),
    Field("offset", shapes.unsigned, "invalid_similar_offset", default=0),
    Field("limit", shapes.unsigned, "invalid_similar_limit", default=20),
    Field("filter", shapes.anything, "invalid_similar_filter", default=None),
    Field("embedder", shapes.string, "invalid_similar_embedder", required=True),
    Field(
        "attributesToRetrieve", shapes.nullable(shapes.strings), "invalid_similar_attributes_to_retrieve", default=None
    ),
    Field("retrieveVectors", shapes.boolean, "invalid_similar_retrieve_vectors", default=False),
    Field("showRankingScore", shapes.boolean, "invalid_similar_show_ranking_score", default=False),
    Field("showRankingScoreDetails", shapes.boolean, "invalid_similar_show_ranking_score_details", default=False),
    Field("showPerformanceDetails", shapes.boolean, "invalid_similar_show_performance_details", default=False),
    Field(
        "rankingScoreThreshold",
        shapes.nullable(search.THRESHOLD),
        "invalid_similar_ranking_score_threshold",
        default=None,
    ),
))  # fmt: skip
_SIMILAR_PARAMETERS: Final = Shape((
    Field("id", shapes.string, "invalid_similar_id", required=True),
    Field("embedder", shapes.string, "invalid_similar_embedder", required=True),
    Field("offset", shapes.unsigned_parameter, "invalid_similar_offset", default=0),
    Field("limit", shapes.unsigned_parameter, "invalid_similar_limit", default=20),
    Field(
        "attributesToRetrieve", shapes.comma_separated(), "invalid_similar_attributes_to_retrieve", default=None
    ),
    Field("retrieveVectors", shapes.boolean_parameter, "invalid_similar_retrieve_vectors", default=False),
    Field("filter", shapes.string, "invalid_similar_filter", default=None),
    Field("showRankingScore", shapes.boolean_parameter, "invalid_similar_show_ranking_score", default=False),
    Field(
        "showRankingScoreDetails",
        shapes.boolean_parameter,
        "invalid_similar_show_ranking_score_details",
        default=False,
    ),
    Field(
        "showPerformanceDetails",
        shapes.boolean_parameter,
        "invalid_similar_show_performance_details",
        default=False,
    ),
    Field(
        "rankingScoreThreshold",
        shapes.number_parameter(_THRESHOLD, 0.0, 1.0),
        "invalid_similar_ranking_score_threshold",
        default=None,
    ),
))  # fmt: skip


async def _search(call: Call) -> Answer:
    values = call.read(search.BODY)
    return answer(call.engine.desk.single(call.index_uid, values, call.access))


async def _search_by_url(call: Call) -> Answer:
    values = search.from_parameters(call.parameters(search.PARAMETERS))
    return answer(call.engine.desk.single(call.index_uid, values, call.access))


async def _multi_search(call: Call) -> Answer:
    return answer(call.engine.desk.several(call.read(federation.BODY), call.access))


async def _facet_search(call: Call) -> Answer:
    asked: dict[str, Any] = call.read(_FACET_SEARCH)
    started = call.engine.clock()
    index = call.engine.catalog.get(call.index_uid)
    values = {each.name: asked.get(each.name, each.default) for each in search.FIELDS}
    values["filter"] = filters.both(asked["filter"], call.access.filter_for(index.uid))
    search.refuse_unknown_powers(values, call.engine.features)
    results = call.engine.desk.searcher.run(index, Query.of(values))
    hits = facets.search(index, asked["facetName"], asked["facetQuery"], results.documents())
    return answer(
        {
            "facetHits": hits,
            "facetQuery": asked["facetQuery"],
            "processingTimeMs": (call.engine.clock() - started) // 1_000_000,
        }
    )


async def _similar(call: Call) -> Answer:
    return _no_embedder(call, call.read(_SIMILAR)["embedder"])


async def _similar_by_url(call: Call) -> Answer:
    return _no_embedder(call, call.parameters(_SIMILAR_PARAMETERS)["embedder"])


def _no_embedder(call: Call, name: str) -> Answer:
    """No index ever has an embedder here, so this is the server's own answer."""
    call.engine.catalog.get(call.index_uid)
    raise ApiError("invalid_similar_embedder", f"Cannot find embedder with name `{name}`.")


ROUTES: Final = (
    Route("POST", f"{_PATH}/search", ("search",), _search),
    Route("GET", f"{_PATH}/search", ("search",), _search_by_url),
    Route("POST", "/multi-search", ("search",), _multi_search),
    Route("POST", f"{_PATH}/facet-search", ("search",), _facet_search),
    Route("POST", f"{_PATH}/similar", ("search",), _similar),
    Route("GET", f"{_PATH}/similar", ("search",), _similar_by_url),
)
