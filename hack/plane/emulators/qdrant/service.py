"""The endpoints of the server itself: health, telemetry, metrics, and what only a cluster or a log would do."""

import hashlib
from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from hack.plane.emulators.qdrant.access import Need
from hack.plane.emulators.qdrant.calls import Call
from hack.plane.emulators.qdrant.catalog import Catalog
from hack.plane.emulators.qdrant.errors import bad_request, service_error
from hack.plane.emulators.qdrant.payloads import Json
from hack.plane.emulators.qdrant.routing import Router

VERSION = "1.18.3"
OPEN_PATHS = {"/", "/healthz", "/readyz", "/livez"}
STANDALONE = "Qdrant is running in standalone mode"
ANONYMOUS_BYTES = 8


class Service:
    """`process` is a name of this run of the server, `started` the time of its start in ISO format."""

    def __init__(self, catalog: Catalog, process: str, started: str) -> None:
        self._catalog = catalog
        self._process = process
        self._started = started

    def register(self, router: Router) -> None:
        router.add("GET", "/", self.version)
        router.add("GET", "/healthz", lambda _: _text("healthz check passed"))
        router.add("GET", "/livez", lambda _: _text("healthz check passed"))
        router.add("GET", "/readyz", lambda _: _text("all shards are ready"))
        router.add("GET", "/telemetry", self.telemetry)
        router.add("GET", "/metrics", self.metrics)
        router.add("GET", "/cluster/telemetry", self.cluster_telemetry)
        router.add("GET", "/issues", lambda _: {"issues": []})
        router.add("GET", "/cluster", _global(Need.READ, lambda: {"status": "disabled"}))
        router.add("GET", "/logger", _global(Need.READ, lambda: {"log_level": "INFO"}))
        router.add("POST", "/cluster/recover", _global(Need.MANAGE, _no_cluster))
        router.add("DELETE", "/cluster/peer/*", _global(Need.MANAGE, _no_peers))
        router.add("GET", "/cluster/metadata/keys", _global(Need.READ, _no_cluster))
        router.add("GET", "/cluster/metadata/keys/*", _global(Need.READ, _no_cluster))
        router.add("PUT", "/cluster/metadata/keys/*", _global(Need.MANAGE, _no_cluster))
        router.add("DELETE", "/cluster/metadata/keys/*", _global(Need.MANAGE, _no_cluster))
        router.add("DELETE", "/issues", _global(Need.MANAGE, lambda: True))
        router.add("POST", "/logger", _global(Need.MANAGE, lambda: True))
        router.add("GET", "/debugger", _global(Need.MANAGE, lambda: {"pyroscope": None}))
        router.add("PATCH", "/debugger", _global(Need.MANAGE, lambda: True))
        router.add("GET", "/stacktrace", _global(Need.MANAGE, lambda: {"threads": []}))
        router.add("GET", "/profiler/slow_requests", _global(Need.MANAGE, lambda: {"requests": []}))
        router.add("POST", "/audit/logs", _global(Need.MANAGE, _no_audit))

    def version(self, _call: Call) -> Response:
        return Response(
            f'{{"title":"qdrant - vector search engine","version":"{VERSION}"}}', media_type="application/json"
        )

    def telemetry(self, call: Call) -> Json:
        level = call.number("details_level") or 0
        named = _anonymous if call.flag("anonymize") else str
        visible = [name for name in self._catalog.names() if call.access.sees(name)]
        collections: Json = {"number_of_collections": len(visible)}
        if level == 1:
            collections |= {"collections": [self._aggregate(name) for name in visible], "snapshots": []}
        if level > 1:
            # As on the real server: the collections are those of the caller, the snapshots everybody's, by name.
            full = [{"id": named(name), "config": self._catalog.get(name).config} for name in visible]
            collections |= {"collections": full, "snapshots": self._snapshots(named)}
        app = {"name": "qdrant", "version": VERSION, "startup": self._started}
        return {"id": self._process, "app": app, "collections": collections}

    def metrics(self, call: Call) -> Response:
        call.access.require_global()
        names = self._catalog.names()
        points = sum(self._catalog.get(name).points for name in names)
        lines = [
            *_metric(
                "app_info", "gauge", "information about qdrant server", f'{{name="qdrant",version="{VERSION}"}} 1'
            ),
            *_metric("collections_total", "gauge", "number of collections", f" {len(names)}"),
            *_metric("collections_vector_total", "gauge", "total number of vectors in all collections", f" {points}"),
        ]
        return _text("\n".join([*lines, ""]))

    def cluster_telemetry(self, _call: Call) -> None:
        raise service_error("Could not get telemetry from cluster")

    def _aggregate(self, name: str) -> Json:
        collection = self._catalog.get(name)
        return {"vectors": collection.points, "optimizers_status": "ok", "params": collection.config["params"]}

    def _snapshots(self, named: Callable[[str], str]) -> list[Json]:
        return [
            {
                "id": named(name),
                "running_snapshots": 0,
                "running_snapshot_recovery": 0,
                "total_snapshot_creations": made,
            }
            for name, made in self._catalog.snapshot_counts.items()
        ]


def _global(need: Need, answer: Callable[[], Any]) -> Callable[[Call], Any]:
    """An endpoint for callers with global access, with the same answer for all of them."""

    def endpoint(call: Call) -> Any:
        call.access.require_global(need)
        return answer()

    return endpoint


def _no_cluster() -> None:
    raise service_error(STANDALONE)


def _no_peers() -> None:
    raise bad_request("Distributed mode disabled.")


def _no_audit() -> None:
    raise bad_request("Audit logging is not configured")


def _text(content: str) -> Response:
    return Response(content, media_type="text/plain")


def _metric(name: str, kind: str, description: str, sample: str) -> list[str]:
    return [f"# HELP {name} {description}", f"# TYPE {name} {kind}", f"{name}{sample}"]


def _anonymous(name: str) -> str:
    return str(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=ANONYMOUS_BYTES).digest()))
