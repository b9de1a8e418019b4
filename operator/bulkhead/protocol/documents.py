"""JSON as both ends write and read it.

A request is closed: an unknown field is refused, so content has no field to travel in. It says `protocol`, the version
that it is written in. An answer is read tolerantly, so that a newer platform may say more.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable
from functools import cache
from typing import Any, Final, Literal, TypeVar

import msgspec

from bulkhead.protocol.credentials import SCAN_PATTERN, Credential
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.keys import KEY_TEXT_PATTERN, PublicKey

PROTOCOL: Final = 1
"""The version that this release writes."""
MOST_BYTES = 65536
"""Of a body, where its route says nothing else."""

MOST_MESSAGE = 300
"""Characters of what a reader says about a document."""

T = TypeVar("T", bound=msgspec.Struct)

_INVALID_VALUE = re.compile(r"(Invalid (?:enum )?value) .*?(?= - at `\$[^`]*`\Z|\Z)", re.DOTALL)
_UNKNOWN_FIELD = re.compile(
    r"Object contains unknown field `(?![A-Za-z][A-Za-z0-9]{0,39}`).*?`(?= - at `|\Z)", re.DOTALL
)


class Closed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A part of a request, a row, the claims of a signature: nothing but its fields."""


class Request(Closed, frozen=True, kw_only=True):
    """The body of a request."""

    protocol: Literal[1]
    """Version of the protocol that the sender writes."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of an answer, or a part of one: fields that a reader does not know are skipped."""


def encode(document: msgspec.Struct) -> bytes:
    """`document` as JSON, secrets included: for sending, not for logs."""
    return msgspec.json.encode(document, enc_hook=_encode_hook)


def canonical(document: Any) -> bytes:
    """The one spelling of a content: RFC 8785, as far as strings, whole numbers and null need it."""
    return msgspec.json.encode(document, enc_hook=_encode_hook, order="sorted")


def digest(document: Any) -> str:
    """SHA-256 of the canonical form, in hexadecimal."""
    return hashlib.sha256(canonical(document)).hexdigest()


def decode(kind: type[T], body: bytes, *, most: int = MOST_BYTES) -> T:
    """The `kind` that `body` holds. Raises Malformed, with the place of the error and never with a value."""
    if len(body) > most:
        raise Malformed(f"more than {most} bytes")
    try:
        document: T = _decoder(kind).decode(body)
    except msgspec.ValidationError as error:
        raise Malformed(_without_values(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Malformed("not JSON in UTF-8") from None
    return document


def schema_hook(kind: type) -> dict[str, Any]:
    """`schema_hook` of msgspec: what the types of this package look like in an OpenAPI document."""
    if kind is PublicKey:
        return {"type": "string", "pattern": KEY_TEXT_PATTERN, "description": "An Ed25519 public key in base64url"}
    if issubclass(kind, Credential):
        return {"type": "string", "pattern": rf"^{SCAN_PATTERN}\Z", "description": f"{kind.CALLED}, shown once"}
    raise NotImplementedError(kind.__name__)


def _without_values(message: str) -> str:
    """msgspec's message without what the sender wrote: it may be a secret in the wrong field."""
    return _UNKNOWN_FIELD.sub("Object contains unknown field", _INVALID_VALUE.sub(r"\1", message))[:MOST_MESSAGE]


def _encode_hook(value: Any) -> Any:
    if isinstance(value, PublicKey):
        return value.text
    if isinstance(value, Credential):
        return value.reveal()
    raise NotImplementedError(type(value).__name__)


def _decode_hook(kind: type, value: Any) -> Any:
    if not isinstance(value, str):
        raise Malformed("Expected `str`")
    if issubclass(kind, PublicKey | Credential):
        return kind.parse(value)
    raise NotImplementedError(kind.__name__)


@cache
def _decoder(kind: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, dec_hook=_decode_hook)
