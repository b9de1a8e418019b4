"""Composition root of the operator: the one place where clients, clocks and sources of randomness are made.

    find access -> open the API server -> installation id -> watches in step -> Lease -> plane by plane, key by key

Everything runs in one event loop. What ends without being asked to ends the process: the supervisor starts a whole
one again, which is cheap, because a restart costs a few lists and no write.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import socket
import time
import uuid
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aiohttp
import structlog

import bulkhead
from bulkhead.api import labels
from bulkhead.api.data_plane import ObjectStoreEndpoint, PostgresEndpoint, SearchEndpoint, VectorsEndpoint
from bulkhead.api.record import EngineName, Record
from bulkhead.engines.contract import Engine
from bulkhead.engines.errors import Unavailable
from bulkhead.engines.meilisearch.engine import MeilisearchEngine
from bulkhead.engines.minio.engine import MinioEngine
from bulkhead.engines.postgres.engine import PostgresEngine
from bulkhead.engines.qdrant.engine import QdrantEngine
from bulkhead.kube.access import Access
from bulkhead.kube.client import KubeClient, Unrecorded
from bulkhead.kube.lease import LeaderElection
from bulkhead.kube.metadata_stream import MetadataStream
from bulkhead.kube.own_kinds import OwnKinds
from bulkhead.kube.resources import (
    LIMIT_RANGES,
    NAMESPACES,
    NETWORK_POLICIES,
    OWN_KINDS,
    RESOURCE_QUOTAS,
    ROLE_BINDINGS,
    SECRETS,
)
from bulkhead.kube.watch import EventSink, KopfWatch
from bulkhead.protocol.heartbeat import PERIOD
from bulkhead.reconcile import installation, key, registered
from bulkhead.reconcile.deps import Deps
from bulkhead.reconcile.dispatch import Dispatcher, Reconciler
from bulkhead.reconcile.drift import DriftScan
from bulkhead.reconcile.key import Key
from bulkhead.reconcile.orphans import orphans
from bulkhead.reconcile.planes import AdminAccess, Planes
from bulkhead.reconcile.records import Records
from bulkhead.reconcile.view import View
from bulkhead.registration.beats import Beats
from bulkhead.runtime.gate import Gate
from bulkhead.runtime.metrics import Metrics
from bulkhead.runtime.mutations import Mutations
from bulkhead.runtime.queue import WorkQueue
from bulkhead.telemetry.probes import LoopCanary, Probes

log = structlog.get_logger(__name__)

LEASE = "bulkhead-operator"
ENGINE_CALLS: Mapping[EngineName, int] = {
    EngineName.POSTGRES: 4,  # CREATE DATABASE gains nothing from more (measured), only latency
    EngineName.OBJECT_STORE: 4,
    EngineName.VECTORS: 8,
    EngineName.SEARCH: 8,
}
"""Tenants that are worked on at once, per engine."""
JOINING_AT_ONCE = 4
"""DataClusters, of the workers."""
PLANE_DELAY_SECONDS = 2.0
"""A plane's count of data clusters and its warm databases follow a burst of tenants once, not each tenant."""
OUTAGE_GRACE_SECONDS = 5.0
"""An engine that is back within this time is not shown in the status of every tenant."""
STALE_WATCH_SECONDS = 300.0
STALE_RELIST_SECONDS = 1800.0
"""Kopf shows no bookmarks: of our own kinds nothing may be heard but the list every ten minutes."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator is started with."""

    namespace: str
    """Its own: records, admin Secrets, Lease."""
    workers: int = 12
    probe_host: str = "0.0.0.0"  # noqa: S104 - the kubelet asks from outside the pod
    probe_port: int = 8080
    drift_seconds: float = 60.0
    """Between two bulk surveys of every engine."""
    heartbeat_seconds: float = PERIOD
    """Between two heartbeats to the platform, which takes a silence of two minutes for the end."""
    sweep_cycles: int = 60
    """Surveys in which every DataCluster is looked at in depth once."""
    grace_seconds: float = 20.0
    """Time for running reconciles to end when asked to stop."""


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def engine_of(name: EngineName, access: AdminAccess, installation: str) -> Engine[Any, Any]:  # noqa: ARG001 - a seam
    """The driver of an endpoint. Another object store, say, is another case here and another package of engines."""
    admin, ca = access.admin, access.ca_pem
    match access.endpoint:
        case PostgresEndpoint() as endpoint:
            return PostgresEngine(
                endpoint,
                username=admin["username"],
                password=admin["password"],
                ca_pem=ca,
                installation=installation,
                randomness=secrets.token_bytes,
                clock=utc_now,
            )
        case ObjectStoreEndpoint() as endpoint:
            return MinioEngine(
                endpoint,
                admin["access-key"],
                admin["secret-key"],
                ca,
                installation=installation,
                randomness=secrets.token_bytes,
            )
        case VectorsEndpoint() as endpoint:
            return QdrantEngine(endpoint, admin["api-key"], ca, installation=installation, clock=utc_now)
        case SearchEndpoint() as endpoint:
            return MeilisearchEngine(endpoint, admin["master-key"], ca, installation=installation)


