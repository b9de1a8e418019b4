"""What users read of their clusters."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta
from msgspec.structs import asdict
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from bulkhead.platform.clusters import sql
from bulkhead.platform.clusters.decide import Progress, Standing
from bulkhead.platform.clusters.report import Report
from bulkhead.platform.http.route import Call, User
from bulkhead.protocol.documents import Answer, Closed
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.scalars import Generation, UnixSeconds, Uuid
from bulkhead.protocol.sync import Row, RowKind

Tx = AsyncConnection[Any]

PAGE = 50
MOST_OF_A_PAGE = 200

_PLACE = rf"^({'|'.join(RowKind)})/[0-9A-Za-z-]{{1,64}}\Z"


class DesiredState(Answer, frozen=True, kw_only=True):
    """What is wanted of a cluster, and how far it is with that. applied: the generation that it reports"""

    generation: Generation
    suspended: bool
    applied: Generation
    progress: Progress


class Cluster(Answer, frozen=True, kw_only=True):
    """A data cluster.

    uid: of the DataCluster object on its plane; the name is a label
    since: when it came online, or was found to be offline
    report: as it last said; null: it was never heard
    """

    id: Uuid
    uid: Uuid
    name: str
    tenant: str
    plane: Uuid
    created_at: UnixSeconds
    deleted_at: UnixSeconds | None
    revoked: bool
    online: bool
    since: UnixSeconds | None
    last_seen: UnixSeconds | None
    desired: DesiredState
    report: Report | None


class Synced(Cluster, frozen=True, kw_only=True):
    """A cluster with a page of its metadata, as last synced. next: what to give as `after`; null: that was all"""

    rows: tuple[Row, ...]
    next: str | None


class Rows(Closed, frozen=True, kw_only=True):
    """Which part of a cluster's metadata."""

    after: Annotated[str, Meta(pattern=_PLACE)] | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_OF_A_PAGE)] = MOST_OF_A_PAGE


class ClusterPage(Answer, frozen=True, kw_only=True):
    """A page of clusters that are not deleted. next: what to give as `after`; null: that was all"""

    clusters: tuple[Cluster, ...]
    next: Uuid | None


class Page(Closed, frozen=True, kw_only=True):
    """Which part of a list."""

    after: Uuid | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_OF_A_PAGE)] = PAGE


async def page(call: Call[User, None]) -> ClusterPage:
    """Those of the user's organisation."""
    query: Page = call.query
    tx = await call.tx()
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql.CLUSTERS, {"after": query.after, "limit": query.limit + 1})
        rows = await cursor.fetchall()
    shown = tuple(_cluster(row) for row in rows[: query.limit])
    return ClusterPage(clusters=shown, next=shown[-1].id if len(rows) > query.limit else None)


async def one(call: Call[User, None]) -> Synced:
    """Also one that was deleted. Raises Problem not_found."""
    query: Rows = call.query
    tx, id_ = await call.tx(), call.id("id")
    found = await cluster(tx, id_)
    kind, _, row = (query.after or "/").partition("/")
    after = {"cluster": id_, "kind": kind, "id": row, "limit": query.limit + 1}
    rows = await (await tx.execute(sql.DOCUMENTS, after)).fetchall()
    shown = rows[: query.limit]
    return Synced(
        **asdict(found),
        rows=tuple(msgspec.convert(body, Row) for _, _, body in shown),
        next=f"{shown[-1][0]}/{shown[-1][1]}" if len(rows) > query.limit else None,
    )


async def cluster(tx: Tx, id_: UUID) -> Cluster:
    """As it is now. Raises Problem not_found."""
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql.CLUSTER, (id_,))
        row = await cursor.fetchone()
    if row is None:
        raise Problem(Code.NOT_FOUND)
    return _cluster(row)


def _cluster(row: dict[str, Any]) -> Cluster:
    suspended = row["desired_state"] == "suspended"
    standing = Standing(row["desired_generation"], suspended, row["applied_generation"])
    return Cluster(
        id=str(row["id"]),
        uid=str(row["uid"]),
        name=row["name"],
        tenant=row["tenant"],
        plane=str(row["plane"]),
        created_at=row["created_at"],
        deleted_at=row["deleted_at"],
        revoked=row["revoked"],
        online=row["online"],
        since=row["since"],
        last_seen=row["last_seen"],
        desired=DesiredState(
            generation=standing.issued,
            suspended=suspended,
            applied=standing.applied,
            progress=standing.progress,
        ),
        report=msgspec.convert(row["report"], Report) if row["report"] is not None else None,
    )
