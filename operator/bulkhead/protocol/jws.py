"""JWS in compact serialisation (RFC 7515) with one algorithm, EdDSA over Ed25519, and nothing to choose.

A header says `alg`, `typ` and, where several keys may have signed, `kid`. Any other parameter (`jwk`, `jku`, `x5c`,
`crit`, `b64`, …) is refused: it would let the sender say how, or with whose key, the signature is looked at. Each
purpose has a `typ` of its own, so a signature made for one never passes for another (RFC 8725, section 3.11).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from bulkhead.protocol.documents import Closed, decode, encode
from bulkhead.protocol.encoding import base64url, from_base64url
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.keys import SIGNATURE_BYTES, PublicKey, SigningKey
from bulkhead.protocol.scalars import Kid

MOST_CHARACTERS = 4096


class Typ(StrEnum):
    """What a signature is for: the one value that its header may have."""

    REGISTRATION = "bulkhead-registration+jwt"
    CHALLENGE = "bulkhead-challenge+jwt"
    REJOIN = "bulkhead-rejoin+jwt"
    KEY_REGISTRATION = "bulkhead-key-registration+jwt"
    SUCCESSION = "bulkhead-succession+jwt"
    ASSERTION = "bulkhead-assertion+jwt"
    AUDIT_HEAD = "bulkhead-audit-head+jwt"

    @property
    def names_key(self) -> bool:
        """Whether the header says by `kid` which of several keys signed."""
        return self in (Typ.ASSERTION, Typ.AUDIT_HEAD)


class _Header(Closed, frozen=True, kw_only=True):
    alg: Literal["EdDSA"]
    typ: Typ


class _NamingHeader(_Header, frozen=True, kw_only=True):
    kid: Kid


@dataclass(frozen=True, slots=True)
class Signed:
    """What was read; true only once `by` has said so."""

    payload: bytes
    kid: str
    """The key that is said to have signed; empty where the `typ` names none."""
    _covered: bytes
    _signature: bytes

    def by(self, key: PublicKey) -> bool:
        """Whether `key` signed it."""
        return key.verifies(self._covered, self._signature)


def sign(payload: bytes, typ: Typ, key: SigningKey) -> str:
    """`payload` signed for the purpose `typ`. The same input gives the same text."""
    if typ.names_key:
        header: _Header = _NamingHeader(alg="EdDSA", typ=typ, kid=key.public.kid)
    else:
        header = _Header(alg="EdDSA", typ=typ)
    covered = f"{base64url(encode(header))}.{base64url(payload)}"
    return f"{covered}.{base64url(key.sign(covered.encode()))}"


def read(text: str, typ: Typ) -> Signed:
    """What `text` says, not yet verified. Raises Malformed for any other purpose, algorithm or header parameter."""
    if len(text) > MOST_CHARACTERS:
        raise Malformed(f"a JWS has at most {MOST_CHARACTERS} characters")
    parts = text.split(".")
    if len(parts) != 3:
        raise Malformed("a JWS has three parts")
    header = decode(_NamingHeader if typ.names_key else _Header, from_base64url(parts[0]))
    if header.typ is not typ:
        raise Malformed(f"this JWS is not of typ {typ}")
    signature = from_base64url(parts[2])
    if len(signature) != SIGNATURE_BYTES:
        raise Malformed(f"a signature has {SIGNATURE_BYTES} bytes")
    kid = header.kid if isinstance(header, _NamingHeader) else ""
    return Signed(from_base64url(parts[1]), kid, f"{parts[0]}.{parts[1]}".encode(), signature)
