"""What a search finds, in which order, and what it tells of it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.meilisearch.server import Api, Server

BOOKS: list[dict[str, Any]] = [
    {"id": 1, "title": "The old man and the sea", "author": {"name": "Hemingway"}, "genre": "novel", "year": 1952},
    {"id": 2, "title": "Twenty thousand leagues under the seas", "author": {"name": "Verne"}, "genre": "adventure"},
    {"id": 3, "title": "Treasure island", "author": {"name": "Stevenson"}, "genre": "adventure", "year": 1883},
    {"id": 4, "title": "Robinson Crusoe", "author": {"name": "Defoe"}, "genre": "adventure", "year": 1719},
    {"id": 5, "title": "A man on an island", "author": {"name": "Nobody"}, "genre": "novel", "year": 2001, "tags": []},
    {"id": 6, "title": "Café Müller", "author": None, "genre": "play", "year": 1978, "tags": ["dance", "old island"]},
]
SETTINGS = {
    "searchableAttributes": ["title", "author.name", "tags"],
    "filterableAttributes": ["genre", "year", "author", "tags"],
    "sortableAttributes": ["year", "title"],
    "synonyms": {"castaway": ["robinson"]},
    "stopWords": ["the"],
}


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Server(tmp_path_factory.mktemp("search"), "a master key of these tests") as server:
        for uid in ("books", "more"):
            server.api.done("POST", "/indexes", {"uid": uid, "primaryKey": "id"})
            server.api.done("PATCH", f"/indexes/{uid}/settings", SETTINGS)
        server.api.done("POST", "/indexes/books/documents", BOOKS)
        server.api.done("POST", "/indexes/more/documents", [{"id": 1, "title": "The sea wolf", "genre": "adventure"}])
        yield server.api


def search(api: Api, q: str | None = None, **options: object) -> Any:
    return api.master("POST", "/indexes/books/search", {"q": q, **options})


def found(api: Api, q: str | None = None, **options: object) -> list[int]:
    return [hit["id"] for hit in search(api, q, **options)["hits"]]


@pytest.mark.parametrize(
    ("q", "ids"),
    [
        (None, [1, 2, 3, 4, 5, 6]),
        ("", [1, 2, 3, 4, 5, 6]),
        ("robinson", [4]),
        ("ROBINSON", [4]),
        ("cafe muller", [6]),
        ("rob", [4]),
        ("robinsan", [4]),
        ("robinsan crusoo", [4]),
        ("sae", []),
        ("castaway", [4]),
        ("verne", [2]),
        ("nothing here", []),
        ('"old man"', [1]),
        ('"man old"', []),
        ("island -man", [3, 6]),
        ('island -"a man"', [3, 6]),
        ("-island", [1, 2, 4]),
    ],
)
def test_words_are_found(q: str | None, ids: list[int], books: Api) -> None:
    assert found(books, q) == ids


def test_documents_with_more_of_the_words_come_first(books: Api) -> None:
    assert found(books, "island man")[0] == 5


def test_exact_words_come_before_longer_ones(books: Api) -> None:
    assert found(books, "sea") == [1, 2]


def test_an_earlier_attribute_comes_first(books: Api) -> None:
    assert found(books, "island") == [3, 5, 6]


@pytest.mark.parametrize(
    ("strategy", "ids"),
    [("last", [5, 3, 6]), ("all", [5])],
)
def test_how_many_words_have_to_match(strategy: str, ids: list[int], books: Api) -> None:
    # `last` gives up words from the end; without `man` the others with an island are found too.
    assert found(books, "island nobody", matchingStrategy=strategy) == ids


@pytest.mark.parametrize(
    ("filter_", "ids"),
    [
        ("genre = novel", [1, 5]),
        ("genre = NOVEL", [1, 5]),
        ("genre != adventure", [1, 5, 6]),
        ("genre IN [novel, play]", [1, 5, 6]),
        ("genre NOT IN [novel, play]", [2, 3, 4]),
        ("year > 1900 AND year <= 1978", [1, 6]),
        ("year 1700 TO 1900", [3, 4]),
        ("year EXISTS", [1, 3, 4, 5, 6]),
        ("year NOT EXISTS", [2]),
        ("author.name = Verne OR year = 2001", [2, 5]),
        ("NOT (genre = novel OR genre = adventure)", [6]),
        ("author IS NULL", [6]),
        ("tags IS EMPTY", [5]),
        ("tags = 'old island'", [6]),
        (["genre = adventure", "year > 1800"], [3]),
        ([["genre = novel", "genre = play"], "year > 1960"], [5, 6]),
    ],
)
def test_filters(filter_: object, ids: list[int], books: Api) -> None:
    assert found(books, filter=filter_) == ids


@pytest.mark.parametrize(
    ("sort", "ids"),
    [
        (["year:asc"], [4, 3, 1, 6, 5, 2]),
        (["year:desc"], [5, 6, 1, 3, 4, 2]),
        (["title:asc"], [5, 6, 4, 1, 3, 2]),
    ],
)
def test_documents_are_sorted_and_those_without_a_value_come_last(sort: list[str], ids: list[int], books: Api) -> None:
    assert found(books, sort=sort) == ids


def test_a_page_by_offset_has_an_estimated_total(books: Api) -> None:
    page = search(books, limit=2, offset=1)
    assert [hit["id"] for hit in page["hits"]] == [2, 3]
    assert (page["limit"], page["offset"], page["estimatedTotalHits"]) == (2, 1, 6)


def test_a_page_by_number_has_an_exact_total(books: Api) -> None:
    page = search(books, page=2, hitsPerPage=4)
    assert [hit["id"] for hit in page["hits"]] == [5, 6]
    assert (page["page"], page["hitsPerPage"], page["totalPages"], page["totalHits"]) == (2, 4, 2, 6)


def test_only_the_attributes_asked_for_are_retrieved(books: Api) -> None:
    assert search(books, "verne", attributesToRetrieve=["id", "author.name"])["hits"] == [
        {"id": 2, "author": {"name": "Verne"}}
    ]


def test_facets_count_what_was_found(books: Api) -> None:
    answer = search(books, "island", facets=["genre", "year"])
    assert answer["facetDistribution"]["genre"] == {"adventure": 1, "novel": 1, "play": 1}
    assert answer["facetStats"] == {"year": {"min": 1883.0, "max": 2001.0}}


def test_facet_values_are_searched(books: Api) -> None:
    answer = books.master("POST", "/indexes/books/facet-search", {"facetName": "genre", "facetQuery": "adv"})
    assert answer["facetHits"] == [{"value": "adventure", "count": 3}]


def test_found_words_are_highlighted_and_cropped(books: Api) -> None:
    (hit,) = search(
        books,
        "leagues",
        attributesToHighlight=["title"],
        attributesToCrop=["title"],
        cropLength=3,
        highlightPreTag="<b>",
        highlightPostTag="</b>",
    )["hits"]
    assert hit["_formatted"]["title"] == "…thousand <b>leagues</b> under…"


def test_positions_of_matches_are_in_bytes(books: Api) -> None:
    (hit,) = search(books, "müller", showMatchesPosition=True)["hits"]
    assert hit["_matchesPosition"] == {"title": [{"start": 6, "length": 7}]}


def test_a_better_match_has_a_higher_score(books: Api) -> None:
    first, second = search(books, "sea", showRankingScore=True)["hits"]
    assert 1 >= first["_rankingScore"] > second["_rankingScore"] > 0


def test_a_distinct_attribute_gives_one_document_for_each_value(books: Api) -> None:
    assert found(books, distinct="genre") == [1, 2, 6]


def test_only_the_attributes_asked_for_are_searched(books: Api) -> None:
    assert found(books, "island", attributesToSearchOn=["tags"]) == [6]


def test_an_unknown_attribute_in_a_filter_is_refused(books: Api) -> None:
    reply = books.call("POST", "/indexes/books/search", {"filter": "isbn = 1"}, token=books.master_key)
    assert (reply.status, reply.body["code"]) == (400, "invalid_search_filter")
    assert "Attribute `isbn` is not filterable" in reply.body["message"]


@pytest.mark.parametrize("hostile", ["'", '"', "\\", "\u0000", "\U0010ffff", "((((", "a" * 5000, "-" * 50, "🦈", "%00"])
def test_hostile_texts_are_no_server_errors(hostile: str, books: Api) -> None:
    assert isinstance(found(books, hostile, sort=["title:desc"]), list)
    reply = books.call("POST", "/indexes/books/search", {"filter": f"genre = {hostile}"}, token=books.master_key)
    assert reply.status in (200, 400)


def test_hostile_texts_are_sorted(books: Api) -> None:
    books.done("POST", "/indexes", {"uid": "odd", "primaryKey": "id"})
    books.done("PUT", "/indexes/odd/settings/sortable-attributes", ["t"])
    texts = ["b", "\U0010ffff", "a", ""]
    books.done("POST", "/indexes/odd/documents", [{"id": n, "t": text} for n, text in enumerate(texts)])
    hits = books.master("POST", "/indexes/odd/search", {"sort": ["t:desc"]})["hits"]
    assert [hit["t"] for hit in hits[:3]] == ["\U0010ffff", "b", "a"]


def test_several_searches_answer_one_by_one(books: Api) -> None:
    queries = [{"indexUid": "books", "q": "sea"}, {"indexUid": "more", "q": "sea"}]
    results = books.master("POST", "/multi-search", {"queries": queries})["results"]
    assert [(result["indexUid"], len(result["hits"])) for result in results] == [("books", 2), ("more", 1)]


def test_a_federated_search_merges_by_weighted_score(books: Api) -> None:
    queries = [
        {"indexUid": "books", "q": "sea", "federationOptions": {"weight": 0.1}},
        {"indexUid": "more", "q": "sea"},
    ]
    answer = books.master("POST", "/multi-search", {"federation": {"limit": 2}, "queries": queries})
    assert [hit["_federation"]["indexUid"] for hit in answer["hits"]] == ["more", "books"]
    assert answer["estimatedTotalHits"] == 3


def test_a_search_by_url_finds_the_same(books: Api) -> None:
    answer = books.master("GET", "/indexes/books/search?q=island&filter=genre%20%3D%20novel&limit=1")
    assert [hit["id"] for hit in answer["hits"]] == [5]
