"""Planes and clusters by their service key: looked up at each call, so revocation holds at the next one everywhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from psycopg.rows import class_row

from bulkhead.platform.database.many import as_json
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, look_up, look_up_all, transaction
from bulkhead.platform.http.incoming import Incoming
from bulkhead.platform.http.route import Joined, ServiceKey, UserOrPlane
from bulkhead.platform.keys import fast, sql, standing
from bulkhead.platform.keys.gathering import Crowd, Familiar, Gathering
from bulkhead.platform.keys.last_used import LastUsed
from bulkhead.platform.keys.scrypt import Hashed, Parameters
from bulkhead.platform.keys.standing import Standing
from bulkhead.platform.keys.verify import Outcome, Resting, Verifier
from bulkhead.protocol import credentials
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.problems import Code, Problem

FAMILIAR_KEY_BYTES = 32
OVERLAP_SECONDS = 600
"""How long a key goes on to work after its successor was used first: calls that are on their way are served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundKey:
    """A row of the look-up `service_key`: the key with its identity, its plane and the grant that it lives under."""

    id: str
    kind: str
    identity_id: UUID
    organisation_id: UUID | None
    plane_id: UUID
    scopes: list[str]
    scrypt_n: int
    scrypt_r: int
    scrypt_p: int
    salt: bytes
    hash: bytes
    fast_value: bytes | None
    fast_pepper: str | None
    fast_until: datetime | None
    epoch: int
    expires_at: datetime | None
    retires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    public_key: bytes
    identity_revoked_at: datetime | None
    deleted_at: datetime | None
    plane_confirmed_at: datetime | None
    plane_revoked_at: datetime | None
    grant_revoked_at: datetime | None
    desired_generation: int | None
    desired_state: str | None
    applied_generation: int | None
    acknowledged_kid: str | None
    online: bool
    last_seen: datetime | None
    stream_epoch: int | None
    stream_number: int | None
    platform_epoch: int
    now: datetime

    def __repr__(self) -> str:
        return f"FoundKey({self.id})"

    @property
    def resting(self) -> Resting:
        """Its secret."""
        value = fast.read(self.fast_value, self.fast_pepper, self.fast_until)
        parameters = Parameters(self.scrypt_n, self.scrypt_r, self.scrypt_p)
        return Resting(key=self.id, hashed=Hashed(parameters, self.salt, self.hash), fast=value, now=self.now)

    @property
    def standing(self) -> Standing:
        """What decides whether it opens anything."""
        return Standing(
            now=self.now,
            epoch=self.epoch,
            platform_epoch=self.platform_epoch,
            expires_at=self.expires_at,
            retires_at=self.retires_at,
            revoked_at=self.revoked_at,
            identity_revoked_at=self.identity_revoked_at,
            deleted_at=self.deleted_at,
            plane_revoked_at=self.plane_revoked_at,
            grant_revoked_at=self.grant_revoked_at,
        )

    @property
    def scope(self) -> Scope:
        """Whose rows it sees."""
        if self.kind == "plane":
            return Scope(plane=self.plane_id)
        return Scope(organisation=self.organisation_id)

    def joined(self) -> Joined:
        """Who calls with it."""
        return Joined(
            identity_id=self.identity_id,
            kind=self.kind,
            organisation_id=self.organisation_id,
            plane_id=self.plane_id,
            key_id=self.id,
            scopes=frozenset(self.scopes),
            found=self,
        )


class ServiceKeys:
    """The authenticator of rows that a service key may call. random: gives that many unpredictable bytes"""

    def __init__(self, pool: Pool, verifier: Verifier, used: LastUsed, *, random: Callable[[int], bytes]) -> None:
        self._pool = pool
        self._verifier = verifier
        self._used = used
        self._familiar = Familiar(random(FAMILIAR_KEY_BYTES))
        self._gathering = Gathering(self._find_all)
        self._crowd = Crowd(self._find_one, self._find_all)

    async def __call__(self, caller: ServiceKey | UserOrPlane, request: Incoming) -> Joined:
        """Whose key the request shows. Raises Problem, with what to do."""
        shown = _shown(request.bearer)
        found = await self._find(shown)
        checked = await self._verifier.check(
            found.resting if found else None, shown.digest, request.source, partial(self._remember, found)
        )
        if checked.right and checked.slow:
            # What was revoked while its secret waited for scrypt opens nothing any more.
            found = await self._crowd.find(shown.id)
        if found is None or not checked.right:
            # One answer for both: who guesses learns nothing, and who lost its key does the same in either case.
            raise Problem(Code.KEY_UNKNOWN)
        accepts = caller.accepts if isinstance(caller, ServiceKey) else ()
        if code := standing.refusal(found.standing, accepts):
            raise Problem(code)
        if found.last_used_at is None:
            await self._used_first(found)
        self._used.at(found.id)
        self._familiar.add(shown.id, shown.digest)
        return found.joined()

    async def _find(self, shown: credentials.ServiceKey) -> FoundKey | None:
        if self._familiar.has(shown.id, shown.digest):
            return await self._crowd.find(shown.id)
        return await self._gathering.find(shown.id)

    async def _find_one(self, id_: str) -> FoundKey | None:
        return await look_up(self._pool, sql.SERVICE_KEY, (id_,), class_row(FoundKey))

    async def _find_all(self, ids: Collection[str]) -> Mapping[str, FoundKey]:
        found = await look_up_all(self._pool, sql.SERVICE_KEYS, (as_json(ids),), class_row(FoundKey))
        return {each.id: each for each in found}

    async def _used_first(self, found: FoundKey) -> None:
        async with transaction(self._pool, found.scope) as tx:
            await tx.execute(sql.FIRST_USE, {"id": found.id, "overlap": OVERLAP_SECONDS})

    async def _remember(self, found: FoundKey | None, outcome: Outcome) -> None:
        if found is None:
            return
        async with transaction(self._pool, found.scope) as tx:
            if outcome.fast is not None:
                await tx.execute(sql.REMEMBER, {"id": found.id, **fast.columns(outcome.fast)})
            if outcome.hashed is not None:
                await tx.execute(sql.HASH_ANEW, {"id": found.id, **outcome.hashed.columns})


def _shown(bearer: str) -> credentials.ServiceKey:
    try:
        return credentials.ServiceKey.parse(bearer)
    except Malformed as error:
        raise Problem(Code.CREDENTIAL_MALFORMED, str(error)) from None
