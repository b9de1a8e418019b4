"""Problems: every code is usable, and only a document of ours tells anything."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from bulkhead.protocol import documents, problems
from bulkhead.protocol.problems import CONTENT_TYPE, Code, Problem, ProblemDocument
from bulkhead.protocol.sync import Stream
from tests.unit.protocol import gen

PROBLEM = Problem(
    Code.STREAM_SUPERSEDED, "by stream 4", stream=Stream(epoch=1, number=4), sequence=0, server_time=gen.NOW
)
DOCUMENT = PROBLEM.document("4bf92f3577b34da6a3ce929d0e0e4736")


def read(status: int = 409, content_type: str = CONTENT_TYPE, **changed: Any) -> ProblemDocument | None:
    return problems.read(status, content_type, json.dumps({**gen.plain(DOCUMENT), **changed}).encode())


@pytest.mark.parametrize("code", list(Code))
def test_every_code_says_in_one_sentence_what_happened_and_what_to_do(code: Code) -> None:
    assert code == code.name.lower()
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)
    assert 400 <= code.status <= 599
    for sentence in (code.happened, code.remedy):
        assert re.fullmatch(r"[A-Z][^.]*\.|[A-Z].*: [^.]*\.", sentence)
        assert len(sentence) < 160


def test_the_codes_of_the_protocol_are_all_there() -> None:
    agreed = {
        "token_unknown", "token_expired", "token_used", "token_wrong_cluster", "proof_invalid", "plane_unconfirmed",
        "key_unknown", "key_revoked", "key_expired", "key_fenced", "identity_unknown", "identity_revoked",
        "cluster_deleted", "cluster_suspended", "cluster_offline", "cluster_elsewhere", "organisation_ambiguous",
        "plane_revoked", "grant_withdrawn", "rate_limited", "body_too_large", "stream_superseded", "sequence_gap",
        "digest_mismatch", "clock_skew", "unavailable", "internal",
    }  # fmt: skip
    assert agreed <= set(Code)


@pytest.mark.parametrize("code", list(Code))
def test_a_problem_is_read_as_it_was_raised(code: Code) -> None:
    document = Problem(code, "here", retry_after=3).document("trace")
    assert problems.read(code.status, f"{CONTENT_TYPE}; charset=utf-8", documents.encode(document)) == document
    assert document.title == code.happened
    assert document.remedy == code.remedy


def test_what_is_special_about_a_problem_comes_with_it() -> None:
    document = read()
    assert document == DOCUMENT
    assert document is not None
    assert document.stream == Stream(epoch=1, number=4)


def test_a_problem_may_say_more_than_its_reader_knows() -> None:
    assert read(hint="later") == DOCUMENT


@pytest.mark.parametrize(
    "changed", [{"code": "new_code"}, {"code": None}, {"status": 404}, {"type": "about:blank"}, {"stream": 4}]
)
def test_a_document_that_is_not_ours_tells_nothing(changed: dict[str, Any]) -> None:
    assert read(**changed) is None


@pytest.mark.parametrize("status", [200, 401, 404, 410, 502])
def test_a_status_that_is_not_the_codes_tells_nothing(status: int) -> None:
    assert read(status) is None


@pytest.mark.parametrize("content_type", ["", "text/html", "application/json", "application/problem+json-seq"])
def test_another_media_type_tells_nothing(content_type: str) -> None:
    assert read(content_type=content_type) is None


@pytest.mark.parametrize("body", [b"", b"<html>404</html>", b"null", b"{}", b"\xff", b"[" * 9000])
def test_a_body_that_is_no_problem_tells_nothing(body: bytes) -> None:
    assert problems.read(404, CONTENT_TYPE, body) is None


def test_a_body_without_end_tells_nothing() -> None:
    assert read(detail="x" * problems.MOST_BYTES) is None


def test_what_the_audit_is_told_is_not_sent() -> None:
    problem = Problem(Code.TOKEN_USED, "by another", audit={"token": "of somebody"})
    assert "somebody" not in documents.encode(problem.document()).decode() + str(problem)
