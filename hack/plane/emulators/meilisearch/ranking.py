"""The order of the documents that a query finds: one rule after the other, as the index has them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hack.plane.emulators.meilisearch.attributes import leaves, normalise, values_at
from hack.plane.emulators.meilisearch.errors import ApiError, not_emulated
from hack.plane.emulators.meilisearch.indexes import Document
from hack.plane.emulators.meilisearch.queries import Hit
from hack.plane.emulators.meilisearch.shapes import Json, Object
from hack.plane.emulators.meilisearch.words import Posting

_FARTHEST: Final = 8

SortKey = tuple[int, float, str]


@dataclass(frozen=True, slots=True)
class Found:
    """A document with its hits, one for each leading term of the query that it has."""

    ident: str
    document: Document
    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """One attribute to sort by."""

    attribute: str
    is_descending: bool


@dataclass(frozen=True, slots=True)
class Rank:
    """How a document does by one rule: `cost` of at most `worst`. Sorting rules have no part in the score."""

    rule: str
    cost: float
    worst: int
    key: tuple[SortKey, ...] = ()


def read_sort(expressions: Iterable[str], code: str) -> list[Order]:
    """`attribute:asc` and `attribute:desc`."""
    return [_read_order(expression, code) for expression in expressions]


def _read_order(expression: str, code: str) -> Order:
    attribute, _, direction = expression.rpartition(":")
    if attribute.startswith("_geo"):
        raise not_emulated("sorting by distance")
    if not attribute or direction not in ("asc", "desc"):
        raise ApiError(
            code,
            "Invalid syntax for the sort parameter: expected expression ending by `:asc` or `:desc`, found "
            f"`{expression}`.",
        )
    return Order(attribute, direction == "desc")


def sort_key(document: Object, orders: Iterable[Order]) -> tuple[SortKey, ...]:
    """Numbers before texts, documents without the attribute last, in either direction."""
    return tuple(_key(document, order) for order in orders)


def _key(document: Object, order: Order) -> SortKey:
    values = [leaf for value in values_at(document, order.attribute) for leaf in leaves(value)]
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if numbers:
        return (0, -max(numbers) if order.is_descending else min(numbers), "")
    texts = [normalise(text) for text in map(_as_text, values) if text is not None]
    if not texts:
        return (2, 0.0, "")
    return (1, 0.0, _inverted(max(texts)) if order.is_descending else min(texts))


def _as_text(value: Json) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else None


def _inverted(text: str) -> str:
    """A text that sorts the other way round; the end of a text sorts after everything."""
    return "".join(chr(max(0x10FFFE - ord(character), 0)) for character in text) + chr(0x10FFFF)


def _words(found: Found, term_count: int, _: int) -> Rank:
    return Rank("words", term_count - len(found.hits), max(term_count, 1))


def _typo(found: Found, term_count: int, _: int) -> Rank:
    return Rank("typo", sum(hit.typos for hit in found.hits), 2 * term_count + 1)


def _proximity(found: Found, term_count: int, _: int) -> Rank:
    pairs = zip(found.hits, found.hits[1:], strict=False)
    cost = sum(_distance(left.places, right.places) - 1 for left, right in pairs)
    return Rank("proximity", cost, max((term_count - 1) * _FARTHEST, 1))


def _distance(left: Sequence[Posting], right: Sequence[Posting]) -> int:
    gaps = (
        b.position - a.position if b.position > a.position else a.position - b.position + 1
        for a in left
        for b in right
        if a.attribute == b.attribute
    )
    return min(min(gaps, default=_FARTHEST), _FARTHEST)


def _attribute_rank(found: Found, term_count: int, attributes: int) -> Rank:
    cost = sum(min(place.attribute for place in hit.places) for hit in found.hits)
    return Rank("attributeRank", cost, max(term_count * attributes, 1))


def _word_position(found: Found, term_count: int, _: int) -> Rank:
    cost = sum(min(place.position for place in hit.places) for hit in found.hits)
    return Rank("wordPosition", cost, max(term_count * 1000, 1))


def _attribute(found: Found, term_count: int, attributes: int) -> Rank:
    rank, position = _attribute_rank(found, term_count, attributes), _word_position(found, term_count, attributes)
    return Rank("attribute", rank.cost * position.worst + position.cost, rank.worst * position.worst)


def _exactness(found: Found, term_count: int, _: int) -> Rank:
    return Rank("exactness", sum(not hit.is_exact for hit in found.hits), term_count + 1)


_RULES: Final[Mapping[str, Callable[[Found, int, int], Rank]]] = {
    "words": _words,
    "typo": _typo,
    "proximity": _proximity,
    "attributeRank": _attribute_rank,
    "wordPosition": _word_position,
    "attribute": _attribute,
    "exactness": _exactness,
}


@dataclass(frozen=True, slots=True)
class Ranking:
    """The rules of an index applied to one query."""

    rules: tuple[str, ...]
    orders: tuple[Order, ...]
    term_count: int
    attributes: int

    def ranks(self, found: Found) -> list[Rank]:
        """How a document does, rule by rule; without a query only sorting is left."""
        return [rank for rule in self.rules if (rank := self._rank(rule, found)) is not None]

    def _rank(self, rule: str, found: Found) -> Rank | None:
        if rule == "sort":
            return Rank("sort", 0, 1, sort_key(found.document.fields, self.orders)) if self.orders else None
        if rule not in _RULES:
            orders = read_sort([rule], "invalid_settings_ranking_rules")
            return Rank(rule, 0, 1, sort_key(found.document.fields, orders))
        return _RULES[rule](found, self.term_count, self.attributes) if self.term_count else None


def place(ranks: Sequence[Rank], found: Found) -> tuple[object, ...]:
    """What to sort by: the ranks, and for equals the age."""
    return (*((rank.cost, rank.key) for rank in ranks), found.document.number)


def score(ranks: Iterable[Rank]) -> float:
    """One figure between 0 and 1 of all ranks, each rule refining those before it."""
    value, scale = 1.0, 1.0
    for rank in ranks:
        if rank.key:
            continue
        value = (value - 1) * rank.worst + max(rank.worst - rank.cost, 1)
        scale *= rank.worst
    return value / scale


def score_details(ranks: Iterable[Rank]) -> Object:
    """The ranks as `_rankingScoreDetails` shows them, with what this ranking knows of each."""
    return {
        rank.rule: {"order": order, "score": score([rank])}
        if not rank.key
        else {"order": order, "value": rank.key[0][2] or rank.key[0][1]}
        for order, rank in enumerate(ranks)
    }
