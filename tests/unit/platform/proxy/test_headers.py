"""Headers pass by list, and an answer whose end two readers would see in two places does not pass at all."""

from __future__ import annotations

import pytest

from bulkhead.platform.proxy.headers import ANSWER, REQUEST, answer
from bulkhead.protocol.problems import Code, Problem

LENGTH = (b"Content-Length", b"3")
SANDBOX = (b"content-security-policy", b"default-src 'none'; sandbox")
NEVER = {
    b"authorization",
    b"connection",
    b"cookie",
    b"forwarded",
    b"host",
    b"location",
    b"proxy-authorization",
    b"set-cookie",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"x-forwarded-for",
    b"access-control-allow-origin",
    b"strict-transport-security",
    b"content-security-policy",
}


def refusal(status: int, *given: tuple[bytes, bytes], method: str = "GET") -> Code:
    with pytest.raises(Problem) as raised:
        answer(method, status, given)
    return raised.value.code


def test_nothing_that_authenticates_routes_or_frames_is_on_a_list() -> None:
    assert not NEVER & {*REQUEST, *ANSWER}


def test_only_listed_headers_come_back() -> None:
    given = [(name, b"x") for name in NEVER - {b"transfer-encoding"}]
    assert answer("GET", 200, [*given, LENGTH, (b"ETag", b'"1"')]) == (
        (b"content-length", b"3"),
        (b"etag", b'"1"'),
        SANDBOX,
    )


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_has_no_length(status: int) -> None:
    assert answer("GET", status, [LENGTH]) == (SANDBOX,)


def test_an_answer_to_head_keeps_its_length() -> None:
    assert answer("HEAD", 200, [LENGTH]) == ((b"content-length", b"3"), SANDBOX)
    assert answer("HEAD", 200, []) == (SANDBOX,)


@pytest.mark.parametrize(
    "given",
    [
        [],
        [LENGTH, LENGTH],
        [LENGTH, (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"gzip, chunked")],
        [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"3, 3")],
        [(b"content-length", b"+3")],
        [(b"content-length", b"-1")],
        [(b"content-length", b"0x3")],
        [(b"content-length", b"")],
        [LENGTH, (b"content-type", b"text/plain"), (b"content-type", b"text/html")],
        [LENGTH, (b"etag", b"a\rb")],
        [LENGTH, (b"etag", b"a\0b")],
    ],
)
def test_an_answer_that_can_be_read_in_two_ways_is_refused(given: list[tuple[bytes, bytes]]) -> None:
    assert refusal(200, *given) is Code.TARGET_ANSWER_REFUSED


@pytest.mark.parametrize("status", [0, 101, 199, 600, 999])
def test_a_status_that_ends_no_request_is_refused(status: int) -> None:
    assert refusal(status, LENGTH) is Code.TARGET_ANSWER_REFUSED


def test_a_header_that_is_not_passed_may_come_twice() -> None:
    assert answer("GET", 200, [LENGTH, (b"set-cookie", b"a"), (b"set-cookie", b"b")])
    assert answer("GET", 200, [LENGTH, (b"vary", b"a"), (b"vary", b"b")])
