"""`POST /v1/registrations`: a one-time token and a proof become an identity and a service key.

    proof -> token as it is now -> decision -> scrypt, with nothing locked -> token locked -> decision again -> written

No message carries the secret: the caller composes its key from the key id of the answer and the secret that it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from bulkhead.platform.audit.entry import Action, Actor, ActorKind, Details, Entry, Target, TargetKind
from bulkhead.platform.audit.record import record
from bulkhead.platform.events.emit import EventData, EventType, emit, emit_of_plane
from bulkhead.platform.http.limits import Failures
from bulkhead.platform.http.route import Call, TokenHolder
from bulkhead.platform.joining import identity, sql
from bulkhead.platform.joining.exchange_decision import Bind, Known, Refuse, Repeat, Token, decide
from bulkhead.platform.joining.minting import tenancy
from bulkhead.platform.joining.refusing import counted
from bulkhead.platform.keys.verify import Outcome, Verifier
from bulkhead.platform.signing.keys import SigningKeys
from bulkhead.protocol import credentials, documents, proofs
from bulkhead.protocol.errors import ProofInvalid
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.proofs import IdentityKind, RegistrationClaims
from bulkhead.protocol.registration import ExchangeRequest, Joined, cluster_id, plane_id

Tx = AsyncConnection[Any]
ExchangeCall = Call[TokenHolder, ExchangeRequest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """What a call claims, once its signature was verified. identity: whom it speaks of."""

    claims: RegistrationClaims
    digest: bytes
    identity: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Redeems tokens. url: the platform's own, that proofs are made for."""

    url: str
    verifier: Verifier
    signing: SigningKeys
    random: credentials.Random
    failures: Failures

    async def __call__(self, call: ExchangeCall) -> Joined:
        """The answer to a token and a proof; the same again to the same call. Raises Problem."""
        proven = self._proven(call)
        await call.proven(_scoped(call.caller, proven))
        async with call.transaction() as tx:
            token, early = await _decision(tx, call, proven)
        if isinstance(early, Refuse):
            raise self._refused(call, early.code)
        # With nothing locked, and only for who is to be let in: 40 ms that nobody else can have us spend.
        secret = await self._hashed(call, token, proven) if isinstance(early, Bind) else None

        tx = await call.tx()
        token, decision = await _decision(tx, call, proven)
        match decision:
            case Refuse(code):
                raise self._refused(call, code)
            case Repeat():
                return await self._repeated(tx, call, decision)
            case Bind() if secret is not None:
                return await self._bound(tx, call, token, proven, decision, secret)
        raise Problem(Code.CONFLICT, "the token changed meanwhile: send the same call again")

    def _proven(self, call: ExchangeCall) -> Proven:
        try:
            claims = proofs.registration(call.body.proof, platform=self.url)
        except ProofInvalid as error:
            raise self._refused(call, Code.PROOF_INVALID, str(error)) from None
        if claims.token != call.caller.found.digest.hex():
            raise self._refused(call, Code.PROOF_INVALID, "the proof is for another token")
        return Proven(claims=claims, digest=bytes.fromhex(documents.digest(claims)), identity=_identity(claims))

    async def _hashed(self, call: ExchangeCall, token: Token, proven: Proven) -> Outcome:
        return await self.verifier.hash_of(bytes.fromhex(proven.claims.secret), call.source, token.now)

    async def _bound(
        self, tx: Tx, call: ExchangeCall, token: Token, proven: Proven, bind: Bind, secret: Outcome
    ) -> Joined:
        """Make or bind the identity, give it its key, use the token up: all or nothing."""
        key_id = credentials.new_id(self.random)
        await _write_identity(tx, call, token, proven, bind)
        await identity.give_key(
            tx,
            key_id=key_id,
            kind=proven.claims.kind,
            identity=proven.identity,
            organisation=token.organisation_id,
            label="joined",
            secret=secret,
            claims_digest=proven.digest,
            epoch=token.platform_epoch,
        )
        await identity.retire_other_keys(tx, proven.identity, key_id)
        await tx.execute(
            sql.REDEEM,
            {
                "id": call.caller.token_id,
                "claims_digest": proven.digest,
                "identity": proven.identity,
                "key": key_id,
            },
        )
        await _tell(tx, call, token, proven, bind, key_id)
        return await self._answer(tx, proven.identity, key_id)

    async def _repeated(self, tx: Tx, call: ExchangeCall, repeat: Repeat) -> Joined:
        """The ids of then, unless what they name was ended since: then its code."""
        if code := await identity.key_refusal(tx, repeat.key_id):
            raise self._refused(call, code)
        return await self._answer(tx, repeat.identity_id, repeat.key_id)

    def _refused(self, call: ExchangeCall, code: Code, detail: str = "") -> Problem:
        return counted(self.failures, call.source, Problem(code, detail, audit=_refusal(call, code)))

    async def _answer(self, tx: Tx, id_: UUID, key_id: str) -> Joined:
        ring = await self.signing.ring(tx)
        return Joined(
            identity=str(id_), key_id=key_id, signing_keys=ring.jwks, server_time=await identity.server_time(tx)
        )


