"""What the service measures of itself, for Prometheus. A label never holds a value that a caller chose."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.http.metrics import HttpMetrics

_LAG = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_POOLS = {
    "pool_size": "Connections that are held.",
    "pool_available": "Connections that nobody uses.",
    "requests_waiting": "Callers that wait for a connection.",
}


class Metrics:
    """All series, in a registry of their own, to which each part adds its own."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.registry = registry
        self.http = HttpMetrics(registry)
        self.loop_lag = Histogram(
            "bulkhead_loop_lag_seconds", "How late the event loop ran a timer.", buckets=_LAG, registry=registry
        )
        self._connections = Gauge("bulkhead_http_connections", "Open connections of callers.", registry=registry)
        self._pools = {
            name: Gauge(f"bulkhead_database_{name}", text, ("role",), registry=registry)
            for name, text in _POOLS.items()
        }

    def connections(self, count: Callable[[], int]) -> None:
        """Ask `count` at each scrape."""
        self._connections.set_function(count)

    def pool(self, role: str, pool: Pool) -> None:
        """Ask a pool at each scrape."""
        for name, gauge in self._pools.items():
            gauge.labels(role).set_function(partial(_statistic, pool, name))

    def render(self) -> bytes:
        """Exposition format 0.0.4."""
        return generate_latest(self.registry)


def _statistic(pool: Pool, name: str) -> float:
    return pool.get_stats().get(name, 0)
