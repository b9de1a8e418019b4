"""Signed statements of how far the audit chain goes, and what its last row's hash is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta

from bulkhead.protocol import jws
from bulkhead.protocol.documents import Closed, canonical, decode
from bulkhead.protocol.errors import Malformed, ProtocolError
from bulkhead.protocol.jws import Typ
from bulkhead.protocol.keys import PublicKey, SigningKey
from bulkhead.protocol.scalars import MOST_INTEGER, Sha256, UnixSeconds


class Forged(ProtocolError):
    """Not signed with a key of the platform."""


Number = Annotated[int, Meta(ge=1, le=MOST_INTEGER)]


class Head(Closed, frozen=True, kw_only=True):
    """In the life `epoch` of the platform, row `sequence` was the last and had this hash."""

    purpose: Literal["audit-head"] = "audit-head"
    epoch: Number
    sequence: Number
    hash: Sha256
    at: UnixSeconds
    """By the database's clock."""

    @property
    def order(self) -> tuple[int, int]:
        """A later head is the greater one: the fence after a restore raises the epoch and may lower the sequence."""
        return self.epoch, self.sequence


def sign(head: Head, key: SigningKey) -> str:
    """The statement of `head`."""
    return jws.sign(canonical(head), Typ.AUDIT_HEAD, key)


def claimed(statement: str) -> Head:
    """What a statement says, whoever signed it. Raises Malformed."""
    return decode(Head, jws.read(statement, Typ.AUDIT_HEAD).payload)


def proven(statement: str, keys: Mapping[str, PublicKey]) -> Head:
    """What a statement says, signed with one of `keys`, which are by kid. Raises Forged."""
    try:
        signed = jws.read(statement, Typ.AUDIT_HEAD)
        head = decode(Head, signed.payload)
    except Malformed as error:
        raise Forged(f"a head can not be read: {error}") from None
    key = keys.get(signed.kid)
    if key is None or not signed.by(key):
        raise Forged(f"the head of row {head.sequence} is not signed with a key of the platform")
    return head
