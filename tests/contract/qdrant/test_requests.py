"""Requests at the edge: sizes, shapes, names, limits, and two at once."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from tests.contract.qdrant.server import API_KEY, BOTH_KEYS, Server
from tests.contract.qdrant.wire import Connection
from tests.contract.qdrant.world import POINTS, SIZE

NUMBERS = count(1)
TOO_MUCH = 33 * 1024 * 1024
JSON = {"api-key": API_KEY, "content-type": "application/json"}


def filled(server: Server, limits: dict[str, object] | None = None) -> str:
    name = f"filled-{next(NUMBERS)}"
    server.ask("PUT", f"/collections/{name}", SIZE).expect()
    server.ask("PUT", f"/collections/{name}/points?wait=true", {"points": POINTS}).expect()
    if limits is not None:
        strict = {"strict_mode_config": {"enabled": True, **limits}}
        server.ask("PATCH", f"/collections/{name}", strict).expect()
    return name


def upserted(server: Server, name: str, first: int, last: int) -> int:
    points = [{"id": number, "vector": [1.0, 0.0, 0.0, 0.0]} for number in range(first, last)]
    return server.ask("PUT", f"/collections/{name}/points?wait=true", {"points": points}).status


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"limit": 1', "EOF while parsing an object at line 1 column 11"),
        (b'{"limit": 1}}', "trailing characters at line 1 column 13"),
        (b"{limit: 1}", "key must be a string at line 1 column 2"),
        (b'{\n"limit" 1}', "expected `:` at line 2 column 9"),
        (b'{"limit": "1', "EOF while parsing a string at line 1 column 12"),
        (b'{"limit": NaN}', ""),
        (b'{"limit": nil}', ""),
        (b"\xff", ""),
        (b"", "EOF while parsing a value at line 1 column 0"),
    ],
    ids=str,
)
def test_a_body_that_is_no_json_is_refused(server: Server, content: bytes, complaint: str) -> None:
    refused = server.send_raw("POST", f"/collections/{filled(server)}/points/scroll", content, JSON)
    assert refused.outcome.startswith(f"400 Format error in JSON body: {complaint}")


def test_a_body_that_does_not_say_what_it_is_is_refused(server: Server) -> None:
    path = f"/collections/{filled(server)}/points/scroll"
    assert server.send_raw("POST", path, b"{}", {"api-key": API_KEY, "content-type": "text/plain"}).status == 400


def test_a_body_of_more_than_32_mebibytes_is_refused(server: Server) -> None:
    path = f"/collections/{filled(server)}/points/scroll"
    padded = b'{"limit":1,"padding":"' + b" " * TOO_MUCH + b'"}'
    assert server.send_raw("POST", path, padded, JSON).status == 400


def test_unknown_members_of_a_condition_are_ignored(server: Server) -> None:
    condition = {"key": "k", "match": {"value": "a"}, "new": True}
    body = {"filter": {"must": [condition]}, "new": True}
    assert server.ask("POST", f"/collections/{filled(server)}/points/count", body).expect() == {"count": 3}


@pytest.mark.parametrize("action", ["points/count", "points/delete?wait=true"])
def test_an_unknown_clause_of_a_filter_is_refused(server: Server, action: str) -> None:
    name = filled(server)
    body = {"filter": {"musst": [{"key": "k", "match": {"value": "a"}}]}}
    assert server.ask("POST", f"/collections/{name}/{action}", body).status == 400
    assert server.ask("GET", f"/collections/{name}").expect()["points_count"] == 5


def test_it_listens_with_tls(tmp_path: Path) -> None:
    with Server(tmp_path, BOTH_KEYS, tls=True) as server:
        assert server.url.startswith("https://")
        assert server.ask("GET", "/collections").expect() == {"collections": []}


def test_a_slash_at_the_end_makes_no_difference(server: Server) -> None:
    assert server.ask("GET", "/collections/").status == 200


def test_a_path_with_another_method_is_unknown(server: Server) -> None:
    assert server.ask("PUT", "/telemetry", {}).outcome == "plain 404"


def test_a_name_of_more_bytes_than_a_directory_may_have_fails(server: Server) -> None:
    assert server.ask("PUT", f"/collections/{'%C3%A9' * 200}", SIZE).status == 500


def test_of_several_who_make_the_same_collection_one_succeeds(server: Server) -> None:
    name = f"wanted-by-many-{next(NUMBERS)}"

    def make(_: int) -> int:
        connection = Connection(server.url)
        try:
            return connection.send("PUT", f"/collections/{name}", SIZE, headers={"api-key": API_KEY}).status
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as callers:
        assert sorted(callers.map(make, range(8))) == [200] + [409] * 7


def test_whoever_does_not_wait_is_told_that_it_will_be_done(server: Server) -> None:
    path = f"/collections/{filled(server)}/points"
    statuses = [
        server.ask("PUT", f"{path}{wait}", {"points": POINTS}).expect()["status"] for wait in ("", "?wait=true")
    ]
    assert statuses == ["acknowledged", "completed"]


def test_a_cap_on_points_bites_late(server: Server) -> None:
    name = filled(server, {"max_points_count": 100})
    statuses = [upserted(server, name, n * 100, n * 100 + 100) for n in range(32)]
    assert statuses == [200] * 31 + [400]


def test_a_rate_limit_says_when_to_come_back(server: Server) -> None:
    name = filled(server, {"write_rate_limit": 2})
    assert (upserted(server, name, 1, 3), upserted(server, name, 1, 2)) == (200, 429)
    refused = server.ask("POST", f"/collections/{name}/points/delete", {"points": [1]})
    assert 0 < int(refused.headers["retry-after"]) <= 30


def test_limits_that_are_switched_off_do_not_hold(server: Server) -> None:
    name = filled(server, {"upsert_max_batchsize": 1})
    assert upserted(server, name, 1, 3) == 400
    server.ask("PATCH", f"/collections/{name}", {"strict_mode_config": {"enabled": False}}).expect()
    assert upserted(server, name, 1, 3) == 200


def test_an_indexed_field_may_be_filtered_by_under_strict_mode(server: Server) -> None:
    name = filled(server, {"unindexed_filtering_retrieve": False})
    body = {"filter": {"must": [{"key": "k", "match": {"value": "a"}}]}}
    assert server.ask("POST", f"/collections/{name}/points/scroll", body).status == 400
    server.ask("PUT", f"/collections/{name}/index?wait=true", {"field_name": "k", "field_schema": "keyword"}).expect()
    assert server.ask("POST", f"/collections/{name}/points/scroll", body).status == 200
