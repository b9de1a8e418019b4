"""Who proves to be a plane or a cluster by the key that it joined with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import look_up
from bulkhead.platform.http.route import Joined
from bulkhead.platform.joining import sql
from bulkhead.protocol import proofs
from bulkhead.protocol.errors import Malformed, ProofInvalid
from bulkhead.protocol.keys import PublicKey
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.proofs import ChallengeClaims, KeyRegistrationClaims, RejoinClaims

Tx = AsyncConnection[Any]
C = TypeVar("C", ChallengeClaims, RejoinClaims, KeyRegistrationClaims)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A plane or cluster as the look-up `identity` gives it."""

    id: UUID
    kind: str
    organisation_id: UUID | None
    plane_id: UUID
    public_key: bytes
    epoch: int
    identity_revoked_at: datetime | None
    deleted_at: datetime | None
    plane_revoked_at: datetime | None
    grant_revoked_at: datetime | None
    platform_epoch: int
    now: datetime

    def joined(self) -> Joined:
        """It as a caller without a service key."""
        return Joined(
            identity_id=self.id,
            kind=self.kind,
            organisation_id=self.organisation_id,
            plane_id=self.plane_id,
            key_id="",
            scopes=frozenset(),
            found=self,
        )


def refusal(identity: Identity) -> Code | None:
    """Why its bound key opens nothing any more; None: it does."""
    chain = (
        (identity.plane_revoked_at is not None and identity.kind == "cluster", Code.PLANE_REVOKED),
        (identity.identity_revoked_at is not None, Code.IDENTITY_REVOKED),
        (identity.grant_revoked_at is not None, Code.GRANT_WITHDRAWN),
        (identity.deleted_at is not None, Code.CLUSTER_DELETED),
    )
    return next((code for applies, code in chain if applies), None)


async def identified(pool: Pool, kind: type[C], proof: str, *, url: str) -> tuple[Identity, C]:
    """Who has signed `proof`, and what it claims. Raises Problem; says that an identity is unknown, which a platform
    that was restored has to say, to whoever knows its id."""
    try:
        presented = proofs.presented(kind, proof)
        found = await look_up(pool, sql.BOUND, (UUID(presented.identity),), class_row(Identity))
        if found is None:
            raise Problem(Code.IDENTITY_UNKNOWN)
        claims = presented.proven(bound=PublicKey(found.public_key), platform=url)
    except (ProofInvalid, Malformed) as error:
        raise Problem(Code.PROOF_INVALID, str(error)) from None
    if code := refusal(found):
        raise Problem(code)
    return found, claims


async def locked(tx: Tx, before: Identity) -> Identity:
    """Who was identified, as it is now that nobody else changes it until `tx` ends. Raises Problem.

    Between a proof and what it opens lies scrypt, in which the identity may be ended, or bound to another key pair:
    then who has proven to hold the former one is nobody any more.
    """
    await tx.execute(sql.LOCK_PLANE if before.kind == "plane" else sql.LOCK_CLUSTER, (before.id,))
    async with tx.cursor(row_factory=class_row(Identity)) as cursor:
        await cursor.execute(sql.BOUND, (before.id,))
        found = await cursor.fetchone()
    if found is None:
        raise Problem(Code.IDENTITY_UNKNOWN)
    if code := refusal(found):
        raise Problem(code)
    if found.public_key != before.public_key:
        raise Problem(Code.PROOF_INVALID, "the identity was bound to another key pair meanwhile")
    return found