@dataclass(frozen=True, kw_only=True)
class Seams:
    """What tests and benchmarks put in place of the world."""

    clock: Callable[[], datetime] = utc_now
    mutations: Callable[[Callable[[str, str, bool], None], Callable[[], bool]], Mutations] = Mutations
    """Crashes between changes."""
    open_engine: Callable[[EngineName, AdminAccess, str], Engine[Any, Any]] = engine_of


async def run(access: Access, settings: Settings, seams: Seams | None = None) -> None:
    """Operate until SIGTERM or SIGINT. Raises whatever else ended it: the supervisor starts a whole operator again."""
    seams = seams or Seams()
    metrics = Metrics()
    async with access.open_session() as session, access.open_session(connections=2) as lease_session:
        unled = _client(lease_session, access, Unrecorded(), metrics)
        lease = _lease(unled, settings, seams)
        mutations = seams.mutations(metrics.mutated, lambda: lease.leading)
        operator = Operator(
            access=access,
            settings=settings,
            seams=seams,
            metrics=metrics,
            mutations=mutations,
            kube=_client(session, access, mutations, metrics),
            lease=lease,
            # Made once, by whoever comes first: that needs no Lease, and a standby needs the id.
            installation=await installation.ensure(unled, settings.namespace, lambda: uuid.uuid4().hex[:12]),
        )
        try:
            await operator.work_until(_asked_to_stop())
        finally:
            await operator.close()


