"""The rows of clusters in the table of routes."""

from __future__ import annotations

from dataclasses import dataclass

from bulkhead.platform.clusters import desired, reading
from bulkhead.platform.clusters.desired import DesiredChange
from bulkhead.platform.clusters.heartbeat import Announced, Heartbeats
from bulkhead.platform.clusters.liveness import Liveness
from bulkhead.platform.clusters.reading import Cluster, ClusterPage, Page
from bulkhead.platform.http.route import Route, ServiceKey, UserWith
from bulkhead.protocol.assertions import Ability
from bulkhead.protocol.heartbeat import Heartbeat, HeartbeatAnswer
from bulkhead.protocol.problems import Code

_CLUSTER = "/v1/clusters/{id:uuid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """What clusters stand on."""

    liveness: Liveness
    announced: Announced


def joined(deps: Deps) -> tuple[Route, ...]:
    """What planes and clusters call."""
    heartbeats = Heartbeats(liveness=deps.liveness, announced=deps.announced)

    def beat(path: str, kind: str) -> Route:
        return Route(
            "POST",
            f"{path}/heartbeat",
            f"Say that a {kind} is alive, and hear what is wanted",
            ServiceKey((kind,), "heartbeat"),
            heartbeats,
            body=Heartbeat,
            answer=HeartbeatAnswer,
        )

    return beat(_CLUSTER, "cluster"), beat("/v1/data-planes/{id:uuid}", "plane")


def people() -> tuple[Route, ...]:
    """What users call."""
    reads, writes = UserWith(Ability.CLUSTER_READ.value), UserWith(Ability.CLUSTER_WRITE.value)
    return (
        Route("GET", "/v1/clusters", "List clusters", reads, reading.page, query=Page, answer=ClusterPage),
        Route("GET", _CLUSTER, "Read a cluster", reads, reading.one, answer=Cluster, codes=(Code.NOT_FOUND,)),
        Route(
            "PATCH",
            _CLUSTER,
            "Suspend or resume a cluster",
            writes,
            desired.change,
            body=DesiredChange,
            answer=Cluster,
            codes=(Code.NOT_FOUND,),
        ),
    )
