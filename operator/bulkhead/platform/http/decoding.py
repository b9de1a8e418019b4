"""Bodies and queries into the closed types of a row. What is refused is named by its field, never by its value."""

from __future__ import annotations

import re
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from bulkhead.protocol import documents
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.problems import Code, Problem

S = TypeVar("S", bound=msgspec.Struct)

MOST_PARAMETERS = 32

_PLACE = re.compile(r" - at `\$\.([A-Za-z0-9]{1,64})`$")
# A NUL that is spelt as an escape: JSON allows it, Postgres has no text that holds it. An even number of backslashes
# before it is so many backslashes themselves.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def body(kind: type[S], data: bytes, *, most: int) -> S:
    """The struct in `data`, or a Problem."""
    if b"\\u0000" in data and _NUL.search(data):
        raise Problem(Code.BODY_INVALID, "it holds a NUL character")
    try:
        return documents.decode(kind, data, most=most)
    except Malformed as error:
        raise Problem(Code.BODY_INVALID, str(error)) from None


def query(kind: type[S], data: bytes) -> S:
    """The struct that the query string `data` spells, or a Problem."""
    values = _values(data)
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        placed = _PLACE.search(str(error))
        takes = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
        what = f"{placed[1]} has a value that is not allowed" if placed else "a parameter is unknown or missing"
        raise Problem(Code.REQUEST_MALFORMED, f"query: {what}; this takes {takes}") from None


def _values(data: bytes) -> dict[str, str]:
    if not data:
        return {}
    try:
        pairs = parse_qsl(
            data.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MOST_PARAMETERS,
        )
    except ValueError:
        raise Problem(Code.REQUEST_MALFORMED, "query: not of the form name=value&name=value") from None
    values = dict(pairs)
    if len(values) != len(pairs):
        raise Problem(Code.REQUEST_MALFORMED, "query: a parameter came more than once")
    if b"%00" in data:  # a bare NUL is no target at all
        raise Problem(Code.REQUEST_MALFORMED, "query: it holds a NUL character")
    return values
