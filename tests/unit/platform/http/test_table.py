"""Which row a request is for."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.platform.http.table import NotAllowed, Table
from bulkhead.protocol.problems import Code, Problem
from tests.unit.platform.http.gen import ID, row

TABLE = Table(
    [
        row("GET", "/v1/clusters"),
        row("POST", "/v1/clusters"),
        row("GET", "/v1/clusters/{id:uuid}"),
        row("POST", "/v1/clusters/{id:uuid}/keys/{key}"),
        row("ANY", "/v1/clusters/{id:uuid}/proxy/{path:path}"),
        row("POST", "/v1/registrations"),
        row("POST", "/v1/registrations/challenge"),
        row("GET", "/.well-known/jwks.json"),
    ]
)


def find(method: str, path: str) -> tuple[str, dict[str, str]]:
    match = TABLE.find(method, path.encode())
    return match.row.path, match.path


def test_a_literal_path_is_found() -> None:
    assert find("POST", "/v1/registrations/challenge") == ("/v1/registrations/challenge", {})
    assert find("GET", "/.well-known/jwks.json") == ("/.well-known/jwks.json", {})


def test_parameters_are_given_by_name_and_decoded() -> None:
    path = f"/v1/clusters/{ID}/keys/a%20b%C3%A4"
    assert find("POST", path) == ("/v1/clusters/{id:uuid}/keys/{key}", {"id": str(ID), "key": "a bä"})


@pytest.mark.parametrize("rest", ["", "a", "a/b/", "a//b", "../..", "%2e%2e/%00", "a;b"])
def test_the_rest_of_a_path_is_given_as_it_was_sent(rest: str) -> None:
    assert find("DELETE", f"/v1/clusters/{ID}/proxy/{rest}")[1] == {"id": str(ID), "path": rest}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_HEAD_finds_what_GET_finds(method: str) -> None:  # noqa: N802 - names of methods
    assert find(method, "/v1/clusters")[0] == "/v1/clusters"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v1/clusters/",
        "/v1//clusters",
        "/V1/clusters",
        "/v1/clusters/x",
        f"/v1/clusters/{ID}/",
        f"/v1/clusters/{str(ID).upper()}",
        f"/v1/clusters/{ID.hex}",
        f"/v1/clusters/urn:uuid:{ID}",
        f"/v1/clusters/{ID}/proxy",
        f"/v1/clusters/{ID}/keys/",
        f"/v1/clusters/{ID}/keys/.",
        f"/v1/clusters/{ID}/keys/..",
        f"/v1/clusters/{ID}/keys/%2e%2e",
        f"/v1/clusters/{ID}/keys/a%2Fb",
        f"/v1/clusters/{ID}/keys/a%00",
        f"/v1/clusters/{ID}/keys/%0a",
        f"/v1/clusters/{ID}/keys/%ff",
        f"/v1/clusters/{ID}/keys/{'a' * 254}",
        "/v1/registrations/challenge/x",
    ],
)
def test_any_other_spelling_is_not_found(path: str) -> None:
    with pytest.raises(Problem) as told:
        find("POST", path)
    assert told.value.code == Code.NOT_FOUND


def test_another_method_is_told_those_that_there_are() -> None:
    with pytest.raises(NotAllowed) as told:
        find("DELETE", "/v1/clusters")
    assert told.value.methods == ("GET", "HEAD", "POST")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (row("GET", "/a"), row("GET", "/a")),
        (row("GET", "/a/{x}"), row("GET", "/a/{y}")),
        (row("GET", "/a/{x}"), row("POST", "/a/{id:uuid}")),
        (row("ANY", "/a/{x:path}"), row("GET", "/a/{y:path}")),
    ],
)
def test_two_rows_for_the_same_requests_are_an_error(one: object, other: object) -> None:
    with pytest.raises(ValueError, match=r"twice|another form"):
        Table([one, other])  # type: ignore[list-item]


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60))
def test_no_target_breaks_the_search_or_leads_to_two_rows(target: str) -> None:
    with contextlib.suppress(Problem):
        match = TABLE.find("GET", f"/{target}".encode())
        assert [name for name, _ in match.row.parameters] == list(match.path)
