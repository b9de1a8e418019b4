"""Which `traceparent` is believed."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.platform.http.trace import Trace, begin

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def ones(count: int) -> bytes:
    return b"\x11" * count


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("ff", True)])
def test_a_whole_traceparent_is_believed_with_its_flag(flags: str, sampled: bool) -> None:  # noqa: FBT001 - a case
    assert begin(f"00-{TRACE}-{PARENT}-{flags}".encode(), None, ones) == Trace(TRACE, "11" * 8, sampled, "", PARENT)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"00",
        f"00-{TRACE.upper()}-{PARENT}-01".encode(),
        f"00-{TRACE}-{PARENT}".encode(),
        f"00-{TRACE}-{PARENT}-01-more".encode(),
        f"ff-{TRACE}-{PARENT}-01".encode(),
        f"00-{'0' * 32}-{PARENT}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE}-{PARENT}-0x".encode(),
        f"00-{TRACE}-{PARENT}-01\n".encode(),
        f" 00-{TRACE}-{PARENT}-01".encode(),
    ],
)
def test_anything_malformed_begins_a_new_trace(header: bytes) -> None:
    assert begin(header, b"vendor=1", ones) == Trace("11" * 16, "11" * 8)


def test_a_version_to_come_may_say_more() -> None:
    assert begin(f"01-{TRACE}-{PARENT}-01-more".encode(), None, ones).trace_id == TRACE


def test_what_a_request_causes_carries_its_trace_its_own_span_and_the_state_of_others() -> None:
    trace = begin(f"00-{TRACE}-{PARENT}-01".encode(), b"vendor=1", ones)
    assert trace.headers() == {"traceparent": f"00-{TRACE}-{'11' * 8}-01", "tracestate": "vendor=1"}


@pytest.mark.parametrize("state", [b"a" * 513, b"vendor=\xff", b"vendor=1\r\nx: y"])
def test_a_state_that_could_not_be_passed_on_is_left_out(state: bytes) -> None:
    assert begin(f"00-{TRACE}-{PARENT}-01".encode(), state, ones).state == ""


@given(st.binary(max_size=80))
def test_no_header_breaks_anything_and_what_goes_on_is_always_well_formed(header: bytes) -> None:
    trace = begin(header, header, os.urandom)
    assert begin(trace.traceparent.encode(), None, os.urandom).trace_id == trace.trace_id
