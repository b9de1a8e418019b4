"""The baseline: the shortest script that makes the same objects as the operator, and nothing else.

It looks at nothing, verifies nothing, remembers nothing and could not go on after a crash. It uses the operator's own
client and renderings, so that what differs is the work of an operator, not of a library.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from bulkhead.api import labels, sensitive
from bulkhead.api.conditions import ENGINE_CONDITIONS, ConditionType
from bulkhead.api.data_cluster import DataCluster, DataClusterStatus
from bulkhead.api.data_plane import DataPlane
from bulkhead.api.meta import API_VERSION
from bulkhead.api.names import physical_names
from bulkhead.api.ownership import Stamp
from bulkhead.api.plan import PlanSpec
from bulkhead.api.record import EngineName, Holding, Record
from bulkhead.api.timestamp import rfc3339
from bulkhead.engines.contract import Access, ClaimFirst, Do, Engine, Request
from bulkhead.kube.client import KubeClient
from bulkhead.kube.resources import DATA_CLUSTERS, NAMESPACES, SECRETS, TENANTS, Resource
from bulkhead.reconcile import children, projections
from bulkhead.reconcile.children import Child, Owner
from bulkhead.reconcile.report import READY, Progress, status_of
from hack.plane.installation import NAMESPACE

Json = dict[str, Any]
Engines = Mapping[EngineName, Engine[Any, Any]]


@dataclass(frozen=True, slots=True)
class Script:
    """The bare script.

    user: applies Tenants; kube: does the rest, as the operator's service account, for only that may
    absent: per engine, what an operator sees of a tenant that is not there: looked at once, for all
    """

    user: KubeClient
    kube: KubeClient
    engines: Engines
    absent: Mapping[EngineName, Any]
    plane: DataPlane
    servers: Mapping[EngineName, str]

    async def make(self, names: list[str], concurrency: int) -> None:
        """Make all these tenants, so many at once."""
        room = asyncio.Semaphore(concurrency)

        async def one(name: str) -> None:
            async with room:
                await self._tenant(name)

        await asyncio.gather(*(one(name) for name in names))

    async def _tenant(self, name: str) -> None:
        await self._apply(self.user, TENANTS, name, {"deletionPolicy": "Delete"})
        spec = {"tenantRef": {"name": name}, "dataPlaneRef": {"name": "default"}, "deletionPolicy": "Delete"}
        made = await self._apply(self.kube, DATA_CLUSTERS, name, spec)
        cluster = msgspec.convert(made, DataCluster)
        record = self._record(cluster)
        await self.kube.create(SECRETS, _secret(record), NAMESPACE)
        await asyncio.gather(
            self._namespace(cluster, record), *(self._engine(name, cluster, record) for name in self.engines)
        )
        await self._create_all(self._secrets(cluster, record))
        await self._status(cluster, record)

    async def _apply(self, kube: KubeClient, resource: Resource, name: str, spec: Json) -> Json:
        """Paused, so that an operator that is started later leaves it alone."""
        metadata = {"name": name, "annotations": {labels.PAUSED: "true"}}
        body = {"apiVersion": API_VERSION, "kind": resource.kind, "metadata": metadata, "spec": spec}
        return await kube.create(resource, body)

    def _record(self, cluster: DataCluster) -> Record:
        uid = cluster.metadata.uid
        record = Record(
            installation="bare",
            uid=uid,
            slug=cluster.metadata.name,
            tenant=cluster.metadata.name,
            tenant_uid=uid,
            plane="default",
            names=physical_names(cluster.metadata.name, uid, cluster.spec.search.indexes, opaque=False),
        )
        now = datetime.now(UTC)
        for name, engine in self.engines.items():
            empty = Holding(server=self.servers[name], claimed_at=rfc3339(now))
            credentials = engine.credentials(record.names, Stamp("bare", uid), empty, now)
            holding = msgspec.structs.replace(empty, credentials=credentials)
            record = record.with_holding(name, holding)
            decision = engine.decide(_request(cluster, record, name), self.absent[name])
            if isinstance(decision, ClaimFirst):  # for names that come and go with the spec
                claimed = tuple(sorted(decision.names))
                record = record.with_holding(name, msgspec.structs.replace(holding, claimed=claimed))
        return record

    async def _namespace(self, cluster: DataCluster, record: Record) -> None:
        owner = Owner.of(record)
        await self.kube.create(NAMESPACES, dict(children.namespace(owner).body))
        await self._create_all(children.contents(owner, cluster, self.plane.spec, PlanSpec().compute, ()))

    async def _engine(self, name: EngineName, cluster: DataCluster, record: Record) -> None:
        engine = self.engines[name]
        decision = engine.decide(_request(cluster, record, name), self.absent[name])
        assert isinstance(decision, Do), decision
        for step in decision.steps:
            await engine.act(step)

    def _secrets(self, cluster: DataCluster, record: Record) -> list[Child]:
        bindings = {name: engine.binding(_request(cluster, record, name)) for name, engine in self.engines.items()}
        return list(projections.secrets(Owner.of(record), bindings, complete=True))

    async def _create_all(self, wanted: Any) -> None:
        await asyncio.gather(*(self.kube.create(c.resource, dict(c.body), c.namespace) for c in wanted))

    async def _status(self, cluster: DataCluster, record: Record) -> None:
        parts = {ConditionType.NAMESPACE_READY: READY, **{ENGINE_CONDITIONS[name]: READY for name in self.engines}}
        status = status_of(cluster, Progress(parts=parts, record=record), datetime.now(UTC))
        await self.kube.patch_status(DATA_CLUSTERS, cluster.metadata.name, _builtins(status))
        short = {"phase": status.phase, "conditions": _builtins(status)["conditions"]}
        await self.kube.patch_status(TENANTS, cluster.metadata.name, short)


def _builtins(status: DataClusterStatus) -> Json:
    found: Json = msgspec.to_builtins(status)
    return found


def _request(cluster: DataCluster, record: Record, name: EngineName) -> Request:
    return Request(
        stamp=Stamp(record.installation, record.uid),
        names=record.names,
        spec=cluster.spec,
        plan=PlanSpec(),
        holding=record.holding(name),
        access=Access.OPEN,
    )


def _secret(record: Record) -> Json:
    value = msgspec.json.encode(record, enc_hook=sensitive.encode)
    metadata = {"name": f"bare-{record.uid}", "namespace": NAMESPACE}
    data = {"record": base64.b64encode(value).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
