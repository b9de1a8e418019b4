from __future__ import annotations

import pytest

from bulkhead.engines.errors import EngineError, Refused, Unavailable
from bulkhead.engines.http import Reply
from bulkhead.engines.meilisearch.errors import Failure, error_of, task_error

DOING = 'creating index "acme_entries"'
BODY = '{"message":"No.","code":"some_code","type":"invalid_request","link":"https://docs"}'


def failure(status: int, body: str = BODY) -> EngineError:
    return error_of(Reply(status, body.encode()), DOING)


@pytest.mark.parametrize("status", range(300, 600))
def test_every_status_says_what_failed_while_doing_what(status: int) -> None:
    error = failure(status)
    assert type(error) in {Unavailable, Refused}
    assert str(error).startswith(f"while {DOING}: the server answered {status}: No. some_code")


@pytest.mark.parametrize("status", [404, 408, 429, 500, 502, 503])
def test_what_passes_by_itself_is_unavailable(status: int) -> None:
    assert isinstance(failure(status), Unavailable)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 405, 409, 413, 415])
def test_what_a_person_must_change_is_refused(status: int) -> None:
    assert isinstance(failure(status), Refused)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_without_rights_names_the_way_out(status: int) -> None:
    assert "adminSecretRef" in str(failure(status))


@pytest.mark.parametrize("kind", ["system", "internal"])
def test_a_full_disk_is_unavailable_whatever_its_status(kind: str) -> None:
    assert isinstance(
        failure(422, f'{{"message":"full","code":"no_space_left_on_device","type":"{kind}"}}'), Unavailable
    )


@pytest.mark.parametrize("body", ["", "<html>", "[]", "\xff\xfe", "{}", '{"message":3}'])
def test_a_body_of_another_shape_is_no_obstacle(body: str) -> None:
    assert isinstance(failure(500, body), Unavailable)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("invalid_request", Refused),
        ("auth", Refused),
        ("internal", Unavailable),
        ("system", Unavailable),
        ("", Refused),
        ("of another version", Refused),
    ],
)
def test_a_failed_task_says_what_failed_while_doing_what(kind: str, error: type[EngineError]) -> None:
    raised = task_error(Failure("Index `x` is bad.", "bad_index", kind), DOING)
    assert type(raised) is error
    assert str(raised) == f"while {DOING}: the task failed: Index `x` is bad. (bad_index)"
