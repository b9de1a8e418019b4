"""Bodies of joining: a token asked for, exchanged; a challenge and its answer; a new service key."""

from __future__ import annotations

import uuid

from bulkhead.protocol.assertions import Jwks
from bulkhead.protocol.credentials import RegistrationToken
from bulkhead.protocol.documents import Answer, Closed, Request
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.keys import PublicKey
from bulkhead.protocol.proofs import IdentityKind
from bulkhead.protocol.scalars import Compact, Name, Nonce, RowId, Seconds, UnixSeconds, Uuid

PLANE_TOKEN_SECONDS = 900
"""Longest life of a token that a plane asks for one of its clusters (protocol 2)."""

_PLANES = uuid.UUID("5b0a86e4-9c1c-5d0b-8d6c-3f0d4c0a7a52")


def plane_id(uid: str) -> str:
    """The platform's id of the plane with this DataPlane UID: the same after a restore or another registration."""
    return str(uuid.uuid5(_PLANES, uid))


def cluster_id(plane: str, uid: str) -> str:
    """The platform's id of the DataCluster with this UID on `plane` (the platform's id of it)."""
    return str(uuid.uuid5(uuid.UUID(plane), uid))


class TenantRef(Closed, frozen=True, kw_only=True):
    """The Tenant that a cluster belongs to: it decides the organisation where a plane serves several."""

    name: Name
    uid: Uuid


class TokenRequest(Request, frozen=True, kw_only=True):
    """Asks for a registration token: a plane for one of its clusters, or a user."""

    kind: IdentityKind
    name: Name
    seconds: Seconds
    """How long it may be exchanged."""
    plane: Uuid | None = None
    """The plane that the cluster lies on; null for a plane. A plane asks for its own clusters alone."""
    uid: Uuid | None = None
    """Kubernetes UID that it is bound to; null: any, for a plane that is not known yet."""
    tenant: TenantRef | None = None
    """The cluster's Tenant; null for a plane."""
    public_key: PublicKey | None = None
    """The key that it is bound to; null: any. Always given by a plane."""
    self_confirming: bool = False
    """The plane that exchanges it needs no confirmation by a person. Never for a cluster."""

    def __post_init__(self) -> None:
        if (self.kind is IdentityKind.CLUSTER) != (self.plane is not None):
            raise Malformed("a cluster's token names its plane, a plane's names none")
        if self.kind is IdentityKind.CLUSTER and (self.uid is None or self.tenant is None):
            raise Malformed("a cluster's token names its uid and its tenant")
        if self.kind is IdentityKind.PLANE and self.tenant is not None:
            raise Malformed("a plane's token names no tenant")
        if self.kind is IdentityKind.CLUSTER and self.self_confirming:
            raise Malformed("only a plane is confirmed")


class TokenIssued(Answer, frozen=True, kw_only=True):
    """A registration token, shown this once."""

    token: RegistrationToken
    expires_at: UnixSeconds
    server_time: UnixSeconds


class ExchangeRequest(Request, frozen=True, kw_only=True):
    """Redeems the token that the call carries as Bearer."""

    proof: Compact
    """`RegistrationClaims`, signed with the key that they carry."""


class Joined(Answer, frozen=True, kw_only=True):
    """The answer to an exchange and to a re-join. Its signing keys are trusted as they come: TLS vouches for them."""

    identity: Uuid
    """The platform's id of this plane or cluster."""
    key_id: RowId
    """With it and its own secret the joiner composes its service key."""
    signing_keys: Jwks
    """Whose assertions to accept from now on."""
    server_time: UnixSeconds
    """For showing how far a clock is off; nothing is decided by it."""


class ChallengeRequest(Request, frozen=True, kw_only=True):
    """Asks for a challenge to re-join."""

    proof: Compact
    """`ChallengeClaims`, signed with the bound key."""


class Challenge(Answer, frozen=True, kw_only=True):
    """What to sign, once. While one is open, the same is given again."""

    challenge: Nonce
    seconds: Seconds
    """How long it may still be answered."""
    server_time: UnixSeconds


class RejoinRequest(Request, frozen=True, kw_only=True):
    """Answers a challenge with a new service key's digest. Answered by `Joined`."""

    proof: Compact
    """`RejoinClaims`, signed with the bound key."""


class KeyRegistrationRequest(Request, frozen=True, kw_only=True):
    """Registers a new service key beside the one that the call is made with."""

    proof: Compact
    """`KeyRegistrationClaims`, signed with the bound key."""


class KeyRegistered(Answer, frozen=True, kw_only=True):
    """The new key is in force; its first use retires the one that it replaces."""

    key_id: RowId
    server_time: UnixSeconds


class Deleted(Answer, frozen=True, kw_only=True):
    """The deletion notice was taken, now or before."""

    identity: Uuid
    server_time: UnixSeconds
