"""Bodies: closed where they are asked for, tolerant where they answer, and silent about what was wrong in them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.protocol import documents, heartbeat, registration
from bulkhead.protocol.documents import Answer, Closed, Request
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.problems import ProblemDocument
from bulkhead.protocol.sync import MOST_BYTES, SyncRequest
from tests.unit.protocol import gen

REQUESTS = [pytest.param(request, id=f"{at}-{type(request).__name__}") for at, request in enumerate(gen.requests())]
CLOSED = [*REQUESTS, *(pytest.param(content, id=type(content).__name__) for content in gen.contents())]
ANSWERS = [pytest.param(answer, id=type(answer).__name__) for answer in (*gen.answers(), *gen.parts())]
HOSTILE: tuple[Any, ...] = (
    "",
    "x\n",
    "\x00",
    "é" * 5000,
    "a" * 100_000,
    -1,
    2**53,
    2**64,
    1.5,
    True,
    None,
    [],
    {},
    [[]],
    "; DROP TABLE",
)
FREE = ("name",)
"""Fields that hold what a tenant wrote: a dataset's name."""


def places(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value that is neither object nor list."""
    entries = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, value in entries:
        yield from places(value, (*path, name))
    if not isinstance(document, dict | list):
        yield path


def put(document: Any, path: tuple[str | int, ...], value: object) -> Any:
    changed = copy.deepcopy(document)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return changed


def refuse(kind: type[msgspec.Struct], document: object) -> str:
    with pytest.raises(Malformed) as caught:
        documents.decode(kind, json.dumps(document).encode(), most=MOST_BYTES)
    return str(caught.value)


def test_every_request_and_every_answer_is_tried_here() -> None:
    assert {type(request) for request in gen.requests()} == set(gen.kinds(Request))
    assert {type(answer) for answer in (*gen.answers(), *gen.parts())} == set(gen.kinds(Answer))


@pytest.mark.parametrize("request_", CLOSED)
def test_a_request_comes_as_it_was_sent(request_: Closed) -> None:
    assert documents.decode(type(request_), documents.encode(request_)) == request_


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_comes_as_it_was_sent(answer: Answer) -> None:
    assert documents.decode(type(answer), documents.encode(answer)) == answer


@pytest.mark.parametrize("request_", CLOSED)
def test_no_object_of_a_request_takes_a_field_that_it_does_not_have(request_: Closed) -> None:
    for at in range(len([*gen.objects(gen.plain(request_))])):
        document = gen.plain(request_)
        [*gen.objects(document)][at]["note"] = "content"
        refuse(type(request_), document)


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_may_say_more_than_its_reader_knows(answer: Answer) -> None:
    document = gen.plain(answer)
    document["note"] = [[{"content": 1}]]
    assert documents.decode(type(answer), json.dumps(document).encode()) == answer


@pytest.mark.parametrize("request_", CLOSED)
def test_no_value_of_a_request_may_be_out_of_its_range(request_: Closed) -> None:
    whole = gen.plain(request_)
    for path in places(whole):
        for value in HOSTILE:
            if path[-1] in FREE and value == "; DROP TABLE":
                continue
            try:
                read = documents.decode(type(request_), json.dumps(put(whole, path, value)).encode(), most=MOST_BYTES)
            except Malformed:
                continue
            assert value is None or value is True, f"{path} took {value!r}"
            assert documents.decode(type(request_), documents.encode(read)) == read


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_says_in_which_version_it_is_written(request_: Closed) -> None:
    for version in (0, 2, "1", None):
        refuse(type(request_), {**gen.plain(request_), "protocol": version})
    without = gen.plain(request_)
    del without["protocol"]
    refuse(type(request_), without)


@pytest.mark.parametrize("kind", gen.kinds(Closed), ids=lambda kind: kind.__name__)
def test_every_part_of_a_request_is_frozen_and_closed(kind: type[msgspec.Struct]) -> None:
    config = kind.__struct_config__
    assert config.frozen
    assert config.forbid_unknown_fields


@pytest.mark.parametrize("kind", [*gen.kinds(Request), *gen.kinds(Answer)], ids=lambda kind: kind.__name__)
def test_every_document_has_a_schema_in_which_all_strings_and_numbers_are_bounded(kind: type[msgspec.Struct]) -> None:
    _, parts = msgspec.json.schema_components([kind], schema_hook=documents.schema_hook)
    for part in gen.objects(parts):
        if part.get("type") == "string" and kind is not ProblemDocument:
            assert part.keys() & {"pattern", "enum", "const"}, part
        if part.get("type") == "integer" and kind is not ProblemDocument:
            assert "maximum" in part or "enum" in part or "const" in part, part
        if part.get("type") == "array":
            assert "maxItems" in part, part
    if issubclass(kind, Request):
        assert all(
            part["additionalProperties"] is False
            for part in parts.values()
            if part.get("type") == "object" and "properties" in part
        )


@pytest.mark.parametrize("field", ["release", "phase", "engines", "counts", "acknowledgedKey", "note"])
def test_what_is_said_about_a_body_holds_no_value_of_it(field: str) -> None:
    secret = gen.TOKEN.reveal()
    whole = gen.plain(gen.requests()[5])
    for document in ({**whole, field: secret}, {**whole, field: {secret: secret}}, {**whole, secret: 1}):
        said = refuse(heartbeat.Heartbeat, document)
        assert gen.TOKEN.secret.reveal() not in said
        assert len(said) <= documents.MOST_MESSAGE


def test_what_is_said_about_a_body_names_the_place() -> None:
    whole = gen.plain(gen.requests()[5])
    assert "$.phase" in refuse(heartbeat.Heartbeat, {**whole, "phase": "Sleeping"})
    assert "`note`" in refuse(heartbeat.Heartbeat, {**whole, "note": 1})


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[]", b"null", b'{"a":"\xff"}', b'{"\xff":1}', b"\xef\xbb\xbf{}", b"{} {}"]
)
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    for kind in (SyncRequest, registration.Joined):
        with pytest.raises(Malformed):
            documents.decode(kind, body)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_a_deep_document_is_refused_before_it_is_deep_enough_to_harm(opening: bytes) -> None:
    for kind in (SyncRequest, registration.Joined):
        with pytest.raises(Malformed):
            documents.decode(kind, b'{"note":' + opening * 10_000)


def test_a_body_beyond_its_bound_is_not_read() -> None:
    body = documents.encode(gen.requests()[1])
    assert documents.decode(registration.ExchangeRequest, body, most=len(body)) == gen.requests()[1]
    with pytest.raises(Malformed, match="more than"):
        documents.decode(registration.ExchangeRequest, body + b" ", most=len(body))


@given(st.permutations(sorted(gen.plain(gen.requests()[5]).items())), st.sampled_from([None, 1, 4]))
def test_equal_content_has_one_canonical_form(items: list[tuple[str, Any]], indent: int | None) -> None:
    read = documents.decode(heartbeat.Heartbeat, json.dumps(dict(items), indent=indent).encode())
    assert documents.canonical(read) == documents.canonical(gen.requests()[5])
    assert documents.canonical(read) == json.dumps(gen.plain(read), sort_keys=True, separators=(",", ":")).encode()
