"""Cutting access where nothing else can be done: what must be shut does not wait for a plan or a tenant to be found."""

from __future__ import annotations

from collections.abc import Mapping

from bulkhead.api.data_cluster import DataCluster, DataClusterSpec
from bulkhead.api.ownership import Stamp
from bulkhead.api.plan import PlanSpec
from bulkhead.api.record import EngineName, Holding, Record
from bulkhead.engines.contract import Access, Request
from bulkhead.reconcile import key
from bulkhead.reconcile.context import access_wanted
from bulkhead.reconcile.converge import Result, TenantSubject, finish, look
from bulkhead.reconcile.deps import Deps
from bulkhead.reconcile.key import Key
from bulkhead.reconcile.planes import OpenEngine


async def cut(me: Key, subjects: Mapping[EngineName, TenantSubject], deps: Deps) -> dict[EngineName, Result]:
    """Close these engines to the tenant, side by side, each until a last look finds it shut."""
    return await finish(me, await look(me, subjects), deps.mutations)


async def cut_unresolved(cluster: DataCluster, deps: Deps) -> None:
    """Suspend a DataCluster whose plan, tenant or place can not be found; where nothing was made there is nothing to
    cut. Raises RecordUnreadable: then nobody knows what to cut.
    """
    if access_wanted(cluster, deps.view) is Access.OPEN or not deps.view.has_record(cluster.metadata.uid):
        return
    record = await deps.records.load(Record, cluster.metadata.uid)
    if record is not None:
        me = key.data_cluster(cluster.metadata.name)
        await cut(me, reachable(cluster.spec, record.record, deps), deps)


def reachable(spec: DataClusterSpec, record: Record, deps: Deps) -> dict[EngineName, TenantSubject]:
    """Engines that hold something of it and are open now, to tenants or not."""
    plane = deps.view.data_plane(record.plane)
    opened = deps.planes.open_plane(plane) if plane is not None else None
    engines = opened.engines if opened is not None else {}
    return {
        name: TenantSubject(engine, _request(spec, record, engine.taken_over(record.holding(name))))
        for name in record.holdings
        if isinstance(engine := engines.get(name), OpenEngine)
    }


def _request(spec: DataClusterSpec, record: Record, holding: Holding) -> Request:
    """What is needed to find and close what is there; limits play no part in it."""
    return Request(
        stamp=Stamp(record.installation, record.uid),
        names=record.names,
        spec=spec,
        plan=PlanSpec(),
        holding=holding,
        access=Access.CUT,
    )
