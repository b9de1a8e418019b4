"""`make bench`: the operator against the best bare script, interleaved in one run.

    python -m bench --tenants 100 --rounds 3            Kubernetes objects alone, and with engines
    python -m bench --tenants 1000 --rounds 1 --alone   what 1,000 tenants cost in memory and at rest

Each round makes so many tenants by the operator and by the script, in the order A B B A; the script runs with the
concurrency that was fastest for it in a trial of its own. Ratios of medians are quoted: absolute figures depend on
the machine and on who else uses it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bench.bare import Script
from bench.kubernetes_alone import IdleEngine
from bench.measure import Sample, sample
from bulkhead import app
from bulkhead.api.data_cluster import DataClusterSpec
from bulkhead.api.data_plane import DataPlane
from bulkhead.api.meta import API_VERSION, LocalRef
from bulkhead.api.names import physical_names
from bulkhead.api.ownership import Stamp
from bulkhead.api.plan import PlanSpec
from bulkhead.api.record import EngineName, Holding
from bulkhead.engines.contract import Access, Engine, Request
from bulkhead.kube.access import from_kubeconfig
from bulkhead.kube.client import KubeClient, Unrecorded
from bulkhead.kube.resources import DATA_CLUSTERS, DATA_PLANES, TENANTS
from bulkhead.reconcile import planes
from bulkhead.reconcile.planes import AdminAccess
from hack.plane import installation
from hack.plane.installation import Installation, Operator
from hack.plane.plane import Part, Plane, PlaneOptions

TRIALS = (4, 8, 16, 32)
QUIET_SECONDS = 3.0
DEADLINE_SECONDS = 900.0


@dataclass(slots=True)
class Figures:
    """What one comparison gave."""

    title: str
    tenants: int
    bare_concurrency: int = 0
    operator_seconds: list[float] = field(default_factory=list)
    bare_seconds: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    costs: list[Sample] = field(default_factory=list)
    rest: dict[str, Any] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        operator, bare = statistics.median(self.operator_seconds), statistics.median(self.bare_seconds)
        ordered = sorted(self.latencies)
        writes = statistics.median(sum(cost.changes.values()) for cost in self.costs) / self.tenants
        return {
            "what": self.title,
            "tenants per round": self.tenants,
            "operator, tenants/s (median)": round(self.tenants / operator, 1),
            "bare script, tenants/s (median)": round(self.tenants / bare, 1),
            "operator / bare": round(bare / operator, 3),
            "every round, operator s": [round(s, 2) for s in self.operator_seconds],
            "every round, bare s": [round(s, 2) for s in self.bare_seconds],
            "bare script's best concurrency": self.bare_concurrency,
            "ready after, s (p50, p99, all applied at once)": [round(_at(ordered, q), 2) for q in (0.5, 0.99)],
            "changes per tenant": round(writes, 1),
            "changes per tenant by target": {
                target: round(statistics.median(c.changes[target] for c in self.costs) / self.tenants, 1)
                for target in sorted(self.costs[0].changes)
            },
            "operator CPU ms per tenant": round(1000 * statistics.median(c.cpu for c in self.costs) / self.tenants, 1),
            "operator memory MiB": round(max(c.memory for c in self.costs) / 2**20, 1),
            **self.rest,
        }


def _at(ordered: Sequence[float], quantile: float) -> float:
    return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]


@dataclass(slots=True)
class Bench:
    """A plane, what is installed, and both contenders."""

    installed: Installation
    kube: KubeClient
    as_operator: KubeClient
    alone: bool
    operators: int = 0
    batches: int = 0

    # -- the operator --------------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def operator(self) -> AsyncIterator[Operator]:
        """One that runs, and has nothing left to do."""
        self.operators += 1
        program = ("bench.kubernetes_alone",) if self.alone else ("bulkhead.cli.main",)
        operator = self.installed.operator(f"operator-{self.operators}", program=program)
        await operator.start()
        try:
            await self.until_quiet(operator)
            yield operator
        finally:
            await operator.stop()

    async def until_quiet(self, operator: Operator) -> Sample:
        """Wait until it has made no change for a while."""
        before = await sample(operator.url, operator.pid)
        while True:
            await asyncio.sleep(QUIET_SECONDS)
            now = await sample(operator.url, operator.pid)
            if now.changes == before.changes:
                return now
            before = now

    async def operated(self, count: int, figures: Figures) -> None:
        """Apply so many Tenants at once and wait until all are ready."""
        async with self.operator() as operator:
            before = await sample(operator.url, operator.pid)
            names = self.names("op", count)
            started = time.monotonic()
            ready = asyncio.create_task(self._all_ready(set(names), started))
            await asyncio.gather(*(self._apply(name) for name in names))
            figures.latencies += await ready
            figures.operator_seconds.append(time.monotonic() - started)
            figures.costs.append((await self.until_quiet(operator)).since(before))

    async def _apply(self, name: str) -> None:
        body = {
            "apiVersion": API_VERSION,
            "kind": "Tenant",
            "metadata": {"name": name},
            "spec": {"deletionPolicy": "Delete"},
        }
        await self.kube.create(TENANTS, body)

    async def _all_ready(self, names: set[str], started: float) -> list[float]:
        """Seconds until each was ready, as a user sees it who asks again and again."""
        found: list[float] = []
        async with asyncio.timeout(DEADLINE_SECONDS):
            while names:
                await asyncio.sleep(0.2)
                async for item in self.kube.list(DATA_CLUSTERS):
                    name = item["metadata"]["name"]
                    if name in names and item.get("status", {}).get("phase") == "Active":
                        names.discard(name)
                        found.append(time.monotonic() - started)
        return found

    def names(self, prefix: str, count: int) -> list[str]:
        self.batches += 1
        return [f"{prefix}{self.batches}-{number}" for number in range(count)]

    # -- the bare script -----------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def script(self) -> AsyncIterator[Script]:
        """The script with engines of its own, opened like the operator's."""
        plane = msgspec.convert(await self.kube.get(DATA_PLANES, "default"), DataPlane)
        engines = {name: self._engine(plane, name) for name in planes.offered(plane.spec)}
        try:
            absent = {name: await engine.observe(_nobody()) for name, engine in engines.items()}
            servers = {name: getattr(absent[name], "identity", "") for name in engines}
            yield Script(self.kube, self.as_operator, engines, absent, plane, servers)
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

    async def scripted(self, count: int, concurrency: int) -> float:
        async with self.script() as script:
            names = self.names("bare", count)
            started = time.monotonic()
            await script.make(names, concurrency)
            return time.monotonic() - started

    async def best_concurrency(self, count: int) -> int:
        """The one that makes the script fastest, so that nobody wins by a weak baseline."""
        seconds = {trial: await self.scripted(count, trial) for trial in TRIALS}
        return min(seconds, key=lambda trial: seconds[trial])

    # -- at rest -------------------------------------------------------------------------------------------------------
    async def at_rest(self, seconds: float) -> dict[str, Any]:
        """Calls of a start with everything in place, and of a minute of rest."""
        self.operators += 1
        program = ("bench.kubernetes_alone",) if self.alone else ("bulkhead.cli.main",)
        operator = self.installed.operator(f"operator-{self.operators}", program=program)
        await operator.start()
        started = await self.until_quiet(operator)
        await asyncio.sleep(seconds)
        rest = (await sample(operator.url, operator.pid)).since(started)
        await operator.stop()
        return {
            "restart: calls": dict(started.calls),
            "restart: changes": sum(started.changes.values()),
            "restart: CPU s": round(started.cpu, 2),
            "rest: calls to the API server per minute": round(sum(rest.calls.values()) * 60 / seconds, 1),
            "rest: by verb": dict(rest.calls),
            "rest: changes": sum(rest.changes.values()),
            "rest: CPU %": round(100 * rest.cpu / seconds, 2),
            "rest: memory MiB": round(rest.memory / 2**20, 1),
        }


