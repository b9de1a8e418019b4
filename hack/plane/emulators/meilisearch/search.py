"""Searching one index: from a query to ranked, filtered, formatted hits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hack.plane.emulators.meilisearch import filters, json_text, queries, ranking, settings, shapes
from hack.plane.emulators.meilisearch.attributes import (
    Match,
    filter_rules,
    leaves,
    match_name,
    patterns_of,
    rule_for,
    scalar_text,
    values_at,
)
from hack.plane.emulators.meilisearch.documents import pick
from hack.plane.emulators.meilisearch.errors import ApiError, not_emulated, within_index
from hack.plane.emulators.meilisearch.facets import visible_names
from hack.plane.emulators.meilisearch.features import Features
from hack.plane.emulators.meilisearch.formatting import Format, Formatter, read_crops
from hack.plane.emulators.meilisearch.indexes import Index
from hack.plane.emulators.meilisearch.json_text import JsonSyntaxError
from hack.plane.emulators.meilisearch.ranking import Found, Rank, Ranking
from hack.plane.emulators.meilisearch.shapes import Field, Json, Object, Reader, Shape
from hack.plane.emulators.meilisearch.words import Tokeniser, Words, fold

_THRESHOLD: Final = "the value of `rankingScoreThreshold` is invalid, expected a float between `0.0` and `1.0`."
_RATIO: Final = "the value of `semanticRatio` is invalid, expected a float between `0.0` and `1.0`."


def _between_zero_and_one(message: str) -> Reader:
    def read(value: Json, place: shapes.Place) -> float:
        number = shapes.number(value, place)
        if not 0.0 <= number <= 1.0:
            raise place.wrong_value(message)
        return number

    return read


HYBRID: Final = Shape(
    (
        Field("semanticRatio", _between_zero_and_one(_RATIO), "invalid_search_semantic_ratio", default=0.5),
        Field("embedder", shapes.string, "invalid_search_embedder", required=True),
    ),
    code="invalid_search_hybrid_query",
)
_PERSONALIZE: Final = Shape(
    (Field("userContext", shapes.string, "invalid_search_personalize_user_context", required=True),),
    code="invalid_search_personalize",
)
_STRATEGY: Final = shapes.one_of("last", "all", "frequency")
THRESHOLD: Final = _between_zero_and_one(_THRESHOLD)


def _optional(name: str, code: str, reader: Reader) -> Field:
    return Field(name, shapes.nullable(reader), code, default=None)


FIELDS: Final = (
    _optional("q", "invalid_search_q", shapes.string),
    Field("offset", shapes.unsigned, "invalid_search_offset", default=0),
    Field("limit", shapes.unsigned, "invalid_search_limit", default=20),
    _optional("page", "invalid_search_page", shapes.unsigned),
    _optional("hitsPerPage", "invalid_search_hits_per_page", shapes.unsigned),
    _optional("attributesToRetrieve", "invalid_search_attributes_to_retrieve", shapes.strings),
    _optional("attributesToCrop", "invalid_search_attributes_to_crop", shapes.strings),
    Field("cropLength", shapes.unsigned, "invalid_search_crop_length", default=10),
    Field("cropMarker", shapes.string, "invalid_search_crop_marker", default="…"),
    _optional("attributesToHighlight", "invalid_search_attributes_to_highlight", shapes.strings),
    Field("highlightPreTag", shapes.string, "invalid_search_highlight_pre_tag", default="<em>"),
    Field("highlightPostTag", shapes.string, "invalid_search_highlight_post_tag", default="</em>"),
    Field("showMatchesPosition", shapes.boolean, "invalid_search_show_matches_position", default=False),
    Field("filter", shapes.anything, "invalid_search_filter", default=None),
    _optional("sort", "invalid_search_sort", shapes.strings),
    _optional("distinct", "invalid_search_distinct", shapes.string),
    _optional("facets", "invalid_search_facets", shapes.strings),
    Field("matchingStrategy", _STRATEGY, "invalid_search_matching_strategy", default="last"),
    _optional("attributesToSearchOn", "invalid_search_attributes_to_search_on", shapes.strings),
    _optional("rankingScoreThreshold", "invalid_search_ranking_score_threshold", THRESHOLD),
    _optional("locales", "invalid_search_locales", shapes.strings),
    _optional("hybrid", "invalid_search_hybrid_query", HYBRID),
    _optional("vector", "invalid_search_vector", shapes.array(shapes.number)),
    Field("retrieveVectors", shapes.boolean, "invalid_search_retrieve_vectors", default=False),
    Field("media", shapes.anything, "invalid_search_media", default=None),
    _optional("personalize", "invalid_search_personalize", _PERSONALIZE),
    _optional("useNetwork", "invalid_search_use_network", shapes.boolean),
    Field("showRankingScore", shapes.boolean, "invalid_search_show_ranking_score", default=False),
    Field("showRankingScoreDetails", shapes.boolean, "invalid_search_show_ranking_score_details", default=False),
    Field("showPerformanceDetails", shapes.boolean, "invalid_search_show_performance_details", default=False),
)
BODY: Final = Shape(FIELDS)

_COMMA: Final = shapes.comma_separated()


def _in_url(field_: Field, reader: Reader) -> Field:
    return Field(field_.name, reader, field_.code, default=field_.default)


_URL_READERS: Final[dict[str, Reader]] = {
    **dict.fromkeys(("offset", "limit", "page", "hitsPerPage", "cropLength"), shapes.unsigned_parameter),
    **dict.fromkeys(
        (
            "showMatchesPosition", "retrieveVectors", "showRankingScore", "showRankingScoreDetails",
            "showPerformanceDetails", "useNetwork",
        ),
        shapes.boolean_parameter,
    ),
    **dict.fromkeys(
        (
            "attributesToRetrieve", "attributesToCrop", "attributesToHighlight", "facets", "attributesToSearchOn",
            "locales",
        ),
        _COMMA,
    ),
    **dict.fromkeys(
        ("q", "cropMarker", "highlightPreTag", "highlightPostTag", "filter", "sort", "distinct"), shapes.string
    ),
    "matchingStrategy": _STRATEGY,
    "rankingScoreThreshold": shapes.number_parameter(_THRESHOLD, 0.0, 1.0),
}  # fmt: skip
_HYBRID_IN_URL: Final = (
    _optional("hybridEmbedder", "invalid_search_embedder", shapes.string),
    _optional("hybridSemanticRatio", "invalid_search_semantic_ratio", shapes.number_parameter(_RATIO, 0.0, 1.0)),
    _optional("vector", "invalid_search_vector", _COMMA),
)
PARAMETERS: Final = Shape(
    (
        *(_in_url(each, _URL_READERS[each.name]) for each in FIELDS if each.name in _URL_READERS),
        *_HYBRID_IN_URL,
        _optional("personalizeUserContext", "invalid_search_personalize_user_context", shapes.string),
    )
)


def from_parameters(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a GET as those of the body that asks for the same."""
    body = {each.name: values.get(each.name, each.default) for each in FIELDS}
    embedder, ratio = values["hybridEmbedder"], values["hybridSemanticRatio"]
    if embedder is None and ratio is not None:
        raise ApiError(
            "invalid_search_hybrid_query", "`hybridEmbedder` is mandatory when `hybridSemanticRatio` is present"
        )
    if embedder is None and values["vector"] is not None:
        raise ApiError("missing_search_hybrid", "`hybridEmbedder` is mandatory when `vector` is present")
    body["hybrid"] = None if embedder is None else {"embedder": embedder, "semanticRatio": ratio or 0.5}
    body["sort"] = None if values["sort"] is None else [part.strip() for part in values["sort"].strip('"').split(",")]
    body["filter"] = json_or_text(values["filter"])
    return body


