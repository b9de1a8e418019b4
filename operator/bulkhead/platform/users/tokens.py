"""API tokens as people manage them: minted for oneself, listed without values, rotated, revoked with all they minted.

A secret is in the answer that makes it, and nowhere else. What a token may do is bounded by its minter when it is made,
and by its membership at every call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Protocol
from uuid import UUID

import msgspec
from msgspec import Meta
from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row

from bulkhead.platform.audit.actors import actor
from bulkhead.platform.audit.entry import Action, Details, Target, TargetKind
from bulkhead.platform.audit.export import Revoked
from bulkhead.platform.audit.record import record
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import look_up
from bulkhead.platform.events.emit import EventData, EventType, emit
from bulkhead.platform.http.route import Call, Route, User, UserWith
from bulkhead.platform.keys import fast
from bulkhead.platform.keys.scrypt import Hashed
from bulkhead.platform.keys.verify import Outcome, Verifier
from bulkhead.platform.users import sql
from bulkhead.platform.users.decide import exceeds
from bulkhead.platform.users.granting import Granting, NewToken
from bulkhead.platform.users.login import Standing
from bulkhead.protocol.assertions import Ability, Source
from bulkhead.protocol.credentials import ApiToken, Random, Secret
from bulkhead.protocol.documents import Answer, Closed, Request
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.scalars import RowId, Seconds, UnixSeconds

Tx = AsyncConnection[Any]

MOST_TOKENS = 50
"""Living ones of one member."""
MOST_ROWS = 200
MOST_GRACE = 7 * 86400

ADMINS = UserWith(Ability.TOKEN_ADMIN.value)

Label = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+\Z")]


class Keep(Protocol):
    """Makes a revocation outlive the database, before its transaction is committed."""

    async def __call__(
        self,
        what: Revoked,
        id_: str,
        /,
        *,
        epoch: int,
        organisation: str | None = None,
        subject: str = "",
        rotation: int = 0,
    ) -> None: ...


class NewApiToken(Request, frozen=True, kw_only=True):
    """name: what it is for; abilities: at most those of who asks; source: who will use it"""

    name: Label
    abilities: Annotated[tuple[Ability, ...], Meta(min_length=1, max_length=len(Ability))]
    seconds: Seconds
    source: Source = Source.HUMAN


class RotationRequest(Request, frozen=True, kw_only=True):
    """grace: seconds for which the former secret goes on to work; 0: it ends at once"""

    grace: Annotated[int, Meta(ge=0, le=MOST_GRACE)] = 3600


class ApiTokenIssued(Answer, frozen=True, kw_only=True):
    """token: shown this once. previous_until: of the former secret; null: there is none"""

    id: RowId
    token: ApiToken
    expires_at: UnixSeconds
    previous_until: UnixSeconds | None = None


class ListedToken(Answer, frozen=True, kw_only=True):
    """An API token without its value. Times in Unix seconds."""

    id: RowId
    name: str
    subject: str
    abilities: tuple[str, ...]
    source: str
    minted_by_token: RowId | None
    platform_admin: bool
    created_at: int
    expires_at: int
    rotated_at: int | None
    previous_until: int | None
    last_used_at: int | None
    revoked_at: int | None


class TokenPage(Answer, frozen=True, kw_only=True):
    """The oldest first. next: `after` of the next page; null: this is the last."""

    tokens: tuple[ListedToken, ...]
    next: str | None


class TokenQuery(Closed, frozen=True, kw_only=True):
    """after: the id of the last row that was read"""

    after: RowId | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_ROWS)] = 100


def routes(*, pool: Pool, verifier: Verifier, random: Random, keep: Keep) -> tuple[Route, ...]:
    """Rows of the table."""
    tokens = _Tokens(pool, verifier, random, keep)
    one = "/v1/tokens/{token}"
    mints = (Code.LIMIT_REACHED, Code.BUSY, Code.MEMBERSHIP_MISSING)
    return (
        Route(
            "POST",
            "/v1/tokens",
            "Mint an API token for yourself; it is shown once",
            ADMINS,
            tokens.mint,
            body=NewApiToken,
            answer=ApiTokenIssued,
            status=201,
            codes=mints,
        ),
        Route(
            "GET",
            "/v1/tokens",
            "List your organisation's API tokens, without their values",
            ADMINS,
            tokens.list,
            query=TokenQuery,
            answer=TokenPage,
        ),
        Route(
            "POST",
            f"{one}/rotation",
            "Give an API token of yours a new secret; it is shown once",
            ADMINS,
            tokens.rotate,
            body=RotationRequest,
            answer=ApiTokenIssued,
            codes=mints,
        ),
        Route("DELETE", one, "Revoke an API token, and all that it minted", ADMINS, tokens.revoke, status=204),
    )


@dataclass(frozen=True, slots=True)
class _Tokens:
    pool: Pool
    verifier: Verifier
    random: Random
    keep: Keep

    async def mint(self, call: Call[User, NewApiToken]) -> ApiTokenIssued:
        caller, asked = call.caller, call.body
        abilities = tuple(sorted({ability.value for ability in asked.abilities}))
        _within(caller, frozenset(abilities), asked.source)
        standing = await self._standing(caller)
        token = ApiToken.generate(self.random)
        outcome = await self.verifier.hash_of(token.digest, call.source, standing.now)
        tx = await call.tx()
        membership = await _own(tx, standing.membership_id)
        latest = await _minter_ends(tx, caller)
        new = NewToken(
            token=token,
            hashed=_whole(outcome),
            fast=outcome.fast,
            name=asked.name,
            abilities=abilities,
            source=asked.source,
            seconds=asked.seconds,
            minter=caller.token_id,
            latest=latest,
        )
        granting = Granting(tx, actor(caller, call.source))
        ends = await granting.token(caller.organisation_id, membership, new)
        return ApiTokenIssued(id=token.id, token=token, expires_at=ends)

    async def list(self, call: Call[User, None]) -> TokenPage:
        query: TokenQuery = call.query
        tx = await call.tx()
        async with tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(sql.LIST_TOKENS, {"after": query.after, "limit": query.limit + 1})
            found = await cursor.fetchall()
        shown = tuple(ListedToken(**{**row, "abilities": tuple(row["abilities"])}) for row in found[: query.limit])
        return TokenPage(tokens=shown, next=shown[-1].id if len(found) > query.limit else None)

    async def rotate(self, call: Call[User, RotationRequest]) -> ApiTokenIssued:
        caller, id_ = call.caller, _id(call)
        standing = await self._standing(caller)
        secret = Secret.generate(self.random)
        outcome = await self.verifier.hash_of(secret.digest, call.source, standing.now)
        tx = await call.tx()
        async with tx.cursor(row_factory=class_row(_Rotated)) as cursor:
            await cursor.execute(sql.FOR_ROTATION, (id_,))
            found = await cursor.fetchone()
        if found is None or not found.is_of(caller, standing.membership_id, id_):
            raise Problem(Code.NOT_FOUND, "no living token of yours has this id")
        _within(caller, frozenset(found.abilities), Source(found.source))
        rests = {**_whole(outcome).columns, **fast.columns(outcome.fast)}
        values = {"id": id_, "grace": call.body.grace, **rests}
        row = await (await tx.execute(sql.ROTATE, values)).fetchone()
        if row is None:
            raise Problem(Code.NOT_FOUND)
        target = Target(kind=TargetKind.API_TOKEN, id=id_, name=found.name)
        await record(tx, caller.organisation_id, actor(caller, call.source), Action.API_TOKEN_ROTATED, target)
        await self.keep(Revoked.API_TOKEN_VALUE, id_, epoch=await _epoch(tx), rotation=row[0])
        return ApiTokenIssued(id=id_, token=ApiToken(id_, secret), expires_at=row[1], previous_until=row[2])

    async def revoke(self, call: Call[User, None]) -> None:
        id_ = _id(call)
        tx, organisation = await call.tx(), call.caller.organisation_id
        by = actor(call.caller, call.source)
        ended = await _ended(tx, id_)
        if not ended and not await (await tx.execute(sql.EXISTS, (id_,))).fetchone():
            raise Problem(Code.NOT_FOUND)
        epoch = await _epoch(tx)
        for token, name in sorted(ended):
            target = Target(kind=TargetKind.API_TOKEN, id=token, name=name)
            await record(tx, organisation, by, Action.API_TOKEN_REVOKED, target, Details(label=name))
            await emit(tx, organisation, EventType.API_TOKEN_REVOKED, EventData(token=token, name=name))
            await self.keep(Revoked.API_TOKEN, token, epoch=epoch)

    async def _standing(self, caller: User) -> Standing:
        """What the caller is now; its clock is the database's."""
        found = await look_up(self.pool, sql.MEMBERSHIP, (caller.issuer, caller.subject), class_row(Standing))
        if found is None or found.organisation_id != caller.organisation_id:
            raise Problem(Code.MEMBERSHIP_MISSING)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rotated:
    """A living token that is locked."""

    name: str
    membership_id: UUID
    abilities: list[str]
    source: str
    minted_by_token: str | None
    platform_admin: bool
    rotation: int

    def is_of(self, caller: User, membership: UUID | None, id_: str) -> bool:
        """Whether `caller` may have its secret: it is the token itself, has minted it, or is its owner in person."""
        if self.membership_id != membership:
            return False
        if caller.token_id is None:
            return not self.platform_admin
        return caller.token_id in (id_, self.minted_by_token)


