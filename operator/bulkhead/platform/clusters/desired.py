"""`PATCH /v1/clusters/{id}`: what a user wants of a cluster."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from bulkhead.platform.audit.actors import actor
from bulkhead.platform.audit.entry import Action, Details, Target, TargetKind
from bulkhead.platform.audit.record import record
from bulkhead.platform.clusters import reading, sql
from bulkhead.platform.clusters.decide import Standing
from bulkhead.platform.clusters.reading import Cluster
from bulkhead.platform.events.emit import EventData, EventType, emit
from bulkhead.platform.http.route import Call, User
from bulkhead.protocol.documents import Request
from bulkhead.protocol.problems import Code, Problem

Tx = AsyncConnection[Any]


class DesiredChange(Request, frozen=True, kw_only=True):
    """What is wanted from now on."""

    suspended: bool


async def change(call: Call[User, DesiredChange]) -> Cluster:
    """The cluster as it is wanted now; what is so already changes nothing. Raises Problem."""
    tx = await call.tx()
    row = await _locked(tx, call)
    suspended = call.body.suspended
    standing = Standing(row["desired_generation"], row["desired_state"] == "suspended", row["applied_generation"])
    generation = standing.changed(suspended=suspended)
    if generation is not None:
        state = "suspended" if suspended else "active"
        await tx.execute(sql.SET_DESIRED, {"id": call.id("id"), "generation": generation, "state": state})
        await _tell(tx, call, row, generation)
    return await reading.cluster(tx, call.id("id"))


async def _locked(tx: Tx, call: Call[User, DesiredChange]) -> dict[str, Any]:
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql.LOCK_DESIRED, (call.id("id"),))
        row = await cursor.fetchone()
    if row is None:
        raise Problem(Code.NOT_FOUND)
    if row["deleted"]:
        raise Problem(Code.NOT_FOUND, "the cluster was deleted")
    return row


async def _tell(tx: Tx, call: Call[User, DesiredChange], row: dict[str, Any], generation: int) -> None:
    id_, organisation = str(call.id("id")), call.caller.organisation_id
    suspended = call.body.suspended
    await record(
        tx,
        organisation,
        actor(call.caller, call.source),
        Action.CLUSTER_SUSPENDED if suspended else Action.CLUSTER_RESUMED,
        Target(kind=TargetKind.CLUSTER, id=id_, name=row["name"]),
        Details(generation=generation),
    )
    event = EventType.CLUSTER_SUSPENDED if suspended else EventType.CLUSTER_RESUMED
    await emit(tx, organisation, event, EventData(cluster=id_, name=row["name"], tenant=row["tenant"]))
