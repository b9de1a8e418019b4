"""The rows of clusters in the table of routes."""

from __future__ import annotations

from dataclasses import dataclass

from bulkhead.platform.clusters import desired, reading, sync
from bulkhead.platform.clusters.desired import DesiredChange
from bulkhead.platform.clusters.heartbeat import Announced, Heartbeats
from bulkhead.platform.clusters.liveness import Liveness
from bulkhead.platform.clusters.reading import Cluster, ClusterPage, Page, Rows, Synced
from bulkhead.platform.http.route import Route, ServiceKey, UserWith
from bulkhead.protocol.assertions import Ability
from bulkhead.protocol.heartbeat import Heartbeat, HeartbeatAnswer
from bulkhead.protocol.problems import Code
from bulkhead.protocol.sync import MOST_BYTES, SyncAnswer, SyncRequest

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

    return beat(_CLUSTER, "cluster"), beat("/v1/data-planes/{id:uuid}", "plane"), _sync()


def _sync() -> Route:
    return Route(
        "POST",
        f"{_CLUSTER}/sync",
        "Send one step of a cluster's metadata",
        ServiceKey(("cluster",), "sync"),
        sync.step,
        body=SyncRequest,
        answer=SyncAnswer,
        codes=(
            Code.STREAM_SUPERSEDED,
            Code.SEQUENCE_GAP,
            Code.DIGEST_MISMATCH,
            Code.NAMES_NOT_ALLOWED,
            Code.LIMIT_REACHED,
        ),
        most_body=MOST_BYTES,
        seconds=30.0,
    )


def people() -> tuple[Route, ...]:
    """What users call."""
    reads, writes = UserWith(Ability.CLUSTER_READ.value), UserWith(Ability.CLUSTER_WRITE.value)
    return (
        Route("GET", "/v1/clusters", "List clusters", reads, reading.page, query=Page, answer=ClusterPage),
        Route(
            "GET",
            _CLUSTER,
            "Read a cluster and its metadata",
            reads,
            reading.one,
            query=Rows,
            answer=Synced,
            codes=(Code.NOT_FOUND,),
        ),
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
