"""Searching several indexes at once, and the one way in which every search is answered.

Authorisation of indexes named in a body is the server's: queries are checked, `federation.facetsByIndex` is not, so it
tells of indexes that the caller may not see.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from hack.plane.emulators.meilisearch import facets, filters, search, settings, shapes
from hack.plane.emulators.meilisearch.auth import Access, invalid_key
from hack.plane.emulators.meilisearch.documents import ident_of, pick
from hack.plane.emulators.meilisearch.errors import ApiError, not_emulated
from hack.plane.emulators.meilisearch.features import Features
from hack.plane.emulators.meilisearch.indexes import Catalog, Index, check_uid
from hack.plane.emulators.meilisearch.search import Query, Ranked, Results, Searcher
from hack.plane.emulators.meilisearch.shapes import Field, Json, Object, Place, Shape
from hack.plane.emulators.meilisearch.times import Clock

_WEIGHT: Final = "the value of `weight` is invalid, expected a positive float (>= 0.0)."
_PAGING: Final = ("offset", "limit", "page", "hitsPerPage")


def _weight(value: Json, place: Place) -> float:
    number = shapes.number(value, place)
    if number < 0:
        raise place.wrong_value(_WEIGHT)
    return number


_OPTIONS: Final = Shape((
    Field("weight", _weight, "invalid_multi_search_weight", default=1.0),
    Field("remote", shapes.nullable(shapes.string), "invalid_multi_search_remote", default=None),
    Field("queryPosition", shapes.nullable(shapes.unsigned), "invalid_multi_search_query_position", default=None),
))  # fmt: skip
_UNSET_WITHOUT_PAGING: Final = (*_PAGING, "showPerformanceDetails")
_QUERY: Final = Shape((
    Field(
        "indexUid", shapes.parsed(check_uid), "invalid_index_uid", required=True, missing_code="missing_index_uid"
    ),
    *(
        Field(each.name, shapes.nullable(each.reader), each.code, default=None)
        if each.name in _UNSET_WITHOUT_PAGING
        else each
        for each in search.FIELDS
    ),
    Field("federationOptions", shapes.nullable(_OPTIONS), default=None),
))  # fmt: skip
_FEDERATION: Final = Shape((
    Field("limit", shapes.unsigned, "invalid_search_limit", default=20),
    Field("offset", shapes.unsigned, "invalid_search_offset", default=0),
    Field("page", shapes.nullable(shapes.unsigned), "invalid_search_page", default=None),
    Field("hitsPerPage", shapes.nullable(shapes.unsigned), "invalid_search_hits_per_page", default=None),
    Field(
        "facetsByIndex",
        shapes.mapping(shapes.nullable(shapes.strings)),
        "invalid_multi_search_facets_by_index",
        default=None,
    ),
    Field(
        "mergeFacets",
        shapes.nullable(
            Shape(
                (
                    Field(
                        "maxValuesPerFacet",
                        shapes.nullable(shapes.unsigned),
                        "invalid_multi_search_max_values_per_facet",
                        default=None,
                    ),
                ),
                code="invalid_multi_search_merge_facets",
            )
        ),
        "invalid_multi_search_merge_facets",
        default=None,
    ),
    Field("distinct", shapes.nullable(shapes.string), "invalid_search_distinct", default=None),
    Field("showPerformanceDetails", shapes.boolean, "invalid_search_show_performance_details", default=False),
    Field("personalize", shapes.anything, "invalid_search_personalize", default=None),
))  # fmt: skip
BODY: Final = Shape((
    Field("queries", shapes.array(_QUERY), required=True),
    Field("federation", shapes.nullable(_FEDERATION), default=None),
))  # fmt: skip


class InsideQuery(Exception):
    """An error in one of several queries."""

    def __init__(self, position: int, error: ApiError) -> None:
        super().__init__(error.message)
        self.position = position
        self.error = error

    def worded(self) -> ApiError:
        """The error as a multi-search answers it. What a body names and is not there is no 404."""
        status = 400 if self.error.status == 404 else self.error.status
        return ApiError(self.error.code, f"Inside `.queries[{self.position}]`: {self.error.message}", status=status)


@dataclass(frozen=True, slots=True)
class Page:
    """Which of the hits to show: an offset and a limit, or a page with totals."""

    offset: int
    limit: int
    page: int | None = None
    per_page: int | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Page":
        """From the values of a query or federation; page 0 shows nothing."""
        page, per_page = values["page"], values["hitsPerPage"]
        if page is None and per_page is None:
            return cls(values["offset"] or 0, 20 if values["limit"] is None else values["limit"])
        size = 20 if per_page is None else per_page
        number = 1 if page is None else page
        return cls((number - 1) * size if number else 0, size if number else 0, number, size)

    def view(self, total: int) -> Object:
        """The members of an answer that tell of paging."""
        if self.page is None or self.per_page is None:
            return {"limit": self.limit, "offset": self.offset, "estimatedTotalHits": total}
        pages = -(-total // self.per_page) if self.per_page else 0
        return {"hitsPerPage": self.per_page, "page": self.page, "totalPages": pages, "totalHits": total}

    def cut(self, count: int) -> slice:
        """The part of `count` hits to show."""
        return slice(min(self.offset, count), min(self.offset + self.limit, count))


@dataclass(slots=True)
class Desk:
    """Answers searches."""

    catalog: Catalog
    features: Features
    searcher: Searcher
    clock: Clock
    new_request_uid: Callable[[], UUID]

    def single(self, uid: str, values: dict[str, Any], access: Access) -> Object:
        """The answer to one query."""
        started = self.clock()
        asked = {**values, "filter": filters.both(values["filter"], access.filter_for(uid))}
        results, shown = self._find(uid, asked, Page.of(asked))
        page = Page.of(asked)
        return {
            "hits": shown,
            "query": asked["q"] or "",
            "processingTimeMs": (self.clock() - started) // 1_000_000,
            **page.view(results.total),
            **self._facets(results),
            "requestUid": str(self.new_request_uid()),
        }

    def _find(self, uid: str, values: dict[str, Any], page: Page) -> tuple[Results, list[Json]]:
        search.refuse_unknown_powers(values, self.features)
        index = self.catalog.get(uid)
        query = Query.of(values)
        results = self.searcher.run(index, query)
        if query.facets:
            facets.check(index, query.facets)
        shown: list[Json] = [results.show(each) for each in results.ranked[page.cut(results.total)]]
        return results, [self._joined(index, hit) for hit in shown]

    def _facets(self, results: Results) -> Object:
        if not results.query.facets:
            return {}
        counted = facets.count(results.index, results.query.facets, results.documents())
        return {"facetDistribution": counted.view_distribution(), "facetStats": counted.view_stats()}

    def several(self, body: dict[str, Any], access: Access) -> Object:
        """The answer to a multi-search, federated or not."""
        queries: list[dict[str, Any]] = body["queries"]
        federation: dict[str, Any] | None = body["federation"]
        try:
            asked = [self._authorised(position, values, access) for position, values in enumerate(queries)]
            if federation is None:
                return {"results": [self._one_of(position, values) for position, values in enumerate(asked)]}
            return self._federated(asked, federation)
        except InsideQuery as error:
            raise error.worded() from error

    def _authorised(self, position: int, values: dict[str, Any], access: Access) -> dict[str, Any]:
        uid = values["indexUid"]
        if not access.allows(uid):
            raise InsideQuery(position, invalid_key())
        return {**values, "filter": filters.both(values["filter"], access.filter_for(uid))}

    def _one_of(self, position: int, values: dict[str, Any]) -> Object:
        if values["federationOptions"] is not None:
            raise InsideQuery(position, _options_without_federation())
        try:
            return {"indexUid": values["indexUid"], **self.single(values["indexUid"], values, _UNFILTERED)}
        except ApiError as error:
            raise InsideQuery(position, error) from error

    def _federated(self, queries: Sequence[dict[str, Any]], federation: dict[str, Any]) -> Object:
        started = self.clock()
        if federation["personalize"] is not None:
            raise not_emulated("personalisation")
        for position, values in enumerate(queries):
            _refuse_in_federation(position, values, federation)
        lists = [self._weighted(position, values) for position, values in enumerate(queries)]
        by_index = federation["facetsByIndex"] or {}
        counted = self._facets_by_index(by_index, lists)
        merged = _unrepeated(_merge(lists), federation["distinct"])
        page = Page.of(federation)
        hits: list[Json] = [self._joined(each.results.index, each.view()) for each in merged[page.cut(len(merged))]]
        return {
            "hits": hits,
            "processingTimeMs": (self.clock() - started) // 1_000_000,
            **page.view(len(merged)),
            **_shown_facets(counted, federation["mergeFacets"]),
            "requestUid": str(self.new_request_uid()),
        }

    def _weighted(self, position: int, values: dict[str, Any]) -> "_Weighted":
        options = values["federationOptions"] or {"weight": 1.0, "remote": None}
        try:
            if options["remote"] is not None:
                self.features.require("network", "Performing a remote federated search")
                raise not_emulated("remote search")
            search.refuse_unknown_powers(values, self.features)
            results = self.searcher.run(self.catalog.get(values["indexUid"]), Query.of(values))
        except ApiError as error:
            raise InsideQuery(position, error) from error
        return _Weighted(position, options["weight"], results)

    def _facets_by_index(
        self, wanted: Mapping[str, Sequence[str] | None], lists: Sequence["_Weighted"]
    ) -> dict[str, facets.Facets]:
        counted: dict[str, facets.Facets] = {}
        for uid, patterns in sorted(wanted.items()):
            of_index = [each.results for each in lists if each.results.index.uid == uid]
            try:
                index = self.catalog.get(uid)
                facets.check(index, patterns or ())
            except ApiError as error:
                raise _inside_facets(uid, error, is_queried=bool(of_index)) from error
            if of_index and patterns is not None:
                documents = {
                    each.found.ident: each.found.document.fields for results in of_index for each in results.ranked
                }
                counted[uid] = facets.count(index, patterns, documents.values())
        return counted

    def _joined(self, index: Index, hit: Json) -> Json:
        """The hit with its foreign keys replaced by the documents they name, whosever those are."""
        keys = settings.value_of(index.settings, "foreignKeys")
        if "foreignKeys" not in self.features or not isinstance(keys, list) or not isinstance(hit, dict):
            return hit
        for key in keys:
            if isinstance(key, dict):
                foreign = self.catalog.get(str(key["foreignIndexUid"]))
                hit = _with_documents(hit, str(key["fieldName"]), foreign)
        return hit


_UNFILTERED: Final = Access(("*",), may_create=False)


def _options_without_federation() -> ApiError:
    return ApiError(
        "invalid_multi_search_federation_options",
        "Using `federationOptions` is not allowed in a non-federated search.\n - Hint: remove `federationOptions` "
        "from the query or add `federation` to the request.",
    )


def _refuse_in_federation(position: int, values: dict[str, Any], federation: dict[str, Any]) -> None:
    """Refuse in a query what belongs to the federation."""
    if given := next((name for name in _PAGING if values[name] is not None), None):
        raise InsideQuery(
            position,
            ApiError(
                "invalid_multi_search_query_pagination",
                "Using pagination options is not allowed in federated queries.\n"
                f" - Hint: remove `{given}` from the query or remove `federation` from the request\n"
                " - Hint: pass `federation.limit` and `federation.offset` for pagination in federated search",
            ),
        )
    if values["facets"]:
        names = shapes.compact(values["facets"]).replace(",", ", ")
        raise InsideQuery(
            position,
            ApiError(
                "invalid_multi_search_query_facets",
                "Using facet options is not allowed in federated queries.\n"
                " - Hint: remove `facets` from the query or remove `federation` from the request\n"
                f" - Hint: pass `federation.facetsByIndex.{values['indexUid']}: {names}` for facets in federated "
                "search",
            ),
        )
    if values["distinct"] is not None and federation["distinct"] is not None:
        raise InsideQuery(
            position,
            ApiError(
                "invalid_multi_search_distinct",
                "Using `distinct` options is not allowed in federated queries when it also appears in "
                "`.federation.distinct`.\n"
                " - Hint: remove `distinct` from the query or remove `federation` from the request\n"
                "  - Note: `distinct` at the query level is discouraged in federated search.",
            ),
        )


def _inside_facets(uid: str, error: ApiError, *, is_queried: bool) -> ApiError:
    note = "" if is_queried else f"\n - Note: index `{uid}` is not used in queries"
    return ApiError(error.code, f"Inside `.federation.facetsByIndex.{uid}`: {error.message}{note}", status=400)


@dataclass(frozen=True, slots=True)
class _Weighted:
    """The hits of one query of a federation."""

    position: int
    weight: float
    results: Results


@dataclass(frozen=True, slots=True)
class _Hit:
    """One hit of a federation."""

    results: Results
    ranked: Ranked
    position: int
    score: float

    def view(self) -> Object:
        """The hit with where it comes from."""
        origin: Object = {
            "indexUid": self.results.index.uid,
            "queriesPosition": self.position,
            "weightedRankingScore": self.score,
        }
        return {**self.results.show(self.ranked), "_federation": origin}


def _merge(lists: Sequence[_Weighted]) -> Iterator[_Hit]:
    """All hits by weighted score; each query keeps its own order, and of equals the earlier query comes first."""
    hits = [
        [_Hit(each.results, ranked, each.position, ranked.score * each.weight) for ranked in each.results.ranked]
        for each in lists
    ]
    heap = [(-own[0].score, number, 0) for number, own in enumerate(hits) if own]
    heapq.heapify(heap)
    while heap:
        _, number, at = heapq.heappop(heap)
        yield hits[number][at]
        if at + 1 < len(hits[number]):
            heapq.heappush(heap, (-hits[number][at + 1].score, number, at + 1))


def _unrepeated(hits: Iterator[_Hit], distinct: str | None) -> list[_Hit]:
    """Each document once, by its best hit; with `distinct`, each value of an attribute once."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for hit in hits:
        marks = {(hit.results.index.uid, hit.ranked.found.ident)}
        if distinct is not None:
            marks |= {("", text) for text in search.facet_values(hit.ranked.found.document.fields, distinct)}
        if not marks & seen:
            seen |= marks
            kept.append(hit)
    return kept


