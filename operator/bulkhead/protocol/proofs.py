"""Proofs that the sender holds the private key of an identity: at its exchange, its re-join, its rotation of keys.

No proof has a time: no clock decides (protocol 2). What makes each single-use is what it names: a token, a challenge,
the key that it replaces. A repeat is told by `documents.digest` of its claims.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Literal, TypeVar

import msgspec

from bulkhead.protocol import jws
from bulkhead.protocol.documents import Closed, canonical, decode
from bulkhead.protocol.errors import Malformed, ProofInvalid
from bulkhead.protocol.jws import Typ
from bulkhead.protocol.keys import PublicKey, SigningKey
from bulkhead.protocol.scalars import Name, Nonce, PlatformUrl, RowId, Sha256, Uuid


class IdentityKind(StrEnum):
    """What joins."""

    PLANE = "plane"
    CLUSTER = "cluster"


class RegistrationClaims(Closed, frozen=True, kw_only=True):
    """What a joiner signs when it exchanges its token."""

    purpose: Literal["registration"]
    platform: PlatformUrl
    token: Sha256
    """Digest of the registration token that the call carries."""
    public_key: PublicKey
    kind: IdentityKind
    plane: Uuid | None
    """The platform's id of the plane that the cluster lies on; null for a plane itself."""
    uid: Uuid
    """UID of the DataCluster, or of the DataPlane, in Kubernetes."""
    name: Name
    """Its name there: a label."""
    secret: Sha256
    """Digest of the secret that its service key will have."""

    def __post_init__(self) -> None:
        if (self.kind is IdentityKind.CLUSTER) != (self.plane is not None):
            raise Malformed("a cluster names its plane, a plane names none")


class ChallengeClaims(Closed, frozen=True, kw_only=True):
    """What an identity signs to be given a challenge, so that nobody else can use up its budget."""

    purpose: Literal["challenge"]
    platform: PlatformUrl
    identity: Uuid


class RejoinClaims(Closed, frozen=True, kw_only=True):
    """What an identity signs to be given a new service key after the loss of the old one."""

    purpose: Literal["rejoin"]
    platform: PlatformUrl
    identity: Uuid
    challenge: Nonce
    secret: Sha256
    """Digest of the secret that its new service key will have."""


class KeyRegistrationClaims(Closed, frozen=True, kw_only=True):
    """What an identity signs to have a new service key beside the one that it calls with."""

    purpose: Literal["key-registration"]
    platform: PlatformUrl
    identity: Uuid
    replaces: RowId
    """Id of the key that the call is made with."""
    secret: Sha256
    """Digest of the secret that the new service key will have."""


IdentityClaims = ChallengeClaims | RejoinClaims | KeyRegistrationClaims
C = TypeVar("C", bound=ChallengeClaims | RejoinClaims | KeyRegistrationClaims)

_TYPES: dict[type[msgspec.Struct], Typ] = {
    RegistrationClaims: Typ.REGISTRATION,
    ChallengeClaims: Typ.CHALLENGE,
    RejoinClaims: Typ.REJOIN,
    KeyRegistrationClaims: Typ.KEY_REGISTRATION,
}


@dataclass(frozen=True, slots=True)
class Presented(Generic[C]):
    """A proof whose signer is not known yet: it says who that should be, and gives its claims only once they are."""

    identity: str
    """Whose bound key must have signed; look it up, believe nothing."""
    _claims: C
    _signed: jws.Signed

    def proven(self, *, bound: PublicKey, platform: str) -> C:
        """The claims, signed by the `bound` key of `identity` for `platform`. Raises ProofInvalid."""
        _require(self._signed, bound, self._claims.platform, platform)
        return self._claims


def prove(claims: RegistrationClaims | IdentityClaims, key: SigningKey) -> str:
    """`claims` signed with the private key of who makes them. The same claims give the same text."""
    if isinstance(claims, RegistrationClaims) and claims.public_key != key.public:
        raise ValueError("a registration is signed with the key that it carries")
    return jws.sign(canonical(claims), _TYPES[type(claims)], key)


def registration(proof: str, *, platform: str) -> RegistrationClaims:
    """What `proof` claims: made for `platform`, and signed with the key that it carries. Raises ProofInvalid."""
    claims, signed = _read(RegistrationClaims, proof)
    _require(signed, claims.public_key, claims.platform, platform)
    return claims


def presented(kind: type[C], proof: str) -> Presented[C]:
    """`proof` read as the claims `kind`, not yet proven. Raises ProofInvalid."""
    claims, signed = _read(kind, proof)
    return Presented(claims.identity, claims, signed)


K = TypeVar("K", bound=RegistrationClaims | ChallengeClaims | RejoinClaims | KeyRegistrationClaims)


def _read(kind: type[K], proof: str) -> tuple[K, jws.Signed]:
    try:
        signed = jws.read(proof, _TYPES[kind])
        return decode(kind, signed.payload), signed
    except Malformed as error:
        raise ProofInvalid(f"the proof can not be read: {error}") from None


def _require(signed: jws.Signed, key: PublicKey, claimed: str, platform: str) -> None:
    if not signed.by(key):
        raise ProofInvalid("the proof is not signed with the private key of this identity")
    if claimed != platform:
        raise ProofInvalid(f"the proof is for another platform URL than {platform}: use this one")
