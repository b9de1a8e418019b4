"""Into closed types, or into a Problem that names the field and never the value."""

from __future__ import annotations

import contextlib
import json
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from bulkhead.platform.http import decoding
from bulkhead.protocol.problems import Code, Problem


class Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    some_text: str
    kind: Literal["one", "two"] = "one"


class Query(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    most_rows: Annotated[int, Meta(ge=1, le=100)] = 10
    after: str = ""


def body(data: bytes) -> Body:
    return decoding.body(Body, data, most=4096)


def query(data: bytes) -> Query:
    return decoding.query(Query, data)


def told(data: bytes) -> str:
    with pytest.raises(Problem) as problem:
        body(data)
    assert problem.value.code == Code.BODY_INVALID
    return problem.value.detail


def test_a_body_of_the_type_is_decoded() -> None:
    assert body(b'{"someText":"a"}') == Body(some_text="a")


@pytest.mark.parametrize("text", ['"a\\u0000b"', '"\\u0000"', '"\\\\\\u0000"'])
def test_a_NUL_that_is_spelt_as_an_escape_is_refused(text: str) -> None:  # noqa: N802 - the name of a character
    assert told(f'{{"someText":{text}}}'.encode()) == "it holds a NUL character"


@pytest.mark.parametrize("text", ['"\\\\u0000"', '"a\\\\\\\\u0000"'])
def test_a_backslash_before_u0000_is_no_NUL(text: str) -> None:  # noqa: N802 - the name of a character
    assert "\0" not in body(f'{{"someText":{text}}}'.encode()).some_text


@given(st.text())
def test_whatever_the_text_a_decoded_body_holds_no_NUL(text: str) -> None:  # noqa: N802 - the name of a character
    data = json.dumps({"someText": text}).encode()
    if "\0" in text:
        assert told(data)
    else:
        assert body(data).some_text == text


def test_a_wrong_value_is_named_by_its_field() -> None:
    detail = told(b'{"someText":"a","kind":"bhk_secret"}')
    assert "$.kind" in detail
    assert "secret" not in detail


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_problem(data: bytes) -> None:
    with contextlib.suppress(Problem):
        body(data)


def test_a_query_is_decoded_with_its_numbers() -> None:
    assert query(b"mostRows=7&after=a%20b") == Query(most_rows=7, after="a b")
    assert query(b"") == Query()


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"mostRows=0", "query: mostRows has a value that is not allowed; this takes mostRows, after"),
        (b"mostRows=secret", "query: mostRows has a value that is not allowed; this takes mostRows, after"),
        (b"other=1", "query: a parameter is unknown or missing; this takes mostRows, after"),
        (b"after=1&after=2", "query: a parameter came more than once"),
        (b"after", "query: not of the form name=value&name=value"),
        (b"after=%ff", "query: not of the form name=value&name=value"),
        (b"after=%00", "query: it holds a NUL character"),
        (b"&".join([b"after=1"] * 40), "query: not of the form name=value&name=value"),
    ],
)
def test_a_query_that_is_not_of_the_type_is_told_so(data: bytes, detail: str) -> None:
    with pytest.raises(Problem) as problem:
        query(data)
    assert (problem.value.code, problem.value.detail) == (Code.REQUEST_MALFORMED, detail)


@given(st.binary(max_size=100))
def test_no_query_raises_anything_but_a_problem(data: bytes) -> None:
    with contextlib.suppress(Problem):
        query(data)
