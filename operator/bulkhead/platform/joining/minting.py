"""Registration tokens: minted by a plane for its own clusters, by users, and for planes by platform admins.

A token is shown once and rests as a digest. Its minter's reach is its own: a plane mints inside its grants, for at most
15 minutes and one key; a user inside the own organisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta
from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row

from bulkhead.platform.audit.actors import actor
from bulkhead.platform.audit.entry import Action, Actor, Details, Target, TargetKind
from bulkhead.platform.audit.record import record
from bulkhead.platform.http.route import Admin, Call, Joined, User
from bulkhead.platform.joining import sql
from bulkhead.platform.joining.organisation import Mapping, Tenancy, whose
from bulkhead.protocol import credentials
from bulkhead.protocol.documents import Answer, Closed
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.proofs import IdentityKind
from bulkhead.protocol.registration import PLANE_TOKEN_SECONDS, TokenIssued, TokenRequest
from bulkhead.protocol.scalars import UnixSeconds, Uuid

Tx = AsyncConnection[Any]

MOST_SECONDS = 7 * 86400
"""Of a token that a person mints."""
MOST_OPEN = 5
"""Tokens of planes, and of people, that wait for one (plane, uid) at the same time."""
MOST_WAITING = 1000
"""Tokens for one plane's clusters that wait in one organisation: as many of its own, and as many of people."""
MOST_CLUSTERS = 20_000
"""Of one plane. Twice what a plane is built for: beyond it somebody makes up clusters."""
MOST_WHO = 512
"""Characters of who minted one, for people who read lists."""
PAGE = 50
MOST_OF_A_PAGE = 200


class Listed(Answer, frozen=True, kw_only=True):
    """A registration token without its value."""

    id: Uuid
    kind: IdentityKind
    name: str
    uid: Uuid | None
    plane: Uuid | None
    minted_by: str
    created_at: UnixSeconds
    expires_at: UnixSeconds
    revoked_at: UnixSeconds | None
    used_at: UnixSeconds | None
    identity: Uuid | None
    """Whom it made."""


class Tokens(Answer, frozen=True, kw_only=True):
    """A page of them, the newest first. next: what to give as `after`; null: that was all."""

    tokens: tuple[Listed, ...]
    next: str | None


class Page(Closed, frozen=True, kw_only=True):
    """Which part of a list."""

    after: Uuid | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_OF_A_PAGE)] = PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Minting:
    """Mints, lists and revokes."""

    random: credentials.Random

    async def mint(self, call: Call[Joined | User, TokenRequest]) -> TokenIssued:
        """A token for a cluster. Raises Problem."""
        asked = call.body
        if asked.kind is not IdentityKind.CLUSTER or asked.plane is None or asked.uid is None or asked.tenant is None:
            raise Problem(Code.BODY_INVALID, "$.kind: tokens of planes are minted at /v1/data-planes/tokens")
        tx = await call.tx()
        await tx.execute(sql.LOCK_IDENTITY, (f"{asked.plane}/{asked.uid}",))
        if isinstance(call.caller, Joined):
            organisation = await _of_plane(tx, call.caller, asked)
        else:
            organisation = await _of_user(tx, call.caller, asked)
        by_plane = isinstance(call.caller, Joined)
        cluster = {"plane": asked.plane, "uid": asked.uid, "by_plane": by_plane}
        if await _count(tx, sql.OPEN_TOKENS, cluster) >= MOST_OPEN:
            raise Problem(Code.LIMIT_REACHED, f"{MOST_OPEN} tokens wait for this cluster: use one of them, or wait")
        await _need_room(tx, UUID(asked.plane), organisation, by_plane=by_plane)
        return await self._minted(tx, call, organisation)

    async def mint_for_plane(self, call: Call[Admin, TokenRequest]) -> TokenIssued:
        """A token for a plane. Raises Problem."""
        if call.body.kind is not IdentityKind.PLANE:
            raise Problem(Code.BODY_INVALID, "$.kind: tokens of clusters are minted at /v1/registration-tokens")
        _within(call.body.seconds, MOST_SECONDS)
        return await self._minted(await call.tx(), call, None)

    async def _minted(self, tx: Tx, call: Call[Any, TokenRequest], organisation: UUID | None) -> TokenIssued:
        return await insert(
            tx,
            call.body,
            credentials.RegistrationToken.generate(self.random),
            organisation=organisation,
            actor=actor(call.caller, call.source),
            minted_by=_minter(call),
            by_plane=isinstance(call.caller, Joined),
        )

    async def list(self, call: Call[Joined | User, None]) -> Tokens:
        """Without their values."""
        return await _listed(await call.tx(), call.query)

    async def revoke(self, call: Call[Joined | User | Admin, None]) -> None:
        """One that was not used yet. Raises Problem not_found, also where it was used: then revoke what it made."""
        tx = await call.tx()
        row = await (await tx.execute(sql.REVOKE_UNUSED, (call.id("id"),))).fetchone()
        if row is None:
            raise Problem(Code.NOT_FOUND, "no such token waits: it was used or revoked, or there is none")
        await record(
            tx,
            row[0],
            actor(call.caller, call.source),
            Action.REGISTRATION_TOKEN_REVOKED,
            Target(kind=TargetKind.REGISTRATION_TOKEN, id=str(call.id("id"))),
        )


