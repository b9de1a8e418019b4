"""People by an API token: looked up at each call, so that revocation and the end of a membership hold at the next one.

The look-up tells the token, its membership and its minter; what it may do is what token and membership both allow, as
of now. While a rotation's grace lasts, the former secret opens what the current one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, look_up, transaction
from bulkhead.platform.http.route import User
from bulkhead.platform.keys import fast
from bulkhead.platform.keys.last_used import LastUsed
from bulkhead.platform.keys.scrypt import Hashed, Parameters
from bulkhead.platform.keys.verify import Checked, Outcome, Resting, Verifier
from bulkhead.platform.users import sql
from bulkhead.platform.users.decide import Standing, refusal
from bulkhead.protocol import credentials
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.problems import Code, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundToken:
    """A row of the look-up `api_token`: the token with its membership and its minter."""

    id: str
    organisation_id: UUID
    membership_id: UUID
    issuer: str
    subject: str
    source: str
    abilities: list[str]
    member_abilities: list[str]
    member_ended_at: datetime | None
    minter_revoked_at: datetime | None
    scrypt_n: int
    scrypt_r: int
    scrypt_p: int
    salt: bytes
    hash: bytes
    fast_value: bytes | None
    fast_pepper: str | None
    fast_until: datetime | None
    rotation: int
    value_used_at: datetime | None
    previous_scrypt_n: int | None
    previous_scrypt_r: int | None
    previous_scrypt_p: int | None
    previous_salt: bytes | None
    previous_hash: bytes | None
    previous_fast_value: bytes | None
    previous_fast_pepper: str | None
    previous_fast_until: datetime | None
    previous_until: datetime | None
    epoch: int
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    platform_epoch: int
    now: datetime

    def __repr__(self) -> str:
        return f"FoundToken({self.id})"

    @property
    def current(self) -> Resting:
        """The secret that it was given last."""
        hashed = Hashed(Parameters(self.scrypt_n, self.scrypt_r, self.scrypt_p), self.salt, self.hash)
        value = fast.read(self.fast_value, self.fast_pepper, self.fast_until)
        return Resting(key=f"oat {self.id} {self.rotation}", hashed=hashed, fast=value, now=self.now)

    @property
    def previous(self) -> Resting | None:
        """The secret before the last rotation, while its grace lasts."""
        if self.previous_until is None or self.previous_until <= self.now:
            return None
        if self.previous_salt is None or self.previous_hash is None:
            return None
        parameters = Parameters(self.previous_scrypt_n or 0, self.previous_scrypt_r or 0, self.previous_scrypt_p or 0)
        hashed = Hashed(parameters, self.previous_salt, self.previous_hash)
        value = fast.read(self.previous_fast_value, self.previous_fast_pepper, self.previous_fast_until)
        return Resting(key=f"oat {self.id} {self.rotation} previous", hashed=hashed, fast=value, now=self.now)

    @property
    def standing(self) -> Standing:
        """What decides whether it opens anything."""
        return Standing(
            now=self.now,
            epoch=self.epoch,
            platform_epoch=self.platform_epoch,
            expires_at=self.expires_at,
            revoked_at=self.revoked_at,
            member_ended_at=self.member_ended_at,
            minter_revoked_at=self.minter_revoked_at,
        )

    def user(self) -> User:
        """Who calls with it."""
        return User(
            organisation_id=self.organisation_id,
            subject=self.subject,
            issuer=self.issuer,
            abilities=frozenset(self.abilities) & frozenset(self.member_abilities),
            source=self.source,
            token_id=self.id,
        )


class ApiTokens:
    """Checks `oat_` credentials."""

    def __init__(self, pool: Pool, verifier: Verifier, used: LastUsed) -> None:
        self._pool = pool
        self._verifier = verifier
        self._used = used

    async def found(self, bearer: str, source: str) -> FoundToken:
        """The token that is shown, if it opens anything. Raises Problem, with what to do.

        source: the address of who calls
        """
        shown = _shown(bearer)
        found = await self._find(shown.id)
        current = await self._verifier.check(
            found.current if found else None, shown.digest, source, partial(self._remember, found)
        )
        previous = await self._check_previous(None if current.right else found, shown.digest, source)
        if found is None or not (current.right or previous.right):
            raise Problem(Code.API_TOKEN_UNKNOWN)
        if current.slow or previous.slow:
            # What was revoked while its secret waited for scrypt opens nothing any more, and what was rotated is judged
            # as the secret that it is now.
            before, found = found, await self._find(shown.id)
            if found is None or found.rotation != before.rotation or (previous.right and found.previous is None):
                return await self.found(bearer, source)
        if code := refusal(found.standing):
            raise Problem(code)
        if current.right and found.value_used_at is None:
            await self._write(found, sql.FIRST_USE, {})
        self._used.at(found.id)
        return found

    async def _find(self, id_: str) -> FoundToken | None:
        return await look_up(self._pool, sql.API_TOKEN, (id_,), class_row(FoundToken))

    async def _check_previous(self, found: FoundToken | None, digest: bytes, source: str) -> Checked:
        if found is None or (previous := found.previous) is None:
            return Checked(right=False)
        return await self._verifier.check(previous, digest, source, partial(self._remember_previous, found))

    async def _remember(self, found: FoundToken | None, outcome: Outcome) -> None:
        if found is None:
            return
        if outcome.fast is not None:
            await self._write(found, sql.REMEMBER, fast.columns(outcome.fast))
        if outcome.hashed is not None:
            await self._write(found, sql.HASH_ANEW, outcome.hashed.columns)

    async def _remember_previous(self, found: FoundToken, outcome: Outcome) -> None:
        if outcome.fast is not None:
            await self._write(found, sql.REMEMBER_PREVIOUS, fast.columns(outcome.fast))

    async def _write(self, found: FoundToken, statement: Any, values: Mapping[str, Any]) -> None:
        async with transaction(self._pool, Scope(organisation=found.organisation_id)) as tx:
            await tx.execute(statement, {"id": found.id, "rotation": found.rotation, **values})


def _shown(bearer: str) -> credentials.ApiToken:
    try:
        return credentials.ApiToken.parse(bearer)
    except Malformed as error:
        raise Problem(Code.CREDENTIAL_MALFORMED, str(error)) from None
