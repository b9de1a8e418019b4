"""A new service key beside the one that is in use: registered with both the old key and the bound one.

signed -> repeat? too many? -> scrypt, with nothing locked -> all again, locked -> written
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from bulkhead.platform.audit.entry import Action, Actor, ActorKind, Details, Target, TargetKind
from bulkhead.platform.audit.record import record
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.http.route import Call, Joined
from bulkhead.platform.joining import bound, identity, sql
from bulkhead.platform.joining.bound import Identity
from bulkhead.platform.keys.verify import Verifier
from bulkhead.protocol import credentials, documents
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.proofs import IdentityKind, KeyRegistrationClaims
from bulkhead.protocol.registration import KeyRegistered, KeyRegistrationRequest

Tx = AsyncConnection[Any]

MOST_LIVE_KEYS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """Registers keys. The old one is retired by the first use of the new one, and by nothing else."""

    url: str
    pool: Pool
    verifier: Verifier
    random: credentials.Random

    async def __call__(self, call: Call[Joined, KeyRegistrationRequest]) -> KeyRegistered:
        """The id of a new key; the same again to the same call. Raises Problem."""
        found, claims = await bound.identified(self.pool, KeyRegistrationClaims, call.body.proof, url=self.url)
        if found.id != call.caller.identity_id:
            raise Problem(Code.PROOF_INVALID, "the proof is of another identity than the service key")
        if claims.replaces != call.caller.key_id:
            raise Problem(Code.KEY_REPLACED)
        digest = bytes.fromhex(documents.digest(claims))
        async with call.transaction() as tx:
            repeated = await _repeated(tx, found, digest)
        if repeated is not None:
            return await self._answer(call, repeated)
        secret = await self.verifier.hash_of(bytes.fromhex(claims.secret), call.source, found.now)

        tx = await call.tx()
        found = await bound.locked(tx, found)
        # A key that was ended meanwhile is the end of what it was about to register, too.
        if code := await identity.key_refusal(tx, call.caller.key_id):
            raise Problem(code)
        if (repeated := await _repeated(tx, found, digest)) is not None:
            return await self._answer(call, repeated)
        key_id = credentials.new_id(self.random)
        await identity.give_key(
            tx,
            key_id=key_id,
            kind=IdentityKind(found.kind),
            identity=found.id,
            organisation=found.organisation_id,
            label="rotated",
            secret=secret,
            claims_digest=digest,
            epoch=found.platform_epoch,
        )
        await record(
            tx,
            found.organisation_id,
            Actor(kind=ActorKind(found.kind), id=str(found.id), credential=call.caller.key_id, address=call.source),
            Action.SERVICE_KEY_REGISTERED,
            Target(kind=TargetKind.SERVICE_KEY, id=key_id),
            Details(key=call.caller.key_id),
        )
        return await self._answer(call, key_id)

    async def _answer(self, call: Call[Any, Any], key_id: str) -> KeyRegistered:
        tx = await call.tx()
        return KeyRegistered(key_id=key_id, server_time=await identity.server_time(tx))


async def _repeated(tx: Tx, found: Identity, digest: bytes) -> str | None:
    """The key of the same call before, unless it was ended since; None: it is not a repeat, and there is room for one.

    Raises Problem.
    """
    if (key := await identity.key_of(tx, found.id, digest)) is not None:
        return key
    live = await (await tx.execute(sql.LIVE_KEYS, (found.id,))).fetchone()
    if live is not None and live[0] >= MOST_LIVE_KEYS:
        raise Problem(Code.KEY_LIMIT)
    return None