class Operator:
    """All parts of one operator, put together."""

    def __init__(
        self,
        *,
        access: Access,
        settings: Settings,
        seams: Seams,
        metrics: Metrics,
        mutations: Mutations,
        kube: KubeClient,
        lease: LeaderElection,
        installation: str,
    ) -> None:
        self._settings = settings
        self._seams = seams
        self._metrics = metrics
        self._kube = kube
        self._lease = lease
        self._installation = installation
        self._view = View(settings.namespace)
        self._queue: WorkQueue[Key] = WorkQueue(
            self._look,
            workers=settings.workers,
            on_error=_log_bug,
            on_wait=metrics.waited,
            jitter=random.random,
        )
        self._planes = Planes(self._open_engine)
        self._beats = Beats(
            describe=lambda member: registered.describe(member, self._view, bulkhead.__version__),
            look=lambda subject, seconds: self._queue.add_after(Key(*subject), seconds),
            clock=time.monotonic,
            wall=lambda: seams.clock().timestamp(),
            jitter=random.random,
            period=settings.heartbeat_seconds,
        )
        dispatcher = Dispatcher(
            self._view,
            settings.namespace,
            self._queue.add,
            lambda plane: self._queue.add_after(plane, PLANE_DELAY_SECONDS),
        )
        records = Records(
            kube,
            settings.namespace,
            on_write=self._record_written,
            on_remove=dispatcher.record_removed,
            newest=self._view.secret_version,
        )
        self._deps = Deps(
            installation=installation,
            namespace=settings.namespace,
            view=self._view,
            kube=kube,
            records=records,
            planes=self._planes,
            mutations=mutations,
            beats=self._beats,
            joining=asyncio.Semaphore(JOINING_AT_ONCE),
            clock=seams.clock,
            new_id=lambda: uuid.uuid4().hex,
            enqueue=self._queue.add,
            answered=dispatcher.answered,
            repaired=self._repaired,
        )
        self._reconciler = Reconciler(self._deps)
        self._drift = DriftScan(
            self._view,
            self._planes,
            self._reconciler.suspect,
            records.read_ahead,
            cycles_per_sweep=settings.sweep_cycles,
        )
        self._own_kinds = _own_kinds(kube, access, self._view, dispatcher)
        self._streams = _streams(kube, settings.namespace, dispatcher)
        self._canary = LoopCanary(on_lag=metrics.loop_lag.observe)
        self._measure()

    async def work_until(self, asked: asyncio.Future[None]) -> None:
        """Follow, wait to lead, work; end in order when asked to."""
        self._canary.start()
        probes = Probes(
            healthy=(self._canary.check, self._stale_watch),
            ready=(self._not_synced,),
            render_metrics=self._metrics.render,
        )
        async with probes.serving(self._settings.probe_host, self._settings.probe_port) as port:
            log.info("started", installation=self._installation, probes=port)
            tasks = [asyncio.create_task(work) for work in (*self._following(), self._leading())]
            try:
                await asyncio.wait([*tasks, asked], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await self._stop(tasks)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()):
                raise error

    async def close(self) -> None:
        """Give back what engines hold."""
        self._canary.stop()
        for name, _ in self._planes.all():
            await self._planes.close(name)
        await self._beats.close()

    def _following(self) -> Iterator[Coroutine[Any, Any, Any]]:
        yield self._own_kinds.run()
        yield from (stream.run() for stream in self._streams)

    async def _leading(self) -> None:
        """A standby follows everything and does nothing, so it takes over warm."""
        await asyncio.gather(self._own_kinds.synced.wait(), *(stream.synced.wait() for stream in self._streams))
        await self._lease.acquire()
        self._metrics.leading.set(1)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lease.hold(_leave_at_once))
            group.create_task(self._queue.run())
            group.create_task(self._scan_for_drift())
            group.create_task(self._beats.run(partial(registered.roll, self._deps)))

    async def _scan_for_drift(self) -> None:
        while True:
            await asyncio.sleep(self._settings.drift_seconds * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            await self._drift.cycle()

    async def _stop(self, tasks: Collection[asyncio.Task[Any]]) -> None:
        log.info("stopping")
        await self._queue.stop(self._settings.grace_seconds)
        await self._lease.release()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, wanted: Key) -> None:
        started = time.monotonic()
        outcome = await self._reconciler(wanted)
        self._metrics.reconciled(wanted.kind, "retry" if outcome.retry else "done", time.monotonic() - started)
        if outcome.retry:
            self._queue.retry(wanted)
            return
        self._queue.forget(wanted)
        if outcome.at is not None:
            self._queue.add_after(wanted, max(0.0, outcome.at - self._seams.clock().timestamp()))

    def _record_written(self, secret: dict[str, Any]) -> None:
        self._view.put_child(SECRETS, secret)

    def _repaired(self, record: Record, engine: EngineName) -> None:
        self._drift.repaired(record, engine)

    def _open_engine(self, plane: str, name: EngineName, access: AdminAccess) -> tuple[Engine[Any, Any], Gate[Key]]:
        engine = self._seams.open_engine(name, access, self._installation)
        gate: Gate[Key] = Gate(
            name.value,
            ping=engine.ping,
            unavailable=Unavailable,
            limit=ENGINE_CALLS[name],
            on_recovered=self._recovered,
            on_change=partial(self._engine_changed, plane, name),
            jitter=random.random,
        )
        self._metrics.engine(plane, name.value, partial(self._planes.is_down, plane, name))
        return engine, gate

    def _recovered(self, keys: Collection[Key]) -> None:
        for each in keys:
            self._queue.add(each)

    def _engine_changed(self, plane: str, name: EngineName, down: bool) -> None:  # noqa: FBT001 - the gate's observer
        """The plane's status follows at once, its tenants' after a grace period; keys in need are parked anyway."""
        log.warning("engine_down" if down else "engine_back", plane=plane, engine=name.value)
        self._queue.add(key.data_plane(plane))
        for cluster in self._view.data_clusters_on(plane) if down else ():
            self._queue.add_after(key.data_cluster(cluster.metadata.name), OUTAGE_GRACE_SECONDS)

    def _not_synced(self) -> str:
        waiting = [stream.resource.plural for stream in self._streams if not stream.synced.is_set()]
        if not self._own_kinds.synced.is_set():
            waiting.append("own kinds")
        return f"first list not complete: {', '.join(waiting)}" if waiting else ""

    def _stale_watch(self) -> str:
        if self._not_synced():
            return ""
        stale = [name for name, age, limit in self._ages() if age() > limit]
        return f"no word from the watch of {', '.join(stale)}" if stale else ""

    def _ages(self) -> Iterator[tuple[str, Callable[[], float], float]]:
        """Each watch, how long it has been silent, and how long it may be."""
        yield from ((stream.resource.plural, partial(_age, stream), STALE_WATCH_SECONDS) for stream in self._streams)
        yield "own kinds", partial(_age, self._own_kinds), STALE_RELIST_SECONDS

    def _orphaned_records(self) -> int:
        """Told only of a view that is complete: before, every record looks like one."""
        return 0 if self._not_synced() else sum(1 for _ in orphans(self._view))

    def _measure(self) -> None:
        self._metrics.queue_depth.set_function(lambda: self._queue.depth)
        self._metrics.queue_running.set_function(lambda: self._queue.running)
        self._metrics.queue_failing.set_function(lambda: self._queue.failing)
        self._metrics.orphaned_records.set_function(self._orphaned_records)
        for name, age, _ in self._ages():
            self._metrics.watch(name, age)


