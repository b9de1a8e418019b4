"""What the front door measures of itself, for Prometheus. A label never holds a value that a caller chose."""

from __future__ import annotations

import functools

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class HttpMetrics:
    """Series of requests by row of the table: `route` is the row's path with its parameters' names, or empty."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "bulkhead_http_request_seconds",
            "From the end of a request's head to the end of its answer.",
            ("method", "route", "status"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._problems = Counter(
            "bulkhead_http_problems", "Problems told, by code.", ("route", "code"), registry=registry
        )
        self._running = 0
        Gauge("bulkhead_http_requests_running", "Requests without a whole answer.", registry=registry).set_function(
            lambda: self._running
        )
        # Finding a child by its labels costs more than the observation.
        self._histogram = functools.cache(self._seconds.labels)
        self._problem = functools.cache(self._problems.labels)

    def began(self) -> None:
        """A request's head is here."""
        self._running += 1

    def ended(self, method: str, route: str, status: int, seconds: float) -> None:
        """Its answer is sent, or its client gone (status 0)."""
        self._running -= 1
        self._histogram(method, route, str(status)).observe(seconds)

    def refused(self, route: str, code: str) -> None:
        """A Problem was told."""
        self._problem(route, code).inc()
