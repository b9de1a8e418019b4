"""What becomes of an exchange: pure. Every rule about tokens and the identities that they make is in here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bulkhead.platform.joining.organisation import Tenancy, whose
from bulkhead.protocol.problems import Code
from bulkhead.protocol.proofs import RegistrationClaims


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A registration token's row. Times by the database's clock; None: it never came to that, or it is not bound."""

    kind: str
    organisation_id: UUID | None
    plane_id: UUID | None
    uid: UUID | None
    name: str
    tenant: str | None
    tenant_uid: UUID | None
    bound_key: bytes | None
    self_confirming: bool
    rebinds: bool
    minted_by_plane: bool
    epoch: int
    expires_at: datetime
    revoked_at: datetime | None
    used_at: datetime | None
    claims_digest: bytes | None
    identity_id: UUID | None
    key_id: str | None
    plane_revoked_at: datetime | None
    grant_revoked_at: datetime | None
    platform_epoch: int
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The identity that the claims speak of, as far as it exists already."""

    organisation_id: UUID | None
    public_key: bytes
    identity_revoked_at: datetime | None
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Bind:
    """Redeem the token. anew: the identity does not exist yet."""

    anew: bool


@dataclass(frozen=True, slots=True)
class Repeat:
    """The same call was answered before: give the same ids again."""

    identity_id: UUID
    key_id: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nothing is changed."""

    code: Code


def decide(
    token: Token, claims: RegistrationClaims, claims_digest: bytes, known: Known | None, tenancy: Tenancy | None
) -> Bind | Repeat | Refuse:
    """What to do with a proven request. A used token is compared before anything else: its repeat needs no more.

    tenancy: of the token's tenant; None: it is a plane's token
    """
    if token.used_at is not None:
        return _repeat(token, claims_digest)
    code = _token_refusal(token, claims) or _tenancy_refusal(token, tenancy) or _identity_refusal(token, claims, known)
    if code:
        return Refuse(code)
    return Bind(anew=known is None)


def _repeat(token: Token, claims_digest: bytes) -> Repeat | Refuse:
    if token.claims_digest != claims_digest or token.identity_id is None or token.key_id is None:
        return Refuse(Code.TOKEN_USED)
    return Repeat(token.identity_id, token.key_id)


def _token_refusal(token: Token, claims: RegistrationClaims) -> Code | None:
    chain = (
        (token.revoked_at is not None or token.epoch < token.platform_epoch, Code.TOKEN_REVOKED),
        (token.expires_at <= token.now, Code.TOKEN_EXPIRED),
        (not _fits(token, claims), Code.TOKEN_WRONG_CLUSTER),
        (token.plane_revoked_at is not None, Code.PLANE_REVOKED),
        (token.grant_revoked_at is not None, Code.GRANT_MISSING),
    )
    return next((code for applies, code in chain if applies), None)


def _fits(token: Token, claims: RegistrationClaims) -> bool:
    return (
        claims.kind.value == token.kind
        and claims.plane == _text(token.plane_id)
        and (token.uid is None or claims.uid == _text(token.uid))
        and claims.name == token.name
        and (token.bound_key is None or claims.public_key.raw == token.bound_key)
    )


def _tenancy_refusal(token: Token, tenancy: Tenancy | None) -> Code | None:
    """As it is now: since the token was minted a tenant may have been mapped, or an organisation have come.

    Only a plane knows which tenant an object's UID belongs to. Where it serves several organisations, a member of one
    could otherwise claim the UID of another's cluster, which could not join any more.
    """
    if tenancy is None or token.tenant_uid is None:
        return None
    if not token.minted_by_plane and len(tenancy.grants) > 1:
        return Code.ORGANISATION_AMBIGUOUS
    found = whose(tenancy, token.tenant_uid)
    if isinstance(found, Code):
        return found
    return None if found == token.organisation_id else Code.TOKEN_REVOKED


def _identity_refusal(token: Token, claims: RegistrationClaims, known: Known | None) -> Code | None:
    """One (plane, uid) is one identity with one key. Only its plane may bind it anew, and nobody once it was ended."""
    if known is None:
        return None
    chain = (
        (known.organisation_id != token.organisation_id, Code.CLUSTER_ELSEWHERE),
        (known.identity_revoked_at is not None, Code.IDENTITY_REVOKED),
        (known.deleted_at is not None, Code.CLUSTER_DELETED),
        (known.public_key != claims.public_key.raw and not token.rebinds, Code.IDENTITY_BOUND),
    )
    return next((code for applies, code in chain if applies), None)


def _text(id_: UUID | None) -> str | None:
    return None if id_ is None else str(id_)