def json_or_text(parameter: str | None) -> Json:
    """A filter in a URL: JSON if it is some, else the expression itself."""
    if parameter is None:
        return None
    try:
        return json_text.decode(parameter.encode())
    except JsonSyntaxError:
        return parameter


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of one index, apart from paging."""

    q: str | None
    filter: Json
    sort: tuple[str, ...]
    distinct: str | None
    facets: tuple[str, ...] | None
    strategy: str
    search_on: tuple[str, ...] | None
    threshold: float | None
    retrieve: tuple[str, ...] | None
    form: Format
    show_positions: bool
    show_score: bool
    show_score_details: bool

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Query":
        """From the values of a body."""
        return cls(
            q=values["q"],
            filter=values["filter"],
            sort=tuple(values["sort"] or ()),
            distinct=values["distinct"],
            facets=None if values["facets"] is None else tuple(values["facets"]),
            strategy=values["matchingStrategy"],
            search_on=_tuple(values["attributesToSearchOn"]),
            threshold=values["rankingScoreThreshold"],
            retrieve=_tuple(values["attributesToRetrieve"]),
            form=Format(
                highlights=frozenset(values["attributesToHighlight"] or ()),
                crops=read_crops(values["attributesToCrop"] or (), values["cropLength"]),
                marker=values["cropMarker"],
                before=values["highlightPreTag"],
                after=values["highlightPostTag"],
            ),
            show_positions=values["showMatchesPosition"],
            show_score=values["showRankingScore"],
            show_score_details=values["showRankingScoreDetails"],
        )


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def refuse_unknown_powers(values: dict[str, Any], features: Features) -> None:
    """Refuse what needs an embedder, a language model or another server."""
    if values["useNetwork"] is not None:
        features.require("network", "passing `useNetwork` in a search query")
    if values["media"] is not None:
        features.require("multimodal", "passing `media` in a search query")
    if values["hybrid"] is not None:
        name = values["hybrid"]["embedder"]
        raise ApiError("invalid_search_embedder", f"Cannot find embedder with name `{name}`.")
    if values["vector"] is not None:
        raise ApiError(
            "missing_search_hybrid", "Invalid request: missing `hybrid` parameter when `vector` or `media` are present."
        )
    if values["media"] is not None or values["personalize"] is not None:
        raise not_emulated("media search and personalisation")


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document that fits, with its ranks."""

    found: Found
    ranks: tuple[Rank, ...]

    @property
    def score(self) -> float:
        """Between 0 and 1."""
        return ranking.score(self.ranks)