async def compare(options: argparse.Namespace, *, alone: bool) -> Figures:
    """One comparison on a plane of its own."""
    parts = {Part.KUBERNETES, Part.POSTGRES} if alone else frozenset(Part) - {Part.WORKLOADS}
    async with Plane.start(PlaneOptions(parts=frozenset(parts), fsync=True)) as plane:
        installed = await installation.install(plane)
        async with client(plane.kubeconfig) as kube, client(installed.kubeconfig) as as_operator:
            return await measured(Bench(installed, kube, as_operator, alone), options, alone=alone)


@asynccontextmanager
async def client(kubeconfig: Path) -> AsyncIterator[KubeClient]:
    """The API server as whom a kubeconfig names."""
    access = from_kubeconfig([kubeconfig])
    async with access.open_session() as session:
        yield KubeClient(session, access.server, Unrecorded(), observe=lambda *_: None, jitter=random.random)


async def measured(bench: Bench, options: argparse.Namespace, *, alone: bool) -> Figures:
    title = "Kubernetes objects alone" if alone else "with Postgres, MinIO, vectors and search"
    figures = Figures(title, options.tenants)
    async with bench.operator():
        pass  # opens the plane once: its own preparations are nobody's tenants
    figures.bare_concurrency = await bench.best_concurrency(max(8, options.tenants // 4))
    for number in range(options.rounds):
        order = "AB" if number % 2 == 0 else "BA"
        for contender in order:
            if contender == "A":
                await bench.operated(options.tenants, figures)
            else:
                figures.bare_seconds.append(await bench.scripted(options.tenants, figures.bare_concurrency))
        print(f"{title}: round {number + 1} of {options.rounds}", file=sys.stderr)
    async with bench.operator():
        pass  # says of the last tenants of the script that they are paused
    figures.rest = await bench.at_rest(options.rest_seconds)
    return figures


def _nobody() -> Request:
    """A tenant that never was."""
    spec = DataClusterSpec(tenant_ref=LocalRef(name="nobody"))
    uid = "00000000-0000-0000-0000-000000000000"
    names = physical_names("nobody", uid, spec.search.indexes, opaque=False)
    return Request(
        stamp=Stamp("bare", uid), names=names, spec=spec, plan=PlanSpec(), holding=Holding(), access=Access.OPEN
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("--tenants", type=int, default=50, help="of each contender in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rest-seconds", type=float, default=60.0)
    parser.add_argument("--alone", action="store_true", help="Kubernetes objects alone")
    parser.add_argument("--with-engines", action="store_true", help="with engines alone")
    parser.add_argument("--json", type=Path, help="write the report there too")
    options = parser.parse_args()
    wanted = [
        alone for alone in (True, False) if (alone and not options.with_engines) or (not alone and not options.alone)
    ]
    reports = [asyncio.run(compare(options, alone=alone)).report() for alone in wanted]
    text = json.dumps({"machine": f"{platform.processor() or platform.machine()}", "reports": reports}, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