async def insert(
    tx: Tx,
    asked: TokenRequest,
    token: credentials.RegistrationToken,
    *,
    organisation: UUID | None,
    actor: Actor,
    minted_by: str,
    by_plane: bool = False,
) -> TokenIssued:
    """Write what `asked` says, which was allowed, as the row of `token`, and that it was minted."""
    row = await (
        await tx.execute(
            sql.MINT,
            {
                "digest": token.digest,
                "kind": asked.kind.value,
                "organisation": organisation,
                "plane": asked.plane,
                "uid": asked.uid,
                "name": asked.name,
                "tenant": asked.tenant.name if asked.tenant else None,
                "tenant_uid": asked.tenant.uid if asked.tenant else None,
                "bound_key": asked.public_key.raw if asked.public_key else None,
                "self_confirming": asked.self_confirming,
                # A plane may replace the key of what is its own, as when the record of a cluster was lost.
                "rebinds": by_plane or (asked.kind is IdentityKind.PLANE and asked.uid is not None),
                "minted_by": minted_by,
                "by_plane": by_plane,
                "seconds": asked.seconds,
            },
        )
    ).fetchone()
    if row is None:
        raise Problem(Code.INTERNAL)
    id_, expires_at, now = row
    await record(
        tx,
        organisation,
        actor,
        Action.REGISTRATION_TOKEN_MINTED,
        Target(kind=TargetKind.REGISTRATION_TOKEN, id=str(id_), name=asked.name),
        Details(plane=asked.plane, tenant=asked.tenant.name if asked.tenant else None, expires_at=expires_at),
    )
    return TokenIssued(token=token, expires_at=expires_at, server_time=now)


async def _of_plane(tx: Tx, plane: Joined, asked: TokenRequest) -> UUID:
    """The organisation of a cluster that its plane asks for."""
    if asked.plane != str(plane.plane_id) or asked.tenant is None:
        raise Problem(Code.TOKEN_WRONG_CLUSTER, "a plane asks for tokens of its own clusters alone")
    if plane.found.plane_confirmed_at is None:
        raise Problem(Code.PLANE_UNCONFIRMED)
    if asked.public_key is None:
        raise Problem(Code.BODY_INVALID, "$.publicKey: a token that a plane mints is bound to the cluster's key")
    _within(asked.seconds, PLANE_TOKEN_SECONDS)
    tenant = UUID(asked.tenant.uid)
    # Before it is read: of two Tenants that come under one name at the same time, one is the first.
    await tx.execute(sql.BIND_TENANT, {"plane": plane.plane_id, "tenant": asked.tenant.name, "uid": tenant})
    found = whose(await tenancy(tx, plane.plane_id, asked.tenant.name), tenant)
    if isinstance(found, Code):
        raise Problem(found)
    return found


async def _need_room(tx: Tx, plane: UUID, organisation: UUID, *, by_plane: bool) -> None:
    """Problem where a plane has more than any honest one. Not to the letter: those that ask at once do not wait."""
    seconds = PLANE_TOKEN_SECONDS if by_plane else MOST_SECONDS
    waiting = {"plane": plane, "organisation": organisation, "by_plane": by_plane, "seconds": seconds}
    if await _count(tx, sql.WAITING, waiting) >= MOST_WAITING:
        raise Problem(Code.LIMIT_REACHED, f"{MOST_WAITING} tokens of this plane wait: use them, or wait for their end")
    if await _count(tx, sql.CLUSTERS_OF_PLANE, (plane,)) >= MOST_CLUSTERS:
        raise Problem(
            Code.LIMIT_REACHED, f"a plane has at most {MOST_CLUSTERS} clusters, those deleted within a day counted"
        )


async def _count(tx: Tx, statement: Any, values: Any) -> int:
    row = await (await tx.execute(statement, values)).fetchone()
    return int(row[0]) if row else 0


async def _of_user(tx: Tx, user: User, asked: TokenRequest) -> UUID:
    """A user's own, where the plane may act for it."""
    _within(asked.seconds, MOST_SECONDS)
    if UUID(asked.plane or "") not in await _granted_planes(tx):
        raise Problem(Code.GRANT_MISSING)
    return user.organisation_id


async def tenancy(tx: Tx, plane: UUID, tenant: str) -> Tenancy:
    """What decides whose `tenant` of `plane` is, read in a scope that sees all of the plane."""
    async with tx.cursor(row_factory=class_row(Mapping)) as cursor:
        await cursor.execute(sql.MAPPING, (plane, tenant))
        mapping = await cursor.fetchone()
    grants = await (await tx.execute(sql.GRANTS_OF_PLANE, (plane,))).fetchall()
    return Tenancy(mapping=mapping, grants=tuple(row[0] for row in grants))


async def _granted_planes(tx: Tx) -> Sequence[UUID]:
    return [row[0] for row in await (await tx.execute(sql.GRANTED_PLANES)).fetchall()]


async def _listed(tx: Tx, page: Page) -> Tokens:
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql.LIST_TOKENS, {"after": page.after, "limit": page.limit + 1})
        rows = await cursor.fetchall()
    shown = tuple(Listed(**{key: _text(value) for key, value in row.items()}) for row in rows[: page.limit])
    return Tokens(tokens=shown, next=shown[-1].id if len(rows) > page.limit else None)


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value


def _within(seconds: int, most: int) -> None:
    if seconds > most:
        raise Problem(Code.BODY_INVALID, f"$.seconds: at most {most}")


def _minter(call: Call[Any, Any]) -> str:
    who = actor(call.caller, call.source)
    return (f"{who.kind} {who.id}" if isinstance(call.caller, Joined) else f"{who.issuer} {who.id}")[:MOST_WHO]