@dataclass(slots=True)
class Results:
    """The documents of one query, best first, and what is needed to show them."""

    index: Index
    query: Query
    ranked: list[Ranked]
    formatter: Formatter
    hits_cap: int
    _displayed: list[str] | None = field(init=False)

    def __post_init__(self) -> None:
        self._displayed = settings.names(self.index.settings, "displayedAttributes")

    @property
    def total(self) -> int:
        """How many documents fit; never more than the index lets out."""
        return min(len(self.ranked), self.hits_cap)

    def documents(self) -> Iterable[Object]:
        """Every document that fits."""
        return (each.found.document.fields for each in self.ranked)

    def show(self, ranked: Ranked) -> Object:
        """One hit as answers have it."""
        fields = ranked.found.document.fields
        visible = pick(fields, self._displayed)
        hit = (
            visible if self.query.retrieve is None or "*" in self.query.retrieve else pick(visible, self.query.retrieve)
        )
        extras: Object = {}
        if self.query.form.is_asked_for():
            extras["_formatted"] = self.formatter.format(hit)
        if self.query.show_positions:
            extras["_matchesPosition"] = self.formatter.positions(visible)
        if self.query.show_score:
            extras["_rankingScore"] = ranked.score
        if self.query.show_score_details:
            extras["_rankingScoreDetails"] = ranking.score_details(ranked.ranks)
        return {**hit, **extras}


@dataclass(slots=True)
class Searcher:
    """Runs queries; keeps the words of each index until it changes."""

    features: Features
    _words: dict[int, tuple[int, Words]] = field(default_factory=dict, init=False)

    def run(self, index: Index, query: Query) -> Results:
        """The documents that fit, best first; raises ApiError."""
        fits = self._predicate(index, query.filter)
        orders = _checked_orders(index, query.sort)
        tokeniser = _tokeniser(index)
        asked = queries.read(
            query.q or "",
            tokeniser,
            frozenset(fold(word) for word in _names(index, "stopWords")),
            prefixes=settings.value_of(index.settings, "prefixSearch") == "indexingTime",
        )
        words = self._words_of(index, tokeniser)
        matcher = queries.Matcher(
            words,
            queries.Typos.of(settings.value_of(index.settings, "typoTolerance")),
            _synonyms(index),
            _search_on(index, words, query.search_on),
        )
        found = [each for each in _match(index, asked, matcher, query.strategy) if fits(each.document.fields)]
        order = Ranking(tuple(_names(index, "rankingRules")), tuple(orders), len(asked.wanted), words.attribute_count)
        ranked = _ranked(found, order)
        if query.threshold is not None:
            ranked = [each for each in ranked if each.score >= query.threshold]
        distinct = query.distinct or index.settings.get("distinctAttribute")
        if isinstance(distinct, str):
            ranked = _distinct(index, ranked, distinct, checked=query.distinct is None)
        formatter = Formatter(query.form, tokeniser, matcher.matched)
        return Results(index, query, ranked, formatter, _hits_cap(index))

    def _predicate(self, index: Index, expression: Json) -> filters.Predicate:
        # The server writes the parsed filter down and parses it again, so errors quote the rewritten one.
        code = "invalid_search_filter"
        again = filters.parse(
            filters.rewritten(filters.parse(expression, code, self.features)) if expression is not None else "",
            code,
            self.features,
        )
        try:
            return filters.predicate(again, settings.value_of(index.settings, "filterableAttributes"), code)
        except ApiError as error:
            raise within_index(index.uid, error) from error

    def _words_of(self, index: Index, tokeniser: Tokeniser) -> Words:
        kept = self._words.get(index.number)
        if kept is not None and kept[0] == index.revision:
            return kept[1]
        words = Words(
            ((document.number, document.fields) for document in index.documents.values()),
            settings.names(index.settings, "searchableAttributes"),
            tokeniser,
            _names(index, "stopWords"),
        )
        self._words[index.number] = (index.revision, words)
        return words


def _names(index: Index, setting: str) -> list[str]:
    value = settings.value_of(index.settings, setting)
    return [str(name) for name in value] if isinstance(value, list) else []


