"""The way back for who has lost its service key and holds its key pair: a challenge, and its answer.

challenge   signed -> one that is open for 60 s, the same again while it is
re-join     signed -> repeat? -> challenge good? budget? -> scrypt, with nothing locked -> all again, locked -> written
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from bulkhead.platform.audit.entry import Action, Actor, ActorKind, Details, Entry, Target, TargetKind
from bulkhead.platform.audit.record import record
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.events.emit import EventData, EventType, emit, emit_of_plane
from bulkhead.platform.http.limits import Failures
from bulkhead.platform.http.route import Call
from bulkhead.platform.http.route import Joined as Caller
from bulkhead.platform.joining import bound, budget, identity, sql
from bulkhead.platform.joining.bound import Identity
from bulkhead.platform.joining.budget import Charged, Exhausted
from bulkhead.platform.joining.refusing import counted
from bulkhead.platform.keys.verify import Verifier
from bulkhead.platform.signing.keys import SigningKeys
from bulkhead.protocol import credentials, documents
from bulkhead.protocol.encoding import base64url, from_base64url
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.proofs import ChallengeClaims, IdentityKind, RejoinClaims
from bulkhead.protocol.registration import Challenge, ChallengeRequest, Joined, RejoinRequest

Tx = AsyncConnection[Any]

PURPOSE = "rejoin"
NONCE_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Challenge:
    identity_id: UUID
    purpose: str
    used: bool
    over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Budget:
    epoch: int
    rejoin_budget: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejoining:
    """Both calls. url: the platform's own, that proofs are made for."""

    url: str
    pool: Pool
    verifier: Verifier
    signing: SigningKeys
    random: credentials.Random
    failures: Failures

    async def challenge(self, call: Call[Any, ChallengeRequest]) -> Challenge:
        """What to sign, for who has signed that it wants to. Raises Problem."""
        found, _ = await bound.identified(self.pool, ChallengeClaims, call.body.proof, url=self.url)
        await call.proven(found.joined())
        tx = await call.tx()
        asked = {
            "nonce": self.random(NONCE_BYTES),
            "kind": found.kind,
            "identity": found.id,
            "organisation": found.organisation_id,
            "purpose": PURPOSE,
        }
        row = await (await tx.execute(sql.OPEN_CHALLENGE, asked)).fetchone()
        if row is None:
            raise Problem(Code.CONFLICT, "ask again")
        return Challenge(challenge=base64url(bytes(row[0])), seconds=row[1], server_time=await identity.server_time(tx))

    async def rejoin(self, call: Call[Any, RejoinRequest]) -> Joined:
        """A new service key for who has answered its challenge; the same again to the same call. Raises Problem."""
        found, claims = await bound.identified(self.pool, RejoinClaims, call.body.proof, url=self.url)
        await call.proven(found.joined())
        digest = bytes.fromhex(documents.digest(claims))
        async with call.transaction() as tx:
            repeated = await self._repeat(tx, found, digest)
            if repeated is None:
                await self._allowed(tx, call, found, claims)
        if repeated is not None:
            return repeated
        secret = await self.verifier.hash_of(bytes.fromhex(claims.secret), call.source, found.now)

        tx = await call.tx()
        found = await bound.locked(tx, found)
        if (repeated := await self._repeat(tx, found, digest)) is not None:
            return repeated
        charged = await self._allowed(tx, call, found, claims)
        key_id = credentials.new_id(self.random)
        await identity.give_key(
            tx,
            key_id=key_id,
            kind=IdentityKind(found.kind),
            identity=found.id,
            organisation=found.organisation_id,
            label="re-joined",
            secret=secret,
            claims_digest=digest,
            epoch=found.platform_epoch,
        )
        await identity.retire_other_keys(tx, found.id, key_id)
        await tx.execute(
            sql.USE_CHALLENGE,
            {"nonce": from_base64url(claims.challenge), "claims_digest": digest, "key": key_id},
        )
        await tx.execute(
            sql.REJOINED_PLANE if found.kind == "plane" else sql.REJOINED_CLUSTER,
            {"id": found.id, "epoch": found.platform_epoch, "budget": charged.left},
        )
        await _tell(tx, call, found, key_id)
        return await self._answer(tx, found.id, key_id)

    async def _repeat(self, tx: Tx, found: Identity, digest: bytes) -> Joined | None:
        """The answer of then to the same call, unless its key was ended since; None: it is not a repeat."""
        key = await identity.key_of(tx, found.id, digest)
        return None if key is None else await self._answer(tx, found.id, key)

    async def _allowed(self, tx: Tx, call: Call[Caller, Any], found: Identity, claims: RejoinClaims) -> Charged:
        """What is left of the budget afterwards. Raises Problem where challenge or budget are not good."""
        async with tx.cursor(row_factory=class_row(_Challenge)) as cursor:
            await cursor.execute(sql.LOCK_CHALLENGE, (from_base64url(claims.challenge),))
            challenge = await cursor.fetchone()
        if challenge is None or challenge.identity_id != found.id or challenge.purpose != PURPOSE:
            raise Problem(Code.CHALLENGE_INVALID)
        if challenge.used or challenge.over:
            invalid = Problem(Code.CHALLENGE_INVALID, audit=_refused(found, Code.CHALLENGE_INVALID))
            raise counted(self.failures, call.source, invalid)
        async with tx.cursor(row_factory=class_row(_Budget)) as cursor:
            await cursor.execute(sql.BUDGET_OF_PLANE if found.kind == "plane" else sql.BUDGET_OF_CLUSTER, (found.id,))
            row = await cursor.fetchone()
        if row is None:
            raise Problem(Code.IDENTITY_UNKNOWN)
        charged = budget.charge(row.rejoin_budget, row.seconds, fenced=row.epoch < found.platform_epoch)
        if isinstance(charged, Exhausted):
            code = Code.REJOIN_EXHAUSTED
            exhausted = Problem(code, retry_after=charged.seconds, audit=_refused(found, code))
            raise counted(self.failures, call.source, exhausted)
        return charged

    async def _answer(self, tx: Tx, id_: UUID, key_id: str) -> Joined:
        ring = await self.signing.ring(tx)
        return Joined(
            identity=str(id_), key_id=key_id, signing_keys=ring.jwks, server_time=await identity.server_time(tx)
        )


async def _tell(tx: Tx, call: Call[Caller, Any], found: Identity, key_id: str) -> None:
    action = Action.PLANE_REJOINED if found.kind == "plane" else Action.CLUSTER_REJOINED
    target = Target(kind=TargetKind(found.kind), id=str(found.id))
    await record(tx, found.organisation_id, _actor(found, call.source), action, target, Details(key=key_id))
    if found.organisation_id is not None:
        await emit(tx, found.organisation_id, EventType.CLUSTER_REJOINED, EventData(cluster=str(found.id)))
    else:
        await emit_of_plane(tx, found.id, EventType.PLANE_REJOINED, EventData(plane=str(found.id)))


def _refused(found: Identity, code: Code) -> Entry:
    return Entry(
        action=Action.REJOIN_REFUSED,
        organisation=str(found.organisation_id) if found.organisation_id else None,
        actor=_actor(found, ""),
        target=Target(kind=TargetKind(found.kind), id=str(found.id)),
        details=Details(code=code.value),
    )


def _actor(found: Identity, address: str) -> Actor:
    return Actor(kind=ActorKind(found.kind), id=str(found.id), address=address)