def _client(
    session: aiohttp.ClientSession, access: Access, mutations: Mutations | Unrecorded, metrics: Metrics
) -> KubeClient:
    return KubeClient(session, access.server, mutations, observe=metrics.requested, jitter=random.random)


def _lease(client: KubeClient, settings: Settings, seams: Seams) -> LeaderElection:
    return LeaderElection(
        client,
        namespace=settings.namespace,
        name=LEASE,
        identity=f"{socket.gethostname()}-{secrets.token_hex(4)}",
        now=seams.clock,
        clock=partial(time.clock_gettime, time.CLOCK_BOOTTIME),
    )


def _own_kinds(kube: KubeClient, access: Access, view: View, dispatcher: Dispatcher) -> OwnKinds:
    def watch_for(sink: EventSink) -> KopfWatch:
        return KopfWatch(
            resources=OWN_KINDS,
            server=access.server,
            open_session=access.open_session,
            sink=sink,
            jitter=random.random,
        )

    return OwnKinds(kube, view.stores, watch_for=watch_for, on_change=dispatcher.object_changed, jitter=random.random)


def _streams(kube: KubeClient, namespace: str, dispatcher: Dispatcher) -> list[MetadataStream]:
    """Children by our label in every namespace, and every Secret of our own."""
    ours = f"{labels.MANAGED_BY}={labels.MANAGED_BY_BULKHEAD},{labels.DATA_CLUSTER_UID}"
    children = [
        MetadataStream(kube, resource, on_child=dispatcher.child_changed, jitter=random.random, label_selector=ours)
        for resource in (NAMESPACES, SECRETS, NETWORK_POLICIES, RESOURCE_QUOTAS, LIMIT_RANGES, ROLE_BINDINGS)
    ]
    own = MetadataStream(kube, SECRETS, on_child=dispatcher.child_changed, jitter=random.random, namespace=namespace)
    return [*children, own]


def _age(source: MetadataStream | OwnKinds) -> float:
    return asyncio.get_running_loop().time() - source.last_heard


def _asked_to_stop() -> asyncio.Future[None]:
    """Done when the process is told to end."""
    loop = asyncio.get_running_loop()
    asked: asyncio.Future[None] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _answer, asked)
    return asked


def _answer(asked: asyncio.Future[None]) -> None:
    if not asked.done():
        asked.set_result(None)


def _leave_at_once() -> None:
    """Another operator may lead by now: nothing may be finished, not even in order."""
    os._exit(1)


def _log_bug(wanted: Key, error: BaseException) -> None:
    log.critical("reconciler_broke", key=str(wanted), error=type(error).__name__)
