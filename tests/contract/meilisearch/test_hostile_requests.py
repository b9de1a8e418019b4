"""Whatever is sent, the server answers, and says that it was the sender's fault."""

from collections.abc import Iterator

import pytest

from tests.contract.meilisearch.server import Api, Server

ROUTES = [
    "POST /indexes", "PATCH /indexes/a", "POST /swap-indexes", "POST /keys", "PATCH /keys/none", "POST /multi-search",
    "POST /indexes/a/search", "POST /indexes/a/facet-search", "POST /indexes/a/similar", "POST /indexes/a/fields",
    "POST /indexes/a/documents", "PUT /indexes/a/documents", "POST /indexes/a/documents/fetch",
    "POST /indexes/a/documents/delete", "POST /indexes/a/documents/delete-batch", "PATCH /indexes/a/settings",
    "PUT /indexes/a/settings/synonyms", "PUT /indexes/a/settings/ranking-rules",
    "PUT /indexes/a/settings/distinct-attribute", "PUT /indexes/a/settings/filterable-attributes",
    "PATCH /indexes/a/settings/typo-tolerance",
    "PATCH /indexes/a/settings/embedders", "PATCH /experimental-features", "POST /webhooks", "PATCH /network",
]  # fmt: skip

BODIES = {
    "nothing": b"",
    "a thousand lists": b"[" * 1000,
    "a thousand closed lists": b"[" * 1000 + b"]" * 1000,
    "a thousand objects": b'{"a":' * 1000 + b"1" + b"}" * 1000,
    "half a letter": b'"\\ud800"',
    "no UTF-8": b"\xff\xfe",
    "a huge number": b'[{"id":1,"n":1e999}]',
    "null": b"null",
    "null in a list": b"[null]",
    "an object as id": b'[{"id":{}}]',
    "NUL as id": b'[{"id":"\\u0000","uid":"\\u0000"}]',
    "NUL as uid": b'{"uid":"\\u0000","url":"\\u0000"}',
    "the largest page": b'{"offset":18446744073709551615,"limit":18446744073709551615}',
    "a page without hits": b'{"page":0,"hitsPerPage":0}',
    "no end of parentheses": b'{"filter":"' + b"(" * 5000 + b'"}',
    "a long filter": b'{"filter":"' + b"id = 1 AND " * 3000 + b'id = 1"}',
    "a broken filter": b'{"filter":[[[["id"]]]]}',
    "the end of time": b'{"expiresAt":"99999-01-01T00:00:00Z","actions":["*"],"indexes":["*"]}',
    "half an address": b'{"url":"http://[::1"}',
    "empty names": b'{"synonyms":{"":[""]},"rankingRules":[":asc"],"stopWords":[""],"separatorTokens":[""]}',
    "wrong queries": b'{"queries":[null,{}],"federation":[]}',
    "a document as a key": b'{"actions":[{}],"indexes":[[]],"expiresAt":[]}',
}

PARAMETERS = [
    "limit", "offset", "from", "uids", "statuses", "afterEnqueuedAt", "indexUids", "filter", "sort", "q", "fields",
]  # fmt: skip

VALUES = ["%00", "%FF", "%F4%8F%BF%BF", "-1", "18446744073709551616", "*", ",,,", "2024-13-45", "a" * 3000]


@pytest.fixture(scope="module")
def robust(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Server(tmp_path_factory.mktemp("hostile"), "a master key of these tests") as server:
        server.api.done("POST", "/indexes", {"uid": "a", "primaryKey": "id"})
        server.api.done("PUT", "/indexes/a/settings/filterable-attributes", ["id"])
        yield server.api


@pytest.mark.parametrize("route", ROUTES)
def test_no_body_is_a_server_error(route: str, robust: Api) -> None:
    assert [name for name, body in BODIES.items() if _is_server_error(robust, route, body)] == []


def _is_server_error(api: Api, route: str, body: bytes) -> bool:
    method, path = route.split()
    reply = api.call(method, path, body, token=api.master_key, headers={"Content-Type": "application/json"})
    if not isinstance(reply.body, dict) or "taskUid" not in reply.body:
        return reply.status >= 500
    error = api.finished(reply.body["taskUid"])["error"]
    return error is not None and error["type"] != "invalid_request"


@pytest.mark.parametrize(
    "path", ["/tasks", "/batches", "/indexes", "/indexes/a/search", "/indexes/a/documents", "/keys"]
)
def test_no_parameter_is_a_server_error(path: str, robust: Api) -> None:
    urls = [f"{path}?{name}={value}" for name in PARAMETERS for value in VALUES]
    assert [url for url in urls if robust.call("GET", url, token=robust.master_key).status >= 500] == []


def test_what_is_nested_too_deep_is_told_as_such(robust: Api) -> None:
    body = b"[" * 128 + b"]" * 128
    json = {"Content-Type": "application/json"}
    reply = robust.call("POST", "/multi-search", body, token=robust.master_key, headers=json)
    assert (reply.status, reply.body["code"]) == (400, "malformed_payload")
    assert "recursion limit exceeded at line 1 column 128" in reply.body["message"]


def test_brackets_in_texts_nest_nothing(robust: Api) -> None:
    text = "[{" * 200
    robust.done("POST", "/indexes/a/documents", [{"id": 1, "quoted": f'"{text}\\'}])
    assert robust.master("GET", "/indexes/a/documents/1")["quoted"] == f'"{text}\\'