def _id(call: Call[User, Any]) -> str:
    """Of the token in the path. Problem not_found where it can be none."""
    try:
        return msgspec.convert(call.path["token"], RowId)
    except msgspec.ValidationError:
        raise Problem(Code.NOT_FOUND) from None


def _within(caller: User, abilities: frozenset[str], source: Source) -> None:
    if beyond := exceeds(abilities, source, minter=caller.abilities, minter_source=Source(caller.source)):
        raise Problem(Code.ABILITY_MISSING, beyond)


async def _own(tx: Tx, membership: UUID | None) -> UUID:
    if membership is None or await (await tx.execute(sql.OWN_MEMBERSHIP, (membership,))).fetchone() is None:
        raise Problem(Code.MEMBERSHIP_MISSING)
    count = await (await tx.execute(sql.LIVING_TOKENS, (membership,))).fetchone()
    if count is not None and count[0] >= MOST_TOKENS:
        raise Problem(Code.LIMIT_REACHED, f"a member has at most {MOST_TOKENS} living tokens")
    return membership


async def _ended(tx: Tx, id_: str) -> list[tuple[Any, ...]]:
    """All of the line that lived. What was being minted while its minter was waited for is seen by the next look, and
    what a look has found mints nothing more."""
    ended: list[tuple[Any, ...]] = []
    while found := await (await tx.execute(sql.REVOKE, (id_,))).fetchall():
        ended += found
    return ended


async def _minter_ends(tx: Tx, caller: User) -> Any:
    """When a token that mints ends; None: no token does."""
    if caller.token_id is None:
        return None
    row = await (await tx.execute(sql.MINTER, (caller.token_id,))).fetchone()
    if row is None:
        raise Problem(Code.API_TOKEN_REVOKED)
    return row[0]


async def _epoch(tx: Tx) -> int:
    row = await (await tx.execute(sql.EPOCH)).fetchone()
    if row is None:
        raise RuntimeError("the platform has no state: its database was never migrated")
    return int(row[0])


def _whole(outcome: Outcome) -> Hashed:
    if outcome.hashed is None:
        raise RuntimeError("a new secret was not hashed")
    return outcome.hashed
