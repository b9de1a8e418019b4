"""Both contenders on one plane: the operator as it ships, and the bare script at its best concurrency."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.bare import Script
from bench.kubernetes_alone import IdleEngine
from bench.measure import Sample, cpu_seconds, resident_bytes, sample, spent
from bench.readiness import Judge
from bulkhead import app
from bulkhead.api.data_cluster import DataClusterSpec
from bulkhead.api.data_plane import DataPlane
from bulkhead.api.meta import API_VERSION, LocalRef
from bulkhead.api.names import physical_names
from bulkhead.api.ownership import Stamp
from bulkhead.api.plan import PlanSpec
from bulkhead.api.record import EngineName, Holding
from bulkhead.engines.contract import Access, Engine, Request
from bulkhead.kube.client import KubeClient
from bulkhead.kube.resources import DATA_PLANES, TENANTS
from bulkhead.reconcile import planes
from bulkhead.reconcile.planes import AdminAccess
from hack.plane import installation
from hack.plane.installation import Installation, Operator

CONCURRENCIES = (4, 8, 16, 32)
QUIET_SECONDS = 3.0
LOOK_SECONDS = 0.25
LEASE_CALLS = ("get leases", "update leases", "create leases")
HERE = "applied and judged here"


@dataclass(frozen=True, slots=True)
class Round:
    """One batch of tenants by one contender.

    seconds: until all were ready; latencies: the same for each, all of them applied at once
    cpu: seconds by process; cost: the operator's own counters, until it was quiet again
    """

    seconds: float
    latencies: list[float]
    cpu: Counter[str]
    cost: Sample | None = None
    peak: int = 0


@dataclass(slots=True)
class Bench:
    """A plane, what is installed, and both contenders.

    user: applies Tenants; as_operator: the operator's service account, for only that may do the rest
    alone: Kubernetes objects alone
    """

    installed: Installation
    user: KubeClient
    as_operator: KubeClient
    judge: Judge
    alone: bool
    operators: int = 0
    batches: int = 0

    def make_operator(self) -> Operator:
        """One that is not started yet."""
        self.operators += 1
        program = ("bench.kubernetes_alone",) if self.alone else ("bulkhead.cli.main",)
        return self.installed.operator(f"operator-{self.operators}", program=program)

    @asynccontextmanager
    async def operator(self) -> AsyncIterator[Operator]:
        """One that runs, and has nothing left to do."""
        operator = self.make_operator()
        await operator.start()
        try:
            await self.until_quiet(operator)
            yield operator
        finally:
            await operator.stop()

    async def until_quiet(self, operator: Operator) -> tuple[Sample, float]:
        """Wait until it has done nothing for a while but renew its Lease. Returns its counters, and when it was last
        seen to do something, by `time.monotonic`."""
        before, busy_until = await sample(operator.url, operator.pid), time.monotonic()
        while time.monotonic() - busy_until < QUIET_SECONDS:
            await asyncio.sleep(LOOK_SECONDS)
            now = await sample(operator.url, operator.pid)
            if not now.leading or now.busy or now.reconciles != before.reconciles or _work(now) != _work(before):
                busy_until = time.monotonic()
            before = now
        return before, busy_until

    async def operated(self, count: int) -> Round:
        """Apply so many Tenants at once to an operator that runs, and wait until all are ready."""
        async with self.operator() as operator:
            return await self.provisioned(operator, count)

    async def provisioned(self, operator: Operator, count: int) -> Round:
        """The same by this operator."""
        names = self._names("op", count)
        before, cpu, started = await sample(operator.url, operator.pid), self._cpu(operator), time.monotonic()
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self._apply(name))
        ready = [moment - started for moment in await self.judge.ready(names)]
        spent_on_it = self._cpu(operator)
        spent_on_it.subtract(cpu)
        cost = (await self.until_quiet(operator))[0].since(before)
        return Round(max(ready), ready, spent_on_it, cost, resident_bytes(operator.pid, peak=True))

    async def _apply(self, name: str) -> None:
        body = {
            "apiVersion": API_VERSION,
            "kind": "Tenant",
            "metadata": {"name": name},
            "spec": {"deletionPolicy": "Delete"},
        }
        await self.user.create(TENANTS, body)

    async def scripted(self, count: int, concurrency: int) -> Round:
        """So many tenants by the script, so many of them at once."""
        async with self._script() as script:
            names = self._names("bare", count)
            cpu, started = self._cpu(), time.monotonic()
            await script.make(names, concurrency)
            ready = [moment - started for moment in await self.judge.ready(names)]
            spent_on_it = self._cpu()
            spent_on_it.subtract(cpu)
            return Round(max(ready), ready, spent_on_it)

    async def best_concurrency(self, count: int) -> dict[int, float]:
        """Seconds for so many tenants by concurrency, the best of two tries each: nobody shall win by a weak
        baseline."""
        tries = [{each: (await self.scripted(count, each)).seconds for each in CONCURRENCIES} for _ in range(2)]
        return {each: min(seconds[each] for seconds in tries) for each in CONCURRENCIES}

    @asynccontextmanager
    async def _script(self) -> AsyncIterator[Script]:
        """The script with engines of its own, opened like the operator's."""
        plane = msgspec.convert(await self.user.get(DATA_PLANES, "default"), DataPlane)
        engines = {name: self._engine(plane, name) for name in planes.offered(plane.spec)}
        try:
            absent = {name: await engine.observe(_nobody()) for name, engine in engines.items()}
            servers = {name: getattr(absent[name], "identity", "") for name in engines}
            yield Script(self.user, self.as_operator, engines, absent, plane, servers)
        finally:
            for engine in engines.values():
                await engine.close()

    def _engine(self, plane: DataPlane, name: EngineName) -> Engine[Any, Any]:
        if self.alone:
            return IdleEngine()
        secrets = {s["metadata"]["name"]: s["stringData"] for s in installation.secrets(self.installed.plane)}
        access = planes.access_of(name, planes.offered(plane.spec)[name], secrets)
        assert isinstance(access, AdminAccess), access
        return app.engine_of(name, access, "bare")

    def _names(self, prefix: str, count: int) -> list[str]:
        self.batches += 1
        return [f"{prefix}{self.batches}-{number}" for number in range(count)]

    def _cpu(self, operator: Operator | None = None) -> Counter[str]:
        servers = {server.name: server.pid for server in self.installed.plane.servers if not _is_operator(server)}
        contender = {"operator": operator.pid} if operator is not None else {}
        return Counter({**spent({**servers, **contender}), HERE: cpu_seconds(os.getpid())})


def _is_operator(server: object) -> bool:
    return isinstance(server, Operator)


def _work(seen: Sample) -> int:
    return sum(count for call, count in seen.calls.items() if call not in LEASE_CALLS)


def _nobody() -> Request:
    """A tenant that never was."""
    spec = DataClusterSpec(tenant_ref=LocalRef(name="nobody"))
    uid = "00000000-0000-0000-0000-000000000000"
    names = physical_names("nobody", uid, spec.search.indexes, opaque=False)
    return Request(
        stamp=Stamp("bare", uid), names=names, spec=spec, plan=PlanSpec(), holding=Holding(), access=Access.OPEN
    )
