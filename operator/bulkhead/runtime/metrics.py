"""What the operator measures of itself, for Prometheus. Labels never hold the name of an object or of a tenant."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_FAST = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
_SLOW = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """All series, in a registry of their own. Its methods have the shapes that queue, client and seam ask for."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.registry = registry
        self.queue_depth = Gauge("bulkhead_queue_depth", "Keys that wait for a worker.", registry=registry)
        self.queue_running = Gauge("bulkhead_queue_running", "Keys being reconciled.", registry=registry)
        self.queue_failing = Gauge("bulkhead_queue_failing", "Keys that back off after failures.", registry=registry)
        self.queue_wait = Histogram(
            "bulkhead_queue_wait_seconds", "Time a key waited for a worker.", buckets=_SLOW, registry=registry
        )
        self.reconcile = Histogram(
            "bulkhead_reconcile_seconds",
            "Time of one reconcile, by kind and by how it ended.",
            ("kind", "outcome"),
            buckets=_SLOW,
            registry=registry,
        )
        self.engine_down = Gauge(
            "bulkhead_engine_down", "1 while the engine is known to be down.", ("plane", "engine"), registry=registry
        )
        self.mutations = Counter(
            "bulkhead_mutations",
            "Changes made, by target and action.",
            ("target", "action", "result"),
            registry=registry,
        )
        self.requests = Histogram(
            "bulkhead_kube_request_seconds",
            "Requests to the API server; code 0: no answer.",
            ("verb", "resource", "code"),
            buckets=_FAST,
            registry=registry,
        )
        self.watch_age = Gauge(
            "bulkhead_watch_age_seconds", "Time since a watch last heard anything.", ("resource",), registry=registry
        )
        self.orphaned_records = Gauge(
            "bulkhead_orphaned_records",
            "Records whose DataCluster is gone and was not deleted in order.",
            registry=registry,
        )
        self.leading = Gauge("bulkhead_leading", "1 while this process holds the Lease.", registry=registry)
        self.loop_lag = Histogram(
            "bulkhead_loop_lag_seconds", "How late the event loop ran a timer.", buckets=_FAST, registry=registry
        )

    def render(self) -> bytes:
        """Exposition format 0.0.4."""
        return generate_latest(self.registry)

    def waited(self, seconds: float) -> None:
        """A key got its worker."""
        self.queue_wait.observe(seconds)

    def requested(self, verb: str, resource: str, code: int, seconds: float) -> None:
        """A request to the API server ended."""
        self.requests.labels(verb, resource, str(code)).observe(seconds)

    def mutated(self, target: str, action: str, succeeded: bool) -> None:  # noqa: FBT001 - shape of the seam's observer
        """A change was made or failed."""
        self.mutations.labels(target, action, "done" if succeeded else "failed").inc()

    def reconciled(self, kind: str, outcome: str, seconds: float) -> None:
        """A reconcile ended."""
        self.reconcile.labels(kind, outcome).observe(seconds)

    def engine(self, plane: str, engine: str, down: Callable[[], bool]) -> None:
        """Ask `down` whether this engine is known to be down, at each scrape."""
        self.engine_down.labels(plane, engine).set_function(down)

    def watch(self, resource: str, age: Callable[[], float]) -> None:
        """Ask `age` for the seconds since this watch last heard anything, at each scrape."""
        self.watch_age.labels(resource).set_function(age)
