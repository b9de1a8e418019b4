from __future__ import annotations

import pytest

from bulkhead.engines.errors import EngineError, Refused, Unavailable
from bulkhead.engines.http import Reply
from bulkhead.engines.qdrant.errors import error_of

DOING = 'creating collection "acme_entries"'


def failure(status: int, body: str = '{"status":{"error":"Wrong input: no"},"time":0.1}') -> EngineError:
    return error_of(Reply(status, body.encode()), DOING)


@pytest.mark.parametrize("status", range(300, 600))
def test_every_status_says_what_failed_while_doing_what(status: int) -> None:
    error = failure(status)
    assert type(error) in {Unavailable, Refused}
    assert str(error).startswith(f"while {DOING}: the server answered {status}: Wrong input: no")


@pytest.mark.parametrize("status", [404, 408, 429, 500, 502, 503, 504, 507])
def test_what_passes_by_itself_is_unavailable(status: int) -> None:
    assert isinstance(failure(status), Unavailable)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 405, 409, 413, 415, 422])
def test_what_a_person_must_change_is_refused(status: int) -> None:
    assert isinstance(failure(status), Refused)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_without_rights_names_the_way_out(status: int) -> None:
    assert "adminSecretRef" in str(failure(status))


def test_the_bare_text_of_failed_authentication_is_shown() -> None:
    assert "Invalid API key or JWT" in str(failure(401, "Invalid API key or JWT"))


@pytest.mark.parametrize("body", ["", "<html>", '{"status":"ok"}', "[]", "\xff\xfe", '{"status":{}}'])
def test_a_body_of_another_shape_is_no_obstacle(body: str) -> None:
    assert isinstance(failure(500, body), Unavailable)


def test_a_long_text_is_cut() -> None:
    assert len(str(failure(500, "x" * 10_000))) < 500
