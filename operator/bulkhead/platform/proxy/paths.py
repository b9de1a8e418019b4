"""The target of a request as the cluster is sent it: what the caller wrote, byte for byte, or nothing.

A path that two readers could take for two places is refused and not mended: whoever mended it would decide about
another path than the cluster serves.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from bulkhead.protocol.problems import Code, Problem

_ESCAPES = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")
_ENCODED_SEPARATOR = re.compile(r"%(?:2f|5c)", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


def target(path: str, query: bytes) -> bytes:
    """The target of a request to a cluster: `/`, the path as it was sent, and `?` with the query if there is one.

    path: what follows `/proxy/`, undecoded

    Raises:
        Problem: path_refused
    """
    if not _ESCAPES.fullmatch(path):
        raise _refused("a % is not followed by two hexadecimal digits")
    if _ENCODED_SEPARATOR.search(path) or "\\" in path:
        raise _refused("an encoded slash or a backslash")
    if path.startswith("/"):
        raise _refused("an empty first segment reads as the name of a host")
    _check_decoded(path)
    return b"/" + path.encode("ascii") + (b"?" + query if query else b"")


def _check_decoded(path: str) -> None:
    try:
        decoded = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        # Also every overlong spelling of a dot or a slash.
        raise _refused("escapes that are not UTF-8") from None
    if _UNPRINTABLE.search(decoded):
        raise _refused("a NUL or another control character")
    # What follows a semicolon is a parameter to some readers: to them "..;x" is "..".
    if any(segment.partition(";")[0] in {".", ".."} for segment in decoded.split("/")):
        raise _refused("a dot segment")


def _refused(what: str) -> Problem:
    return Problem(Code.PATH_REFUSED, what)
