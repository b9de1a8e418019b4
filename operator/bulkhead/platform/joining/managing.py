"""What people do with planes and clusters that have joined: confirm, revoke; and what a cluster says when it goes."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol
from uuid import UUID

from msgspec import Meta
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from bulkhead.platform.audit.actors import actor
from bulkhead.platform.audit.entry import Action, Details, Target, TargetKind
from bulkhead.platform.audit.export import Revoked
from bulkhead.platform.audit.record import record
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, transaction
from bulkhead.platform.events.emit import EventData, EventType, emit
from bulkhead.platform.http.route import Admin, Call, Joined, User
from bulkhead.platform.joining import identity, sql
from bulkhead.platform.joining.minting import Page
from bulkhead.protocol.documents import Answer, Request
from bulkhead.protocol.keys import PublicKey
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.registration import Deleted
from bulkhead.protocol.scalars import UnixSeconds, Uuid

Tx = AsyncConnection[Any]


class Keep(Protocol):
    """Makes a revocation outlive the database, before its transaction is committed."""

    def __call__(
        self, what: Revoked, id_: str, /, *, epoch: int, organisation: str | None = None
    ) -> Awaitable[None]: ...


class Plane(Answer, frozen=True, kw_only=True):
    """A plane that has joined."""

    id: Uuid
    uid: Uuid
    name: str
    fingerprint: str
    """Of its public key, to compare with what the plane itself shows."""
    confirmed: bool
    revoked: bool
    online: bool
    last_seen: UnixSeconds | None
    organisations: tuple[Uuid, ...]
    """That it may act for."""


class PlanePage(Answer, frozen=True, kw_only=True):
    """A page of planes. next: what to give as `after`; null: that was all."""

    planes: tuple[Plane, ...]
    next: str | None


class Confirmation(Request, frozen=True, kw_only=True):
    """The fingerprint that the plane shows: it is confirmed only if the platform has the same."""

    fingerprint: Annotated[str, Meta(min_length=1, max_length=64)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Managing:
    """keep: of the export."""

    pool: Pool
    keep: Keep

    async def planes(self, call: Call[Admin, None]) -> PlanePage:
        """All of them."""
        page: Page = call.query
        tx = await call.tx()
        async with tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(sql.LIST_PLANES, {"after": page.after, "limit": page.limit + 1})
            rows = await cursor.fetchall()
        shown = tuple(_plane(row) for row in rows[: page.limit])
        return PlanePage(planes=shown, next=shown[-1].id if len(rows) > page.limit else None)

    async def confirm(self, call: Call[Admin, Confirmation]) -> None:
        """Let a plane mint tokens. Raises Problem."""
        tx = await call.tx()
        plane = await _one(tx, sql.LOCK_PLANE, call.id("id"))
        shown = PublicKey(bytes(plane["public_key"])).fingerprint
        if call.body.fingerprint.strip().upper() != shown:
            raise Problem(Code.CONFLICT, "this is not the fingerprint of the plane's key: it may be another plane's")
        await tx.execute(sql.CONFIRM_PLANE, {"id": call.id("id"), "by": actor(call.caller, call.source).id or "admin"})
        target = Target(kind=TargetKind.PLANE, id=str(call.id("id")), name=plane["name"])
        await record(
            tx, None, actor(call.caller, call.source), Action.PLANE_CONFIRMED, target, Details(fingerprint=shown)
        )

    async def revoke_plane(self, call: Call[Admin, None]) -> None:
        """End a plane's identity for good; its clusters' keys open nothing from then on either."""
        tx = await call.tx()
        plane = await _one(tx, sql.LOCK_PLANE, call.id("id"))
        await tx.execute(sql.REVOKE_PLANE, (call.id("id"),))
        target = Target(kind=TargetKind.PLANE, id=str(call.id("id")), name=plane["name"])
        await record(tx, None, actor(call.caller, call.source), Action.IDENTITY_REVOKED, target)
        await self.keep(Revoked.PLANE_IDENTITY, str(call.id("id")), epoch=plane["platform_epoch"])

    async def revoke_plane_keys(self, call: Call[Admin, None]) -> None:
        """End all service keys of a plane; it re-joins with its bound key."""
        # Keys are rows of the plane alone: one transaction that sees them, beside what admins see.
        async with transaction(self.pool, Scope(plane=call.id("id"), platform_admin=True)) as tx:
            plane = await _one(tx, sql.LOCK_PLANE, call.id("id"))
            await self._end_keys(tx, call, None, plane["platform_epoch"])

    async def revoke_cluster(self, call: Call[User, None]) -> None:
        """End a cluster's identity for good."""
        tx = await call.tx()
        cluster = await _one(tx, sql.LOCK_CLUSTER, call.id("id"))
        await tx.execute(sql.REVOKE_CLUSTER, (call.id("id"),))
        target = Target(kind=TargetKind.CLUSTER, id=str(call.id("id")), name=cluster["name"])
        organisation = call.caller.organisation_id
        await record(tx, organisation, actor(call.caller, call.source), Action.IDENTITY_REVOKED, target)
        await emit(tx, organisation, EventType.IDENTITY_REVOKED, EventData(cluster=str(call.id("id"))))
        await self.keep(Revoked.CLUSTER_IDENTITY, str(call.id("id")), epoch=cluster["platform_epoch"])

    async def revoke_cluster_keys(self, call: Call[User, None]) -> None:
        """End all service keys of a cluster; it re-joins with its bound key."""
        tx = await call.tx()
        cluster = await _one(tx, sql.LOCK_CLUSTER, call.id("id"))
        await self._end_keys(tx, call, call.caller.organisation_id, cluster["platform_epoch"])

    async def delete(self, call: Call[Joined, None]) -> Deleted:
        """A cluster's own word that it goes; the same answer to each retry, also with the key of a deleted one."""
        tx = await call.tx()
        id_, organisation = call.caller.identity_id, call.caller.organisation_id
        row = await (await tx.execute(sql.DELETE_CLUSTER, (id_,))).fetchone()
        if row is not None and organisation is not None:
            target = Target(kind=TargetKind.CLUSTER, id=str(id_), name=row[0])
            await record(tx, organisation, actor(call.caller, call.source), Action.CLUSTER_DELETED, target)
            await emit(tx, organisation, EventType.CLUSTER_DELETED, EventData(cluster=str(id_), name=row[0]))
            await self.keep(Revoked.CLUSTER, str(id_), epoch=call.caller.found.platform_epoch)
        return Deleted(identity=str(id_), server_time=await identity.server_time(tx))

    async def _end_keys(self, tx: Tx, call: Call[Any, None], organisation: UUID | None, epoch: int) -> None:
        rows = await (await tx.execute(sql.REVOKE_KEYS, (call.id("id"),))).fetchall()
        for (key,) in rows:
            target = Target(kind=TargetKind.SERVICE_KEY, id=key)
            await record(tx, organisation, actor(call.caller, call.source), Action.SERVICE_KEY_REVOKED, target)
            await self.keep(Revoked.SERVICE_KEY, key, epoch=epoch)


async def _one(tx: Tx, statement: Any, id_: UUID) -> dict[str, Any]:
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, (id_,))
        row = await cursor.fetchone()
    if row is None:
        raise Problem(Code.NOT_FOUND)
    return row


def _plane(row: dict[str, Any]) -> Plane:
    return Plane(
        id=str(row["id"]),
        uid=str(row["uid"]),
        name=row["name"],
        fingerprint=PublicKey(bytes(row["public_key"])).fingerprint,
        confirmed=row["confirmed"],
        revoked=row["revoked"],
        online=row["online"],
        last_seen=row["last_seen"],
        organisations=tuple(str(each) for each in row["organisations"]),
    )
