"""Every answer of an API server maps onto one of our errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.kube import errors
from bulkhead.kube.errors import KubeError, TooManyRequests, error_from


def status(code: int, reason: str = "", message: str = "", **details: Any) -> bytes:
    content = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    return json.dumps(content).encode()


def mapped(
    code: int, body: bytes = b"", headers: dict[str, str] | None = None, *, confidential: bool = False
) -> KubeError:
    return error_from(code, body, headers or {}, doing='creating secrets "a/b"', confidential=confidential)


@pytest.mark.parametrize(
    ("code", "body", "expected"),
    [
        (302, b"", errors.Unavailable),
        (400, status(400, "BadRequest"), errors.Invalid),
        (401, status(401, "Unauthorized"), errors.Unauthorized),
        (403, status(403, "Forbidden"), errors.Forbidden),
        (403, status(403, "Forbidden", causes=[{"reason": "NamespaceTerminating"}]), errors.Terminating),
        (404, status(404, "NotFound", name="b", kind="secrets"), errors.NotFound),
        (404, status(404, "NotFound"), errors.NotServed),
        (404, b"404 page not found\n", errors.NotServed),
        (405, status(405, "MethodNotAllowed"), errors.Invalid),
        (408, b"", errors.Unavailable),
        (409, status(409, "AlreadyExists", name="b"), errors.AlreadyExists),
        (409, status(409, "Conflict", name="b"), errors.Conflict),
        (410, status(410, "Expired"), errors.Gone),
        (413, b"", errors.Invalid),
        (415, status(415, "UnsupportedMediaType"), errors.Invalid),
        (422, status(422, "Invalid", name="b"), errors.Invalid),
        (429, status(429, "TooManyRequests"), errors.TooManyRequests),
        (500, status(500, "InternalError"), errors.Unavailable),
        (503, b"<html>upstream</html>", errors.Unavailable),
        (504, status(504, "Timeout"), errors.Unavailable),
    ],
)
def test_an_answer_is_the_error_that_it_means(code: int, body: bytes, expected: type[KubeError]) -> None:
    assert type(mapped(code, body)) is expected


@given(st.integers(min_value=300, max_value=999), st.binary(max_size=64))
def test_no_answer_is_left_unmapped(code: int, body: bytes) -> None:
    assert isinstance(mapped(code, body), KubeError)


def test_every_error_is_in_the_tree_that_the_module_draws() -> None:
    classes = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, KubeError)}
    assert errors.__doc__ is not None
    assert {name for name in classes if name not in errors.__doc__} == set()


def test_a_message_says_what_was_tried_and_what_the_server_said() -> None:
    assert str(mapped(422, status(422, "Invalid", 'spec.x:\n  Invalid value: "y"'))) == (
        'while creating secrets "a/b": spec.x: Invalid value: "y"'
    )


def test_a_long_answer_is_cut() -> None:
    assert len(str(mapped(422, status(422, "Invalid", "x" * 10_000)))) < 600


def test_an_answer_that_is_no_status_is_named_by_its_code_and_not_quoted() -> None:
    assert str(mapped(503, b"<html>hunter2</html>")) == 'while creating secrets "a/b": HTTP 503'


def test_of_a_secret_only_fields_and_reasons_are_told() -> None:
    causes = [{"field": "data[uri]", "reason": "FieldValueInvalid", "message": "hunter2"}]
    refused = mapped(422, status(422, "Invalid", "data: hunter2", causes=causes), confidential=True)
    assert str(refused) == 'while creating secrets "a/b": Invalid data[uri]: FieldValueInvalid'


def test_of_a_secret_it_is_told_who_may_not_do_what() -> None:
    said = 'secrets "b" is forbidden: User "operator" cannot create resource "secrets" in API group "" in the namespace'
    refused = mapped(403, status(403, "Forbidden", f"{said} hunter2"), confidential=True)
    assert 'User "operator" cannot create resource "secrets"' in str(refused)
    assert "hunter2" not in str(refused)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry-After": "7"}, 7.0), ({}, 1.0), ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 1.0)],
)
def test_the_server_says_when_to_come_back(headers: dict[str, str], seconds: float) -> None:
    error = mapped(429, status(429, "TooManyRequests"), headers)
    assert isinstance(error, TooManyRequests)
    assert error.retry_after == seconds