def _shown_facets(counted: Mapping[str, facets.Facets], merge: Mapping[str, Any] | None) -> Object:
    if not counted:
        return {}
    if merge is None:
        by_index: Object = {
            uid: {"distribution": each.view_distribution(), "stats": each.view_stats()} for uid, each in counted.items()
        }
        return {"facetsByIndex": by_index}
    together = facets.Facets()
    for each in counted.values():
        for name, counts in each.distribution.items():
            known = together.distribution.setdefault(name, {})
            for value, count in counts.items():
                known[value] = known.get(value, 0) + count
        for name, (low, high) in each.stats.items():
            lowest, highest = together.stats.get(name, (low, high))
            together.stats[name] = (min(low, lowest), max(high, highest))
    most = merge["maxValuesPerFacet"]
    together.distribution = {
        name: dict(sorted(counts.items())[:most]) for name, counts in together.distribution.items()
    }
    return {"facetDistribution": together.view_distribution(), "facetStats": together.view_stats()}


def _with_documents(hit: Object, path: str, foreign: Index) -> Object:
    head, _, rest = path.partition(".")
    value = hit.get(path if path in hit else head)
    if value is None:
        return hit
    if path in hit:
        return {
            **hit,
            path: [_document(item, foreign) for item in value]
            if isinstance(value, list)
            else _document(value, foreign),
        }
    inner = [_with_documents(item, rest, foreign) if isinstance(item, dict) else item for item in _list(value)]
    return {**hit, head: inner if isinstance(value, list) else inner[0]}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value]


def _document(value: Json, foreign: Index) -> Json:
    try:
        found = foreign.documents.get(ident_of(value))
    except ApiError:
        return value
    return {} if found is None else pick(found.fields, settings.names(foreign.settings, "displayedAttributes"))