async def _decision(tx: Tx, call: ExchangeCall, proven: Proven) -> tuple[Token, Bind | Repeat | Refuse]:
    async with tx.cursor(row_factory=class_row(Token)) as cursor:
        await cursor.execute(sql.LOCK_BY_ID, {"id": call.caller.token_id, "digest": call.caller.found.digest})
        token = await cursor.fetchone()
    if token is None:
        raise Problem(Code.TOKEN_UNKNOWN)
    # Two tokens may be for one identity, which is not there yet to be locked.
    await tx.execute(sql.LOCK_IDENTITY, (str(proven.identity),))
    async with tx.cursor(row_factory=class_row(Known)) as cursor:
        await cursor.execute(sql.KNOWN, (proven.identity,))
        known = await cursor.fetchone()
    of = await tenancy(tx, token.plane_id, token.tenant) if token.plane_id and token.tenant else None
    return token, decide(token, proven.claims, proven.digest, known, of)


async def _write_identity(tx: Tx, call: ExchangeCall, token: Token, proven: Proven, bind: Bind) -> None:
    claims = proven.claims
    row = {
        "id": proven.identity,
        "uid": claims.uid,
        "name": claims.name,
        "public_key": claims.public_key.raw,
        "epoch": token.platform_epoch,
    }
    if claims.kind is IdentityKind.PLANE:
        await tx.execute(sql.MAKE_PLANE if bind.anew else sql.BIND_PLANE, row)
        if token.self_confirming or token.bound_key is not None:
            await tx.execute(sql.CONFIRM_PLANE, {"id": proven.identity, "by": f"token {call.caller.token_id}"})
    else:
        of = {
            "organisation": token.organisation_id,
            "plane": token.plane_id,
            "tenant": token.tenant,
            "tenant_uid": token.tenant_uid,
        }
        await tx.execute(sql.MAKE_CLUSTER if bind.anew else sql.BIND_CLUSTER, row | of)
    await tx.execute(
        sql.MAKE_LIVENESS,
        {"id": proven.identity, "kind": claims.kind.value, "organisation": token.organisation_id},
    )


def _identity(claims: RegistrationClaims) -> UUID:
    return UUID(cluster_id(claims.plane, claims.uid) if claims.plane else plane_id(claims.uid))


def _scoped(holder: TokenHolder, proven: Proven) -> TokenHolder:
    """The token's own rows, those of its organisation, and for a plane the row that it is about to have."""
    if proven.claims.kind is IdentityKind.PLANE and holder.organisation_id is None:
        return TokenHolder(token_id=holder.token_id, plane_id=proven.identity, found=holder.found)
    return holder


_ACTIONS = {
    (IdentityKind.PLANE, True): Action.PLANE_JOINED,
    (IdentityKind.PLANE, False): Action.PLANE_REJOINED,
    (IdentityKind.CLUSTER, True): Action.CLUSTER_JOINED,
    (IdentityKind.CLUSTER, False): Action.CLUSTER_REBOUND,
}


async def _tell(tx: Tx, call: ExchangeCall, token: Token, proven: Proven, bind: Bind, key_id: str) -> None:
    claims, organisation = proven.claims, token.organisation_id
    await record(
        tx,
        organisation,
        _actor(call),
        _ACTIONS[claims.kind, bind.anew],
        Target(kind=TargetKind(claims.kind.value), id=str(proven.identity), name=claims.name),
        Details(key=key_id, fingerprint=claims.public_key.fingerprint, tenant=token.tenant),
    )
    if organisation is not None:
        type_ = EventType.CLUSTER_JOINED if bind.anew else EventType.CLUSTER_REJOINED
        await emit(tx, organisation, type_, EventData(cluster=str(proven.identity), name=claims.name))
    elif not bind.anew:
        await emit_of_plane(tx, proven.identity, EventType.PLANE_REJOINED, EventData(plane=str(proven.identity)))


def _refusal(call: ExchangeCall, code: Code) -> Entry:
    """A token that is used twice is perhaps a token that was stolen: every refusal leaves a row."""
    return Entry(
        action=Action.REGISTRATION_REFUSED,
        organisation=str(call.caller.organisation_id) if call.caller.organisation_id else None,
        actor=_actor(call),
        target=Target(kind=TargetKind.REGISTRATION_TOKEN, id=str(call.caller.token_id)),
        details=Details(code=code.value),
    )


def _actor(call: ExchangeCall) -> Actor:
    return Actor(kind=ActorKind.REGISTRATION_TOKEN, id=str(call.caller.token_id), address=call.source)
