"""Which headers pass, by list: what is not on it does not, whoever invents it.

Of what a caller sends, nothing reaches the cluster that authenticates (Authorization, Cookie), that speaks of the way
(Forwarded, Connection) or that could pass for the platform's own word. Of what a cluster sends, nothing reaches the
caller that would set something for the platform's origin (Set-Cookie, Strict-Transport-Security, CORS) or lead
elsewhere (Location, Link, Refresh).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from bulkhead.platform.http.incoming import Incoming
from bulkhead.platform.http.route import Headers
from bulkhead.platform.http.trace import Trace
from bulkhead.protocol.assertions import HEADER
from bulkhead.protocol.problems import Code, Problem

REQUEST = (
    b"accept",
    b"accept-encoding",
    b"accept-language",
    b"content-disposition",
    b"content-language",
    b"content-length",
    b"content-type",
    b"idempotency-key",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"last-event-id",
    b"prefer",
    b"range",
)
ANSWER = frozenset(
    {
        b"accept-ranges",
        b"allow",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-range",
        b"content-type",
        b"etag",
        b"last-modified",
        b"preference-applied",
        b"retry-after",
        b"vary",
    }
)
SANDBOX: Headers = ((b"content-security-policy", b"default-src 'none'; sandbox"),)
"""Whatever a cluster serves runs nothing in the origin of the platform."""

_FRAMING = frozenset({b"content-length", b"content-type", b"transfer-encoding"})
_BODILESS = frozenset({204, 304})
_ASCII = re.compile(rb"[\x20-\x7e\t]*")
_FIELD = re.compile(rb"[\x20-\x7e\x80-\xff\t]*")
_LENGTH = re.compile(rb"[0-9]{1,18}")


def passed(request: Incoming) -> dict[str, str]:
    """What the cluster is sent of a caller's headers. Problem where a value is not of ASCII."""
    return {name.decode(): _ascii(name, request.headers[name]) for name in REQUEST if name in request.headers}


def sent(passed: Mapping[str, str], trace: Trace, *, host: str, assertion: str) -> dict[str, str]:
    """All that the cluster is sent: what is passed, and the platform's own."""
    return {"host": host, **passed, HEADER: assertion, **trace.headers()}


def answer(method: str, status: int, raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """What the caller is sent of an answer's headers.

    Raises:
        Problem: target_answer_refused: two readers could take the answer for two, or nobody could tell whether it came
            whole.
    """
    given = [(name.lower(), value) for name, value in raw]
    framing = _once(given)
    if not 200 <= status <= 599:
        raise refused("its status is none that ends a request")
    if b"transfer-encoding" in framing and (
        b"content-length" in framing or framing[b"transfer-encoding"].lower() != b"chunked"
    ):
        raise refused("it says its length in two ways")
    if not _LENGTH.fullmatch(framing.get(b"content-length", b"0")):
        raise refused("its content-length is not a number of bytes")
    if not framing.keys() & {b"content-length", b"transfer-encoding"} and method != "HEAD" and status not in _BODILESS:
        raise refused("it does not say where it ends")
    return (*((name, _field(value)) for name, value in given if _passes(name, status)), *SANDBOX)


def refused(what: str) -> Problem:
    """What the caller is told of an answer that is not passed on."""
    return Problem(Code.TARGET_ANSWER_REFUSED, what)


def _passes(name: bytes, status: int) -> bool:
    return name in ANSWER and not (name == b"content-length" and status in _BODILESS)


def _once(given: Iterable[tuple[bytes, bytes]]) -> Mapping[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in given:
        if name in _FRAMING:
            if name in found:
                raise refused(f"its {name.decode()} came more than once")
            found[name] = value
    return found


def _ascii(name: bytes, value: bytes) -> str:
    if not _ASCII.fullmatch(value):
        raise Problem(Code.REQUEST_MALFORMED, f"the header {name.decode()} has to be of printable ASCII")
    return value.decode("ascii")


def _field(value: bytes) -> bytes:
    if not _FIELD.fullmatch(value):
        raise refused("a header holds a control character")
    return value