def _tokeniser(index: Index) -> Tokeniser:
    return Tokeniser.of(_names(index, "separatorTokens"), _names(index, "nonSeparatorTokens"))


def _synonyms(index: Index) -> dict[str, list[str]]:
    value = settings.value_of(index.settings, "synonyms")
    if not isinstance(value, dict):
        return {}
    return {fold(word): [str(other) for other in others] for word, others in value.items() if isinstance(others, list)}


def _hits_cap(index: Index) -> int:
    pagination = settings.value_of(index.settings, "pagination")
    cap = pagination.get("maxTotalHits") if isinstance(pagination, dict) else None
    return cap if isinstance(cap, int) else 1000


def _checked_orders(index: Index, expressions: Sequence[str]) -> list[ranking.Order]:
    orders = ranking.read_sort(expressions, "invalid_search_sort")
    if orders and "sort" not in _names(index, "rankingRules"):
        raise ApiError(
            "invalid_search_sort",
            f"Index `{index.uid}`: You must specify where `sort` is listed in the rankingRules setting to use the "
            "sort parameter at search time.",
        )
    for order in orders:
        check_sortable(index, order.attribute)
    return orders


def check_sortable(index: Index, attribute: str) -> None:
    """Refuse to sort by what the settings do not list."""
    known = _names(index, "sortableAttributes")
    if any(match_name(name, attribute) is Match.MATCH for name in known):
        return
    detail = (
        f"Available sortable attributes are: `{visible_names(index, known)}`."
        if known
        else "This index does not have configured sortable attributes."
    )
    raise ApiError("invalid_search_sort", f"Index `{index.uid}`: Attribute `{attribute}` is not sortable. {detail}")


def _search_on(index: Index, words: Words, names: tuple[str, ...] | None) -> set[int] | None:
    if names is None or "*" in names:
        return None
    searchable = settings.names(index.settings, "searchableAttributes")
    for name in names:
        if searchable is not None and not any(match_name(known, name) is not Match.NONE for known in searchable):
            raise ApiError(
                "invalid_search_attributes_to_search_on",
                f"Index `{index.uid}`: Attribute `{name}` is not searchable. Available searchable attributes are: "
                f"`{visible_names(index, searchable)}`.",
            )
    return words.ranks_of(names)


def _match(index: Index, asked: queries.Query, matcher: queries.Matcher, strategy: str) -> list[Found]:
    """The documents with enough terms: all of them, or as many of the first as there are."""
    by_number = {document.number: (ident, document) for ident, document in index.documents.items()}
    for term in asked.unwanted:
        for number in matcher.documents_with(term):
            by_number.pop(number, None)
    if not asked.wanted:
        return [Found(ident, document, ()) for ident, document in by_number.values()]
    hits = [matcher.documents_with(term) for term in asked.wanted]
    if strategy == "frequency":
        hits.sort(key=len)
    least = len(hits) if strategy == "all" else 1
    found = []
    for number in hits[0]:
        leading = _leading(hits, number)
        if len(leading) >= least and number in by_number:
            ident, document = by_number[number]
            found.append(Found(ident, document, leading))
    return found


def _leading(hits: Sequence[dict[int, queries.Hit]], number: int) -> tuple[queries.Hit, ...]:
    leading = []
    for each in hits:
        if number not in each:
            break
        leading.append(each[number])
    return tuple(leading)


def _ranked(found: Iterable[Found], order: Ranking) -> list[Ranked]:
    ranked = [Ranked(each, tuple(order.ranks(each))) for each in found]
    ranked.sort(key=lambda each: ranking.place(each.ranks, each.found))
    return ranked


def _distinct(index: Index, ranked: Iterable[Ranked], attribute: str, *, checked: bool) -> list[Ranked]:
    """The best document of each value."""
    rules = filter_rules(settings.value_of(index.settings, "filterableAttributes"))
    rule = rule_for(attribute, rules)
    if not checked and (rule is None or not rule[1].filterable):
        known = patterns_of(rules, lambda each: each.filterable)
        detail = (
            f"Available filterable attributes patterns are: `{visible_names(index, known)}`."
            if known
            else "This index does not have configured filterable attributes."
        )
        raise ApiError(
            "invalid_search_distinct",
            f"Index `{index.uid}`: Attribute `{attribute}` is not filterable and thus, cannot be used as distinct "
            f"attribute. {detail}",
        )
    seen: set[str] = set()
    kept = []
    for each in ranked:
        values = facet_values(each.found.document.fields, attribute)
        if values & seen:
            continue
        seen |= values
        kept.append(each)
    return kept


def facet_values(document: Object, attribute: str) -> set[str]:
    """The values of an attribute as texts."""
    found = (scalar_text(leaf) for value in values_at(document, attribute) for leaf in leaves(value))
    return {text for text in found if text is not None}
