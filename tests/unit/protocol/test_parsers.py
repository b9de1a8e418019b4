"""Whatever bytes arrive, a parser returns or raises an error of the protocol: nothing else, and in bounded time."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.protocol.errors import ProtocolError
from tests.unit.protocol.parsers import PARSERS, SAMPLES, Parser

PARAMETERS = [pytest.param(parser, id=name) for name, parser in PARSERS.items()]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid input with a piece taken out and another put in its place."""
    sample = draw(st.sampled_from(SAMPLES))
    start = draw(st.integers(min_value=0, max_value=len(sample)))
    end = draw(st.integers(min_value=start, max_value=min(len(sample), start + 8)))
    piece = draw(
        st.one_of(st.just(b""), st.binary(max_size=8), st.sampled_from([b"\\ud800", b"\\u0000", b"1e400", b"[" * 3000]))
    )
    return sample[:start] + piece + sample[end:]


@pytest.mark.parametrize("parser", PARAMETERS)
@given(body=st.one_of(st.binary(max_size=300), damaged()))
def test_no_input_breaks_a_parser(parser: Parser, body: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        parser(body)


@pytest.mark.parametrize("parser", PARAMETERS)
def test_no_long_input_breaks_a_parser(parser: Parser) -> None:
    for unit in (b"[", b'{"a":', b"A", b"9", b'"', b"\\u0000", b".", b"\xff", b"\x00", b"bht_", b"://", b"%"):
        with contextlib.suppress(ProtocolError):
            parser(unit * (200_000 // len(unit)))


@pytest.mark.parametrize("parser", PARAMETERS)
def test_every_parser_takes_some_sample(parser: Parser) -> None:
    """Else the tests above would try its first check alone."""

    def taken(body: bytes) -> bool:
        try:
            parser(body)
        except ProtocolError:
            return False
        return True

    assert any(taken(sample) for sample in SAMPLES)
