"""Where a request belongs in a distributed trace: W3C Trace Context (https://www.w3.org/TR/trace-context/), level 1.

A caller's `traceparent` is believed only whole: anything malformed starts a new trace, as section 3.2.2 of the
recommendation asks for. Its sampled flag is kept and passed on, because it is the first in line who decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACESTATE = re.compile(rb"[\x20-\x7e\t]{1,512}")
_VERSION = b"00"
_NO_VERSION = b"ff"
_NO_TRACE = b"0" * 32
_NO_SPAN = b"0" * 16
_SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class Trace:
    """One request of a trace.

    trace_id: 32 lower-case hexadecimal digits, the same for all that one first request caused
    span_id: 16 of them, this request alone
    sampled: somebody up the line records this trace
    parent_id: span of who called; empty: the trace begins here
    state: the caller's `tracestate`, passed on untouched; empty: none
    """

    trace_id: str
    span_id: str
    sampled: bool = False
    state: str = ""
    parent_id: str = ""

    @property
    def traceparent(self) -> str:
        """The header of what this request causes."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def headers(self) -> dict[str, str]:
        """What an outgoing request carries."""
        return {"traceparent": self.traceparent} | ({"tracestate": self.state} if self.state else {})


def begin(traceparent: bytes | None, tracestate: bytes | None, randomness: Callable[[int], bytes]) -> Trace:
    """The place of a request that came with these headers; None: there was none, or more than one `traceparent`.

    randomness: gives so many random bytes
    """
    span_id = randomness(8).hex()
    parent = _parent(traceparent)
    if parent is None:
        return Trace(randomness(16).hex(), span_id)
    trace_id, parent_id, sampled = parent
    return Trace(trace_id, span_id, sampled, _state(tracestate), parent_id)


def _parent(header: bytes | None) -> tuple[str, str, bool] | None:
    """Trace id, span id and sampled flag of a `traceparent`; None where it is not one.

    Versions to come may append fields, so those are let through from any version but ours (section 4.3 there).
    """
    matched = _TRACEPARENT.fullmatch(header) if header else None
    if matched is None:
        return None
    version, trace_id, span_id, flags, more = matched.groups()
    if version == _NO_VERSION or (version == _VERSION and more):
        return None
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return trace_id.decode(), span_id.decode(), bool(int(flags, 16) & _SAMPLED)


def _state(header: bytes | None) -> str:
    return header.decode() if header and _TRACESTATE.fullmatch(header) else ""
