"""A target is what the caller wrote, or nothing."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.platform.proxy.paths import target
from bulkhead.protocol.problems import Code, Problem

ALPHABET = st.sampled_from([*"ab./\\;%25eEfFcC0?&=~", "%2e", "%2F", "%5C", "%00", "..", "%c0%af"])


@given(st.lists(ALPHABET, max_size=12).map("".join))
def test_what_passes_is_untouched_and_leads_nowhere_else(path: str) -> None:
    try:
        sent = target(path, b"q=%2F")
    except Problem:
        return
    assert sent == b"/" + path.encode() + b"?q=%2F"
    decoded = unquote(path, errors="strict")
    assert not {".", ".."} & {segment.partition(";")[0] for segment in decoded.split("/")}
    assert decoded.count("/") == path.count("/")
    assert "\\" not in decoded
    assert "\0" not in decoded


def test_without_a_query_there_is_no_question_mark() -> None:
    assert target("a", b"") == b"/a"


@pytest.mark.parametrize(
    "path", ["%2e%2e", "a/%2E%2E/b", "..;a=b", "a%2Fb", "a%5cb", "a\\b", "%00", "%c0%ae", "%g0", "%", "/a"]
)
def test_what_two_readers_take_differently_is_refused(path: str) -> None:
    with pytest.raises(Problem) as raised:
        target(path, b"")
    assert raised.value.code is Code.PATH_REFUSED
