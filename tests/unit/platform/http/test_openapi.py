"""What the document says of a table."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from msgspec import Meta

from bulkhead.platform.http import openapi
from bulkhead.platform.http.codes import OF_CALLER, of_row
from bulkhead.platform.http.route import (
    BoundKey,
    Caller,
    PlatformAdmin,
    RegistrationToken,
    Route,
    ServiceKey,
    UserOrPlane,
    UserWith,
)
from bulkhead.protocol.documents import Answer, Closed
from bulkhead.protocol.problems import Code
from bulkhead.protocol.scalars import Uuid
from tests.unit.platform.http.gen import ANYBODY, row


class Wish(Closed, frozen=True, kw_only=True):
    cluster_id: Uuid
    count: Annotated[int, Meta(ge=1, le=10)] = 1


class Grant(Answer, frozen=True, kw_only=True):
    token: str


class Page(Closed, frozen=True, kw_only=True):
    after: str
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


def document(*rows: Route) -> Any:
    return json.loads(openapi.text(rows, version="1"))


def operation(only: Route, method: str = "get") -> Any:
    ((_, operations),) = document(only)["paths"].items()
    return operations[method]


def test_the_same_table_gives_the_same_text_in_whatever_order_it_is_written() -> None:
    rows = [row("GET", "/b", answer=Grant), row("POST", "/a", body=Wish), row("GET", "/a", query=Page)]
    assert openapi.text(rows, version="1") == openapi.text(list(reversed(rows)), version="1")


def test_bodies_and_answers_are_referred_to_by_their_schemas() -> None:
    found = operation(row("POST", "/a", body=Wish, answer=Grant, status=201), "post")
    reference = {"$ref": "#/components/schemas/Wish"}
    assert found["requestBody"] == {"required": True, "content": {"application/json": {"schema": reference}}}
    assert found["responses"]["201"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Grant"}


def test_a_closed_type_takes_no_other_property_and_an_answer_may_have_more() -> None:
    schemas = document(row("POST", "/a", body=Wish, answer=Grant))["components"]["schemas"]
    assert schemas["Wish"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["Grant"]


def test_patterns_end_as_JSON_Schema_reads_them() -> None:  # noqa: N802 - the name of a standard
    schemas = document(row("POST", "/a", body=Wish))["components"]["schemas"]
    assert schemas["Wish"]["properties"]["clusterId"]["pattern"].endswith("{12}$")


def test_parameters_of_path_and_query_are_listed() -> None:
    found = operation(row("GET", "/a/{id:uuid}/{name}", query=Page))["parameters"]
    assert [(each["name"], each["in"], each["required"]) for each in found] == [
        ("id", "path", True),
        ("name", "path", True),
        ("after", "query", True),
        ("limit", "query", False),
    ]
    assert found[0]["schema"] == {"type": "string", "format": "uuid"}


@pytest.mark.parametrize(
    ("caller", "security"),
    [
        (ANYBODY, []),
        (BoundKey(), []),
        (ServiceKey(("plane",), "sync"), [{"serviceKey": ["sync"]}]),
        (UserWith("AUDIT_READ"), [{"oidc": ["AUDIT_READ"]}, {"apiToken": ["AUDIT_READ"]}]),
        (UserOrPlane("A", "b"), [{"oidc": ["A"]}, {"apiToken": ["A"]}, {"serviceKey": ["b"]}]),
        (PlatformAdmin(), [{"oidc": []}, {"apiToken": []}]),
        (RegistrationToken(), [{"registrationToken": []}]),
    ],
)
def test_every_caller_shows_the_credential_that_it_has(caller: Caller, security: list[dict[str, list[str]]]) -> None:
    schemes = document()["components"]["securitySchemes"]
    assert operation(row(caller=caller))["security"] == security
    assert {name for each in security for name in each} <= schemes.keys()


def test_whoever_reads_it_learns_why_something_is_for_anybody() -> None:
    assert operation(row())["description"] == "For anybody: a test says so."


def test_every_code_that_a_row_may_answer_stands_under_its_status() -> None:
    found = operation(row(caller=UserWith("A"), codes=(Code.CONFLICT,)))["responses"]
    told = {code for status in found for code in Code if f"`{code.value}`" in found[status].get("description", "")}
    assert told == of_row(row(caller=UserWith("A"), codes=(Code.CONFLICT,)))
    assert "`conflict`" in found["409"]["description"]


def test_every_code_is_explained_once() -> None:
    explained = document()["components"]["schemas"]["Code"]["description"].splitlines()
    assert [line.split("`")[1] for line in explained] == [code.value for code in Code]


def test_a_row_for_any_method_is_told_for_each() -> None:
    (operations,) = document(row("ANY", "/a/{path:path}", raw=True))["paths"].values()
    assert list(operations) == ["get", "options", "post", "put", "patch", "delete"]


def test_every_kind_of_caller_has_its_codes() -> None:
    assert {type(caller) for caller in (ANYBODY, BoundKey(), PlatformAdmin(), RegistrationToken())} <= OF_CALLER.keys()
    assert set(Caller.__args__) == OF_CALLER.keys()
